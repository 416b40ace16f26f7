"""Measurement `strip`: what one held-out problem's answer looks like along training.  [ours]

A run records rollouts of the problems that it trains on, other ones at each step; here a run is replayed, and at every
step of `steps` the policy of that moment is asked the same problem.  Which one was fixed before any answer was looked
at: the first held-out problem of the benchmark that is hardest for the base.  So was what is shown of the `SAMPLES`
completions of a step (`middle`): the one of median length.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from egrc.analysis import parts as of
from egrc.analysis import tables
from egrc.atomic import write_parquet
from egrc.config import Config
from egrc.entropy import CLASSES
from egrc.evaluation import sampling
from egrc.experiments import run, scales

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ARMS = ("joint", "egrc")
SAMPLES = 9
"""Odd, so that one has the median length."""
COLUMNS = (
    *("scale", "tokenizer", "arm", "seed", "step", "benchmark", "id", "sample", "shown"),
    *("correct", "truncated", "length", "tokens", "classes"),
)
"""A row is a completion at T = 1, after `step` steps (0: the base); `tokens` and `classes`: a name for each token."""


def parts(scale: str) -> list[str]:
    """Two arms at a scale's first seeds, those with the longest completions first."""
    return of.named(ARMS, scales.runs(scale)[1][:3])


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the runs' adapters and base models, and the problem."""
    benchmark, problem = asked(scale)
    return of.inputs(scale, parts(scale)) | {"problem": f"{benchmark}: {problem['prompt']}"}


def asked(scale: str) -> tuple[str, dict[str, Any]]:
    """The benchmark that is hardest for the base, and its first held-out problem.  Raises RecordError."""
    base = tables.rows_at(tables.load(scale, ["base"]), tables.compared_at(scale))
    benchmark = tables.hardest(base)
    return benchmark, scales.world(scale).benchmarks(1)[benchmark][0]


def steps(config: Config) -> range:
    """Those at which a run records rollouts, and the beginning."""
    return range(0, config.steps + 1, config.record_rollouts_every)


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One run's rows; see `COLUMNS`.  A killed replay goes on from its last checkpoint."""
    arm, seed = of.split(part)
    config, world, (benchmark, problem) = scales.config(scale, arm, seed), scales.world(scale, seed=seed), asked(scale)
    files = {step: work / f"step-{step}.parquet" for step in steps(config)}
    facts = {"scale": scale, "arm": arm, "seed": seed, "benchmark": benchmark, "id": problem["id"]}

    def look(step: int, model: PreTrainedModel) -> None:
        if step in files and not files[step].exists():
            write_parquet(files[step], answers(model, world, problem, config, step).assign(step=step, **facts))
        say(step, config.steps)

    run.train(config, world, work, observe=look)
    return pd.concat(map(pd.read_parquet, files.values()), ignore_index=True)[list(COLUMNS)]


def answers(
    model: PreTrainedModel, world: scales.World, problem: dict[str, Any], config: Config, step: int
) -> pd.DataFrame:
    """`SAMPLES` completions of a problem, graded; a cut one is wrong.  The model stays in its mode."""
    training, tokenizer = model.training, world.policy()[1]
    prompts = tokenizer([problem["prompt"]] * SAMPLES)["input_ids"]
    sampled = sampling.sample(model, tokenizer, prompts, config.cap, (config.seed, f"strip {step}"))
    model.train(training)
    classes, names = world.token_classes(tokenizer).ids.tolist(), tokenizer.convert_ids_to_tokens
    ended = [ids[-1] == tokenizer.eos_token_id for ids in sampled]
    texts = tokenizer.batch_decode(sampled, skip_special_tokens=True)
    rows = pd.DataFrame({
        "tokenizer": sampling.tokenizer_hash(tokenizer), "sample": range(SAMPLES), "length": [*map(len, sampled)],
        "correct": [done and bool(world.correct(text, problem["answer"]))
                    for done, text in zip(ended, texts, strict=True)],
        "truncated": [not done for done in ended], "tokens": [names(ids) for ids in sampled],
        "classes": [[CLASSES[classes[i]] for i in ids] for ids in sampled],
    })  # fmt: skip
    return rows.assign(shown=rows.index == middle(rows["length"]))


def middle(lengths: pd.Series) -> int:
    """A row of median length."""
    return lengths.sort_values(kind="stable").index[len(lengths) // 2]
