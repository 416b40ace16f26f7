"""The length that each problem keeps: by difficulty, and over all, correct, and both-correct answers.  Pure.  [ours]

`difficulty` of a problem is the base's own pass rate on it, from sampled answers at OTHER temperatures than the one at
which lengths are compared.  Estimated from the same answers it would regress to the mean: a problem that looks hard
because the base was unlucky there, and wandered, would seem to be shortened by any second look.

`cases` compares tokens with the base's over three sets of answers.  All; the correct ones, whose mix of problems
changes with what an arm solves; and problems that both solve, each side's correct answers averaged by problem, each
problem counted once: the same mix on both sides.  Intervals (95%) resample paired problems, given the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from egrc.evaluation.intervals import estimate, resample

N_BOOT = 2000
GREEDY = 0.0
CASES = ("all", "correct", "both correct")
KEY = ["benchmark", "id"]


def difficulty(base: pd.DataFrame, at: float) -> pd.Series:
    """The base's pass rate on each problem, by (benchmark, id), from sampled answers at temperatures other than `at`.

    Raises ValueError if there are none.
    """
    other = base[~np.isclose(base["temperature"], at) & (base["temperature"] != GREEDY)]
    if other.empty:
        raise ValueError(f"the base was sampled at temperature {at:g} only: nothing to estimate difficulty from")
    return other.groupby(KEY)["correct"].mean().rename("pass_rate").round(6)


def by_difficulty(
    rows: pd.DataFrame, rates: pd.Series, floors: Mapping[str, float], n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Every arm at every level of difficulty, the base among them.

    `rows` have columns arm, seed, benchmark, id, correct, tokens, of one temperature; the few distinct values of
    `rates` (see `difficulty`) are the levels; `floors` are compact floors in tokens by benchmark.
    Columns arm, pass_rate, problems, floor (mean of these problems' benchmarks), and with _low and _high: tokens and
    change (accuracy minus the base's).  Raises ValueError if an arm was asked other problems than the base.
    """
    base, lines = _by_problem(rows, "base"), []
    level = rates.reindex(base.index)
    floor = pd.Series(base.index.get_level_values("benchmark").map(floors), index=base.index).groupby(level).mean()
    size = level.groupby(level).size()
    for arm in rows["arm"].unique():
        own = _by_problem(rows, arm, base)
        values = np.column_stack([own["tokens"], own["correct"] - base["correct"]])
        observed, drawn = resample(values, level.to_numpy(), n_boot)
        for i, rate in enumerate(size.index):
            ends = [x for j in (0, 1) for x in estimate(observed[i, j], drawn[:, i, j])]
            lines.append((arm, rate, int(size[rate]), floor[rate], *ends))
    columns = [name + part for name in ("tokens", "change") for part in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["arm", "pass_rate", "problems", "floor", *columns])


def seeds_by_difficulty(rows: pd.DataFrame, rates: pd.Series) -> pd.DataFrame:
    """The same of each seed alone, against the base's mean: arm, seed, pass_rate, tokens, change."""
    level = rates.reindex(pd.MultiIndex.from_frame(rows[KEY])).to_numpy()
    found = rows.assign(pass_rate=level, change=rows["correct"].astype(float))
    base = found[found["arm"] == "base"].groupby("pass_rate")["change"].mean()
    each = found.groupby(["arm", "seed", "pass_rate"], sort=False)[["tokens", "change"]].mean().reset_index()
    return each.assign(change=each["change"] - each["pass_rate"].map(base))


def cases(rows: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Tokens of every trained arm and of the base over the three `CASES`, benchmark by benchmark, then the plain mean.

    Columns arm, cases, problems (that have such an answer, on both sides), tokens, base (the base's over its cases) and
    share (tokens / base's, the mean of each benchmark's) with share_low and share_high.  NaN where a benchmark, or a
    resample of it, has no such answer.
    """
    base, lines = _by_problem(rows, "base"), []
    names, ones = list(base.index.get_level_values("benchmark")), np.ones(len(base))
    for arm in (a for a in rows["arm"].unique() if a != "base"):
        sides = _by_problem(rows, arm, base), base
        both = np.logical_and(*(side["correct"] > 0 for side in sides)).to_numpy(float)
        sums = {  # each side's summed tokens, and their weight
            "all": [(s["tokens"], ones) for s in sides],
            "correct": [(s["tokens_correct"], s["correct"]) for s in sides],
            "both correct": [(both * s["tokens_correct"] / s["correct"].where(both > 0, 1), both) for s in sides],
        }
        for name in CASES:
            values = np.column_stack([column for side in sums[name] for column in side])
            n = int(((values[:, 1] > 0) & (values[:, 3] > 0)).sum())
            means = resample(values, names, n_boot)
            weighted = (np.where(m[..., 1::2] > 0, m[..., ::2] / m[..., 1::2].clip(1e-12), np.nan) for m in means)
            observed, drawn = (np.moveaxis(m, -1, 0) for m in weighted)
            share = estimate(*((mine / other).mean(-1) for mine, other in (observed, drawn)))
            lines.append((arm, name, n, observed[0].mean(), observed[1].mean(), *share))
    columns = ["arm", "cases", "problems", "tokens", "base", "share", "share_low", "share_high"]
    return pd.DataFrame(lines, columns=columns)


def _by_problem(rows: pd.DataFrame, arm: str, base: pd.DataFrame | None = None) -> pd.DataFrame:
    """Index (benchmark, id): mean tokens and correctness of an arm's answers, and tokens of wrong ones left out.

    Raises ValueError if the `base` was asked other problems.
    """
    own = rows.loc[rows["arm"] == arm, [*KEY, "tokens", "correct"]]
    own = own.assign(correct=own["correct"].astype(float), tokens_correct=own["tokens"] * own["correct"])
    means = own.groupby(KEY).mean().sort_index()
    if base is not None and not means.index.equals(base.index):
        lonely = means.index.symmetric_difference(base.index)[0]
        raise ValueError(f"{arm} and the base were asked different problems, e.g. {lonely}; pair runs asked alike")
    return means
