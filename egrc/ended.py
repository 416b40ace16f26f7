"""Around `generate`: no work for rows that have ended, in scoring neither, and no settings but the caller's.

transformers and TRL run every row of a batch as far as the longest.  Rollouts differ much in length, so most of that
work is on padding.  `left_out`: in `model.generate` the model sees only the rows that go on; sampling sees all of them,
so each row draws the random numbers that it would draw without this.  `by_length`: rows of similar length are scored
together, each piece as far as its own longest row.  What both do change is the last bits of a sum, since a batch of
another shape may be summed in another order.  `sampled_as_scored`: a model's own generation settings do not bend what
is drawn.  [ours]
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model
from torch import Tensor, nn
from transformers import DynamicCache, GenerationConfig

WORTH = 0.9
"""The cache is copied to leave rows out, so only when at most this share of its rows goes on."""
PIECE = 16
"""Rows that are scored together: smaller pieces are trimmed closer, but cost as many calls more."""


class _Rows:
    """Which rows of the batch under way go on, and which are in the cache."""

    def __init__(self, ends: Collection[int]) -> None:
        self.ends = ends
        self.within: Tensor | None = None
        self.ended: Tensor

    def before(self, model: nn.Module, args: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        """Leave the rows that have ended out of a decoding step's inputs and of its cache."""
        ids, cache = inputs.get("input_ids"), inputs.get("past_key_values")
        if type(cache) is not DynamicCache or not cache.get_seq_length():
            self.within = None  # a prompt: another batch begins
            return None
        if self.within is None:
            self.within = torch.arange(len(ids), device=ids.device)
            self.ended = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
        self.ended |= torch.isin(ids[:, -1], ids.new_tensor(list(self.ends)))
        on = (~self.ended[self.within]).nonzero().flatten()
        if 0 < len(on) <= WORTH * len(self.within):
            cache.reorder_cache(on)
            self.within = self.within[on]
        if len(self.within) == len(ids):
            return None
        rows = {k: v[self.within] if isinstance(v, Tensor) and len(v) == len(ids) else v for k, v in inputs.items()}
        return args, rows

    def after(self, model: nn.Module, args: tuple, inputs: dict[str, Any], output: Any) -> Any:
        """Give the logits the rows of the whole batch; those of rows left out are 0, and nobody reads them."""
        if self.within is not None and len(self.within) < len(self.ended):
            logits = output.logits
            output.logits = logits.new_zeros(len(self.ended), *logits.shape[1:]).index_copy_(0, self.within, logits)
        return output


@contextmanager
def left_out(model: nn.Module, ends: Collection[int]) -> Iterator[None]:
    """Within it, `generate` of this language model (with an adapter, or without) leaves out rows after a token of
    `ends`."""
    rows, model = _Rows(ends), model.get_base_model() if is_peft_model(model) else model
    hooks = (
        model.register_forward_pre_hook(rows.before, with_kwargs=True),
        model.register_forward_hook(rows.after, with_kwargs=True),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def sampled_as_scored(policy: Any, base: Any) -> Iterator[None]:
    """Within it, the model has no generation settings of its own: TRL replaces some, transformers adds the rest."""
    own = base.generation_config
    ids = {name: getattr(own, name, None) for name in ("bos_token_id", "pad_token_id", "eos_token_id")}
    policy.generation_config = base.generation_config = GenerationConfig(**ids)
    try:
        yield
    finally:
        policy.generation_config = base.generation_config = own


def by_length(lengths: Tensor, most: int | None = None) -> list[Tensor]:
    """Positions of rows in pieces of `PIECE` (or `most`, if fewer), the shortest rows first; `lengths` int [B]."""
    return list(lengths.argsort(stable=True).split(min(PIECE, most or PIECE)))
