"""What a completion earns: 0 unless it is correct and ends in time, and more the shorter it is.  Pure.

Paper (public summaries): length clipping - a trajectory that reaches L tokens without an answer earns 0 - and
exponent shaping f(x) = exp(-lambda x) of a correct answer's reward, lambda = -ln(r)/L.  `linear` and `relative` are
[ours]; the others are of the methods in `egrc.methods.peers`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from egrc.config import ConfigError, Phase
from egrc.methods import peers
from egrc.methods.history import History


def exponent_shaping(length: Tensor, budget: int | Tensor, r: float) -> Tensor:
    """f(x) = exp(-lambda x), lambda = -ln(r)/L: f(0) = 1 and f(L) = r (paper).

    `length` [N] in tokens, `budget` is L in tokens (one, or [N]), `r` in (0, 1]; r = 1 shapes nothing.
    Returns float32 [N].  Raises ConfigError if `budget` or `r` is out of range.
    """
    _check(budget, r)
    rate = math.log(r) / budget
    return torch.exp(rate * length.double()).float()  # float64, so that f(L) is r to float32's last digit


def linear_shaping(length: Tensor, budget: int, r: float) -> Tensor:
    """The straight line with the same ends, 1 at 0 and r at L, and 0 where it would be negative.  [ours: ablation]"""
    _check(budget, r)
    return (1 - (1 - r) * length.float() / budget).clamp(min=0)


def relative_shaping(correct: Tensor, length: Tensor, group_size: int, r: float) -> Tensor:
    """Exponent shaping whose L is twice the mean length of the group's correct ones: there it is sqrt(r).  [ours]

    With one L for all, the correct answers to a problem that needs many tokens hardly count beside those to short ones.
    """
    return exponent_shaping(length, 2 * peers.group_mean(length, correct, group_size).clamp(min=0.5), r)


def _check(budget: int | Tensor, r: float) -> None:
    if torch.as_tensor(budget).min() < 1:
        raise ConfigError(f"budget L={budget}: a completion needs at least 1 token")
    if not 0 < r <= 1:
        raise ConfigError(f"r={r}: the reward at L tokens lies in (0, 1]")


def in_time(correct: Tensor, length: Tensor, terminated: Tensor, budget: int | Tensor) -> Tensor:
    """Bool [N]: correct, ended by itself, and within the budget of L tokens (one for all, or [N])."""
    return correct & terminated & (length <= budget)


def budgets(correct: Tensor, length: Tensor, terminated: Tensor, phase: Phase, group_size: int) -> int | Tensor:
    """The phase's budget in tokens, or int [N] where it cuts some groups shorter."""
    if phase.cut is None or phase.cut_at is None:
        return phase.budget
    good = in_time(correct, length, terminated, phase.budget)
    if phase.cut == "solved":
        return peers.solved_budget(good, phase.budget, phase.cut_at, group_size)
    return peers.outlier_budget(good, length, phase.budget, phase.cut_at, group_size)


def shaped_reward(
    correct: Tensor,
    length: Tensor,
    terminated: Tensor,
    phase: Phase,
    group_size: int = 1,
    history: History | None = None,
) -> Tensor:
    """Reward under a phase's shaping and budget, float32 [N], 0 or more; in [0, 1] under the paper's shaping.

    `correct` bool [N], `length` int [N] in tokens (the end token counts), `terminated` bool [N].  A wrong,
    cut or overlong completion earns exactly 0 at every length, so brevity alone never pays.  Shaping that looks at
    the group needs its `group_size`; 'step' and 'dual' need the run's `history`.
    """
    good = in_time(correct, length, terminated, budgets(correct, length, terminated, phase, group_size))
    value = _value(good, length, phase, group_size, history or History())
    if phase.reliable is not None:
        value = torch.where(reliable(good, phase.reliable, group_size), value, torch.ones_like(value))
    return torch.where(good, value, torch.zeros_like(value))


def reliable(correct: Tensor, share: float, group_size: int) -> Tensor:
    """Bool [N]: at least this share of the group is correct."""
    return peers.pass_rate(correct, group_size) >= share - 1e-6


def _value(good: Tensor, length: Tensor, phase: Phase, group_size: int, history: History) -> Tensor:
    """What a correct completion earns, float32 [N]."""
    group, scale, weight = (good, length, group_size), phase.scale or phase.budget, phase.length_weight
    match phase.shaping:
        case "exponential":
            return exponent_shaping(length, scale, phase.r)
        case "linear":
            return linear_shaping(length, scale, phase.r)
        case "relative":
            return relative_shaping(*group, phase.r)
        case "sigmoid":
            return peers.sigmoid(*group, weight)
        case "longest":
            return peers.longest(*group, weight)
        case "step":
            return peers.step(*group, weight, history)
        case "dual":
            return peers.dual(*group, weight, history)
    return torch.ones(length.shape, device=length.device)
