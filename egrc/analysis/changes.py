"""How far training moved a policy: from the rows of the measurement `policies`.

"Entropy" has several readings, and they need not agree: per token (the mix of tokens counts), per completion (the
length counts too), after fixed prefixes (neither counts).  Each is a `Quantity` here, beside length and exploration.

A unit (a problem, or a fixed prefix) is the mean over its samples and the seeds; intervals (95%) are over units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from egrc.analysis.verdicts import Answer
from egrc.evaluation.intervals import N_BOOT, interval

UNIT = ["benchmark", "id"]


class Quantity(NamedTuple):
    """What is compared, and the unit of its differences ('' for a share).

    `of` makes one or two columns of rows that are grouped by unit and seed: one is averaged over benchmarks; of two the
    ratio of their sums over all units is taken, so that a benchmark has the weight of its tokens.
    """

    title: str
    unit: str
    of: Callable[[Any], pd.DataFrame | pd.Series]
    kind: str = "completion"


QUANTITIES = {
    "per_token": Quantity("entropy per token", "nats", lambda by: by[["entropy_sum", "tokens"]].mean()),
    "per_completion": Quantity("entropy per completion", "nats", lambda by: by["entropy_sum"].mean()),
    "prefix": Quantity("entropy after fixed prefixes", "nats", lambda by: by["entropy_sum"].mean(), "prefix"),
    "tokens": Quantity("completion length", "tokens", lambda by: by["tokens"].mean()),
    "distinct": Quantity("distinct completions (share)", "", lambda by: by["text_key"].nunique() / by.size()),
    "coverage": Quantity("pass@k - pass@1", "", lambda by: by["correct"].any() - by["correct"].mean()),
}
"""By name, in the order in which notebook and claims go through them; k of pass@k is all samples."""


def change(policies: pd.DataFrame, arm: str, quantity: str, n_boot: int = N_BOOT) -> Answer:
    """An arm's quantity (a name in `QUANTITIES`) minus the base's, from the rows of the measurement `policies`.

    Of a seed alone: minus all of the base.  Raises ValueError for an arm without rows, or units that differ.
    """
    what = QUANTITIES[quantity]
    rows = policies[policies["kind"] == what.kind]
    if arm not in set(rows["arm"]):
        raise ValueError(f"no rows of arm {arm!r} and kind {what.kind!r}: choose one of {sorted(set(rows['arm']))}")
    sides = (what.of(rows[rows["arm"] == name].groupby([*UNIT, "seed"])) for name in (arm, "base"))
    mine, base = (pd.DataFrame(side).astype(float) for side in sides)
    averaged = base.groupby(UNIT).mean()
    values = _paired(mine.groupby(UNIT).mean(), averaged)
    strata = list(values.index.get_level_values("benchmark"))
    sizes = np.unique(strata, return_counts=True)[1]

    def difference(means: np.ndarray) -> np.ndarray:
        sums = np.tensordot(sizes, means, axes=(0, means.ndim - 2))
        if means.shape[-1] == 4:
            return sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
        return (means[..., 0] - means[..., 1]).mean(-1)

    runs = [_paired(own.droplevel("seed"), averaged).groupby("benchmark").mean() for _, own in mine.groupby("seed")]
    alone = tuple(float(difference(run.to_numpy())) for run in runs)
    return Answer(*interval(values.to_numpy(), strata, difference, n_boot), len(values), len(alone), alone)


def _paired(mine: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Both sides' columns side by side, a line per unit.  Raises ValueError where a unit is on one side only."""
    if not mine.index.equals(base.index):
        lonely = mine.index.symmetric_difference(base.index)[0]
        raise ValueError(f"the two sides were not asked the same, e.g. {lonely}: measure both again")
    return pd.concat([mine, base], axis=1)
