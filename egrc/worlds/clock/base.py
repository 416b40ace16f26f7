"""The clock world's base model: a small decoder trained from scratch on the teacher's traces, then kept.

Three stages: compact traces of chains up to twice as long, which drill the facts; then half compact; then the teacher's
verbose habit.  Loss is summed over completion tokens and divided by a constant, because a mean per batch would weigh
short traces more.  Weights are kept as float16.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from egrc.worlds.clock.language import BENCHMARKS, P_COMPACT, Clock
from egrc.worlds.pocket.base import BUCKET, fit, new_model, padded
from egrc.worlds.pocket.tokenizer import build_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS, HIDDEN = 3, 384  # the rest of the architecture is the first world's
DRILL, MIXED, HABIT = 1300, 600, 4200  # steps of the three stages
EASY_OPERANDS = ((200, 4), (500, 8))  # until this step of the drill, operands are below this number
TOKENS_PER_TRACE = {1.0: 14.0, 0.5: 50.0, P_COMPACT: 50.0}  # the loss's constant divisor


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


def train_base(
    clock: Clock,
    folder: Path,
    seed: int = 0,
    stages: tuple[int, int, int] = (DRILL, MIXED, HABIT),
    look: Callable[[int, LlamaForCausalLM], None] | None = None,
) -> Path:
    """Train on one core and save model and tokenizer (safetensors).  Returns the folder.  `look`: see `fit`."""
    drill, mixed, habit = stages
    tokenizer = build_tokenizer(clock.vocabulary)

    def rate(step: int) -> float:
        return 1.0 if step < drill else max(0.01, 1 - (step - drill) / (mixed + habit))

    data = batches(clock, seed, tokenizer, drill, mixed)
    model = fit(lambda: new_model(len(clock.vocabulary), LAYERS, HIDDEN), seed, data, sum(stages), rate, look)
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
