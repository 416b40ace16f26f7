"""The clock world as a scale has it (`egrc.worlds.base.World`): problems, base models, grader.  [ours]

`language` says what a problem is and how the teacher talks about it, `base` trains the raw model, `criteria` measures
what the world must be.  There are three base models.  A run's seed chooses among them, and its policy starts from the
base model after plain accuracy training (`experiments.start`), so that no arm gains by what accuracy alone would give.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from egrc import paths
from egrc.worlds.clock.language import BENCHMARKS, Clock, Problem
from egrc.worlds.pocket import SEEDS, Pocket

BASES = 3


@cache
def floor_tokens(modulus: int, benchmark: str) -> float:
    """Mean tokens, ``<eos>`` included, of the shortest correct trace that the grammar can write."""
    clock, rng = Clock(modulus), random.Random(0)
    drawn = islice(clock.problems(benchmark, held_out=True, seed=SEEDS["test"]), 500)
    return sum(len(clock.trace(p, rng, p_compact=1.0, sure=True)) for p in drawn) / 500


class ClockWorld(Pocket):
    """The clock of `modulus` hours.  What it has in common with the first synthetic world, it inherits."""

    name, names = "clock", tuple(BENCHMARKS)
    modulus = 17
    adapted = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Layers that an arm's adapter changes.  Attention alone, because there habits change quickly and facts slowly."""

    def __init__(self, data: Path | None = None, seed: int = 0, raw: bool = False) -> None:
        self.data = data
        """The data folder whose base models are meant; None: the package's."""
        self.seed = seed
        """Of the run; it names the base model."""
        self.raw = raw
        """The base model before accuracy training?"""
        self.clock = Clock(self.modulus)
        self.vocabulary = self.clock.vocabulary

    def draw(self, benchmark: str, rng: random.Random) -> Problem:
        return self.clock.draw(benchmark, rng)

    def distinct(self, benchmark: str, held_out: bool, seed: int) -> Iterator[Problem]:
        return self.clock.problems(benchmark, held_out, seed)

    def trace(self, problem: Problem, rng: random.Random) -> list[str]:
        return self.clock.trace(problem, rng)

    def floor_tokens(self, benchmark: str) -> float:
        return floor_tokens(self.modulus, benchmark)

    def policy_path(self) -> str:
        kind = "base" if self.raw else "start"
        folder = (self.data or paths.DATA) / self.name / f"{kind}-{self.seed % BASES}"
        if not (folder / "model.safetensors").exists():
            raise FileNotFoundError(
                f"no model in {paths.shown(folder)}: train it with `python -m egrc train --base --scale {self.name}`"
            )
        return str(folder)
