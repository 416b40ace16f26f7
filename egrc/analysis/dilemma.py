"""Is one joint objective stuck where two stages are not?  Two frontiers of accuracy and length.  Pure.

Claim 3 [abstract] calls training on both objectives at once a local dilemma.  One setting of a joint objective cannot
show it: it might just be the wrong setting.  So both ways are swept over the same shaping r, at equal rollouts:

    joint    both objectives in one group-relative reward (the arm `joint`)
    staged   compress, then explore, with the entropy gate between them (the arm `egrc`)

A way's frontier is the line through its settings that no other of its settings beats in both length and accuracy,
ordered by length, straight in between.  The readings, fixed before the runs [ours]:

    3a  accuracy of the staged frontier minus the joint one, mean over the lengths that both have, > 0   (primary)
    3b  tokens of the joint frontier minus the staged one, mean over the accuracies that both have, > 0

All is at the temperature that suits the base best.  Intervals are over problems, all settings resampled together,
seeds averaged first; each resample has frontiers of its own.  One whose frontiers share no length (accuracy) has no
number, and counts as the worst for the lower end of the interval and as the best for the upper one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.evaluation.intervals import LEVEL, estimate, resample
from egrc.experiments import records, scales
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once
from egrc.paths import DATA

STUDY = "dilemma"
WAYS = {"joint": "joint", "staged": "egrc"}
"""A way's name to the arm whose settings are swept."""
N_BOOT = 2000
READINGS = ("3a", "3b")


class DilemmaError(ValueError):
    """The rows cannot be compared; the message says which and why."""


class Frontier(NamedTuple):
    """Settings that no other beats, ordered by length: each [settings], both increasing."""

    tokens: np.ndarray
    accuracy: np.ndarray


# --- the rows -------------------------------------------------------------------------------------


def load(scale: str, data: Path | None = None) -> pd.DataFrame:
    """Evaluation rows of the study at the base's best temperature: see `rows`.

    Raises RecordError where the scale has no such study, or a run of it is missing; DilemmaError as `rows` does.
    """
    if STUDY not in scales.SCALES[scale].studies:
        raise RecordError(f"scale {scale!r} has no study {STUDY!r}: nothing is swept there")
    return rows(records.load_study(scale, STUDY, data), tables.compared_at(scale, data or DATA))


def rows(runs: Sequence[Record], temperature: float) -> pd.DataFrame:
    """Columns arm, seed, r, benchmark, id, correct, tokens.

    Raises DilemmaError if the runs did not all use the same number of rollouts, or one lacks the temperature.
    """
    frames, budgets = [], {}
    for run in runs:
        c = run.config
        budgets.setdefault(c.steps * c.prompts_per_step * c.group_size, run.name)
        answers = run.evaluation[np.isclose(run.evaluation["temperature"], temperature)]
        if answers.empty:
            raise DilemmaError(f"{run.name} was not evaluated at temperature {temperature:g}")
        facts = {"arm": run.arm, "seed": run.seed, "r": getattr(c.recipe.phases[0], "r", 1.0)}
        frames.append(answers[["benchmark", "id", "correct", "tokens"]].assign(**facts))
    if len(budgets) != 1:
        raise DilemmaError(f"not at equal rollouts: {', '.join(f'{name} used {n}' for n, name in budgets.items())}")
    return pd.concat(frames, ignore_index=True)


def way(arm: str) -> str:
    """Which sweep an arm or variant belongs to: 'joint', 'staged' or 'control'."""
    return next((name for name, base in WAYS.items() if arm == base or arm.startswith(f"{base}-r0.")), "control")


# --- frontiers ------------------------------------------------------------------------------------


def frontier(tokens: np.ndarray, accuracy: np.ndarray) -> Frontier:
    """The settings [settings] that no other beats: none is at least as short and more accurate, or shorter and as
    accurate."""
    order = np.lexsort((-np.asarray(accuracy), tokens))
    t, a = np.asarray(tokens, float)[order], np.asarray(accuracy, float)[order]
    ahead = np.r_[-np.inf, np.maximum.accumulate(a)[:-1]]
    return Frontier(t[a > ahead], a[a > ahead])


