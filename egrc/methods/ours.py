"""Our own variants beyond the paper, candidates for `egrc-plus`.  All [ours].

With one pressure for all problems the easy ones carry the hard ones along.  So: length counts only where a problem
is solved reliably; brevity of steps instead of the chain; more cycles; a guard that ends compression before
connectors, and with them the ways to branch, are extinct.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from egrc.checks import require
from egrc.config import Lengths
from egrc.controller import Decision, EntropyGate, Reading, Recipe
from egrc.methods.egrc import Compress, Explore, compress, explore
from egrc.objective import EPS, Objective, Rollouts, group_relative

RELIABLE = 0.75
BRIEF = 0.3
OPENER = "operator"
"""The class of tokens at which a step of thought begins: a computation."""


@dataclass
class Reliable(Objective):
    """Mixed in: length counts in a group only where `reliable` of it is correct; elsewhere plain GRPO."""

    reliable: float = RELIABLE

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.reliable <= 1, f"reliable={self.reliable}: a share in (0, 1]")

    def is_reliable(self, r: Rollouts) -> Tensor:
        """bool [N]."""
        return r.pass_rate(self.good(r)) >= self.reliable - 1e-6

    def value(self, r: Rollouts) -> Tensor:
        return torch.where(self.is_reliable(r), super().value(r), 1.0)

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return torch.where(self.is_reliable(r), super().advantages(r, rewards), group_relative(rewards, r.group_size))


@dataclass
class ReliableCompress(Reliable, Compress):
    pass


@dataclass
class SelectiveCompress(ReliableCompress):
    """Brevity by comparison: the longer half of a solved group is pushed down, not only less up."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return group_relative(rewards, r.group_size)


@dataclass
class ReliableExplore(Reliable, Explore):
    pass


def reliable_phases(s: Lengths, kind: type[ReliableCompress]) -> tuple[Objective, ...]:
    """With room to try where length does not count yet."""
    first = kind("compress", s.cap, r=s.r, beta=s.beta, scale=s.compress_budget)
    return first, ReliableExplore("explore", s.compress_budget, s.explore_temperature, s.length_weight)


@dataclass
class BriefSteps(Objective):
    """Correctness in the group and, token by token, brevity of the step it stands in: another try costs nothing.

    (mean - length)/(std + EPS) of a step among all steps of its group's good completions ('concise thought steps',
    paper).  A step begins at an operator; the last one holds the answer, which all need, and does not count.
    """

    length_weight: float = BRIEF

    def token_advantages(self, r: Rollouts, advantages: Tensor) -> Tensor:
        return super().token_advantages(r, advantages) + self.length_weight * self.brevity(r)

    def brevity(self, r: Rollouts) -> Tensor:
        """[n, T]; 0 in a completion that is not good, so there brevity never pays."""
        require(OPENER in r.class_names, f"steps begin at tokens of class {OPENER!r}: there are only {r.class_names}")
        good = self.good(r)
        lengths, counted = step_lengths(r.classes == r.class_names.index(OPENER), r.mask)
        each = counted.double() / lengths.double().clamp(min=1)  # a step's tokens share one unit
        moments = torch.stack([each, each * lengths, each * lengths.square()], -1).sum(1)
        moments = (r.gather(moments) * good.unsqueeze(1)).view(-1, r.group_size, 3).sum(1)
        moments = moments.repeat_interleave(r.group_size, 0)[r.rows]
        steps, total, squares = moments.unsqueeze(1).unbind(-1)
        mean = total / steps.clamp(min=1)
        std = (squares / steps.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
        taken = counted & good[r.rows].unsqueeze(1) & (std > EPS)
        return torch.where(taken, (mean - lengths) / (std + EPS), 0.0).float()


def step_lengths(opens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Length in tokens of the step that each token stands in, and whether the step counts; both [n, T].

    `opens` bool [n, T]: a step begins here; what comes before the first one is a step, too.
    """
    mask = mask.bool()
    number = (opens & mask).long().cumsum(1)
    sizes = torch.zeros(len(mask), mask.shape[1] + 1, device=mask.device).scatter_add(1, number, mask.float())
    last = number.masked_fill(~mask, 0).amax(1, keepdim=True)
    return sizes.gather(1, number), mask & (number < last)


@dataclass
class Guard(EntropyGate):
    """Compression ends at once when the connectors' share of tokens is below this fraction of its start, and does not
    begin again before it has recovered."""

    fraction: float = 0.2
    masses: list[float] = field(default_factory=list, init=False)
    """The last `window` shares of connectors."""
    start_mass: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.fraction < 1, f"fraction={self.fraction}: a fraction between 0 and 1")

    def update(self, step: int, reading: Reading | None) -> Decision:
        if reading is None:
            return super().update(step, None)
        require(reading.connectors is not None, "the guard needs a class of tokens named 'connector'")
        self.masses = [*self.masses, reading.connectors][-self.window :]
        if self.start_mass is None and len(self.masses) == self.window:
            self.start_mass = math.fsum(self.masses) / len(self.masses)
        return super().update(step, reading)

    def switch(self, smoothed: float, slope: float | None) -> str:
        if math.fsum(self.masses) / len(self.masses) >= self.fraction * (self.start_mass or 0.0):
            return super().switch(smoothed, slope)
        compressing = self.phases[self.index] == "compress"
        return self.leave(f"connectors fell below {self.fraction:g} of their start") if compressing else ""


CYCLES = {"flat": 1e-4, "dwell": 12, "max_switches": 100}
"""The gate as often as it likes: back to compression when entropy has stopped rising, too."""


def guarded(gate: EntropyGate) -> Guard:
    return Guard(**{"low": gate.low, "high": gate.high, "window": gate.window, **CYCLES})


ARMS: dict[str, Callable[[Lengths], Recipe]] = {
    "egrc-cycles": lambda s: Recipe((compress(s), explore(s)), replace(s.gate, **CYCLES)),
    "egrc-guard": lambda s: Recipe((compress(s), explore(s)), guarded(s.gate)),
    "egrc-reliable": lambda s: Recipe(reliable_phases(s, ReliableCompress), s.gate),
    "egrc-selective": lambda s: Recipe(reliable_phases(s, SelectiveCompress), s.gate),
    "egrc-steps": lambda s: Recipe((BriefSteps("compress", s.cap), explore(s)), s.gate),
}
