"""`egrc-plus`, our own variant beyond the paper.  [ours]

With one pressure for all problems the easy ones carry the hard ones along.  So length counts only where a problem is
solved reliably, and there by comparison: the longer half of a solved group is pushed down, not only less up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.config import Lengths
from egrc.controller import Recipe
from egrc.methods.egrc import Compress, Explore
from egrc.objective import Objective, Rollouts, group_relative


@dataclass
class Reliable(Objective):
    """Mixed in: length counts in a group only where `reliable` of it is correct; elsewhere plain GRPO."""

    reliable: float = 0.75

    def is_reliable(self, r: Rollouts) -> Tensor:
        """bool [N]."""
        return r.mean(self.good(r)) >= self.reliable - 1e-6

    def value(self, r: Rollouts) -> Tensor:
        return torch.where(self.is_reliable(r), super().value(r), 1.0)


@dataclass
class ReliableCompress(Reliable, Compress):
    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return group_relative(rewards, r.group_size)


@dataclass
class ReliableExplore(Reliable, Explore):
    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return torch.where(self.is_reliable(r), super().advantages(r, rewards), group_relative(rewards, r.group_size))


def plus(s: Lengths) -> Recipe:
    """With room to try, up to the cap and then up to L, where length does not count yet."""
    first = ReliableCompress("compress", s.cap, r=s.r, beta=s.beta, scale=s.compress_budget)
    return Recipe(
        (first, ReliableExplore("explore", s.compress_budget, s.explore_temperature, s.length_weight)), s.gate
    )


ARMS: dict[str, Callable[[Lengths], Recipe]] = {"egrc-plus": plus}
