"""How far training moved a policy: arm minus base on the same problems, from the rows of the measurement `policies`.

"Entropy" has several readings, and they need not agree: per token (the mix of tokens counts), per completion (the
length counts too), after fixed prefixes (neither counts).  Each is a `Quantity` here, beside length and exploration.

A unit (a problem, or a fixed prefix) is the mean over its samples, and over the seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.evaluation import intervals

UNIT = ["benchmark", "id"]


@dataclass(frozen=True)
class Quantity:
    """What is compared: columns of each unit, and the number that their means by benchmark make."""

    title: str
    """What it is, in words."""
    unit: str
    """Of its differences; '' for a share."""
    kind: str
    """Which rows it is of: 'completion' or 'prefix'."""
    of_group: Callable[[pd.DataFrame], pd.DataFrame]
    """Rows -> a line per (benchmark, id, seed), of as many columns as it needs."""
    of_means: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Means [..., benchmarks, columns] and numbers of units [benchmarks] -> [...]."""


class Change(NamedTuple):
    """Arm minus base: estimate, 95% interval over units, the number of units, and the estimate of each of the arm's
    seeds alone."""

    estimate: float
    low: float
    high: float
    units: int
    by_seed: dict[int, float]


def _means(*columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.groupby([*UNIT, "seed"])[list(columns)].mean()


def _distinct(rows: pd.DataFrame) -> pd.DataFrame:
    keys = rows.groupby([*UNIT, "seed"])["text_key"]
    return (keys.nunique() / keys.size()).to_frame()


def _coverage(rows: pd.DataFrame) -> pd.DataFrame:
    """pass@k - pass@1, k being all samples: is one of them correct, less the share that is."""
    correct = rows.groupby([*UNIT, "seed"])["correct"]
    return (correct.any() - correct.mean()).to_frame()


def _over_benchmarks(means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return means[..., 0].mean(-1)


def _ratio_of_sums(means: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """A benchmark has the weight of its tokens: one sum over all completions by another."""
    sums = np.tensordot(sizes, means, axes=(0, means.ndim - 2))
    return sums[..., 0] / sums[..., 1]


QUANTITIES = {
    "per_token": Quantity("entropy per token", "nats", "completion", _means("entropy_sum", "tokens"), _ratio_of_sums),
    "per_completion": Quantity("entropy per completion", "nats", "completion", _means("entropy_sum"), _over_benchmarks),
    "prefix": Quantity("entropy after fixed prefixes", "nats", "prefix", _means("entropy_sum"), _over_benchmarks),
    "tokens": Quantity("completion length", "tokens", "completion", _means("tokens"), _over_benchmarks),
    "distinct": Quantity("distinct completions (share)", "", "completion", _distinct, _over_benchmarks),
    "coverage": Quantity("pass@k - pass@1", "", "completion", _coverage, _over_benchmarks),
}
"""By name, in the order in which notebook and claims go through them."""


def change(
    policies: pd.DataFrame, arm: str, quantity: str, n_boot: int = intervals.N_BOOT, seed: int = 0
) -> Change:
    """An arm's quantity minus the base's.

    `policies` are rows of the measurement of that name; `quantity` a name in `QUANTITIES`.
    Raises ValueError for an unknown quantity, an arm without rows, or units that differ between arm and base.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"no quantity {quantity!r}: choose one of {', '.join(QUANTITIES)}")
    what = QUANTITIES[quantity]
    rows = policies[policies["kind"] == what.kind]
    mine, base = (_by_seed(rows, name, what) for name in (arm, "base"))
    averaged = base.groupby(UNIT).mean()
    values = _paired(mine.groupby(UNIT).mean(), averaged)
    strata = list(values.index.get_level_values("benchmark"))
    sizes = np.unique(strata, return_counts=True)[1]

    def difference(means: np.ndarray) -> np.ndarray:
        a, b = np.split(means, 2, axis=-1)
        return what.of_means(a, sizes) - what.of_means(b, sizes)

    alone = {
        int(s): float(difference(_paired(own.droplevel("seed"), averaged).groupby("benchmark").mean().to_numpy()))
        for s, own in mine.groupby("seed")
    }
    return Change(*intervals.interval(values.to_numpy(), strata, difference, n_boot, seed), len(values), alone)


def _by_seed(rows: pd.DataFrame, arm: str, what: Quantity) -> pd.DataFrame:
    own = rows[rows["arm"] == arm]
    if own.empty:
        raise ValueError(f"no rows of arm {arm!r} and kind {what.kind!r}: choose one of {sorted(set(rows['arm']))}")
    return what.of_group(own).astype(float)


def _paired(mine: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Both sides' columns side by side, a line per unit.  Raises ValueError where a unit is on one side only."""
    if not mine.index.equals(base.index):
        lonely = mine.index.symmetric_difference(base.index)[0]
        raise ValueError(f"arm and base were not asked the same, e.g. {lonely}: measure both again")
    return pd.concat([mine, base], axis=1)

