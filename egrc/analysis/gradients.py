"""Norms, cosines and pushes from the rows of the measurement `tug`, with intervals over problems.

A batch's gradient is the sum of its problems' gradients g_i, so with weights w_i  |sum_i w_i g_i|^2 = w^T G w,
G_ij = <g_i, g_j>: the rows hold these inner products.  Intervals are the delete-one jackknife's (the bootstrap draws a
problem twice, what is drawn twice cannot cancel, and a ratio's interval may then miss its own estimate); seeds were
asked the same problems, and leave out the same one together.  Numbers are of each seed, then averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from egrc.analysis import rows as checked
from egrc.evaluation.intervals import LEVEL

Estimate = tuple[float, float, float]
"""Estimate, low, high: 95% over problems."""


def measurement(scale: str) -> str:
    """The name of the measurement that has a scale's gradients."""
    return "tug" if scale == "pocket" else "tug_words"


def load_base(scale: str, data: Path | None = None) -> pd.DataFrame:
    """The rows of the base policy.  Raises RecordError where they were not measured."""
    return checked.load(measurement(scale), scale, data).query("arm == 'base'")


def gram(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Inner products of the problems' gradients, [problems, problems]: under 'accuracy', 'compression' or 'cross'.
    Raises ValueError where `rows` are not of one run, step, permutation and class, one for each problem."""
    lower = rows.sort_values("problem")[f"gram_{name}"].tolist()
    if [len(row) for row in lower] != list(range(1, len(lower) + 1)):
        raise ValueError("not one row for each problem from 0 on: select a run, step, permutation and class")
    matrix = np.zeros((len(lower), len(lower)))
    matrix[np.tril_indices(len(lower))] = np.concatenate(lower)
    return matrix + np.tril(matrix, -1).T


def weights(benchmarks: Sequence[str]) -> np.ndarray:
    """Each problem's weight with nothing left out, then with each problem left out, for which the others of its
    benchmark make up: [1 + problems, problems].  A benchmark's only problem is never left out: it shows no spread."""
    names = np.asarray(benchmarks)
    others = (names[:, None] == names[None]) & ~np.eye(len(names), dtype=bool)
    n = others.sum(1, keepdims=True)
    w = np.where(others, 1 + 1 / n.clip(min=1), 1.0)
    np.fill_diagonal(w, np.where(n[:, 0] > 0, 0.0, 1.0))
    return np.vstack([np.ones(len(names)), w])


def norm(rows: pd.DataFrame, objective: str, w: np.ndarray) -> np.ndarray:
    """Norm of one set's gradient for every row of weights."""
    return np.sqrt(((w @ gram(rows, objective)) * w).sum(-1).clip(min=0))  # rounding may take a 0 below 0


def _cosine(rows: pd.DataFrame, w: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        product = ((w @ gram(rows, "cross")) * w).sum(-1)
        return product / (norm(rows, "accuracy", w) * norm(rows, "compression", w))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One line per set: arm, seed, step, permutation, token_class, the gradient's norm under each objective
    (`norm_accuracy`, `norm_compression`), and their `cosine` (NaN where a gradient vanishes)."""
    keys, lines = ["arm", "seed", "step", "permutation", "token_class"], []
    for key, rows in table.groupby(keys, sort=False):
        w = np.ones((1, len(rows)))
        lines.append((*key, norm(rows, "accuracy", w)[0], norm(rows, "compression", w)[0], _cosine(rows, w)[0]))
    return pd.DataFrame(lines, columns=[*keys, "norm_accuracy", "norm_compression", "cosine"])


def cosine(table: pd.DataFrame, token_class: str = "all") -> Estimate:
    """Cosine between the two objectives' gradients on one class of tokens; NaN where one vanishes."""
    return _estimate(table[(table["token_class"] == token_class) & (table["permutation"] == -1)], _cosine)


def norm_ratio(table: pd.DataFrame, objective: str = "accuracy", token_class: str = "connector") -> Estimate:
    """Norm of the gradient that reaches the adapter from one class of tokens, over the mean norm of random sets of the
    same size.  1: the class pulls as any tokens would; NaN where no such token was said."""

    def ratio(rows: pd.DataFrame, w: np.ndarray) -> np.ndarray:
        norms = {k: norm(own, objective, w) for k, own in rows.groupby("permutation")}
        own = norms.pop(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return own / np.mean(list(norms.values()), axis=0)

    return _estimate(table[table["token_class"] == token_class], ratio)


def push(table: pd.DataFrame, objective: str, token_class: str = "all") -> Estimate:
    """First-order change of M, the mean probability of a connector, for a step of length 1 of the adapter's parameters
    along an objective's gradient; less what shuffled advantages would do on average.

    With `token_class`, the part of it that comes from the tokens of that class; the parts add up.  With A_r and S_r a
    rollout's advantage and score, n the number of rollouts: (sum A_r S_r - sum A_r sum S_r / n) / |gradient|.
    """

    def excess(rows: pd.DataFrame, w: np.ndarray) -> np.ndarray:
        own = rows[rows["token_class"] == token_class].sort_values("problem")
        a, s = (np.stack(own[name].tolist()).astype(float) for name in (f"advantage_{objective}", "scores"))
        shuffled = (w @ a.sum(1)) * (w @ s.sum(1)) / (w.sum(1) * a.shape[1])
        return (w @ (a * s).sum(1) - shuffled) / norm(rows[rows["token_class"] == "all"], objective, w)

    return _estimate(table[table["permutation"] == -1], excess)


def _estimate(rows: pd.DataFrame, of: Callable[[pd.DataFrame, np.ndarray], np.ndarray]) -> Estimate:
    """A number, given by `of` for one seed's rows and every row of weights, as a mean over seeds with its jackknife
    interval; NaN where any is.  Raises ValueError for several arms or steps, or seeds with different problems."""
    if rows.empty or any(rows[name].nunique() != 1 for name in ("arm", "step")):
        raise ValueError("give the rows of one arm at one step")
    asked = [own.drop_duplicates("problem").sort_values("problem") for _, own in rows.groupby("seed")]
    if any(o["id"].tolist() != asked[0]["id"].tolist() for o in asked):
        raise ValueError("the seeds were asked different problems: leaving them out together needs the same")
    names = asked[0]["benchmark"].to_numpy()
    w = weights(names)
    mean = np.mean([of(own, w) for _, own in rows.groupby("seed")], axis=0)
    without = pd.Series(mean[1:]).groupby(names)
    n = without.transform("size")
    variance = ((n - 1) / n * (mean[1:] - without.transform("mean")) ** 2).sum(skipna=False)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * np.sqrt(variance)
    return float(mean[0]), float(mean[0] - half), float(mean[0] + half)
