"""The length that each problem keeps: by difficulty, and over all, correct, and both-correct answers.  Pure.

`difficulty` of a problem is the base's own pass rate on it, from sampled answers at OTHER temperatures than the one at
which lengths are compared.  Estimated from the same answers it would regress to the mean: a problem that looks hard
because the base was unlucky there, and wandered, would seem to be shortened by any second look.  What is left of that
is noise, which makes the levels more alike than they are.

`cases` compares tokens with the base's over three sets of answers.  All; the correct ones, whose mix of problems
changes with what an arm solves; and problems that both solve, each side's correct answers averaged by problem, each
problem counted once: the same mix on both sides.

Everything is paired by problem; intervals (95%) resample problems, given the seeds. [ours]
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from egrc.evaluation.intervals import estimate, resample
from egrc.experiments.shared import once

N_BOOT = 2000
GREEDY = 0.0
CASES = ("all", "correct", "both correct")
PARTS = ("", "_low", "_high")
KEY = ["benchmark", "id"]


def difficulty(base: pd.DataFrame, at: float) -> pd.Series:
    """The base's pass rate on each problem, by (benchmark, id), from sampled answers at temperatures other than `at`.

    Raises ValueError if there are none.
    """
    other = base[~np.isclose(base["temperature"], at) & (base["temperature"] != GREEDY)]
    if other.empty:
        raise ValueError(f"the base was sampled at temperature {at:g} only: nothing to estimate difficulty from")
    return other.groupby(KEY)["correct"].mean().rename("pass_rate").round(6)


@once
def by_difficulty(
    rows: pd.DataFrame, rates: pd.Series, floors: Mapping[str, float], n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Every arm at every level of difficulty, the base among them.

    Parameters
    ----------
    rows : columns arm, seed, benchmark, id, correct, tokens, of one temperature.
    rates : see `difficulty`; its few distinct values are the levels.
    floors : compact floor in tokens by benchmark.

    Returns
    -------
    Columns arm, pass_rate, problems, floor (mean of these problems' benchmarks), and with _low and _high: tokens and
    change (accuracy minus the base's).  Problems are resampled within a level.
    Raises ValueError if an arm was asked other problems than the base.
    """
    base, lines = _by_problem(rows, "base"), []
    level = rates.reindex(base.index)
    floor = pd.Series(base.index.get_level_values("benchmark").map(floors), index=base.index).groupby(level).mean()
    size = level.groupby(level).size()
    for arm in rows["arm"].unique():
        own = _by_problem(rows, arm)
        _same(own, base, arm)
        values = np.column_stack([own["tokens"], own["correct"] - base["correct"]])
        both = resample(values, level.to_numpy(), n_boot)
        for i, rate in enumerate(size.index):
            line = {"arm": arm, "pass_rate": rate, "problems": int(size[rate]), "floor": floor[rate]}
            for j, name in enumerate(("tokens", "change")):
                line |= _named(name, estimate(both[0][i, j], both[1][:, i, j]))
            lines.append(line)
    return pd.DataFrame(lines)


def seeds_by_difficulty(rows: pd.DataFrame, rates: pd.Series) -> pd.DataFrame:
    """The same of each seed alone, against the base's mean: arm, seed, pass_rate, tokens, change."""
    level = rates.reindex(pd.MultiIndex.from_frame(rows[KEY])).to_numpy()
    found = rows.assign(pass_rate=level, correct=rows["correct"].astype(float))
    base = found[found["arm"] == "base"].groupby("pass_rate")["correct"].mean()
    each = found.groupby(["arm", "seed", "pass_rate"], sort=False)[["tokens", "correct"]].mean().reset_index()
    each["change"] = each["correct"] - each["pass_rate"].map(base)
    return each.drop(columns="correct")


def cases(rows: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Tokens of every trained arm and of the base over the three `CASES`, benchmark by benchmark, then the plain mean.

    Columns arm, cases, problems (that have such an answer, on both sides), tokens, base (the base's over its cases) and
    share (tokens / base's, the mean of each benchmark's) with share_low and share_high.  NaN where a benchmark, or a
    resample of it, has no such answer.
    """
    base, lines = _by_problem(rows, "base"), []
    names = list(base.index.get_level_values("benchmark"))
    for arm in (a for a in rows["arm"].unique() if a != "base"):
        own = _by_problem(rows, arm)
        _same(own, base, arm)
        for name, columns in _columns(own, base).items():
            observed, drawn = (_ratios(m) for m in resample(columns, names, n_boot))
            line = {"arm": arm, "cases": name, "problems": int(((columns[:, 1] > 0) & (columns[:, 3] > 0)).sum())}
            line |= {"tokens": observed[0].mean(), "base": observed[1].mean()}
            shares = [(side[0] / side[1]).mean(-1) for side in (observed, drawn)]
            lines.append(line | _named("share", estimate(*shares)))
    return pd.DataFrame(lines, columns=["arm", "cases", "problems", "tokens", "base", *(f"share{p}" for p in PARTS)])


@once
def cases_by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of each seed alone (against the base's mean), without intervals: arm, seed, cases, share."""
    base = rows[rows["arm"] == "base"]
    runs = rows[rows["arm"] != "base"].groupby(["arm", "seed"], sort=False)
    alone = [cases(pd.concat([base, own]), n_boot=1).assign(seed=seed) for (_, seed), own in runs]
    return pd.concat(alone, ignore_index=True)[["arm", "seed", "cases", "share"]]


def _by_problem(rows: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Index (benchmark, id): mean tokens and correctness of an arm's answers, and tokens of wrong ones left out."""
    own = rows.loc[rows["arm"] == arm, [*KEY, "tokens", "correct"]]
    own = own.assign(correct=own["correct"].astype(float), tokens_correct=own["tokens"] * own["correct"])
    return own.groupby(KEY).mean().sort_index()


def _same(own: pd.DataFrame, base: pd.DataFrame, arm: str) -> None:
    if not own.index.equals(base.index):
        lonely = own.index.symmetric_difference(base.index)[0]
        raise ValueError(f"{arm} and the base were asked different problems, e.g. {lonely}; pair runs asked alike")


def _columns(own: pd.DataFrame, base: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each of `CASES` [problems, 4]: summed tokens and weight of the arm, and of the base."""
    ones = np.ones(len(own))
    both = ((own["correct"] > 0) & (base["correct"] > 0)).to_numpy(float)
    each = [np.where(both > 0, s["tokens_correct"] / s["correct"].where(s["correct"] > 0, 1), 0) for s in (own, base)]
    found = (
        (own["tokens"], ones, base["tokens"], ones),
        (own["tokens_correct"], own["correct"], base["tokens_correct"], base["correct"]),
        (each[0], both, each[1], both),
    )
    return {name: np.column_stack(columns) for name, columns in zip(CASES, found, strict=True)}


def _ratios(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens an answer of both sides [..., benchmarks], of means [..., benchmarks, 4]; NaN where there is no answer."""
    weights = [np.where(means[..., k] > 0, means[..., k], np.nan) for k in (1, 3)]
    return means[..., 0] / weights[0], means[..., 2] / weights[1]


def _named(name: str, values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip((name + part for part in PARTS), values, strict=True))
