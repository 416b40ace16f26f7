"""What one phase of training rewards, and how its rewards become advantages.

An `Objective` is plain GRPO under a length budget.  A method (`egrc.methods`, one file each) overrides the hooks in
which it differs; the trainer calls the hooks and knows no method by name.  Not here: when a phase ends (`controller`).
Tensors are flat, [N] over the rollouts of all ranks; the `group_size` rollouts of one problem are neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from egrc.checks import Stateful, require

EPS = 1e-4  # as in TRL: keeps a nearly uniform group from exploding


@dataclass
class Rollouts:
    """One step's rollouts."""

    correct: Tensor  # bool [N]: graded correct, and ended by itself (a cut completion has not answered)
    length: Tensor  # int [N], tokens; the end token counts
    group_size: int
    extra: Tensor | float = 0.0  # float [N]: what the user's own reward functions give
    rows: slice = field(default_factory=lambda: slice(None))  # where this rank's n rollouts are among the N
    mask: Tensor | None = None  # [n, T], of this rank's completion tokens: 0 is padding
    gather: Callable[[Tensor], Tensor] = lambda x: x  # puts the ranks' tensors [n, ...] together, [N, ...]

    def mean(self, x: Tensor, of: Tensor | None = None) -> Tensor:
        """float [N]: mean of `x` over each group, or its members `of` (bool [N]); 0 where it has none."""
        of = (torch.ones_like(self.correct) if of is None else of).view(-1, self.group_size)
        x = torch.where(of, x.float().view(-1, self.group_size), 0.0)
        return (x.sum(1) / of.sum(1).clamp(min=1)).repeat_interleave(self.group_size)

    def std(self, x: Tensor, of: Tensor | None = None) -> Tensor:
        """Standard deviation (n, not n - 1), likewise."""
        return self.mean((x - self.mean(x, of)).square(), of).sqrt()


@dataclass
class Tokens:
    """What one micro-batch of the update knows of each completion token; all [B, T], without gradient."""

    logp: Tensor
    entropy: Tensor  # nats, at the sampling temperature
    advantages: Tensor
    mask: Tensor
    base_entropy: Callable[[], Tensor]  # the same under the base model, without the adapter; computed when asked for
    rollout: Tensor | None = None  # int [B]: which of this rank's rollouts each row is


@dataclass
class Objective(Stateful):
    """Plain GRPO: a correct completion within the budget earns 1, and is compared with its group."""

    name: str  # a gate leaves 'compress' when entropy has fallen, any other phase when it rose
    budget: int  # L: completions are cut at this many tokens, and a cut one earns 0
    temperature: float = 1.0  # of the rollouts' sampling, and so of their scoring
    trl: ClassVar[dict[str, Any]] = {}  # settings of TRL's own (`GRPOConfig`) that belong to the method
    trainer: ClassVar[str | None] = None  # 'module:function' of a trainer of the method's own; None: the common one

    def __post_init__(self) -> None:
        require(self.budget >= 1, f"budget L={self.budget}: a completion needs at least 1 token")
        require(self.temperature > 0, f"temperature={self.temperature}: sampling needs a positive temperature")

    def observe(self, r: Rollouts) -> None:
        """See a step's rollouts, once, before their rewards are asked for."""

    def budgets(self, r: Rollouts) -> int | Tensor:
        """Tokens within which a completion must end: one number, or int [N]."""
        return self.budget

    def good(self, r: Rollouts) -> Tensor:
        """bool [N]: correct within the budget."""
        return r.correct & (r.length <= self.budgets(r))

    def value(self, r: Rollouts) -> Tensor:
        """float [N]: what a good completion earns."""
        return torch.ones(r.length.shape, device=r.length.device)

    def rewards(self, r: Rollouts) -> Tensor:
        """float [N].  What is not good earns 0 at every length, so brevity alone never pays."""
        return torch.where(self.good(r), self.value(r), 0.0) + r.extra

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        """float [N]."""
        return group_relative(rewards, r.group_size)

    def token_advantages(self, r: Rollouts, advantages: Tensor) -> Tensor:
        """float [n, T], of this rank's tokens; the advantage of the whole completion unless a method says otherwise."""
        return advantages[r.rows].unsqueeze(1).expand(r.mask.shape)

    def keep(self, t: Tokens) -> Tensor | None:
        """[B, T]: tokens that take part in the update (bool), or each one's share in it; None for all."""
        return None

    def bonus(self, t: Tokens) -> Tensor | None:
        """[B, T]: what is added to each token's advantage, in sight of its entropy; None for nothing."""
        return None


def group_relative(x: Tensor, group_size: int, of: Tensor | None = None) -> Tensor:
    """GRPO: (x - mean)/(std + EPS) within each group of `x` [N], or among its members `of` (bool [N]).

    0 for the others, and where nothing varies.
    """
    x = x.float().view(-1, group_size)
    of = torch.ones_like(x, dtype=torch.bool) if of is None else of.view(-1, group_size)
    n = of.sum(1, keepdim=True)
    deviation = torch.where(of, x - torch.where(of, x, 0.0).sum(1, keepdim=True) / n.clamp(min=1), 0.0)
    std = (deviation.square().sum(1, keepdim=True) / (n - 1).clamp(min=1)).sqrt()
    lowest, highest = torch.where(of, x, torch.inf).amin(1), torch.where(of, x, -torch.inf).amax(1)
    return torch.where((highest > lowest).unsqueeze(1), deviation / (std + EPS), 0.0).flatten()


def entropy_push(t: Tokens) -> Tensor:
    """-(log p + H), [B, T]: the advantage under which a token drawn from the policy moves it up the gradient of its
    entropy H, on average and to first order: E[-(log p + H) grad log p] = grad H."""
    return -(t.logp + t.entropy)
