"""Scores of completion tokens, from the very logits that the loss is computed from: log-probabilities and entropies.

Logits are made from hidden states in chunks of tokens and made again in the backward pass, so that all of them never
exist at once: 16,000 tokens on a vocabulary of 150,000 would take 10 GB a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from egrc.ended import by_length
from egrc.entropy import gradient_norm, token_entropy

CHUNK = 2**24
"""Logits that exist at once (64 MB a copy in float32)."""


class TokenScores(NamedTuple):
    """What one pass over the logits tells about each completion token; every field [B, T]."""

    logp: Tensor  # log pi(token) at the sampling temperature, with gradient
    entropy: Tensor  # nats at temperature 1
    entropy_sampling: Tensor  # nats at the sampling temperature
    gradient: Tensor  # norm of d logp / d logits


def score_tokens(logits: Tensor, tokens: Tensor, temperature: float, entropy_grad: bool = False) -> TokenScores:
    """Score logits [..., V] against the tokens [...] that were sampled from them at `temperature`.

    Only `logp` carries a gradient, with `entropy_grad` the sampling entropy too (for TRL's entropy bonus).
    """
    log_probs = (logits.float() / temperature).log_softmax(-1)
    logp = log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        p = log_probs.exp()
        entropy_sampling = torch.special.entr(p).sum(-1)
        entropy = entropy_sampling if temperature == 1 else token_entropy(logits)
        gradient = gradient_norm(p, tokens, temperature)
    if entropy_grad:
        entropy_sampling = -(log_probs.exp() * log_probs).sum(-1)
    return TokenScores(logp, entropy, entropy_sampling, gradient)


def score_hidden(hidden: Tensor, head: Head, tokens: Tensor, *settings: Any) -> TokenScores:
    """`score_tokens` of the logits that `head` makes of hidden states [B, T, H], in chunks; every field [B, T]."""

    def score(h: Tensor, t: Tensor) -> TokenScores:
        return score_tokens(head(h), t, *settings)

    rows = max(1, CHUNK // head.width)
    if tokens.numel() <= rows:
        return score(hidden, tokens)
    pieces = zip(hidden.flatten(0, 1).split(rows), tokens.flatten().split(rows), strict=True)
    scored = [checkpoint(score, h, t, use_reentrant=False) for h, t in pieces]
    return TokenScores(*(torch.cat(column).view_as(tokens) for column in zip(*scored, strict=True)))


class Head:
    """A model's output head: hidden states [..., H] to logits [..., V], scaled and capped as the model does."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        named = [getattr(config, n, None) for n in ("logit_scale", "output_multiplier", "lm_head_multiplier")]  # Cohere
        divisor = getattr(config, "logits_scaling", None)  # Granite
        self.linear = model.get_output_embeddings()
        self.width = self.linear.weight.shape[0]
        self.scale = next((scale for scale in named if scale is not None), 1.0)
        if self.scale == 1.0 and divisor is not None:
            self.scale = divisor if config.model_type == "hyperclovax" else 1 / divisor
        self.cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2

    def __call__(self, hidden: Tensor) -> Tensor:
        logits = self.linear(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


def score_completions(
    model: Any,
    base: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    keep: int,
    temperature: float,
    autocast: Callable[[], Any],
    most: int | None = None,
    entropy_grad: bool = False,
    aux: bool = False,
) -> tuple[TokenScores, Any]:
    """Scores of the last `keep` tokens, and a router's auxiliary loss if `aux`.  `base`: the language model in `model`.

    Rows of similar length are scored together (`most` at once), each piece as far as its longest, 0 beyond; a router's
    loss needs all rows at once.
    """
    start, lengths = input_ids.shape[1] - keep, attention_mask[:, -keep:].sum(1)
    pieces = [torch.arange(len(input_ids))] if aux else by_length(lengths, most)
    router = {"output_router_logits": True} if aux else {}
    head, scored, hidden = Head(base), [], []
    hook = base.base_model.register_forward_hook(lambda _, __, out: hidden.append(out.last_hidden_state))
    try:
        for rows in pieces:
            longest = keep if aux else max(1, int(lengths[rows].max()))
            ids, mask = (x[rows, : start + longest] for x in (input_ids, attention_mask))
            with autocast():
                output = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1, **router)
                states = hidden.pop()[:, -longest - 1 : -1]
                scores = score_hidden(states, head, ids[:, -longest:], temperature, entropy_grad)
            scored.append([pad(x, (0, keep - longest)) for x in scores])
    finally:
        hook.remove()
    back = torch.cat(pieces).argsort()
    columns = (torch.cat(column)[back] for column in zip(*scored, strict=True))
    return TokenScores(*columns), output.aux_loss if aux else None
