"""The pocket scale: a synthetic world and a model small enough to train on two CPU cores.

`world` says what a problem is, `teacher` how it is talked about, `tokenizer` how that is read, `base` trains the
model; `Pocket` hands them to the rest of the package in the form every scale has (`egrc.worlds.base.World`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from egrc import paths
from egrc.worlds.pocket.teacher import trace
from egrc.worlds.pocket.world import BENCHMARKS, VOCABULARY, Problem, draw_problem, problems

if TYPE_CHECKING:  # imported where they are used: whoever only wants the floor need not wait for torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.entropy import TokenClasses

TRAIN_PROBLEMS = 9_600
PROBES = 64
SEEDS = {"test": 1, "search": 2}


def rows(drawn: list[Problem]) -> Dataset:
    """Problems as a table: id, prompt, answer, benchmark (a problem of this world has exactly one answer)."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"id": p.text, "prompt": p.text, "answer": str(p.answers[0]), "benchmark": p.benchmark} for p in drawn]
    )


@cache
def floor_tokens(benchmark: str, samples: int = 4000) -> float:
    """Mean tokens, ``<eos>`` included, of the shortest correct procedure the grammar can write: compact and patient."""
    rng = random.Random(0)
    drawn = islice(problems(benchmark, held_out=True, seed=SEEDS["test"]), 500)
    traces = [trace(p, rng, p_compact=1.0, patient=True) for p in drawn for _ in range(samples // 500)]
    return sum(map(len, traces)) / len(traces)


class Pocket:
    """The pocket world as `egrc.worlds.base.World`; another synthetic world overrides what stands before `policy`."""

    name = "pocket"
    names, vocabulary = BENCHMARKS, VOCABULARY

    def __init__(self, data: Path | None = None) -> None:
        self.data = data
        """The data folder whose base model is meant; None: the package's."""

    def draw(self, benchmark: str, rng: random.Random) -> Problem:
        """A problem from either half of the split."""
        return draw_problem(benchmark, rng)

    def distinct(self, benchmark: str, held_out: bool, seed: int) -> Iterator[Problem]:
        """Problems of one half, each once, in an order fixed by the seed."""
        return problems(benchmark, held_out, seed)

    def trace(self, problem: Problem, rng: random.Random) -> list[str]:
        """One of the teacher's traces."""
        return trace(problem, rng)

    def floor_tokens(self, benchmark: str) -> float:
        return floor_tokens(benchmark)

    def policy_path(self) -> str:
        folder = (self.data or paths.DATA) / "pocket" / "base"
        if not (folder / "model.safetensors").exists():
            raise FileNotFoundError(f"no base model in {folder}: train it with `python -m egrc train --base`")
        return str(folder)

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        import torch
        from transformers import LlamaForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from egrc.worlds.pocket.tokenizer import build_tokenizer

        disable_progress_bar()  # of loading weights, which takes no time

        model = LlamaForCausalLM.from_pretrained(self.policy_path(), dtype=torch.float32)
        return model.eval(), build_tokenizer(self.vocabulary)

    def train_problems(self, seed: int) -> Dataset:
        """Problems of the training half, all benchmarks equally often, drawn with replacement."""
        rng = random.Random(f"train/{seed}")
        drawn: list[Problem] = []
        while len(drawn) < TRAIN_PROBLEMS:
            problem = self.draw(self.names[len(drawn) % len(self.names)], rng)
            if not problem.held_out:
                drawn.append(problem)
        return rows(drawn)

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """The first n problems of each benchmark: 'test' from the held-out half, 'search' from the training half."""
        return {b: rows(drawn) for b, drawn in self.first(n, split).items()}

    def first(self, n: int, split: str = "test") -> dict[str, list[Problem]]:
        """The problems of `benchmarks`."""
        return {b: list(islice(self.distinct(b, split == "test", SEEDS[split]), n)) for b in self.names}

    def correct(self, completion: str, answer: str | Sequence[str]) -> bool:
        """The text ends in ``# answer``; anything else, an unfinished text included, is wrong."""
        *_, mark, last = ["", "", *completion.split()]
        return mark == "#" and last in ([answer] if isinstance(answer, str) else answer)

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        import torch

        from egrc.entropy import TokenClasses
        from egrc.worlds.pocket.tokenizer import word_class

        words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        names = ("connector", "number", "operator", "other")
        return TokenClasses(names, torch.tensor([names.index(word_class(w)) for w in words]))

    def probe_prefixes(self) -> list[str]:
        """Training problems, each with a random part of one of the teacher's traces: always the same."""
        rng, out = random.Random("probe"), []
        while len(out) < PROBES:
            problem = self.draw(self.names[len(out) % len(self.names)], rng)
            if not problem.held_out:
                words = self.trace(problem, rng)
                out.append(" ".join([problem.text, *words[: rng.randrange(len(words))]]))
        return out
