"""How rewards become advantages: absolute, group-relative, or decomposed into correctness and length.  Pure.

An advantage is one number for a whole completion; `step_brevity` adds one for each of its steps.

All tensors are flat [N], a group (the rollouts of one problem) being `group_size` neighbours.  `reward` is
the phase's reward; without shaping it is correctness itself (plus whatever other reward functions add).

The formula of the paper's "reward decomposition" is not public: `separate` and `within_correct` are readings
[ours]; a third reading is `group` on an unshaped reward under the compact budget.  `centred`, `batch_scaled` and
`leave_one_out` are the peers' (`egrc.methods.peers`), `batch_centred` an ablation [ours].
"""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from egrc.config import Advantage, ConfigError, Phase
from egrc.reward import reliable

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


def centred(reward: Tensor, group_size: int) -> Tensor:
    """R - group mean (LC-R1, Dr. GRPO): TRL's scale_rewards='none'."""
    groups = reward.float().view(-1, group_size)
    return (groups - groups.mean(1, keepdim=True)).flatten()


def batch_scaled(reward: Tensor, group_size: int) -> Tensor:
    """(R - group mean)/(batch std + EPS), the std over the groups that differ among themselves (DLER, 2510.15110).

    Dynamic sampling draws new problems until every group has a spread.  Here no more are drawn, so that the rollout
    budget is the same for all: groups without spread get 0 and stay out of the std.  TRL's scale_rewards='batch' takes
    the std of the rewards themselves.
    """
    a = centred(reward, group_size)
    kept = (a.view(-1, group_size) != 0).any(1).repeat_interleave(group_size)
    return a / (a[kept].square().mean().sqrt() + EPS) if kept.any() else a


def leave_one_out(reward: Tensor, group_size: int) -> Tensor:
    """R - mean of the group's others (RLOO, as Arora & Zanette use it)."""
    return centred(reward, group_size) * group_size / (group_size - 1)


def batch_centred(reward: Tensor, beta: float) -> Tensor:
    """beta (R - batch mean): absolute, but not positive only.  [ours: ablation]"""
    return beta * (reward.float() - reward.float().mean())


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
    if kind == "separate":
        return separate(reward, length, group_size, length_weight)
    if kind == "within_correct":
        return within_correct(correct, reward, length, group_size, length_weight)
    if kind == "batch_centred":
        return batch_centred(reward, beta)
    if kind == "preference":
        raise ConfigError("advantage='preference': pairs have none; `egrc.methods.squeeze` trains on them")
    if kind in OF_GROUP:
        return OF_GROUP[kind](reward, group_size)
    raise ConfigError(f"advantage={kind!r}: choose one of {', '.join(get_args(Advantage))}")


OF_GROUP = {
    "group": group_relative,
    "steps": group_relative,  # beside it, `step_brevity` for every token
    "centred": centred,
    "batch_scaled": batch_scaled,
    "leave_one_out": leave_one_out,
}


def phase_advantages(phase: Phase, correct: Tensor, reward: Tensor, length: Tensor, group_size: int) -> Tensor:
    """The phase's advantages, float32 [N]; group-relative where a group is not reliable enough for length to count."""
    found = advantages(phase.advantage, correct, reward, length, group_size, phase.beta, phase.length_weight)
    if phase.reliable is None:
        return found
    plain = group_relative(reward, group_size)
    return torch.where(reliable(correct, phase.reliable, group_size), found, plain)


# --- steps of a completion ----------------------------------------------------------------------------------------


def step_lengths(opens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The length in tokens of the step that each token stands in, and whether it counts; both [n, T].

    `opens` bool [n, T]: a step begins here; what comes before the first one is a step, too.  `mask` [n, T]: 0 is
    padding.  The last step holds the answer, which every completion needs, so it does not count.
    """
    mask = mask.bool()
    number = (opens & mask).long().cumsum(1)
    sizes = torch.zeros(len(mask), mask.shape[1] + 1, device=mask.device).scatter_add(1, number, mask.float())
    last = number.masked_fill(~mask, 0).amax(1, keepdim=True)
    return sizes.gather(1, number), mask & (number < last)


def step_moments(lengths: Tensor, counted: Tensor) -> Tensor:
    """float64 [n, 3]: number of steps that count, sum of their lengths, sum of the squares."""
    each = counted.double() / lengths.double().clamp(min=1)  # a step's tokens share one unit
    return torch.stack([each, each * lengths, each * lengths.square()], -1).sum(1)


def step_brevity(lengths: Tensor, counted: Tensor, correct: Tensor, moments: Tensor) -> Tensor:
    """(mean - length)/(std + EPS) of a token's step among all of its group's correct completions; [n, T].  [ours]

    The paper's abstract speaks of 'concise thought steps': what is paid for here is the brevity of each step, not of
    the chain, so another try costs nothing.  0 in a wrong completion, so there brevity never pays.
    `lengths`, `counted` from `step_lengths`; `correct` bool [n]; `moments` [n, 3]: those of the group's correct ones.
    """
    steps, total, squares = moments.unsqueeze(1).unbind(-1)
    mean = total / steps.clamp(min=1)
    std = (squares / steps.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    taken = counted & correct.unsqueeze(1) & (std > EPS)
    return torch.where(taken, (mean - lengths) / (std + EPS), 0.0).float()
