"""Scores of completion tokens from the logits of the loss; and no work for rows that have ended.  [ours]

Logits are made from hidden states in chunks of tokens and made again in the backward pass, so that all of them never
exist at once: 16,000 tokens on a vocabulary of 150,000 would take 10 GB a copy.  In generation the model sees only the
rows that go on, and rows of similar length are scored together, where transformers and TRL run every row as far as the
longest.  Sampling sees all rows, so each draws the random numbers that it would draw without this.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from accelerate.utils import is_peft_model
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, GenerationConfig

from egrc.entropy import token_entropy

CHUNK = 2**24  # logits that exist at once (64 MB a copy in float32)
PIECE = 16  # rows that are scored together: smaller pieces are trimmed closer, but cost as many calls more
WORTH = 0.9  # the cache is copied to leave rows out, so only when at most this share of its rows goes on


class TokenScores(NamedTuple):
    """What one pass over the logits tells about each completion token; every field [B, T]."""

    logp: Tensor  # log pi(token) at the sampling temperature, with gradient
    entropy: Tensor  # nats at temperature 1
    entropy_sampling: Tensor  # nats at the sampling temperature


def score_tokens(logits: Tensor, tokens: Tensor, temperature: float, entropy_grad: bool = False) -> TokenScores:
    """Score logits [..., V] against the tokens [...] that were sampled from them at `temperature`.

    Only `logp` carries a gradient, with `entropy_grad` the sampling entropy too (for TRL's entropy bonus).
    """
    log_probs = (logits.float() / temperature).log_softmax(-1)
    logp = log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    with torch.no_grad():
        entropy_sampling = torch.special.entr(log_probs.exp()).sum(-1)
        entropy = entropy_sampling if temperature == 1 else token_entropy(logits)
    if entropy_grad:
        entropy_sampling = -(log_probs.exp() * log_probs).sum(-1)
    return TokenScores(logp, entropy, entropy_sampling)


class Head:
    """A model's output head: hidden states [..., H] to logits [..., V], scaled and capped as the model does."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        named = [getattr(config, n, None) for n in ("logit_scale", "output_multiplier", "lm_head_multiplier")]  # Cohere
        divisor = getattr(config, "logits_scaling", None)  # Granite
        self.linear = model.get_output_embeddings()
        self.scale = next((scale for scale in named if scale is not None), 1.0)
        if self.scale == 1.0 and divisor is not None:
            self.scale = divisor if config.model_type == "hyperclovax" else 1 / divisor
        self.cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2

    def __call__(self, hidden: Tensor) -> Tensor:
        logits = self.linear(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


def score_hidden(hidden: Tensor, head: Head, tokens: Tensor, *settings: Any) -> TokenScores:
    """`score_tokens` of the logits that `head` makes of hidden states [B, T, H], in chunks; every field [B, T]."""

    def score(h: Tensor, t: Tensor) -> TokenScores:
        return score_tokens(head(h), t, *settings)

    rows = max(1, CHUNK // head.linear.weight.shape[0])
    if tokens.numel() <= rows:
        return score(hidden, tokens)
    pieces = zip(hidden.flatten(0, 1).split(rows), tokens.flatten().split(rows), strict=True)
    scored = [checkpoint(score, h, t, use_reentrant=False) for h, t in pieces]
    return TokenScores(*(torch.cat(column).view_as(tokens) for column in zip(*scored, strict=True)))


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
) -> TokenScores:
    """Scores of the last `keep` tokens; `base` is the language model in `model`.  Rows of similar length are scored
    together (`most` at once), each piece as far as its longest, 0 beyond."""
    start, lengths = input_ids.shape[1] - keep, attention_mask[:, -keep:].sum(1)
    pieces = lengths.argsort(stable=True).split(min(PIECE, most or PIECE))
    head, scored, hidden = Head(base), [], []
    with base.base_model.register_forward_hook(lambda _, __, out: hidden.append(out.last_hidden_state)):
        for rows in pieces:
            longest = max(1, int(lengths[rows].max()))
            ids, mask = (x[rows, : start + longest] for x in (input_ids, attention_mask))
            with autocast():
                model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=1)
                states = hidden.pop()[:, -longest - 1 : -1]
                scores = score_hidden(states, head, ids[:, -longest:], temperature, entropy_grad)
            scored.append([pad(x, (0, keep - longest)) for x in scores])
    back = torch.cat(pieces).argsort()
    return TokenScores(*(torch.cat(column)[back] for column in zip(*scored, strict=True)))


@contextmanager
def generating(model: nn.Module, ends: Collection[int]) -> Iterator[None]:
    """Within it, `generate` of this model (with an adapter, or without) leaves out rows after a token of `ends`, and
    samples from what is scored: of the model's own generation settings only the special tokens count."""
    base = model.get_base_model() if is_peft_model(model) else model
    own, within, ended = base.generation_config, None, None  # rows of the batch that are in the cache; that have ended

    def leave_out(_: Any, args: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        """Of a decoding step's inputs and of its cache, the rows that have ended."""
        nonlocal within, ended
        ids, cache = inputs.get("input_ids"), inputs.get("past_key_values")
        if type(cache) is not DynamicCache or not cache.get_seq_length():
            within = None  # a prompt: another batch begins
            return None
        if within is None:
            within, ended = torch.arange(len(ids), device=ids.device), torch.zeros_like(ids[:, -1], dtype=torch.bool)
        ended |= torch.isin(ids[:, -1], ids.new_tensor(list(ends)))
        on = (~ended[within]).nonzero().flatten()
        if 0 < len(on) <= WORTH * len(within):
            cache.reorder_cache(on)
            within = within[on]
        if len(within) == len(ids):
            return None
        return args, {k: v[within] if isinstance(v, Tensor) and len(v) == len(ids) else v for k, v in inputs.items()}

    def put_back(_: Any, args: tuple, inputs: dict[str, Any], output: Any) -> Any:
        """The logits get the rows of the whole batch; those of rows left out are 0, and nobody reads them."""
        if within is not None and len(within) < len(ended):
            logits = output.logits
            output.logits = logits.new_zeros(len(ended), *logits.shape[1:]).index_copy_(0, within, logits)
        return output

    ids = {name: getattr(own, name, None) for name in ("bos_token_id", "pad_token_id", "eos_token_id")}
    model.generation_config = base.generation_config = GenerationConfig(**ids)
    before = base.register_forward_pre_hook(leave_out, with_kwargs=True)
    try:
        with before, base.register_forward_hook(put_back, with_kwargs=True):
            yield
    finally:
        model.generation_config = base.generation_config = own
