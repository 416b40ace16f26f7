"""Questions -> answers -> graded rows: what an evaluation's numbers depend on, and what is hashed with them.

One row for each problem and sample.  No text of a problem or of an answer is kept, only the problem's name and the
final answer: benchmarks are other people's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from egrc.evaluation.generation import Ask, Backend, Sampling, count

if TYPE_CHECKING:  # a reader of records need not wait for math-verify
    from egrc.evaluation.grading import Grade

COLUMNS = (
    *("benchmark", "id", "sample", "temperature", "correct", "reason", "extracted"),
    *("tokens", "thinking_tokens", "answer_tokens", "truncated"),
)
"""`reason` in words (see `evaluation.grading.Grade`), `extracted` the final answer or None; tokens are completion
tokens, end
token included, and `tokens` = `thinking_tokens` + `answer_tokens` (see `egrc.evaluation.generation.Count`)."""
THINK, END = "<think>", "</think>"
Grader = Callable[[Sequence[tuple[str, tuple[str, ...]]]], "list[Grade]"]
"""Grades (completion, accepted answers) pairs, in order."""


@dataclass(frozen=True)
class Question:
    """One problem as it is put to a model."""

    id: str
    prompt: str
    """Up to where the model speaks.  One that ends in '<think>' has begun its thinking."""
    gold: tuple[str, ...]
    """Accepted answers."""

    @property
    def thinks(self) -> bool:
        """Has the prompt begun the model's thinking?"""
        return self.prompt.rstrip().endswith(THINK)


def seed_of(seed: int, benchmark: str, question: str, sample: int) -> int:
    """The seed of one answer, 31 bits: whatever else is asked, and in whatever order, it is the same."""
    text = f"{seed}/{benchmark}/{question}/{sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) >> 1


def answer(
    benchmark: str,
    questions: Sequence[Question],
    backend: Backend,
    grade: Grader,
    sampling: Sampling,
    samples: int,
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Rows (`COLUMNS`) of some questions after the other, all samples of a question together.

    A cut answer is wrong, whatever it holds.  The questions with the shortest prompts come first, so that prompts of a
    batch have about the same length.
    """
    ids = {q.id: backend.tokenizer(q.prompt)["input_ids"] for q in questions}
    order = sorted(questions, key=lambda q: len(ids[q.id]))
    together = max(1, backend.at_once // samples)
    for start in range(0, len(order), together):
        some = order[start : start + together]
        asks = [Ask(ids[q.id], [seed_of(seed, benchmark, q.id, s) for s in range(samples)]) for q in some]
        yield _rows(benchmark, some, backend, grade, sampling, backend.generate(asks, sampling))


def _rows(
    benchmark: str,
    questions: Sequence[Question],
    backend: Backend,
    grade: Grader,
    sampling: Sampling,
    answers: Sequence[Sequence[Sequence[int]]],
) -> pd.DataFrame:
    from egrc.evaluation.grading import Grade

    tokenizer = backend.tokenizer
    lines = [(q, s, ids) for q, of in zip(questions, answers, strict=True) for s, ids in enumerate(of)]
    ends = {q.id: tokenizer.convert_tokens_to_ids(END) if q.thinks else None for q in questions}
    counts = [count(ids, tokenizer.eos_token_id, ends[q.id]) for q, _, ids in lines]
    whole = [i for i, c in enumerate(counts) if not c.truncated]
    texts = [_said(tokenizer.decode(lines[i][2], skip_special_tokens=True), lines[i][0]) for i in whole]
    graded = grade([(text, lines[i][0].gold) for text, i in zip(texts, whole, strict=True)])
    grades = dict.fromkeys(range(len(lines)), Grade(False, None, "truncated")) | dict(zip(whole, graded, strict=True))
    return pd.DataFrame(
        [
            (benchmark, q.id, sample, float(sampling.temperature), g.correct, g.reason, g.extracted,
             c.tokens, c.thinking, c.answer, c.truncated)
            for (q, sample, _), c, g in zip(lines, counts, grades.values(), strict=True)
        ],
        columns=list(COLUMNS),
    )  # fmt: skip


def _said(text: str, question: Question) -> str:
    """What is graded: thinking that the prompt began and the model did not end has not answered."""
    return THINK + text if question.thinks else text
