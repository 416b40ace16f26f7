"""Completions of one policy, and what it says of their tokens: generation as in evaluation, then one scoring pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from egrc.evaluation.evaluate import BATCH, _batches
from egrc.scoring import TokenScores, score_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[int, int], None]


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    cap: int,
    seed: tuple[int, str],
    temperature: float = 1.0,
    say: Progress | None = None,
) -> list[list[int]]:
    """One completion for each prompt (both as token ids; the end token included), by the evaluation's own sampler.

    `seed`: a number and a name; the same ones give the same completions.  The global random state and the model's
    weights stay as they were; it is left in eval mode.
    """
    prompts = [list(p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, list[int]] = {}
    for chunk, outputs in _batches(model, tokenizer, prompts, order, temperature, cap, BATCH, seed):
        found |= dict(zip(chunk, outputs, strict=True))
        if say:
            say(len(found), len(prompts))
    return [found[i] for i in range(len(prompts))]


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left, completions on the right: every completion begins in the same column."""

    input_ids: Tensor
    """int64 [B, P + T]"""
    attention: Tensor
    """int64 [B, P + T], 0 on padding."""
    tokens: Tensor
    """int64 [B, T], the completions."""
    mask: Tensor
    """bool [B, T], False on padding."""


def batch(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], pad: int) -> Batch:
    """Prompts and completions as one batch; `pad` is any valid token id."""
    start, length = max(map(len, prompts)), max(map(len, completions))
    ids = torch.full((len(prompts), start + length), pad)
    attention = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        where = slice(start - len(prompt), start + len(completion))
        ids[row, where], attention[row, where] = torch.tensor([*prompt, *completion]), 1
    return Batch(ids, attention, ids[:, start:], attention[:, start:].bool())


def logits(model: PreTrainedModel, b: Batch) -> Tensor:
    """Logits [B, T, V] from which each completion token was drawn; with gradient, unless switched off outside."""
    out = model(input_ids=b.input_ids, attention_mask=b.attention, use_cache=False).logits
    start = b.input_ids.shape[1] - b.tokens.shape[1]
    return out[:, start - 1 : -1]


@torch.no_grad()
def score(model: PreTrainedModel, b: Batch) -> TokenScores:
    """What the policy says of each completion token, at temperature 1; every field [B, T], also on padding."""
    return score_tokens(logits(model, b), b.tokens, temperature=1.0)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Short hash of a vocabulary: tables whose hashes differ must not be joined."""
    return short_hash(json.dumps(tokenizer.get_vocab(), sort_keys=True))


def short_hash(text: str) -> str:
    """12 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
