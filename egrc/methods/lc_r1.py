"""The length term of LC-R1 (2506.14755): 1 + w (1 - len / the group's longest correct one), minus the group's mean.

Differs: its second term, which pays for stopping where a judge finds the answer, needs a trained extractor and is left
out; its public code gives the length term to wrong completions, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.objective import Objective, Rollouts


@dataclass
class LcR1(Objective):
    length_weight: float = 1.0

    def value(self, r: Rollouts) -> Tensor:
        longest = torch.where(self.good(r), r.length, 0).view(-1, r.group_size).amax(1).repeat_interleave(r.group_size)
        return 1 + self.length_weight * (1 - r.length / longest.clamp(min=1))

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return rewards - r.mean(rewards)


ARMS = {"lc-r1": lambda s: Recipe((LcR1("train", s.cap),))}
