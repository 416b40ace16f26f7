"""Remedies against the loss of entropy that TRL itself offers, on the joint objective [ours: theirs are on accuracy].

Skywork-OR1's adaptive coefficient keeps entropy at a target, which is ours: below what training starts from, so that it
acts only where entropy falls.  The 80/20 rule takes gradients from the 20% of tokens with the highest entropy.
"""

from __future__ import annotations

from egrc.controller import Recipe
from egrc.methods.egrc import joint

ARMS = {
    "adaptive-entropy": lambda s: Recipe((joint(s),), trl={"use_adaptive_entropy": True, "entropy_target": 0.2}),
    "top-entropy": lambda s: Recipe((joint(s),), trl={"top_entropy_quantile": 0.2}),
}
