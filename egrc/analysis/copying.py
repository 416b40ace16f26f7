"""Can a policy read the answer off a compact trace?  Its probability of the right one after a teacher's trace.  [ours]

Arms that compress hard end near chance on ``hole-3``, and their searches mostly end well: a candidate is found that
fits, then another one is named.  Here the search is the teacher's, so only the last step is asked for: one row for each
held-out problem and style, with the probability of the right value after the trace and ``#`` (a hole's chance is 1/6).

`taught` is one way to teach it: the base with an adapter like the arms', trained on the teacher's own compact traces of
``hole-3``, as many as an arm has rollouts, with the loss on all their tokens.  If that fails, imitation of this kind
does not teach it; whether another kind would, it does not say, and the table shows what it costs elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from egrc.analysis import parts as of
from egrc.config import Config
from egrc.evaluation import intervals, sampling
from egrc.experiments import records, run, scales
from egrc.worlds.pocket.teacher import trace
from egrc.worlds.pocket.world import BENCHMARKS, Problem, problems

SCALES = ("pocket",)
PROBLEMS = 150
"""Held-out problems of each benchmark."""
STYLES = {"compact": 1.0, "verbose": 0.0}
"""The teacher's chance of a compact step."""
TAUGHT, LESSON = "taught", "hole-3"
BATCH = 32
"""Traces in an update of `taught`."""
COLUMNS = ("scale", "tokenizer", "arm", "seed", "benchmark", "id", "style", "p_answer")


def parts(scale: str) -> list[str]:
    """`taught` with all seeds, then the base and the main arms."""
    arms, seeds = scales.runs(scale)
    return of.named([TAUGHT, *arms], seeds)


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, [part for part in parts(scale) if not part.startswith(TAUGHT)])


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One policy's rows; see `COLUMNS`.  Raises RecordError if the run is missing."""
    arm, seed = of.split(part)
    world, config = scales.world(scale), scales.config(scale, "base" if arm == TAUGHT else arm, seed)
    if arm == TAUGHT:
        model, tokenizer = taught(config, world, say)
    else:
        model, tokenizer = run.policy(config, world, records.load(scale, arm, seed).path / "adapter")
    rows = [
        answers(model, tokenizer, list(islice(problems(b, True, 1), PROBLEMS)), style).assign(benchmark=b, style=style)
        for b in BENCHMARKS
        for style in STYLES
    ]
    table = pd.concat(rows, ignore_index=True).assign(arm=arm, seed=seed, scale=scale)
    return table.assign(tokenizer=sampling.tokenizer_hash(tokenizer))[list(COLUMNS)]


@torch.no_grad()
def answers(model: Any, tokenizer: Any, asked: Sequence[Problem], style: str) -> pd.DataFrame:
    """Columns id, p_answer: the model's probability of each problem's answer after the teacher's trace."""
    model.eval()
    rng = random.Random(style)
    ids = _ids(tokenizer, [(p, trace(p, rng, STYLES[style], patient=True)) for p in asked])
    found = []
    for chunk in ids.split(BATCH):
        n = (chunk != tokenizer.pad_token_id).sum(1)  # ..., '#', answer, <eos>
        rows = torch.arange(len(chunk))
        p = model(input_ids=chunk).logits[rows, n - 3].double().softmax(-1)
        found += p[rows, chunk[rows, n - 2]].tolist()
    return pd.DataFrame({"id": [p.text for p in asked], "p_answer": found})


def taught(config: Config, world: scales.World, say: Callable[[int, int], None]) -> tuple[Any, Any]:
    """The base after `config`'s number of rollouts of the teacher's compact traces; next-token loss on all tokens."""
    from peft import get_peft_model

    torch.manual_seed(config.seed)
    model, tokenizer = world.policy()
    model = get_peft_model(model, run.lora(config))
    rng = random.Random(f"taught/{config.seed}")
    lessons = problems(LESSON, False, 1000 + config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
    updates = config.steps * config.prompts_per_step * config.group_size // BATCH
    for update in range(updates):
        ids = _ids(tokenizer, [(p, trace(p, rng, p_compact=1.0, patient=True)) for p in islice(lessons, BATCH)])
        logits, target = model(input_ids=ids).logits[:, :-1], ids[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits.mT, target, ignore_index=tokenizer.pad_token_id)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        say(update + 1, updates)
    return model.merge_and_unload(), tokenizer


def _ids(tokenizer: Any, written: Sequence[tuple[Problem, list[str]]]) -> torch.Tensor:
    """Prompt and trace as token ids [n, T], padded on the right: what comes later is not seen."""
    texts = [" ".join([p.text, *words]) for p, words in written]
    return tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line a policy, benchmark and style: p_answer with its 95% interval over problems given the seeds (low, high);
    the lowest and the highest seed."""
    keys, lines = ["arm", "benchmark", "style"], []
    for key, own in table.groupby(keys, sort=False):
        problems = own.groupby("id")["p_answer"].mean().to_numpy()[:, None]
        values = intervals.interval(problems, ["all"] * len(problems), lambda means: means[..., 0, 0])
        lines.append((*key, *values, *own.groupby("seed")["p_answer"].mean().agg(["min", "max"])))
    return pd.DataFrame(lines, columns=[*keys, "p_answer", "low", "high", "lowest", "highest"])
