"""What a completion earns: 0 unless it is correct and ends in time, and more the shorter it is.  Pure.

Paper (public summaries): length clipping - a trajectory that reaches L tokens without an answer earns 0 - and
exponent shaping f(x) = exp(-lambda x) of a correct answer's reward, lambda = -ln(r)/L.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from egrc.config import ConfigError, Phase


def exponent_shaping(length: Tensor, budget: int, r: float) -> Tensor:
    """f(x) = exp(-lambda x), lambda = -ln(r)/L: f(0) = 1 and f(L) = r (paper).

    `length` [N] in tokens, `budget` is L in tokens, `r` in (0, 1]; r = 1 shapes nothing.
    Returns float32 [N].  Raises ConfigError if `budget` or `r` is out of range.
    """
    if budget < 1:
        raise ConfigError(f"budget L={budget}: a completion needs at least 1 token")
    if not 0 < r <= 1:
        raise ConfigError(f"r={r}: the reward at L tokens lies in (0, 1]")
    rate = math.log(r) / budget
    return torch.exp(rate * length.double()).float()  # float64, so that f(L) is r to float32's last digit


def in_time(correct: Tensor, length: Tensor, terminated: Tensor, budget: int) -> Tensor:
    """Bool [N]: correct, ended by itself, and within the budget of L tokens."""
    return correct & terminated & (length <= budget)


def shaped_reward(correct: Tensor, length: Tensor, terminated: Tensor, phase: Phase) -> Tensor:
    """Reward in [0, 1] under a phase's shaping and budget, float32 [N].

    `correct` bool [N], `length` int [N] in tokens (the end token counts), `terminated` bool [N].  A wrong,
    cut or overlong completion earns exactly 0 at every length, so brevity alone never pays.
    """
    if phase.shaping == "exponential":
        value = exponent_shaping(length, phase.budget, phase.r)
    else:
        value = torch.ones(length.shape, device=length.device)
    return torch.where(in_time(correct, length, terminated, phase.budget), value, torch.zeros_like(value))
