"""DeepCompress (2510.27419): short pays where a group does better than usual, long where it does worse.

A correct completion earns 1 + alpha / (1 + exp(beta z)): z is the length's z-score in the group, beta the group's pass
rate minus the batch's moving average.  Differs: a wrong one earns 0 and not -1, which after the group's normalisation
equals twice the alpha; the paper's outline is all we could read of z and beta.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.objective import Objective, Rollouts

MOMENTUM = 0.99


@dataclass
class DeepCompress(Objective):
    length_weight: float = 0.1  # alpha
    average: float = field(default=1.0, init=False)  # moving average of the batch's pass rate

    def observe(self, r: Rollouts) -> None:
        self.average = MOMENTUM * self.average + (1 - MOMENTUM) * r.correct.double().mean().item()

    def value(self, r: Rollouts) -> Tensor:
        beta, length = r.mean(self.good(r)) - self.average, r.length
        return 1 + self.length_weight * torch.sigmoid(-beta * (length - r.mean(length)) / (r.std(length) + 1e-7))


ARMS = {"deepcompress": lambda s: Recipe((DeepCompress("train", s.cap),))}
