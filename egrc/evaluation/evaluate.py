"""Problems -> answers -> graded rows -> numbers; their intervals are in `egrc.evaluation.intervals`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from egrc.checks import grade
from egrc.evaluation.answers import Grade

if TYPE_CHECKING:  # a reader of records needs none of them
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.evaluation.sampling import Backend, Sampling

KEPT_TEXTS = 4
"""Problems of a benchmark whose texts are kept in the rows of a run."""
THINK, END = "<think>", "</think>"
COLUMNS = (
    *("benchmark", "id", "sample", "temperature", "correct", "reason", "extracted"),
    *("tokens", "thinking_tokens", "answer_tokens", "truncated"),
)
"""`reason` and `extracted` (the final answer, or None) as in `evaluation.answers.Grade`.  Tokens are completion tokens,
end token included: `tokens` = `thinking_tokens` + `answer_tokens`.  No text: benchmarks are other people's."""
RUN_COLUMNS = ("benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated", "text")
Progress = Callable[[int, int], None]
Pairs = Sequence[tuple[str, Any]]
"""(completion, accepted answer or answers)."""


def count(ids: Sequence[int], ends: Sequence[int], close: int | None) -> tuple[int, int, int, bool]:
    """An answer's tokens, those of thinking and those of the answer, and whether it was cut at the cap.

    `close` is the id of '</think>', or None for a model that does not think.  The last one counts, as in grading; all
    tokens are thinking where there is none.
    """
    after = next((i for i, token in enumerate(reversed(ids)) if token == close), 0)
    thinking = 0 if close is None else len(ids) - after
    return len(ids), thinking, len(ids) - thinking, not ids or ids[-1] not in ends


def ask(
    benchmark: str,
    problems: Sequence[Mapping[str, Any]],
    backend: Backend,
    grade: Callable[[Pairs], list[Grade]],
    sampling: Sampling,
    samples: int,
    seed: int,
    say: Progress | None = None,
) -> pd.DataFrame:
    """`samples` answers to each problem (a row with id, prompt, answer), graded: `COLUMNS` and 'text'.

    A cut answer is wrong, unasked.  Thinking that the prompt began and the model did not end has not answered.
    """
    tokenizer = backend.tokenizer
    asked = [(problem, sample) for problem in problems for sample in range(samples)]
    prompts = tokenizer([problem["prompt"] for problem, _ in asked])["input_ids"]
    close, rows, whole = tokenizer.convert_tokens_to_ids(END), [], {}
    for (problem, sample), ids in zip(asked, backend.generate(prompts, sampling, seed, say), strict=True):
        thinking, text = problem["prompt"].rstrip().endswith(THINK), tokenizer.decode(ids, skip_special_tokens=True)
        counts = count(ids, backend.ends, close if thinking else None)
        if not counts[-1]:
            whole[len(rows)] = (THINK * thinking + text, problem["answer"])
        row = dict(zip(COLUMNS[7:], counts, strict=True))
        row |= {"benchmark": benchmark, "id": problem["id"], "sample": sample, "text": text}
        rows.append(row | {"temperature": float(sampling.temperature)} | vars(Grade(False, None, "truncated")))
    for i, verdict in zip(whole, grade(list(whole.values())), strict=True):
        rows[i] |= vars(verdict)
    return pd.DataFrame(rows, columns=[*COLUMNS, "text"])


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Mapping[str, Dataset],
    correct: Callable[[str, str], bool],
    temperatures: tuple[float, ...],
    samples: int,
    cap: int,
    seed: int,
    on_progress: Progress | None = None,
    batch: int = 256,
) -> pd.DataFrame:
    """`ask` every problem of several benchmarks (name -> table with id, prompt, answer) at several temperatures.

    `correct` grades a text, special tokens removed, against an answer; temperature 0 is greedy, and gets one sample,
    the others get `samples`; `on_progress` is called with the answers done and wanted, after every batch.
    Returns `RUN_COLUMNS`, with the text of a few problems; the same seed, batch, machine and versions repeat the rows.
    Raises ValueError for a benchmark without problems.
    """
    # torch: a reader of tables can do without
    from egrc.evaluation.sampling import Sampling, by_transformers, derived_seed

    if empty := [name for name, problems in benchmarks.items() if not len(problems)]:
        raise ValueError(f"benchmark {empty[0]!r} has no problems: check its file or data directory")

    def verdicts(pairs: Pairs) -> list[Grade]:
        right = grade(correct, [text for text, _ in pairs], [answer for _, answer in pairs])
        return [Grade(ok, None, "") for ok in right]

    backend = by_transformers(model, tokenizer, batch)
    jobs = [(b, t, 1 if t == 0 else samples) for b in benchmarks for t in temperatures]
    total, done, tables = sum(len(benchmarks[b]) * n for b, _, n in jobs), 0, []
    for name, temperature, n in jobs:
        problems = benchmarks[name].to_list()
        say = on_progress and (lambda more, _, before=done: on_progress(before + more, total))
        own = derived_seed(seed, name, temperature)
        table = ask(name, problems, backend, verdicts, Sampling(temperature, 1.0, cap), n, own, say)
        kept = table["id"].isin([problem["id"] for problem in problems[:KEPT_TEXTS]])
        tables.append(table.assign(text=table["text"].astype(object).where(kept, None))[list(RUN_COLUMNS)])
        done += len(table)
    return pd.concat(tables, ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per benchmark and temperature, and their plain mean as benchmark 'mean': problems, samples (of each),
    accuracy, mean_tokens, truncated (a share)."""
    groups = rows.groupby(["benchmark", "temperature"], sort=False)
    mean = {"accuracy": ("correct", "mean"), "mean_tokens": ("tokens", "mean"), "truncated": ("truncated", "mean")}
    table = groups.agg(problems=("id", "nunique"), samples=("id", "size"), **mean).reset_index()
    table["samples"] /= table["problems"]
    by_temperature = table.drop(columns="benchmark").groupby("temperature", sort=False)
    means = by_temperature.mean().assign(benchmark="mean", problems=by_temperature["problems"].sum()).reset_index()
    return pd.concat([table, means], ignore_index=True)
