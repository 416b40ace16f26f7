"""What others do where EGRC has phases and a gate: each method's own part as one pure function.

All share our trainer, base model, rollout budget and evaluation, so each is its idea in that frame and not its authors'
system; a docstring says what differs.  Two differences hold for all: training is on-policy with one update a batch, so
clipping never acts (`epsilon_high` of DLER included), and a wrong or cut completion earns 0, not a negative reward.

Tensors are flat [N], a group being `group_size` neighbours.  `correct` bool: correct, ended, in time.  Values are what
a CORRECT completion earns; `egrc.reward` gives the others 0, so brevity alone never pays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from egrc.methods.history import History, bucket

EPS = 1e-7


def group_mean(x: Tensor, member: Tensor, group_size: int) -> Tensor:
    """Mean of a group's members, [N] at every rollout of it; 0 where there is none."""
    x, member = x.float().view(-1, group_size), member.view(-1, group_size)
    mean = torch.where(member, x, 0.0).sum(1) / member.sum(1).clamp(min=1)
    return mean.repeat_interleave(group_size)


def group_std(x: Tensor, member: Tensor, group_size: int) -> Tensor:
    """Standard deviation (n, not n - 1) of a group's members, [N]."""
    return group_mean((x - group_mean(x, member, group_size)).square(), member, group_size).sqrt()


def pass_rate(correct: Tensor, group_size: int) -> Tensor:
    """Share of a group's rollouts that are correct, [N]."""
    return group_mean(correct, torch.ones_like(correct), group_size)


# --- rewards of a correct completion ------------------------------------------------------------------------------


def sigmoid(correct: Tensor, length: Tensor, group_size: int, alpha: float) -> Tensor:
    """1 - alpha sigmoid((len - mean) / std), mean and std over the group's correct ones.

    Arora & Zanette, Training Language Models to Reason Efficiently (2502.04463), with their leave-one-out advantage.
    Differs: no clipped importance ratio.
    """
    mean, std = group_mean(length, correct, group_size), group_std(length, correct, group_size)
    return 1 - alpha * torch.sigmoid((length - mean) / (std + EPS))


def longest(correct: Tensor, length: Tensor, group_size: int, weight: float) -> Tensor:
    """1 + weight (1 - len / the longest correct one of the group); minus the group's mean, not divided by its std.

    The length term of LC-R1 (2506.14755).  Differs: its second term, which pays for stopping where a judge finds the
    answer, needs a trained extractor and is left out; its public code gives the term to wrong completions too.
    """
    most = torch.where(correct, length, 0).view(-1, group_size).amax(1).repeat_interleave(group_size)
    return 1 + weight * (1 - length / most.clamp(min=1))


def step(correct: Tensor, length: Tensor, group_size: int, weight: float, history: History) -> Tensor:
    """1, and `weight` more within the target length L_T of the group's difficulty.

    LASER-D (2505.15612).  Differs: L_T is set anew at every step from the last steps' rollouts instead of a monitoring
    set of its own, which would cost rollouts that the other arms do not have (`History.targets`).
    """
    targets = torch.tensor(history.targets(group_size))
    rates = pass_rate(correct, group_size).tolist()
    return 1 + weight * (length <= targets[[bucket(rate) for rate in rates]]).float()


def dual(correct: Tensor, length: Tensor, group_size: int, alpha: float, history: History) -> Tensor:
    """1 + alpha / (1 + exp(beta z)): z the length's z-score in the group, beta its pass rate minus the batch's average.

    DeepCompress (2510.27419): short pays where the group does better than usual, long where it does worse.  Differs: a
    wrong one earns 0 and not -1, which after the group's normalisation equals twice the alpha; the paper's outline is
    all we could read of z and beta.
    """
    everyone = torch.ones_like(correct)
    mean, std = group_mean(length, everyone, group_size), group_std(length, everyone, group_size)
    beta = pass_rate(correct, group_size) - history.pass_rate
    return 1 + alpha * torch.sigmoid(-beta * (length - mean) / (std + EPS))


# --- budgets of a group -------------------------------------------------------------------------------------------


def solved_budget(correct: Tensor, budget: int, fraction: float, group_size: int) -> Tensor:
    """int [N]: a fraction of the budget where more than half of a group is correct, else the budget.

    DA-DLER (2510.15110).  Differs: whether a group is solved is known only when its rollouts have ended, so a longer
    one is cut afterwards: it earns 0, and its tokens beyond the cut are not trained on.
    """
    short = torch.full_like(correct, int(fraction * budget), dtype=torch.long)
    return torch.where(pass_rate(correct, group_size) > 0.5, short, budget)


def outlier_budget(correct: Tensor, length: Tensor, budget: int, deviations: float, group_size: int) -> Tensor:
    """int [N]: floor(mean + `deviations` std) of the lengths where all of a group are correct, else the budget.

    DOT (2601.03969), whose cut completions lose their answer and earn 0.  Differs: its 3 deviations cannot be exceeded
    in a group of 8 (the longest of n is at most sqrt(n - 1) away), so fewer are a setting; its KL-Cov and its dynamic
    sampling are left out (`kl_cov` is an arm of its own).
    """
    everyone = torch.ones_like(correct)
    limit = group_mean(length, everyone, group_size) + deviations * group_std(length, everyone, group_size)
    solved = pass_rate(correct, group_size) == 1
    return torch.where(solved, limit.floor().long().clamp(max=budget), budget)


# --- tokens that take part in the update --------------------------------------------------------------------------


def kl_cov(logp: Tensor, advantage: Tensor, mask: Tensor, share: float) -> Tensor:
    """bool [B, T]: all tokens but the `share` whose (A - mean A)(log p - mean log p) is highest (at least one).

    The Entropy Mechanism of RL (2505.22617): these few tokens cost most entropy.  Differs: KL-Cov adds to them a
    penalty |log p - log p_old|, whose gradient is 0 in on-policy training, so here they are left out, as its
    Clip-Cov does with tokens drawn at random; the means are the micro-batch's.  `advantage` [B, T], `mask` [B, T].
    """
    mask = mask.bool()
    covariance = (advantage - advantage[mask].mean()) * (logp - logp[mask].mean())
    covariance = covariance.masked_fill(~mask, -torch.inf)
    left_out = covariance.flatten().topk(max(1, int(share * int(mask.sum())))).indices
    keep = torch.ones_like(mask).flatten()
    keep[left_out] = False
    return keep.view_as(mask)


def entropy_floor(logp: Tensor, advantage: Tensor, entropy: Tensor, floor: Tensor) -> Tensor:
    """bool [B, T]: leaves out what would sharpen a place further whose entropy is at or below its floor (nats).

    After Know Your Limits (2511.10618), which trains a language model towards each token's estimated entropy, not below
    it.  Its form here is [ours]: the estimate is a fraction of the base model's entropy at the same place, and a push
    counts as sharpening where A (log p + H) > 0: a token likelier than the average is raised, or a rarer one lowered
    (the entropy's change to first order, but for a term that does not depend on the token).
    """
    return (entropy > floor) | (advantage * (logp + entropy) <= 0)
