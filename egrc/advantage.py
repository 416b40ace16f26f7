"""How rewards become advantages: absolute, group-relative, or decomposed into correctness and length.  Pure.

All tensors are flat [N], a group (the rollouts of one problem) being `group_size` neighbours.  `reward` is
the phase's reward; without shaping it is correctness itself (plus whatever other reward functions add).

The formula of the paper's "reward decomposition" is not public: `separate` and `within_correct` are readings
[ours]; a third reading is `group` on an unshaped reward under the compact budget.
"""

from __future__ import annotations

import torch
from torch import Tensor

from egrc.config import Advantage, ConfigError

EPS = 1e-4  # as in TRL: keeps a nearly uniform group from exploding


def _standardise(x: Tensor, member: Tensor) -> Tensor:
    """(x - mean)/(std + EPS) over the last axis' members only; 0 for the others and where nothing varies."""
    n = member.sum(-1, keepdim=True)
    mean = torch.where(member, x, 0.0).sum(-1, keepdim=True) / n.clamp(min=1)
    centred = torch.where(member, x - mean, 0.0)
    std = (centred.square().sum(-1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
    lowest = torch.where(member, x, torch.inf).amin(-1, keepdim=True)
    highest = torch.where(member, x, -torch.inf).amax(-1, keepdim=True)
    return torch.where(highest > lowest, centred / (std + EPS), torch.zeros_like(centred))


def absolute(reward: Tensor, beta: float) -> Tensor:
    """beta * R, positive only (paper): no reward, no push; a correct long rollout is never pushed down."""
    return beta * reward.clamp(min=0)


def group_relative(reward: Tensor, group_size: int) -> Tensor:
    """(R - group mean)/(group std + EPS), as GRPO; 0 in a group without spread."""
    groups = reward.float().view(-1, group_size)
    return _standardise(groups, torch.ones_like(groups, dtype=torch.bool)).flatten()


def separate(reward: Tensor, length: Tensor, group_size: int, length_weight: float) -> Tensor:
    """Reading (a) [ours]: reward and brevity standardised within the group apart, then added.

    Here a short WRONG answer gains from being short: (a) lacks the property that all other kinds have.
    """
    brevity = group_relative(-length.float(), group_size)
    return group_relative(reward, group_size) + length_weight * brevity


def within_correct(
    correct: Tensor, reward: Tensor, length: Tensor, group_size: int, length_weight: float
) -> Tensor:
    """Reading (b) [ours]: brevity standardised in the group's correct set; wrong ones get no such term."""
    brevity = _standardise(-length.float().view(-1, group_size), correct.view(-1, group_size)).flatten()
    return group_relative(reward, group_size) + length_weight * brevity


def advantages(
    kind: Advantage,
    correct: Tensor,
    reward: Tensor,
    length: Tensor,
    group_size: int,
    beta: float = 1.0,
    length_weight: float = 0.0,
) -> Tensor:
    """Advantages float32 [N] of one kind.

    `correct` bool [N] (correct within the budget), `reward` float [N], `length` int [N] in tokens.
    Raises ConfigError for an unknown kind, a group of one, or N that is no multiple of `group_size`.
    """
    if group_size < 2 and kind != "absolute":
        raise ConfigError(f"group_size={group_size}: a group-relative advantage needs 2 rollouts or more")
    if len(reward) % group_size:
        raise ConfigError(f"{len(reward)} rollouts do not divide into groups of {group_size}")
    if kind == "absolute":
        return absolute(reward, beta)
    if kind == "group":
        return group_relative(reward, group_size)
    if kind == "separate":
        return separate(reward, length, group_size, length_weight)
    if kind == "within_correct":
        return within_correct(correct, reward, length, group_size, length_weight)
    raise ConfigError(f"advantage={kind!r}: choose absolute, group, separate or within_correct")
