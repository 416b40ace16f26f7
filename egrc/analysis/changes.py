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
from egrc.entropy import CLASSES
from egrc.evaluation.intervals import N_BOOT, interval

UNIT = ["benchmark", "id"]


class Quantity(NamedTuple):
    """What is compared, and the unit of its differences ('' for a share).

    `of` makes columns [k] of rows that are grouped by unit and seed.  `compare` takes the arm's and the base's sums
    [..., k] over all units, so that a benchmark has the weight of its tokens; without it k is 1, and benchmarks count
    alike.
    """

    title: str
    unit: str
    of: Callable[[Any], pd.DataFrame | pd.Series]
    kind: str = "completion"
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None


def mix_and_certainty(arm: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of a difference in entropy per token, in nats; they add up to it.  [ours]

    Of sums [..., 2 classes] (tokens of each class, then their entropies): what the classes' shares of the tokens did,
    each class as sure as on the mean of both sides; and what each class's mean entropy did, at the mean shares.  A
    class that one side never writes has there the other's mean, so that it counts as mix alone.
    """
    (n, nats), (n0, nats0) = (np.split(side, 2, axis=-1) for side in (arm, base))
    mean, mean0 = (e / np.where(count > 0, count, np.nan) for e, count in ((nats, n), (nats0, n0)))
    mean, mean0 = np.nan_to_num(np.where(n > 0, mean, mean0)), np.nan_to_num(np.where(n0 > 0, mean0, mean))
    share, share0 = n / n.sum(-1, keepdims=True), n0 / n0.sum(-1, keepdims=True)
    return ((share - share0) * (mean + mean0) / 2).sum(-1), ((share + share0) / 2 * (mean - mean0)).sum(-1)


def _classes(by: Any) -> pd.DataFrame:
    return by[[f"{what}_{name}" for what in ("n", "entropy") for name in CLASSES]].mean()


QUANTITIES = {
    "per_token": Quantity(
        *("entropy per token", "nats", lambda by: by[["entropy_sum", "tokens"]].mean()),
        compare=lambda arm, base: arm[..., 0] / arm[..., 1] - base[..., 0] / base[..., 1],
    ),
    "mix": Quantity("... by the mix of tokens", "nats", _classes, compare=lambda *sums: mix_and_certainty(*sums)[0]),
    "certainty": Quantity("... by certainty", "nats", _classes, compare=lambda *sums: mix_and_certainty(*sums)[1]),
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
        if what.compare is None:
            return (means[..., 0] - means[..., 1]).mean(-1)
        return what.compare(*np.split(np.tensordot(sizes, means, axes=(0, means.ndim - 2)), 2, axis=-1))

    runs = [_paired(own.droplevel("seed"), averaged).groupby("benchmark").mean() for _, own in mine.groupby("seed")]
    alone = tuple(float(difference(run.to_numpy())) for run in runs)
    return Answer(*interval(values.to_numpy(), strata, difference, n_boot), len(values), len(alone), alone)


def _paired(mine: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Both sides' columns side by side, a line per unit.  Raises ValueError where a unit is on one side only."""
    if not mine.index.equals(base.index):
        lonely = mine.index.symmetric_difference(base.index)[0]
        raise ValueError(f"the two sides were not asked the same, e.g. {lonely}: measure both again")
    return pd.concat([mine, base], axis=1)
