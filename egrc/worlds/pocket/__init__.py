"""The pocket scale (`egrc.worlds.base.World`): a synthetic world, and models small enough for two CPU cores.  [ours]

`language` says what a problem is and how the teacher talks about it, `tokenizer` how that is read, `base` trains the
raw model, `criteria` measures what the world must be.  There are three base models.  A run's seed chooses among them,
and its policy starts from the base model after plain accuracy training (`experiments.start`), so that no arm gains by
what accuracy alone would give.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from egrc import paths
from egrc.worlds.pocket.language import BENCHMARKS, Clock, Problem

if TYPE_CHECKING:  # imported where they are used: whoever only wants the floor need not wait for torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.entropy import TokenClasses

BASES = 3
TRAIN_PROBLEMS = 9_600
PROBES = 64
SEEDS = {"test": 1, "search": 2}


def rows(drawn: list[Problem]) -> Dataset:
    """Problems as a table: id, prompt, answer, benchmark (a problem of this world has exactly one answer)."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"id": p.text, "prompt": p.text, "answer": str(p.answer), "benchmark": p.benchmark} for p in drawn]
    )


@cache
def floor_tokens(modulus: int, benchmark: str) -> float:
    """Mean tokens, ``<eos>`` included, of the shortest correct trace that the grammar can write: compact and sure."""
    clock, rng = Clock(modulus), random.Random(0)
    drawn = islice(clock.problems(benchmark, held_out=True, seed=SEEDS["test"]), 500)
    return sum(len(clock.trace(p, rng, p_compact=1.0, sure=True)) for p in drawn) / 500


class Pocket:
    """The `World` of scale pocket: the clock of `modulus` hours."""

    name, names, synthetic = "pocket", tuple(BENCHMARKS), True
    modulus = 17
    adapted = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Layers that an arm's adapter changes.  Attention alone, because there habits change quickly and facts slowly."""

    def __init__(self, data: Path | None = None, seed: int = 0, raw: bool = False) -> None:
        """`data`: the folder whose models are meant, if not the package's; `seed`, of the run, names the base model;
        `raw`: before accuracy training?"""
        self.data, self.seed, self.raw = data, seed, raw
        self.clock = Clock(self.modulus)

    def policy_path(self) -> str:
        kind = "base" if self.raw else "start"
        folder = (self.data or paths.DATA) / self.name / f"{kind}-{self.seed % BASES}"
        if not (folder / "model.safetensors").exists():
            raise FileNotFoundError(
                f"no model in {paths.shown(folder)}: train it with `python -m egrc train --base --scale {self.name}`"
            )
        return str(folder)

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        import torch
        from transformers import LlamaForCausalLM
        from transformers.utils.logging import disable_progress_bar

        from egrc.worlds.pocket.tokenizer import build_tokenizer

        disable_progress_bar()  # of loading weights, which takes no time
        model = LlamaForCausalLM.from_pretrained(self.policy_path(), dtype=torch.float32)
        return model.eval(), build_tokenizer(self.clock.vocabulary)

    def train_problems(self, seed: int) -> Dataset:
        return rows(list(islice(self.training(random.Random(f"train/{seed}")), TRAIN_PROBLEMS)))

    def training(self, rng: random.Random) -> Iterator[Problem]:
        """Problems of the training half, all benchmarks equally often, drawn with replacement; never ends."""
        for name in cycle(self.names):
            while (problem := self.clock.draw(name, rng)).held_out:
                pass
            yield problem

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """The first n problems of each benchmark: 'search' from the training half, the others from the held-out one."""
        return {b: rows(drawn) for b, drawn in self.first(n, split).items()}

    def first(self, n: int, split: str = "test") -> dict[str, list[Problem]]:
        """The problems of `benchmarks`."""
        return {b: list(islice(self.clock.problems(b, split != "search", SEEDS[split]), n)) for b in self.names}

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
        rng, prefixes = random.Random("probe"), []
        for problem in islice(self.training(rng), PROBES):
            words = self.clock.trace(problem, rng)
            prefixes.append(" ".join([problem.text, *words[: rng.randrange(len(words))]]))
        return prefixes

    def floor_tokens(self, benchmark: str) -> float:
        return floor_tokens(self.modulus, benchmark)
