"""The pocket base model: a small decoder trained from scratch on the teacher's traces, then kept.

As with real models, two stages: first a mixed diet, half of it compact, then the teacher's verbose habit.  The model
so has a compact way of reasoning that it rarely uses; how well it masters it is measured (`worlds.pocket.criteria`).

The weights are committed; `train_base` makes them again.  Loss is summed over completion tokens and divided by a
constant, because a mean per batch would weigh short traces more and change the teacher's mix of styles.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from egrc.worlds.pocket.teacher import trace
from egrc.worlds.pocket.tokenizer import build_tokenizer
from egrc.worlds.pocket.world import BENCHMARKS, P_COMPACT, VOCABULARY, draw_problem

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS, WIDTH, HIDDEN, HEADS = 2, 96, 256, 4
STEPS, BATCH, PEAK_RATE = 7000, 32, 3e-3
MIXED_STEPS, P_COMPACT_MIXED = 3500, 0.5  # the first stage
BUCKET = 16  # batches sorted by length together, so that little is padding
TOKENS_PER_TRACE = 80.0  # the loss's constant divisor, about the mean length of a trace


def new_model(vocabulary: int = len(VOCABULARY), layers: int = LAYERS, hidden: int = HIDDEN) -> LlamaForCausalLM:
    """An untrained model; rotary positions, so left padding changes nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM  # takes seconds, and who reads constants needs no model

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=True,
        )
    )


def batches(seed: int, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (inputs, labels), both [B, T]; labels are -100 on prompts and padding.  Training problems only."""
    rng = random.Random(seed)
    made = 0
    while True:
        p_compact, pairs = P_COMPACT_MIXED if made < MIXED_STEPS else P_COMPACT, []
        while len(pairs) < BATCH * BUCKET:
            problem = draw_problem(rng.choice(BENCHMARKS), rng)
            if not problem.held_out:
                prompt = tokenizer.encode(problem.text)
                pairs.append((len(prompt), prompt + tokenizer.convert_tokens_to_ids(trace(problem, rng, p_compact))))
        pairs.sort(key=lambda pair: len(pair[1]))
        bucket = [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
        rng.shuffle(bucket)
        made += len(bucket)
        for batch in bucket:
            yield padded(batch)


def padded(batch: Sequence[tuple[int, list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, labels), both [B, T], of (tokens of the prompt, ids of prompt and trace); labels are -100 on the former
    and on padding."""
    inputs = torch.zeros(len(batch), max(len(ids) for _, ids in batch), dtype=torch.long)
    labels = torch.full_like(inputs, -100)
    for row, (start, ids) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, start : len(ids)] = torch.tensor(ids[start:])
    return inputs, labels


def train_base(
    folder: Path, seed: int = 0, steps: int = STEPS, look: Callable[[int, LlamaForCausalLM], None] | None = None
) -> Path:
    """Train on one core and save model and tokenizer (safetensors).  Returns the folder.  `look`: see `fit`."""
    tokenizer = build_tokenizer()
    data = ((*batch, BATCH * TOKENS_PER_TRACE) for batch in batches(seed, tokenizer))
    model = fit(new_model, seed, data, steps, lambda step: max(0.01, 1 - step / steps), look)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fit(
    new: Callable[[], LlamaForCausalLM],
    seed: int,
    data: Iterator[tuple[torch.Tensor, torch.Tensor, float]],
    steps: int,
    rate: Callable[[int], float],
    look: Callable[[int, LlamaForCausalLM], None] | None = None,
) -> LlamaForCausalLM:
    """Train a `new` model with one thread on (inputs, labels, the divisor of the loss); `rate`: share of the peak at a
    step (from 0), after 100 steps of warm-up.

    `look(step, model)` is called after every step, and must leave the global random state as it was.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = new()
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 100) * rate(step))
    began = time.monotonic()
    for step in range(1, steps + 1):
        inputs, labels, divisor = next(data)
        logits = model(input_ids=inputs, attention_mask=(inputs != 0).long()).logits[:, :-1]
        total = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")
        loss = total / divisor
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if look:
            look(step, model)
        if step % 100 == 0 or step == steps:
            spent = time.monotonic() - began
            left = spent / step * (steps - step)
            print(f"base: step {step}/{steps}  loss {loss.item():.3f}  {spent:.0f} s, {left:.0f} s left", flush=True)
    return model
