"""The pocket world's base model: a small decoder trained from scratch on the teacher's traces, then kept.

Three stages: compact traces of chains up to twice as long, which drill the facts; then half compact; then the teacher's
verbose habit.  Loss is summed over completion tokens and divided by a constant, because a mean per batch would weigh
short traces more.  Weights are kept as float16.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from egrc.worlds.pocket.language import BENCHMARKS, P_COMPACT, Clock
from egrc.worlds.pocket.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS, WIDTH, HIDDEN, HEADS = 3, 96, 384, 4
PEAK_RATE = 3e-3
BUCKET = 16  # batches sorted by length together, so that little is padding
DRILL, MIXED, HABIT = 1300, 600, 4200  # steps of the three stages
EASY_OPERANDS = ((200, 4), (500, 8))  # until this step of the drill, operands are below this number
TOKENS_PER_TRACE = {1.0: 14.0, 0.5: 50.0, P_COMPACT: 50.0}  # the loss's constant divisor


def new_model(vocabulary: int) -> LlamaForCausalLM:
    """An untrained model; rotary positions, so left padding changes nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM  # takes seconds, and who reads constants needs no model

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=WIDTH,
            intermediate_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=512,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=True,
        )
    )


def stage(step: int, drill: int, mixed: int, modulus: int) -> tuple[float, int, int]:
    """Share of compact traces, batch size, and the bound of operands at a step (from 0)."""
    if step < drill:
        return 1.0, 36, next((below for until, below in EASY_OPERANDS if step < until), modulus)
    return (0.5 if step < drill + mixed else P_COMPACT), 32, modulus


def batches(
    clock: Clock, seed: int, tokenizer: PreTrainedTokenizerFast, drill: int, mixed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
    """Endless (inputs [B, T], labels [B, T] with -100 on prompts and padding, divisor).  Training problems only."""
    rng, queue, now, step = random.Random(seed), [], None, 0
    while True:
        if (then := stage(step, drill, mixed, clock.modulus)) != now or not queue:
            now, pairs = then, []
            p_compact, size, below = now
            while len(pairs) < size * (1 if p_compact == 1 else BUCKET):
                problem = (
                    clock.draw_chain(below, rng) if p_compact == 1 else clock.draw(rng.choice(list(BENCHMARKS)), rng)
                )
                if not problem.held_out:
                    prompt = tokenizer.encode(problem.text)
                    trace = tokenizer.convert_tokens_to_ids(clock.trace(problem, rng, p_compact))
                    pairs.append((len(prompt), prompt + trace))
            pairs.sort(key=lambda pair: len(pair[1]))
            queue = [pairs[i : i + size] for i in range(0, len(pairs), size)]
            rng.shuffle(queue)
        batch, step = queue.pop(), step + 1
        yield *padded(batch), len(batch) * TOKENS_PER_TRACE[now[0]]


def padded(batch: Sequence[tuple[int, list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(inputs, labels), both [B, T], of (tokens of the prompt, ids of prompt and trace); labels are -100 on the former
    and on padding."""
    inputs = [torch.tensor(ids) for _, ids in batch]
    labels = [torch.tensor([-100] * start + ids[start:]) for start, ids in batch]
    return pad_sequence(inputs, batch_first=True), pad_sequence(labels, batch_first=True, padding_value=-100)


def train_base(clock: Clock, folder: Path, seed: int = 0, stages: tuple[int, int, int] = (DRILL, MIXED, HABIT)) -> Path:
    """Train on one core (the rate falls after the drill), save model and tokenizer; returns the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    (drill, mixed, habit), steps = stages, sum(stages)
    tokenizer, model = build_tokenizer(clock.vocabulary), new_model(len(clock.vocabulary))
    optimiser = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    data, began = batches(clock, seed, tokenizer, drill, mixed), time.monotonic()

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / 100) * max(0.01, 1 - max(0, step - drill) / (mixed + habit))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
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
        if step % 100 == 0 or step == steps:
            spent = time.monotonic() - began
            left = spent / step * (steps - step)
            print(f"base: step {step}/{steps}  loss {loss.item():.3f}  {spent:.0f} s, {left:.0f} s left", flush=True)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
