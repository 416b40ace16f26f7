"""EGRC and its parts (arXiv 2511.14258): the compressing phase, the exploring phase, and each objective alone.

Paper (public summaries): clipping at L, exponent shaping f(x) = exp(-lambda x) with lambda = -ln(r)/L, positive-only
absolute advantage beta R; then GRPO at a higher temperature with a "reward decomposition".  Its formula is not public:
ours normalises correctness in the group, and length among its correct ones only [ours].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.checks import require
from egrc.config import Lengths
from egrc.controller import EntropyGate, Recipe
from egrc.objective import Objective, Rollouts, group_relative


def exponent_shaping(length: Tensor, budget: int, r: float) -> Tensor:
    """f(x) = exp(-lambda x), lambda = -ln(r)/L: f(0) = 1 and f(L) = r (paper).  Float32 [N] of `length` [N], tokens."""
    rate = math.log(r) / budget
    return torch.exp(rate * length.double()).float()  # float64, so that f(L) is r to float32's last digit


@dataclass
class Shaped(Objective):
    """Correctness times exponent shaping, group-relative: the paper's point of departure ('joint')."""

    r: float = 1.0  # reward of a correct answer of exactly L tokens, in (0, 1]; 1 shapes nothing
    beta: float = 1.0  # scale of the absolute advantage (`Compress`); not a KL coefficient
    scale: int | None = None  # L of the shaping, where it is not the budget

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.r <= 1, f"r={self.r}: the reward at L tokens lies in (0, 1]")
        require(self.beta > 0, f"beta={self.beta}: must be positive")
        require(self.scale is None or self.scale >= 1, f"scale={self.scale}: at least 1 token")

    def value(self, r: Rollouts) -> Tensor:
        return exponent_shaping(r.length, self.scale or self.budget, self.r)


@dataclass
class Compress(Shaped):
    """Phase 1 (paper): the advantage is beta R.  No reward, no push; a correct long rollout is never pushed down."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return self.beta * rewards.clamp(min=0)


@dataclass
class Explore(Objective):
    """Phase 2: hotter GRPO inside the compact budget; wrong ones get no length term [ours]."""

    length_weight: float = 0.1  # weight of the length term beside correctness

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        brevity = group_relative(-r.length.float(), r.group_size, of=self.good(r))
        return group_relative(rewards, r.group_size) + self.length_weight * brevity


def compress(s: Lengths) -> Compress:
    return Compress("compress", s.compress_budget, r=s.r, beta=s.beta)


def explore(s: Lengths) -> Explore:
    return Explore("explore", s.explore_budget, s.explore_temperature, s.length_weight)


def joint(s: Lengths) -> Shaped:
    return Shaped("joint", s.compress_budget, r=s.r)


def accuracy(s: Lengths) -> Recipe:
    """Plain GRPO on correctness."""
    return Recipe((Objective("accuracy", s.cap),))


ARMS: dict[str, Callable[[Lengths], Recipe]] = {
    "base": accuracy,  # never trained, only evaluated
    "accuracy": accuracy,
    "compression": lambda s: Recipe((compress(s),)),
    "joint": lambda s: Recipe((joint(s),)),
    "egrc": lambda s: Recipe((compress(s), explore(s)), s.gate),
    "egrc-reversed": lambda s: Recipe((explore(s), compress(s)), s.gate),
}


def default_recipe(budget: int) -> Recipe:
    """For a model of one's own: compress under `budget` tokens, then explore under half of it, hotter.  [ours]"""
    gate = EntropyGate(low=0.7, high=0.95, flat=1e-3)
    return ARMS["egrc"](Lengths(cap=budget, compress_budget=budget, explore_budget=-(-budget // 2), r=0.1, gate=gate))
