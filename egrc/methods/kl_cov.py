"""KL-Cov, from The Entropy Mechanism of RL (2505.22617), on top of the joint objective [ours: theirs is on accuracy].

The few tokens with the highest (A - mean A)(log p - mean log p) cost most entropy.  Differs: KL-Cov adds to them a
penalty |log p - log p_old|, whose gradient is 0 in on-policy training, so here they are left out of the update, as
its Clip-Cov does with tokens drawn at random; the means are the micro-batch's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from egrc.controller import Recipe
from egrc.methods.egrc import Shaped
from egrc.objective import Tokens


@dataclass
class KlCov(Shaped):
    tokens_at: float = 0.002  # share of tokens that is left out (at least one token)

    def keep(self, t: Tokens) -> Tensor:
        mask = t.mask.bool()
        covariance = (t.advantages - t.advantages[mask].mean()) * (t.logp - t.logp[mask].mean())
        covariance = covariance.masked_fill(~mask, -torch.inf)
        left_out = covariance.flatten().topk(max(1, int(self.tokens_at * int(mask.sum())))).indices
        return torch.ones_like(mask).flatten().index_fill(0, left_out, False).view_as(mask)


ARMS = {"kl-cov": lambda s: Recipe((KlCov("joint", s.compress_budget, r=s.r),))}
