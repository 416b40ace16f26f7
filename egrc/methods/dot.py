"""DOT (2601.03969): outliers of groups that are all correct are cut at floor(mean + k std) of their lengths.

A cut completion loses its answer and earns 0.  Differs: the paper's k = 3 cannot be exceeded in a group of 8 (the
longest of n is at most sqrt(n - 1) std away), so a smaller one is a setting; its KL-Cov (an arm of its own,
`kl_cov`) and its dynamic sampling are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.methods.dler import Cut
from egrc.objective import Rollouts


@dataclass
class Dot(Cut):
    """GRPO with a budget of its own for each solved group."""

    cut_at: float = 1.5  # standard deviations above the mean length

    def budgets(self, r: Rollouts) -> Tensor:
        limit = r.mean(r.length) + self.cut_at * r.std(r.length)
        solved = r.mean(r.correct & (r.length <= self.budget)) == 1
        return torch.where(solved, limit.floor().long().clamp(max=self.budget), self.budget)


ARMS = {"dot": lambda s: Recipe((Dot("truncate", s.cap),))}