def shared(x: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Lowest and highest x that both lines have; the first is above the second where there is none."""
    return max(x[0], other[0]), min(x[-1], other[-1])


def gap(x: np.ndarray, y: np.ndarray, x_other: np.ndarray, y_other: np.ndarray) -> float:
    """Mean over the shared range of x of the line y(x) minus the other line; NaN where no x is shared.

    Both x are increasing.  A range of one point counts as that point.
    """
    low, high = shared(x, x_other)
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
    """Percentile interval of [n_boot]; a NaN may be anything."""
    tail, last = (1 - LEVEL) / 2, len(drawn) - 1
    worst, best = (np.sort(np.where(np.isnan(drawn), filler, drawn)) for filler in (-np.inf, np.inf))
    return float(worst[int(np.floor(tail * last))]), float(best[int(np.ceil((1 - tail) * last))])


# --- means, points, readings ----------------------------------------------------------------------


class Means(NamedTuple):
    """Plain means over benchmarks, first as observed, then resampled: each [1 + n_boot, arms]."""

    arms: list[str]
    tokens: np.ndarray
    accuracy: np.ndarray
    problems: int = 0


def means(table: pd.DataFrame, n_boot: int = N_BOOT) -> Means:
    """All arms of rows with columns arm, benchmark, id, correct, tokens, of one temperature, resampled together.

    Raises DilemmaError if they were not asked the same problems.
    """
    each = table.groupby(["benchmark", "id", "arm"])[["tokens", "correct"]].mean().astype(float).unstack("arm")
    if each.isna().any(axis=None):
        lonely = each.index[each.isna().any(axis=1)][0]
        raise DilemmaError(f"not every arm was asked {lonely}: compare runs of one evaluation")
    arms = list(each["tokens"].columns)
    both = resample(each.to_numpy(), list(each.index.get_level_values("benchmark")), n_boot)
    drawn = np.vstack([m.mean(-2).reshape(-1, each.shape[1]) for m in both])  # over benchmarks
    return Means(arms, drawn[:, : len(arms)], drawn[:, len(arms) :], len(each))


def settings(table: pd.DataFrame, n_boot: int = N_BOOT) -> tuple[Means, list[list[Frontier]]]:
    """`means` of the study's settings, and of each draw (the first: as observed) the frontiers of `WAYS`.

    Raises DilemmaError if a setting was not asked on the same seeds, or a way has none.
    """
    if table.groupby(["benchmark", "id", "seed"])["arm"].nunique().nunique() != 1:
        raise DilemmaError("the settings were not asked the same problems on the same seeds: evaluate them alike")
    found = means(table, n_boot)
    of_way = {name: [i for i, arm in enumerate(found.arms) if way(arm) == name] for name in WAYS}
    if lacking := " and ".join(name for name, swept in of_way.items() if not swept):
        raise DilemmaError(f"no settings of {lacking}: train them with `python -m egrc sweep --study {STUDY}`")
    draws = zip(found.tokens, found.accuracy, strict=True)
    return found, [[frontier(t[swept], a[swept]) for swept in of_way.values()] for t, a in draws]


def points(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """One line per setting, in the order of the rows: arm, way, r, tokens and accuracy (means over benchmarks) with
    _low and _high, and `frontier`: is it on its way's frontier?  (Of a control: False.)"""
    found, draws = settings(table, n_boot)
    kept = {name: f.tokens for name, f in zip(WAYS, draws[0], strict=True)}
    lines = []
    for arm, r in table.groupby("arm", sort=False)["r"].first().items():
        i, line = found.arms.index(arm), {"arm": arm, "way": way(arm), "r": r}
        for name, values in (("tokens", found.tokens[:, i]), ("accuracy", found.accuracy[:, i])):
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate(values[0], values[1:]), strict=True))
        lines.append(line | {"frontier": line["tokens"] in kept.get(line["way"], ())})
    return pd.DataFrame(lines)


@once
def readings(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """One line for each of `READINGS`, from rows with columns arm, seed, benchmark, id, correct and tokens.

    Columns reading, estimate, low, high, from, to (what both frontiers have: tokens in 3a, accuracy in 3b), apart
    (share of resamples in which they have nothing in common), problems, seeds, reason ('' or why there is no number).
    """
    found, draws = settings(table, n_boot)
    drawn = np.array([gaps(*pair) for pair in draws])
    lines = []
    for i, name in enumerate(READINGS):
        joint, staged = (f[i] for f in draws[0])
        start, end = shared(joint, staged)
        low, high = bounds(drawn[1:, i])
        line = {"reading": name, "estimate": drawn[0, i], "low": low, "high": high, "from": start, "to": end}
        line |= {"apart": np.isnan(drawn[1:, i]).mean(), "problems": found.problems, "seeds": table["seed"].nunique()}
        side = "below" if staged[-1] < joint[0] else "above"
        reason = f"the frontiers share no {('length', 'accuracy')[i]}: the staged one lies wholly {side} the joint one"
        lines.append(line | {"reason": reason if start > end else ""})
    return pd.DataFrame(lines)


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """The readings of each seed's frontiers alone, without intervals: columns seed, reading, estimate, reason."""
    alone = [readings(rows, n_boot=1).assign(seed=seed) for seed, rows in table.groupby("seed")]
    return pd.concat(alone, ignore_index=True)[["seed", "reading", "estimate", "reason"]]
