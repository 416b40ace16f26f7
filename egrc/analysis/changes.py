"""How far training moved a policy, and why its mean entropy moved: from the rows of the measurement `policies`.

"Entropy" has several readings, and they need not agree: per token (the mix of tokens counts), per completion (the
length counts too), after fixed prefixes (neither counts).  Each is a `Quantity` here, beside length and exploration.

Mean entropy per token is a weighted mean over classes, H = sum_c p_c h_c: p_c the class's share of the tokens, h_c its
mean entropy.  With midpoint weights every change splits exactly, and the same way forwards and backwards [ours]:

    H' - H  =  sum_c (p'_c - p_c) (h_c + h'_c)/2     mix: more, or fewer, tokens of the uncertain kinds
             + sum_c (p_c + p'_c)/2 (h'_c - h_c)     certainty: each kind more, or less, sure

A class that is absent on one side takes the other side's mean entropy, so that its coming or going is all mix.  Class
by class, the mix is told against the mean (H + H')/2: a class with more than the mean entropy adds by growing.

A unit (a problem, or a fixed prefix) is the mean over its samples and the seeds; intervals (95%) are over units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from egrc.analysis.verdicts import Answer
from egrc.entropy import CLASSES
from egrc.evaluation.intervals import N_BOOT, estimate, interval, resample

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


class Split(NamedTuple):
    """A change of mean entropy per token, nats: `total` [...] = sum of `mix` + sum of `certainty`, [..., classes]."""

    total: np.ndarray
    mix: np.ndarray
    certainty: np.ndarray


def decompose(
    counts_before: np.ndarray, sums_before: np.ndarray, counts_after: np.ndarray, sums_after: np.ndarray
) -> Split:
    """Split a change of mean entropy between two sets of tokens.

    Counts (or shares) and sums of entropy in nats are [..., classes].  Raises ValueError for a negative or missing
    number, a side without tokens, or entropy in a class without tokens.
    """
    (p, h), (q, g) = _shares(counts_before, sums_before), _shares(counts_after, sums_after)
    h, g = np.where(p > 0, h, g), np.where(q > 0, g, h)
    before, after = (p * h).sum(-1), (q * g).sum(-1)
    level = (before + after)[..., None] / 2
    return Split(after - before, (q - p) * ((h + g) / 2 - level), (p + q) / 2 * (g - h))


def _shares(counts: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares and mean entropies [..., classes]; the mean of an absent class is 0, to be replaced."""
    counts, sums = np.asarray(counts, float), np.asarray(sums, float)
    if not (np.isfinite(counts).all() and np.isfinite(sums).all() and (counts >= 0).all()):
        raise ValueError("counts and sums of entropy must be finite, counts not negative")
    if (counts.sum(-1) == 0).any() or (sums[counts == 0] != 0).any():
        raise ValueError("a side without tokens, or entropy in a class without tokens: not of the same tokens")
    return counts / counts.sum(-1, keepdims=True), sums / np.where(counts > 0, counts, 1)


def split(before: pd.DataFrame, after: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """`decompose` between two policies, with 95% intervals: rows of `policies`, one arm and one kind a side.

    Tokens are pooled over all units.  Columns part ('total', 'mix', 'certainty'), estimate, low, high.
    Raises ValueError where the two sides were asked different problems.
    """
    columns = [f"{what}_{c}" for what in ("n", "entropy") for c in CLASSES]
    both = _paired(*(side.groupby(UNIT)[columns].mean().sort_index() for side in (before, after)))
    strata = both.index.get_level_values("benchmark")
    sizes = np.bincount(pd.factorize(strata, sort=True)[0])  # strata of different sizes, pooled
    means = resample(both.to_numpy(), list(strata), n_boot)
    pooled = [np.atleast_2d(np.tensordot(sizes / sizes.sum(), m, axes=(0, m.ndim - 2))) for m in means]
    observed, drawn = (decompose(*np.split(m, 4, axis=-1)) for m in pooled)
    sums = ((x.total, x.mix.sum(-1), x.certainty.sum(-1)) for x in (observed, drawn))
    lines = [(name, *estimate(a[0], b)) for name, a, b in zip(Split._fields, *sums, strict=True)]
    return pd.DataFrame(lines, columns=["part", "estimate", "low", "high"])
