"""What a run tells its user unasked: sampling that is not scored, steps that teach nothing, a gate by the clock.

Silent zero rewards, and a model's own `generation_config`, are what users of such trainers ask about most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from transformers import GenerationConfig

from egrc.controller import AT_DWELL_LIMIT, Decision
from egrc.objective import Rollouts

FIRST_STEPS = 3
"""Steps after which it is said where nothing was rewarded."""
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0, "generation_kwargs": None}
"""TRL's settings of sampling where they leave the policy's distribution as it is."""
NOT_OF_SAMPLING = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "do_sample", "temperature"),
    *("use_cache", "cache_implementation", "transformers_version", "_from_model_config"),
}
"""A model's generation settings that bend nothing, or that are set here anyway."""


def of_sampling(args: Any, own: GenerationConfig) -> Iterator[str]:
    """Rollouts should be sampled from what is scored: what of the model's own is left out, and what bends them."""
    settings = {n: v for n, v in own.to_diff_dict().items() if v and n not in NOT_OF_SAMPLING and PLAIN.get(n) != v}
    if settings:
        yield f"the model's own generation settings {settings} are left out, so that sampling is what is scored"
    if bent := {n: getattr(args, n) for n, plain in PLAIN.items() if getattr(args, n) != plain}:
        yield f"rollouts are sampled with {bent} but scored without: the update is that of another policy"


def of_step(decision: Decision, r: Rollouts, rewards: Tensor, cut: float, budget: int) -> Iterator[str]:
    """What is odd about a step; `cut`: share of its completions that were cut at `budget` tokens."""
    step, share = decision.step, f"{cut:.0%} of the completions were cut at {budget} tokens"
    if decision.entropy is None:
        yield f"step {step} teaches nothing: every token is masked; {share}"
    elif step <= FIRST_STEPS and not rewards.any():
        yield f"step {step}: nothing was rewarded; {share}, the median length is {int(r.length.median())}"
    if decision.cause.startswith(AT_DWELL_LIMIT):
        yield f"step {step}: the gate left {decision.phase!r} at the dwell limit: the clock decided, not the entropy"
