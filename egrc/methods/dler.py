"""DLER and DA-DLER (2510.15110), and plain truncation, which they start from.

Truncation: completions are cut at L, GRPO (after ThinkPrune, which tightens L from round to round; here one L holds
throughout [ours]).  DLER adds a group-mean baseline over the BATCH's std, and clip-higher.  DA-DLER cuts groups that
are mostly solved shorter.  Differs: no dynamic sampling, so that the rollout budget is the same for all - groups
without spread get 0 and stay out of the std; training is on-policy, so clipping never acts; whether a group is
solved is known only when its rollouts have ended, so a longer one is cut afterwards: it earns 0, its tokens beyond
are not trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from egrc.config import Lengths
from egrc.controller import Recipe
from egrc.objective import EPS, Objective, Rollouts


@dataclass
class Dler(Objective):
    """(R - group mean)/(batch std + EPS), the std over the groups that differ among themselves."""

    trl: ClassVar = {"epsilon": 0.2, "epsilon_high": 0.28}

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        a = rewards - r.mean(rewards)
        differ = (a.view(-1, r.group_size) != 0).any(1).repeat_interleave(r.group_size)
        return a / (a[differ].square().mean().sqrt() + EPS) if differ.any() else a


@dataclass
class Cut(Objective):
    """Mixed in: no token beyond its completion's budget, which rollouts decide, is trained on."""

    cut_at: float = 0.5

    def token_advantages(self, r: Rollouts, advantages: Tensor) -> Tensor:
        each = super().token_advantages(r, advantages)
        return each * (torch.arange(each.shape[1]) < self.budgets(r)[r.rows].unsqueeze(1))


@dataclass
class DaDler(Cut, Dler):
    """The fraction `cut_at` of the budget where more than half of a group is correct."""

    def budgets(self, r: Rollouts) -> Tensor:
        solved = r.mean(r.correct & (r.length <= self.budget)) > 0.5
        return torch.where(solved, int(self.cut_at * self.budget), self.budget)


ARMS: dict[str, Callable[[Lengths], Recipe]] = {
    "truncation": lambda s: Recipe((Objective("truncate", s.compress_budget),)),
    "dler": lambda s: Recipe((Dler("truncate", s.compress_budget),)),
    "da-dler": lambda s: Recipe((DaDler("truncate", s.compress_budget),)),
}
