"""Is one joint objective stuck where two stages are not (claim 3)?  Two frontiers of accuracy and length.  Pure.

Both ways are swept over the same shaping r, at equal rollouts.  A way's frontier is the line through its settings that
none of its others beats in both length and accuracy.  The readings, fixed before the runs [ours]:

    3a  accuracy of the staged frontier minus the joint one, mean over the lengths that both have, > 0   (primary)
    3b  tokens of the joint frontier minus the staged one, mean over the accuracies that both have, > 0

Intervals are over problems, seeds averaged first; each resample has frontiers of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.analysis.tables import N_BOOT
from egrc.evaluation.intervals import LEVEL, estimate
from egrc.experiments import records, scales
from egrc.experiments.records import RecordError
from egrc.experiments.shared import once
from egrc.paths import DATA

STUDY = "dilemma"
WAYS = {"joint": "joint", "staged": "egrc"}
"""A way's name to the arm whose settings are swept."""
READINGS = ("3a", "3b")
SIDES = (("shorter", "longer"), ("less accurate", "more accurate"))
"""By reading: what the staged frontier is where the two have nothing in common."""

Frontier = tuple[np.ndarray, np.ndarray]
"""Tokens and accuracy, each [settings], both increasing."""


def load(scale: str, data: Path | None = None) -> pd.DataFrame:
    """`tables.rows_at` of the study at the base's best temperature, with a column r.

    Raises RecordError where the scale has no such study, or a run of it is missing or lacks the temperature.
    """
    if STUDY not in scales.SCALES[scale].studies:
        raise RecordError(f"scale {scale!r} has no study {STUDY!r}: nothing is swept there")
    runs = records.load_study(scale, STUDY, data)
    both = set.intersection(*({run.seed for run in runs if run.arm == arm} for arm in {run.arm for run in runs}))
    # a staged setting whose gate fired on no seed is compression alone
    fired = {run.arm for run in runs if run.arm != "base" and run.steps["phase"].nunique() > 1}
    kept = [run for run in runs if way(run.arm) != "staged" or run.arm in fired]
    runs = [run for run in kept if run.seed in both]  # the main arms have more seeds
    rows = tables.rows_at(runs, tables.compared_at(scale, data or DATA))
    return rows.assign(r=rows["arm"].map({run.arm: getattr(run.config.recipe.phases[0], "r", 1.0) for run in runs}))


def way(arm: str) -> str:
    """Which sweep an arm or variant belongs to: 'joint', 'staged' or 'control'."""
    return next((name for name, base in WAYS.items() if arm == base or arm.startswith(f"{base}-r0.")), "control")


def frontier(tokens: np.ndarray, accuracy: np.ndarray) -> Frontier:
    """The settings [settings] that no other beats: none is at least as short and more accurate, or shorter and as
    accurate."""
    order = np.lexsort((-np.asarray(accuracy), tokens))
    t, a = np.asarray(tokens, float)[order], np.asarray(accuracy, float)[order]
    ahead = np.r_[-np.inf, np.maximum.accumulate(a)[:-1]]
    return t[a > ahead], a[a > ahead]


def gap(x: np.ndarray, y: np.ndarray, x_other: np.ndarray, y_other: np.ndarray) -> float:
    """Mean over the shared range of x of the line y(x) minus the other line; NaN where no x is shared.

    Both x are increasing.  A range of one point counts as that point.
    """
    low, high = max(x[0], x_other[0]), min(x[-1], x_other[-1])
    if low > high:
        return np.nan
    knots = np.unique(np.r_[low, high, x, x_other])
    knots = knots[(low <= knots) & (knots <= high)]
    difference = np.interp(knots, x, y) - np.interp(knots, x_other, y_other)
    return float(np.trapezoid(difference, knots) / (high - low) if high > low else difference[0])


