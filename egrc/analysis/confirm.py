"""Is what was chosen still true on problems drawn afterwards?  The deciding arms, asked what no choice has seen.

The first test problems of each benchmark have been looked at with every run, so they cannot confirm a choice.  Here
come the next `PROBLEMS` of the same stream, asked at the base's best temperature, of every seed of the deciding arms
(`Scale.deciding`) and of the base.  `egrc-plus` was chosen on training problems before; arms that joined later are
asked the same, and nothing may be chosen by the answers: another choice needs problems after these.

What has to hold was fixed before any of it was asked [ours], for an arm against the base:

    removed    at least `search.PLUS_REMOVED` of the removable length is gone
    accuracy   the interval's lower end of the mean difference lies above -`NOT_BELOW`
    worst      no benchmark loses more than -`search.WORST`, by its estimate
    front      no other arm of those asked removes at least as much at an accuracy at least as high (estimates)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis import parts as of
from egrc.analysis import tables
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.checks import ConfigError
from egrc.evaluation.evaluate import evaluate
from egrc.evaluation.intervals import N_BOOT
from egrc.experiments import measure as measurements
from egrc.experiments import records, run, scales

SCALES = ("pocket",)
COLUMNS = ("arm", "seed", "benchmark", "id", "correct", "tokens", "truncated")
PROBLEMS = 400
"""A benchmark; planned before the runs (`data/power`)."""
NOT_BELOW = 0.02
"""How far below the base the lower end of accuracy's interval may lie."""


# --- asking: a measurement (`experiments.measure`) ----------------------------------------------------------------


def parts(scale: str) -> list[str]:
    """The base and the deciding arms, each at every seed that a study trains, if it has been trained."""
    s, asked = scales.SCALES[scale], tables.wanted(scale)
    runs = [(arm, seed) for arm in ("base", *s.deciding) for seed in asked[arm]]
    return [f"{arm}/seed-{seed}" for arm, seed in runs if paths.run_folder(paths.DATA, scale, arm, seed).exists()]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters and the base model, and which problems are asked."""
    asked = scales.config(scale, "base").eval_problems
    return of.inputs(scale, parts(scale)) | {"problems": f"{PROBLEMS} after {asked}"}


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One policy's answers.  Raises RecordError without its weights."""
    arm, seed = of.split(part)
    world, record = scales.world(scale), records.load(scale, arm, seed)
    if arm != "base" and not record.has_weights:
        raise records.RecordError(f"{record.name} holds no weights: train it again")
    model, tokenizer = run.policy(record.config, world, record.path / "adapter")
    at = (tables.compared_at(scale),)
    rows = evaluate(model, tokenizer, unseen(scale), world.correct, at, 1, record.config.cap, seed, say)
    return rows.assign(arm=arm, seed=seed)[list(COLUMNS)]


def unseen(scale: str) -> dict[str, Any]:
    """`PROBLEMS` test problems of each benchmark that come after those of the records.

    Raises ConfigError where a benchmark has not so many.
    """
    asked = scales.config(scale, "base").eval_problems
    drawn = scales.world(scale).benchmarks(asked + PROBLEMS)
    if few := [b for b, problems in drawn.items() if len(problems) < asked + PROBLEMS]:
        raise ConfigError(f"{', '.join(few)}: fewer than {PROBLEMS} problems are left")
    return {b: problems.select(range(asked, len(problems))) for b, problems in drawn.items()}


# --- judging ------------------------------------------------------------------------------------------------------


def judged(scale: str) -> pd.DataFrame:
    """`compared` of a scale's answers.  Raises RecordError where they were not made."""
    rows = measurements.load("confirm", scale)
    return compared(rows, tables.floors(scale, rows["benchmark"].unique()))


def compared(rows: pd.DataFrame, floor: Mapping[str, float]) -> pd.DataFrame:
    """`tables.compare` of every arm with the base: gain, share and removed."""
    return tables.compare(rows.assign(temperature=0.0), floor, None, ("gain", "share", "removed"), N_BOOT)


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Of `compared`, one line for each arm and predicate (header): arm, predicate, estimate, low, high, bound, holds,
    note.  What has no bound is told, too: the share of the base's tokens that is left, and the number of seeds."""
    means, nan = table[table["benchmark"] == "mean"].set_index("arm").drop("base"), float("nan")
    lines = []
    for arm, x in means.iterrows():
        as_good = (means["removed"] >= x["removed"]) & (means["gain"] >= x["gain"])
        above = [name for name in means.index[as_good] if name != arm]
        own = table[(table["arm"] == arm) & (table["benchmark"] != "mean")].set_index("benchmark")["gain"]
        removed, gain = (x[[name, f"{name}_low", f"{name}_high"]] for name in ("removed", "gain"))
        lines += [
            (arm, "removed", *removed, PLUS_REMOVED, x["removed"] >= PLUS_REMOVED, ""),
            (arm, "accuracy", *gain, -NOT_BELOW, x["gain_low"] > -NOT_BELOW, ""),
            (arm, "worst", own.min(), nan, nan, WORST, own.min() >= WORST, own.idxmin()),
            (arm, "front", len(above), nan, nan, 0, not above, ", ".join(above)),
            (arm, "left of base", x["share"], nan, nan, nan, None, "mean over benchmarks; no bound"),
            (arm, "seeds", x["seeds"], nan, nan, nan, None, "no bound"),
        ]
    return pd.DataFrame(lines, columns=["arm", "predicate", "estimate", "low", "high", "bound", "holds", "note"])
