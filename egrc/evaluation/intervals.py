"""Intervals over problems: the bootstrap, stratified by benchmark and paired between the two sides of a comparison.

Seeds are averaged first, so an interval says how sure a number is over problems GIVEN the seeds; the spread over seeds
is shown beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

N_BOOT = 10_000
LEVEL = 0.95


class Means(NamedTuple):
    """Per-benchmark means of one side, each [..., benchmarks] in alphabetical order; leading axes are resamples."""

    accuracy: np.ndarray
    tokens: np.ndarray


def resample(values: np.ndarray, strata: Sequence[str], n_boot: int = N_BOOT) -> tuple[np.ndarray, np.ndarray]:
    """Means of the columns by stratum, as observed [strata, columns] and resampled [n_boot, strata, columns].

    `values` [units, columns] has one row per unit (a problem), `strata` [units] its stratum (its benchmark); units are
    drawn with replacement inside each stratum, the strata in alphabetical order.
    Raises ValueError where the two lengths differ, or a value is NaN.
    """
    values, names = np.asarray(values, float), np.asarray(strata)
    if len(values) != len(names):
        raise ValueError(f"{len(values)} rows of values, but {len(names)} strata: give one for each row")
    if np.isnan(values).any():
        raise ValueError(f"row {int(np.isnan(values).any(1).argmax())}: NaN; leave such units out, and say so")
    groups = [values[names == name] for name in sorted(set(names))]
    times = _multiplicities(tuple(map(len, groups)), n_boot)
    drawn = np.stack([t @ g / len(g) for t, g in zip(times, groups, strict=True)], axis=1)
    return np.stack([g.mean(0) for g in groups]), drawn


def interval(
    values: np.ndarray, strata: Sequence[str], statistic: Callable, n_boot: int = N_BOOT
) -> tuple[float, float, float]:
    """Estimate and percentile interval of a statistic of means [..., strata, columns] -> [...]; see `resample`."""
    observed, drawn = resample(values, strata, n_boot)
    return estimate(statistic(observed), statistic(drawn))


def estimate(observed: np.ndarray, resampled: np.ndarray) -> tuple[float, float, float]:
    """The observed value with the percentile interval of its resamples [n_boot]."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(observed), float(low), float(high)


def resampled(rows: pd.DataFrame, n_boot: int = N_BOOT, by: Sequence[str] = ("arm",)) -> dict[Any, Means]:
    """Of each arm (or whatever `by` names) the means by benchmark, [1 + n_boot, benchmarks]: first as observed, then
    of problems drawn with replacement within each benchmark, the same ones for all, so that any two are paired.

    Seeds and samples of a problem are averaged first.  Raises ValueError where two were asked different problems.
    """
    each = rows.groupby(["benchmark", "id", *by])[["correct", "tokens"]].mean().astype(float).unstack(list(by))
    if each.isna().any(axis=None):
        lonely = each.index[each.isna().any(axis=1)][0]
        raise ValueError(f"asked different problems, e.g. not all were asked {lonely}: compare runs of one evaluation")
    observed, drawn = resample(each.to_numpy(), list(each.index.get_level_values("benchmark")), n_boot)
    correct, tokens = np.split(np.concatenate([observed[None], drawn]), 2, axis=-1)
    return {side: Means(correct[..., k], tokens[..., k]) for k, side in enumerate(each["tokens"].columns)}


@lru_cache(maxsize=4)
def _multiplicities(sizes: tuple[int, ...], n_boot: int) -> list[np.ndarray]:
    """How often each resample draws each unit of strata of these sizes: float64 [n_boot, size] for each stratum.

    Kept, as drawing takes far longer than the means do, and one evaluation is resampled for many comparisons.
    """
    rng, times = np.random.default_rng(0), []
    for n in sizes:
        drawn = rng.integers(0, n, size=(n_boot, n)) + n * np.arange(n_boot)[:, None]
        times.append(np.bincount(drawn.ravel(), minlength=n_boot * n).reshape(n_boot, n).astype(float))
    return times


@cache
def t_quantile(p: float, df: float) -> float:
    """Quantile of Student's t, df >= 1.

    With t = sqrt(df) tan(x), the density of x is proportional to cos(x)^(df - 1): smooth, on a finite interval.
    """
    x = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    density = np.cos(x).clip(0) ** (df - 1)
    below = np.cumsum(density) - density / 2
    return math.sqrt(df) * math.tan(np.interp(p * density.sum(), below, x))
