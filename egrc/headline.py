"""The headline, as a predicate fixed before the runs.  [ours, after claim 8]

    removed  = (base - arm) / (base - floor)   of mean completion tokens,
    accuracy = arm - base

each benchmark by benchmark, then their mean; both at the sampling temperature that suits the BASE best.  The
headline is supported when ``removed`` is at least `REMOVED` and ``accuracy`` at least 0; it is settled when the
whole interval lies on the estimate's side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

REMOVED = 0.80
"""Share of the removable length that has to go."""
LEVEL = 0.95
"""Of the intervals."""


class HeadlineError(ValueError):
    """The rows cannot answer the question; the message says what is missing."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its bootstrap interval over problems."""

    estimate: float
    low: float
    high: float

    def reaches(self, bound: float) -> bool:
        return self.estimate >= bound

    def settled(self, bound: float) -> bool:
        """Does the whole interval lie on the same side of the bound as the estimate?"""
        return self.low >= bound or self.high < bound


@dataclass(frozen=True)
class Headline:
    """Both quantities with their intervals, and the same two by benchmark and by seed."""

    temperature: float
    removed: Interval
    accuracy: Interval
    by_benchmark: pd.DataFrame
    """Index benchmark; tokens of base, arm and floor, accuracy of base and arm, and the two quantities."""
    by_seed: pd.DataFrame
    """Index seed of the arm: removed, accuracy."""

    @property
    def supported(self) -> bool:
        return self.removed.reaches(REMOVED) and self.accuracy.reaches(0.0)

    @property
    def settled(self) -> bool:
        return self.removed.settled(REMOVED) and self.accuracy.settled(0.0)

    @property
    def verdict(self) -> str:
        """'supported' or 'not supported', and whether the intervals leave room for the other answer."""
        answer = "supported" if self.supported else "not supported"
        return answer if self.settled else f"{answer} (but an interval crosses its bound)"

    def table(self) -> pd.DataFrame:
        """The two quantities as rows: estimate, low, high, bound, reached."""
        rows = {
            "share of removable length removed": vars(self.removed) | _judged(self.removed, REMOVED),
            "accuracy minus base": vars(self.accuracy) | _judged(self.accuracy, 0.0),
        }
        return pd.DataFrame.from_dict(rows, orient="index")


def _judged(interval: Interval, bound: float) -> dict[str, float | bool]:
    return {"bound": bound, "reached": interval.reaches(bound)}


def headline(
    base: pd.DataFrame,
    arm: pd.DataFrame,
    floors: Mapping[str, float],
    temperature: float,
    n_boot: int = 2000,
    seed: int = 0,
) -> Headline:
    """Judge an arm's evaluation rows against the base's.

    ``base`` and ``arm`` have a row a sample: benchmark, id, temperature, tokens, correct, and the run's ``seed``.
    ``floors`` gives each benchmark's compact floor in completion tokens.  Both sides must hold the same
    problems, which are resampled together within a benchmark; seeds are averaged, and shown apart.

    Raises `HeadlineError`: no rows at the temperature, other problems, a benchmark without a floor.
    """
    base, arm = (_at(rows, temperature, side) for rows, side in ((base, "base"), (arm, "arm")))
    problems = _per_problem(base).join(_per_problem(arm), how="outer", suffixes=("_base", "_arm"))
    if problems.isna().any(axis=None):
        raise HeadlineError("base and arm were evaluated on different problems: evaluate both alike")
    lacking = [b for b in problems.index.unique("benchmark") if floors.get(b) is None]
    if lacking:
        raise HeadlineError(f"no compact floor is known for {', '.join(lacking)}: each benchmark needs one")

    rng = np.random.default_rng(seed)
    draws, rows = [], {}
    for benchmark, here in problems.groupby("benchmark"):
        values = here.to_numpy(dtype=float)
        picks = rng.integers(len(values), size=(n_boot, len(values)))
        floor = float(floors[str(benchmark)])
        rows[benchmark] = _row(dict(zip(here.columns, values.mean(axis=0), strict=True)), floor)
        means = values[picks].mean(axis=1)  # [n_boot, 4]
        resampled = _row(dict(zip(here.columns, means.T, strict=True)), floor)
        draws.append(np.stack([resampled["removed"], resampled["accuracy"]]))
    by_benchmark = pd.DataFrame.from_dict(rows, orient="index").rename_axis("benchmark")
    tails = np.quantile(np.mean(draws, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    removed, accuracy = (
        Interval(float(by_benchmark[name].mean()), float(tails[0, i]), float(tails[1, i]))
        for i, name in enumerate(("removed", "accuracy"))
    )
    return Headline(temperature, removed, accuracy, by_benchmark, _by_seed(base, arm, floors))


def _at(rows: pd.DataFrame, temperature: float, side: str) -> pd.DataFrame:
    here = rows[np.isclose(rows["temperature"], temperature)]
    if here.empty:
        found = ", ".join(f"{t:g}" for t in sorted(rows["temperature"].unique()))
        raise HeadlineError(f"the {side} was not evaluated at temperature {temperature:g}, only at {found}")
    return here


def _per_problem(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean tokens and accuracy of each problem, over samples and seeds alike."""
    return rows.astype({"correct": float}).groupby(["benchmark", "id"])[["tokens", "correct"]].mean()


def _row(means: Mapping[str, float], floor: float) -> dict[str, float]:
    """One benchmark's numbers from the four means; works on arrays too."""
    before, after = means["tokens_base"], means["tokens_arm"]
    return {
        "base_tokens": before,
        "arm_tokens": after,
        "floor_tokens": floor,
        "removed": (before - after) / (before - floor),
        "base_accuracy": means["correct_base"],
        "arm_accuracy": means["correct_arm"],
        "accuracy": means["correct_arm"] - means["correct_base"],
    }


def _by_seed(base: pd.DataFrame, arm: pd.DataFrame, floors: Mapping[str, float]) -> pd.DataFrame:
    before = _per_problem(base).groupby("benchmark").mean().add_suffix("_base")
    rows = {}
    for seed, mine in arm.groupby("seed"):
        both = before.join(_per_problem(mine).groupby("benchmark").mean().add_suffix("_arm"))
        parts = pd.DataFrame([_row(means.to_dict(), floors[str(b)]) for b, means in both.iterrows()])
        rows[seed] = parts[["removed", "accuracy"]].mean()
    return pd.DataFrame(rows).T.rename_axis("seed")
