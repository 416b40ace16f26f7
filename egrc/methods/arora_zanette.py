"""Arora & Zanette, Training Language Models to Reason Efficiently (2502.04463).

A correct completion earns 1 - alpha sigmoid((len - mean)/std), mean and std over the group's correct ones; the
advantage is RLOO: R minus the mean of the group's others.  Differs: no clipped importance ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.objective import Objective, Rollouts


@dataclass
class AroraZanette(Objective):
    length_weight: float = 0.2  # alpha

    def value(self, r: Rollouts) -> Tensor:
        good = self.good(r)
        z = (r.length - r.mean(r.length, good)) / (r.std(r.length, good) + 1e-7)
        return 1 - self.length_weight * torch.sigmoid(z)

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return (rewards - r.mean(rewards)) * r.group_size / (r.group_size - 1)


ARMS = {"arora-zanette": lambda s: Recipe((AroraZanette("train", s.cap),))}
