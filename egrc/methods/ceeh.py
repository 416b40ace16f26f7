"""CEEH (2602.22642): compress the easy, explore the hard.  A reading [ours]: its exact formula was not read.

A correct completion of an easy group (at least half of it correct) earns more the nearer it is to the group's shortest
correct one; a hard group is rewarded for correctness alone, and its tokens get an entropy bonus.  Differs: the source
counts from the shortest correct answer so far, here the group's own counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.objective import Objective, Rollouts, Tokens, entropy_push

EASY = 0.5
"""Pass rate from which a group counts as easy."""


@dataclass
class Ceeh(Objective):
    length_weight: float = 0.5
    entropy_weight: float = 0.001

    def value(self, r: Rollouts) -> Tensor:
        good = self.good(r)
        lengths = torch.where(good, r.length.float(), torch.inf).view(-1, r.group_size)
        shortest = lengths.amin(1).repeat_interleave(r.group_size)
        brevity = torch.where(good, shortest / r.length, 0.0)
        return 1 + self.length_weight * torch.where(r.mean(good) >= EASY, brevity, 0.0)

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        self.hard = (r.mean(self.good(r)) < EASY)[r.rows]  # no field: the next step's is another, so it is not saved
        return super().advantages(r, rewards)

    def bonus(self, t: Tokens) -> Tensor:
        hard = self.hard.to(t.logp.device)[t.rollout]
        return self.entropy_weight * hard.unsqueeze(1) * entropy_push(t)


ARMS = {"ceeh": lambda s: Recipe((Ceeh("train", s.cap),))}
