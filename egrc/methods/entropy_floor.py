"""After Know Your Limits (2511.10618): towards each token's estimated entropy, not below it; on the joint objective.

The source is about language modelling, and its formulas were not readable; the form here is [ours].  The estimate is a
fraction of the base model's entropy at the same place.  A token at or below it is left out of the update where the push
would sharpen further: where A (log p + H) > 0, a token likelier than the average is raised, or a rarer one lowered (the
entropy's change to first order, but for a term that does not depend on the token).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from egrc.controller import Recipe
from egrc.methods.egrc import Shaped
from egrc.objective import Tokens


@dataclass
class EntropyFloor(Shaped):
    tokens_at: float = 0.5  # the floor, as a fraction of the base model's entropy

    def keep(self, t: Tokens) -> Tensor:
        floor = self.tokens_at * t.base_entropy()
        return (t.entropy > floor) | (t.advantages * (t.logp + t.entropy) <= 0)


ARMS = {"entropy-floor": lambda s: Recipe((EntropyFloor("joint", s.compress_budget, r=s.r),))}