def gaps(joint: Frontier, staged: Frontier) -> tuple[float, float]:
    """The two readings: staged minus joint accuracy at equal length, joint minus staged tokens at equal accuracy."""
    return gap(*staged, *joint), gap(*joint[::-1], *staged[::-1])


def bounds(drawn: np.ndarray) -> tuple[float, float]:
    """Percentile interval of [n_boot]; a NaN (no length or accuracy is shared) counts as the worst for the lower end,
    and as the best for the upper one."""
    tail, last = (1 - LEVEL) / 2, len(drawn) - 1
    worst, best = (np.sort(np.where(np.isnan(drawn), filler, drawn)) for filler in (-np.inf, np.inf))
    return float(worst[int(np.floor(tail * last))]), float(best[int(np.ceil((1 - tail) * last))])


def _frontiers(table: pd.DataFrame, n_boot: int) -> tuple[list[str], np.ndarray, np.ndarray, list[list[Frontier]]]:
    """Arms; tokens and accuracy, means over benchmarks, each [1 + n_boot, arms]; of each draw the frontiers of `WAYS`.

    Raises ValueError if the settings were asked different problems.
    """
    drawn, names = tables.resampled(table, n_boot), ("tokens", "accuracy")
    tokens, accuracy = (np.stack([getattr(arm, name).mean(-1) for arm in drawn.values()], -1) for name in names)
    swept = [[i for i, arm in enumerate(drawn) if way(arm) == name] for name in WAYS]
    draws = [[frontier(t[own], a[own]) for own in swept] for t, a in zip(tokens, accuracy, strict=True)]
    return list(drawn), tokens, accuracy, draws


def points(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """One line per setting, in the order of the rows: arm, way, r, tokens and accuracy (means over benchmarks) with
    _low and _high, and `frontier`: is it on its way's frontier?  (Of a control: False.)"""
    arms, tokens, accuracy, draws = _frontiers(table, n_boot)
    kept = dict(zip(WAYS, draws[0], strict=True))
    lines = []
    for arm, r in table.groupby("arm", sort=False)["r"].first().items():
        i, line = arms.index(arm), {"arm": arm, "way": way(arm), "r": r}
        for name, values in (("tokens", tokens[:, i]), ("accuracy", accuracy[:, i])):
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate(values[0], values[1:]), strict=True))
        lines.append(line | {"frontier": line["way"] in kept and line["tokens"] in kept[line["way"]][0]})
    return pd.DataFrame(lines)


@once
def readings(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """One line for each of `READINGS`: columns reading, estimate, low, high, from, to (what both frontiers have: tokens
    in 3a, accuracy in 3b), apart (share of resamples in which they have nothing in common), problems, seeds, reason (''
    or why there is no number)."""
    *_, draws = _frontiers(table, n_boot)
    drawn = np.array([gaps(*pair) for pair in draws])
    counts = {"problems": len(table[["benchmark", "id"]].drop_duplicates()), "seeds": table["seed"].nunique()}
    lines = []
    for i, name in enumerate(READINGS):
        joint, staged = (f[i] for f in draws[0])
        start, end = max(joint[0], staged[0]), min(joint[-1], staged[-1])
        low, high = bounds(drawn[1:, i])
        line = {"reading": name, "estimate": drawn[0, i], "low": low, "high": high, "from": start, "to": end}
        side = SIDES[i][int(staged[-1] >= joint[0])]
        reason = f"the frontiers share no {('length', 'accuracy')[i]}: the staged one is {side} throughout"
        apart = {"apart": np.isnan(drawn[1:, i]).mean(), "reason": reason if start > end else ""}
        lines.append(line | apart | counts)
    return pd.DataFrame(lines)


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """The readings of each seed's frontiers alone: columns seed, reading, estimate."""
    alone = [readings(rows, n_boot=1).assign(seed=seed) for seed, rows in table.groupby("seed")]
    return pd.concat(alone, ignore_index=True)[["seed", "reading", "estimate"]]
