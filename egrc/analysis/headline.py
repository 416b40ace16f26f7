"""The headline, as a predicate fixed before the runs.  [ours, after claim 8]

    removed  = (base - arm) / (base - floor)   of mean completion tokens
    accuracy = arm - base

benchmark by benchmark, then their mean; both at the sampling temperature that suits the BASE best.
The headline is supported when ``removed`` is at least `REMOVED` and ``accuracy`` at least 0, and the
verdict says so where the intervals leave room for the other answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from egrc.evaluation.intervals import Means, paired_bootstrap
from egrc.experiments.records import Record

REMOVED = 0.80
"""Share of the removable length that has to go."""


class HeadlineError(ValueError):
    """The rows cannot answer the question; the message says what is missing."""


@dataclass(frozen=True)
class Interval:
    """An estimate, its 95% bootstrap interval over problems, and the bound it has to reach."""

    estimate: float
    low: float
    high: float
    bound: float

    @property
    def reached(self) -> bool:
        return self.estimate >= self.bound

    @property
    def surely_reached(self) -> bool:
        return self.low >= self.bound

    @property
    def surely_missed(self) -> bool:
        return self.high < self.bound


@dataclass(frozen=True)
class Headline:
    """Both quantities with their intervals, and the same two by benchmark and by seed."""

    removed: Interval
    accuracy: Interval
    by_benchmark: pd.DataFrame
    """Index benchmark; tokens of base, arm and floor, accuracy of base and arm, and the two quantities."""
    by_seed: pd.DataFrame
    """Index seed of the arm; removed, accuracy."""

    @property
    def verdict(self) -> str:
        """'supported' or 'not supported', and whether an interval leaves room for the other answer."""
        if np.isnan(self.removed.estimate):
            return "not judged: a compact floor is not known for every benchmark"
        both = (self.removed, self.accuracy)
        supported = all(interval.reached for interval in both)
        if supported:
            settled = all(interval.surely_reached for interval in both)
        else:
            settled = any(interval.surely_missed for interval in both)
        answer = "supported" if supported else "not supported"
        return answer if settled else f"{answer} (but an interval crosses its bound)"

    def table(self) -> pd.DataFrame:
        """The two quantities as rows: estimate, low, high, bound, reached."""
        rows = {"share of removable length removed": self.removed, "accuracy minus base": self.accuracy}
        return pd.DataFrame({name: vars(i) | {"reached": i.reached} for name, i in rows.items()}).T


def rows(records: Sequence[Record], arm: str) -> pd.DataFrame:
    """An arm's evaluation rows of all seeds, with a column ``seed``.  Raises `HeadlineError` if none."""
    found = [r.evaluation.assign(seed=r.seed) for r in records if r.arm == arm]
    if not found:
        raise HeadlineError(f"no record of arm {arm!r}: train it with `make train ARM={arm}`")
    return pd.concat(found, ignore_index=True)


def headline(
    base: pd.DataFrame, arm: pd.DataFrame, floors: Mapping[str, float], temperature: float
) -> Headline:
    """Judge an arm's evaluation rows (see `rows`) against the base's.

    ``floors`` gives each benchmark's compact floor in completion tokens; with a NaN nothing is judged.  Both
    sides must hold the same problems, which are resampled together; seeds are averaged, and shown apart.

    Raises `HeadlineError` without rows at the temperature, ValueError if the problems differ.
    """
    base, arm = _at(base, temperature, "base"), _at(arm, temperature, "arm")
    names = sorted(base["benchmark"].unique())
    floor = np.array([floors[name] for name in names], dtype=float)

    def removed(a: Means, b: Means) -> np.ndarray:
        return ((b.tokens - a.tokens) / (b.tokens - floor)).mean(-1)

    by_benchmark = _compare(base, arm, floor)
    tables = {seed: _compare(base, mine, floor) for seed, mine in arm.groupby("seed")}
    by_seed = pd.DataFrame({seed: table[["removed", "accuracy"]].mean() for seed, table in tables.items()}).T
    return Headline(
        Interval(*paired_bootstrap(arm, base, removed), bound=REMOVED),
        Interval(*paired_bootstrap(arm, base, "accuracy"), bound=0.0),
        by_benchmark,
        by_seed.rename_axis("seed"),
    )


def _at(table: pd.DataFrame, temperature: float, side: str) -> pd.DataFrame:
    here = table[np.isclose(table["temperature"], temperature)]
    if here.empty:
        found = ", ".join(f"{t:g}" for t in sorted(table["temperature"].unique()))
        raise HeadlineError(f"the {side} was not evaluated at temperature {temperature:g}, only at {found}")
    return here


def _compare(base: pd.DataFrame, arm: pd.DataFrame, floor: np.ndarray) -> pd.DataFrame:
    before, after = (side.groupby("benchmark")[["tokens", "correct"]].mean() for side in (base, arm))
    return pd.DataFrame(
        {
            "base_tokens": before["tokens"],
            "arm_tokens": after["tokens"],
            "floor_tokens": floor,
            "removed": (before["tokens"] - after["tokens"]) / (before["tokens"] - floor),
            "base_accuracy": before["correct"],
            "arm_accuracy": after["correct"],
            "accuracy": after["correct"] - before["correct"],
        }
    )
