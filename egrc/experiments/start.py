"""The pocket world's policies: a base model from scratch, and the start of every arm, which accuracy training gives.

`python -m egrc train --base` makes both for the seeds asked; what is there already stays.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import publish_folder, write_json
from egrc.checks import require
from egrc.evaluation.evaluate import summarise
from egrc.experiments import records, run, scales
from egrc.experiments.run import OnProgress
from egrc.worlds.pocket import BASES, Pocket, criteria
from egrc.worlds.pocket.base import train_base
from egrc.worlds.pocket.language import WORLD_VERSION

SEED = 200
"""Plus the base model's number: of the accuracy training, which no run shares."""
UNCUT, WINDOW = 0.05, 5
"""Steps in which fewer completions than this share are cut show what a policy can; mean of this many."""


def make(scale: str, number: int, fresh: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Base model and start policy of this number, as `data/<scale>/base-<n>` and `start-<n>`; returns the latter.

    Raises ConfigError for a number that no run asks for.
    """
    require(0 <= number < BASES, f"no base model {number}: a run's seed chooses among 0 to {BASES - 1}")
    raw = raw_world(scale, number)
    work = paths.BUILD / "work" / scale / f"start-{number}"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    base, target = (paths.DATA / scale / f"{kind}-{number}" for kind in ("base", "start"))
    if fresh or not base.is_dir():
        publish_folder(train_base(raw.clock, work / "base", seed=number), base)
    if fresh or not target.is_dir():
        config = scales.config(scale, "accuracy", SEED + number, **scales.SCALES[scale].start)
        if not (work / "adapter").is_dir():
            run.train(config, raw, work, on_progress)
        model, tokenizer = raw.policy()
        model = run.adapted(model, work / "adapter").half()
        model.save_pretrained(work / "start")
        tokenizer.save_pretrained(work / "start")
        shutil.copy(work / "steps.csv", work / "start")
        publish_folder(work / "start", target)
        shutil.rmtree(work)
    return target


def measure(scale: str) -> dict[str, Any]:
    """The criteria of a synthetic world, kept as `data/<scale>/world.json`.

    Raises RecordError where the compression arm, which two criteria need, was not run yet.
    """
    bases = []
    for number in range(BASES):
        measured = criteria.measure(raw_world(scale, number))
        trained = of_training(scale, number, pd.DataFrame(measured["rows"]), measured["best_temperature"])
        bases.append(measured | {"criteria": [*measured["criteria"], *trained]})
    searched = pd.concat(pd.DataFrame(base["rows"]).query("split == 'search'") for base in bases)
    means = searched[searched["benchmark"] == "mean"].groupby("temperature")["accuracy"].mean()
    made = {"version": WORLD_VERSION, "hash": criteria.world_hash(), "modulus": Pocket.modulus}
    made |= {"base_best_temperature": float(means.idxmax()), "bases": bases}
    write_json(paths.DATA / scale / "world.json", made)
    return made


def of_training(scale: str, number: int, rows: pd.DataFrame, best: float) -> list[dict[str, Any]]:
    """The criteria that need training: the start's plateau, what compression costs at first and what it can reach."""
    start = pd.read_csv(paths.DATA / scale / f"start-{number}" / "steps.csv")["accuracy"]
    fifth = len(start) // 5
    gain = start[-fifth:].mean() - start[-2 * fifth : -fifth].mean()
    record = records.load(scale, "compression", number)
    whole = record.steps[record.steps["truncated"] < UNCUT]["accuracy"].rolling(WINDOW).mean().min()
    tested = rows[(rows["split"] == "test") & ~rows["compact"].astype(bool)].set_index(["policy", "benchmark"])
    before = tested[tested["temperature"] == 1.0].loc[("start", "mean"), "accuracy"]
    after = summarise(record.evaluation).query("temperature == @best").set_index("benchmark")["accuracy"]
    of_base = tested[tested["temperature"] == best].loc["base"]["accuracy"]
    worst = (after - of_base).drop("mean").min()
    return [
        {"name": name, "value": x, "bound": f"{side} {bound}", "met": bool(x <= bound if side == "<=" else x >= bound)}
        for name, x, side, bound in (
            ("gain over the last fifth of accuracy training", gain, "<=", criteria.PLATEAU),
            ("accuracy that compression loses at first, T=1", before - whole, ">=", criteria.DEARER),
            ("compact mode once trained, over the base, worst benchmark", worst, ">=", 0),
        )
    ]


def raw_world(scale: str, number: int) -> Pocket:
    """The world of a scale on one of its base models, before accuracy training."""
    world = scales.world(scale, seed=number)
    world.raw = True
    return world
