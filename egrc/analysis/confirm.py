"""Is what was chosen still true on problems drawn afterwards?  The deciding arms, asked what no choice has seen.

The first test problems of each benchmark have been looked at with every run.  Here come the next `PROBLEMS` of the same
stream, asked at the base's best temperature, of every seed of the deciding arms (`Scale.deciding`) and of the base.
Nothing may be chosen by the answers.  What has to hold was fixed before [ours]: the bounds of `analysis.bounds`, and
that no other arm of those asked stands above.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis import measure as measurements
from egrc.analysis import parts as of
from egrc.analysis import tables
from egrc.evaluation.evaluate import evaluate
from egrc.evaluation.intervals import N_BOOT
from egrc.experiments import records, run, scales

COLUMNS = ("arm", "seed", "benchmark", "id", "correct", "tokens", "truncated")
PROBLEMS = 400
"""A benchmark; planned before the runs (`data/power`)."""


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
    record, world, at = records.load(scale, arm, seed), scales.world(scale, seed=seed), (tables.compared_at(scale),)
    model, tokenizer = run.recorded(record)
    rows = evaluate(model, tokenizer, unseen(scale), world.correct, at, 1, record.config.cap, seed, say)
    return rows.assign(arm=arm, seed=seed)[list(COLUMNS)]


def unseen(scale: str) -> dict[str, Any]:
    """`PROBLEMS` test problems of each benchmark that come after those of the records; the pocket world never ends."""
    asked = scales.config(scale, "base").eval_problems
    drawn = scales.world(scale).benchmarks(asked + PROBLEMS)
    return {b: problems.select(range(asked, len(problems))) for b, problems in drawn.items()}


def compared(scale: str) -> pd.DataFrame:
    """`tables.compare` of a scale's answers, for `bounds.bounds` to judge.  Raises RecordError if there are none."""
    rows, at = measurements.load("confirm", scale), tables.compared_at(scale)
    floor, columns = tables.floors(scale, rows["benchmark"].unique()), ("accuracy", "gain_best", "share", "removed")
    return tables.compare(rows.assign(temperature=at), floor, at, columns, N_BOOT)
