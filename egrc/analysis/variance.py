"""Where the variance of a comparison comes from: problems, seeds, their interaction, and sampling.  [ours]

An arm's outcome y in one benchmark, for problem i, seed s and sample k:

    y_isk = mean + problem_i + seed_s + (problem x seed)_is + sample_isk

`effects` estimates the variances P, S, PS and E of the four by moments of a balanced two-way layout (means of squares
set equal to their expectations; negative estimates count as 0 where they are used).  S is a matrix: a seed moves
several benchmarks together.

A statistic a y_A + b y_B of two arms' means (`Comparison`), with weights w over benchmarks, n seeds, p problems a
benchmark and k samples has the variance

    V_given = sum_bench w^2 [ P_pair / p + (a^2 PS_A + b^2 PS_B) / (n p) + (a^2 E_A + b^2 E_B) / (n p k) ]
    V_all   = V_given + sum_arms (wa)' S (wa) / n,     P_pair = a^2 P_A + b^2 P_B + 2ab cov(problem_A, problem_B)

`given` the seeds is what an interval over problems shows; `all` is for other seeds, too.  The smallest detectable
difference is the standard error times the sum of two quantiles, of 1 - ALPHA / 2 and of POWER: the normal's for
`given`, Student's for `all`, its degrees of freedom after Satterthwaite.  (So it can grow a little with p: the more
problems, the more the interval rests on the few seeds alone.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

ALPHA, POWER = 0.05, 0.80
"""Of a two-sided test, and the probability that it finds a true difference."""


class Design(NamedTuple):
    """Seeds of an arm, problems a benchmark, samples of a problem at each sampling temperature."""

    seeds: int
    problems: int
    samples: int


class Effects(NamedTuple):
    """Components of one arm's outcome, untruncated: variances [benchmarks]; of seeds, covariances of benchmarks."""

    problem: np.ndarray
    seed: np.ndarray
    interaction: np.ndarray
    sampling: np.ndarray


def effects(y: np.ndarray, share: float = 1.0, trained: bool = True) -> Effects:
    """Components of outcomes [benchmarks, seeds, problems, samples].

    With one sample PS and E are seen as a sum, of which `share` is counted as E.  The seeds of an arm that is not
    `trained` are more samples of one policy: S = PS = 0.  Raises ValueError where there are not two of each.
    """
    if not trained:
        y = y.transpose(0, 2, 1, 3).reshape(y.shape[0], 1, y.shape[2], -1)
    _, seeds, problems, samples = y.shape
    if problems < 2 or (seeds if trained else samples) < 2:
        raise ValueError(f"{seeds} seeds, {problems} problems, {samples} samples: give two of each or more")
    cell = y.mean(3)
    by_problem, by_seed = cell.mean(1), cell.mean(2)
    within = y.var(3, ddof=1).mean((1, 2)) if samples > 1 else np.full(len(y), np.nan)
    if not trained:
        none = np.zeros(len(y))
        return Effects(by_problem.var(1, ddof=1) - within / samples, np.diag(none), none, within)
    rest = cell - by_problem[:, None, :] - by_seed[:, :, None] + cell.mean((1, 2))[:, None, None]
    residual = (rest**2).sum((1, 2)) / ((seeds - 1) * (problems - 1))  # PS + E / samples
    sampling = within if samples > 1 else share * residual
    return Effects(
        by_problem.var(1, ddof=1) - residual / seeds,
        np.atleast_2d(np.cov(by_seed)) - np.diag(residual / problems),
        residual - sampling / samples,
        sampling,
    )


def shared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Covariance over problems [benchmarks] of two arms' outcomes, each [benchmarks, seeds, problems, samples]."""
    left, right = (y.mean((1, 3)) - y.mean((1, 2, 3))[:, None] for y in (a, b))
    return (left * right).sum(1) / (left.shape[1] - 1)


@dataclass(frozen=True)
class Comparison:
    """A statistic of two arms and its components, in its own units; arrays are [benchmarks]."""

    name: str
    """'arm - other'."""
    outcome: str
    """What is compared."""
    estimate: np.ndarray
    """As observed."""
    problem: np.ndarray
    """Of both arms, as if they were asked different problems."""
    pairing: np.ndarray
    """What asking both the same problems adds (2ab cov; mostly negative)."""
    interaction: np.ndarray
    """Problem x seed, of both arms."""
    sampling: np.ndarray
    """Of one sample of each arm."""
    seeds: tuple[np.ndarray, ...]
    """Covariance of seeds between benchmarks [benchmarks, benchmarks], for each arm that is trained."""

    def given(self, w: np.ndarray, d: Design, paired: bool = True) -> float:
        """Variance given the seeds."""
        problem = np.maximum(self.problem + self.pairing * paired, 0)
        rest = np.maximum(self.interaction, 0) + self.sampling / d.samples
        return float(w**2 @ (problem + rest / d.seeds) / d.problems)

    def over_seeds(self, w: np.ndarray, d: Design) -> list[float]:
        """Variance that the seeds of each trained arm add."""
        return [max(0.0, float(w @ s @ w)) / d.seeds for s in self.seeds]

    def errors(self, w: np.ndarray, d: Design) -> dict[str, float]:
        """Standard errors, smallest detectable differences, and the seeds' share of the variance."""
        given, parts = self.given(w, d), self.over_seeds(w, d)
        total = given + sum(parts)
        spread = sum(v**2 for v in parts) / (d.seeds - 1)
        return {
            "se_given": given**0.5,
            "se_all": total**0.5,
            "detectable_given": detectable(given**0.5),
            "detectable_all": detectable(total**0.5, total**2 / spread if spread else math.inf),
            "seeds_share": sum(parts) / total if total else 0.0,
        }


def detectable(se: float, df: float = math.inf) -> float:
    """The smallest true difference that is found with probability POWER."""
    return se * (t_quantile(1 - ALPHA / 2, df) + t_quantile(POWER, df))


@cache
def t_quantile(p: float, df: float) -> float:
    """Quantile of Student's t, df >= 1; of the normal for df = inf.

    With t = sqrt(df) tan(x), the density of x is proportional to cos(x)^(df - 1): smooth, on a finite interval.
    """
    if df > 1e4:
        return NormalDist().inv_cdf(p)
    x = np.linspace(-np.pi / 2, np.pi / 2, 100_001)
    density = np.cos(x).clip(0) ** (df - 1)
    below = np.cumsum(density) - density / 2
    return math.sqrt(df) * math.tan(np.interp(p * density.sum(), below, x))
