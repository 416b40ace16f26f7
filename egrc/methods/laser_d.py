"""LASER-D (2505.15612): correct 1, and `length_weight` more within the target length of the group's difficulty.

The target L_T of a bucket (groups with a pass rate of 2/3 or more, 1/3 or more, the rest) is the shortest length
within which a group at the bucket's lower bound may expect one correct rollout.  Differs: it is set anew at every
step from the last `WINDOW` steps' rollouts [ours], not from a monitoring set, which would cost rollouts that other
arms do not have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.objective import Objective, Rollouts

WINDOW = 8
BUCKETS = (2 / 3, 1 / 3, 0.0)
"""Pass rates from which a group counts as easy, medium, hard."""


@dataclass
class LaserD(Objective):
    length_weight: float = 0.5
    lengths: list[list[list[int]]] = field(default_factory=list, init=False)
    """Of the last `WINDOW` steps: lengths of the correct rollouts, bucket by bucket."""

    def observe(self, r: Rollouts) -> None:
        step: list[list[int]] = [[] for _ in BUCKETS]
        for good, length in zip(r.correct.view(-1, r.group_size), r.length.view(-1, r.group_size), strict=True):
            step[bucket(good.double().mean().item())] += length[good].tolist()
        self.lengths = [*self.lengths, step][-WINDOW:]

    def targets(self, group_size: int) -> list[float]:
        """L_T of each bucket, tokens: the smallest length such that the share of one correct rollout in a group is no
        longer; infinity where the window holds no correct rollout."""
        found = []
        for b, low in enumerate(BUCKETS):
            lengths = sorted(x for step in self.lengths for x in step[b])
            rank = math.ceil(len(lengths) / max(1, math.ceil(low * group_size)) - 1e-9)
            found.append(float(lengths[rank - 1]) if lengths else math.inf)
        return found

    def value(self, r: Rollouts) -> Tensor:
        targets = torch.tensor(self.targets(r.group_size))
        rates = r.mean(self.good(r)).tolist()
        return 1 + self.length_weight * (r.length <= targets[[bucket(rate) for rate in rates]]).float()


def bucket(pass_rate: float) -> int:
    """0 easy, 1 medium, 2 hard."""
    return next(b for b, low in enumerate(BUCKETS) if pass_rate >= low - 1e-9)


ARMS = {"laser-d": lambda s: Recipe((LaserD("train", s.cap),))}
