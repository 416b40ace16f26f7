"""Norms, cosines and pushes from the rows of the measurement `tug`, with intervals over problems.

A batch's gradient is the sum of its problems' gradients g_i, so with w_i the times that a resample draws problem i

    |sum_i w_i g_i|^2  =  w^T G w,     G_ij = <g_i, g_j>:

the rows hold the inner products G, and nothing else of the gradients is needed for norms, for cosines, or for their
bootstrap.  Problems are drawn within their benchmark.  All seeds were asked the same problems and are resampled
together; what is computed is computed for each seed, then averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.entropy import CLASSES
from egrc.intervals import estimate, resample

N_BOOT = 2000
RUN = ["arm", "seed", "step"]
Estimate = tuple[float, float, float]
"""Estimate, low, high: 95% over problems."""


class TugError(ValueError):
    """The rows cannot answer the question; the message says what is missing."""


class Grams(NamedTuple):
    """Inner products of the problems' gradients of one set of tokens, each [problems, problems]."""

    accuracy: np.ndarray
    compression: np.ndarray
    cross: np.ndarray


def grams(rows: pd.DataFrame) -> Grams:
    """The matrices of one set: rows of one run, step, permutation and class, one a problem.

    Raises TugError unless the problems are numbered from 0 and each list reaches up to its own problem.
    """
    rows = rows.sort_values("problem")
    if rows["problem"].tolist() != list(range(len(rows))):
        raise TugError("one set has one row for each problem, numbered from 0: select a run, step, permutation, class")
    return Grams(*(_symmetric(rows[f"gram_{name}"].tolist()) for name in Grams._fields))


def _symmetric(lower: Sequence[np.ndarray]) -> np.ndarray:
    if [len(row) for row in lower] != list(range(1, len(lower) + 1)):
        raise TugError("a list of inner products does not end with its own problem: measure again")
    matrix = np.zeros((len(lower), len(lower)))
    matrix[np.tril_indices(len(lower))] = np.concatenate(lower)
    return matrix + np.tril(matrix, -1).T


def weights(benchmarks: Sequence[str], n_boot: int = N_BOOT) -> np.ndarray:
    """How often each resample draws each problem, within its benchmark: [1 + n_boot, problems], the first all ones."""
    names, sizes = np.unique(benchmarks, return_counts=True)
    _, drawn = resample(np.eye(len(benchmarks)), list(benchmarks), n_boot)  # [n_boot, benchmarks, problems]
    return np.vstack([np.ones(len(benchmarks)), np.einsum("s,bsp->bp", sizes, drawn).round()])


def quadratic(gram: np.ndarray, w: np.ndarray) -> np.ndarray:
    """w^T G w for every resample: [resamples]."""
    return ((w @ gram) * w).sum(-1)


def norm(gram: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Norm of the resampled gradient; rounding may take a vanishing one below 0."""
    return np.sqrt(quadratic(gram, w).clip(min=0))


def cosines(g: Grams, w: np.ndarray) -> np.ndarray:
    """Cosine between the two objectives' gradients; NaN where one vanishes."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return quadratic(g.cross, w) / (norm(g.accuracy, w) * norm(g.compression, w))


# --- tables ---------------------------------------------------------------------------------------


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One line per set: columns arm, seed, step, permutation, token_class, tokens, the gradient's norm under each
    objective (`norm_accuracy`, `norm_compression`), and their `cosine` (NaN where a gradient vanishes)."""
    keys = [*RUN, "permutation", "token_class"]
    lines = []
    for key, rows in table.groupby(keys, sort=False):
        g, w = grams(rows), np.ones((1, len(rows)))
        norms = {f"norm_{o}": norm(getattr(g, o), w)[0] for o in ("accuracy", "compression")}
        facts = dict(zip(keys, key, strict=True)) | {"tokens": int(rows["tokens"].sum())}
        lines.append(facts | norms | {"cosine": cosines(g, w)[0]})
    return pd.DataFrame(lines)


def tug(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Cosine between the objectives, one line per arm, step and class ('all' too), means over seeds.

    Columns arm, step, token_class, cosine, low, high, and the range over seeds and permutations of the same cosine of
    random sets of the same sizes (permuted_low, permuted_high; NaN for 'all').
    """
    lines = []
    for (arm, step), rows in table.groupby(["arm", "step"], sort=False):
        random = summary(rows[rows["permutation"] >= 0]).groupby("token_class")["cosine"].agg(["min", "max"])
        for token_class in ("all", *CLASSES):
            found = dict(zip(("cosine", "low", "high"), cosine(rows, token_class, n_boot), strict=True))
            low, high = random.loc[token_class] if token_class in random.index else (np.nan, np.nan)
            line = {"arm": arm, "step": step, "token_class": token_class, **found}
            lines.append(line | {"permuted_low": low, "permuted_high": high})
    return pd.DataFrame(lines)


# --- estimates with intervals ---------------------------------------------------------------------


def cosine(table: pd.DataFrame, token_class: str = "all", n_boot: int = N_BOOT) -> Estimate:
    """Cosine between the two objectives' gradients on one class of tokens, of one arm at one step."""
    rows = table[(table["token_class"] == token_class) & (table["permutation"] == -1)]
    w = _weights(rows, n_boot)
    return _over_seeds([cosines(grams(mine), w) for mine in _seeds(rows)])


def norm_ratio(
    table: pd.DataFrame, objective: str = "accuracy", token_class: str = "connector", n_boot: int = N_BOOT
) -> Estimate:
    """Norm of the gradient that reaches the adapter from one class of tokens, over the mean norm of random sets of the
    same size, of one arm at one step.  1: the class pulls as any tokens would."""
    rows = table[table["token_class"] == token_class]
    w = _weights(rows, n_boot)
    ratios = []
    for mine in _seeds(rows):
        norms = {k: norm(getattr(grams(own), objective), w) for k, own in mine.groupby("permutation")}
        own = norms.pop(-1)
        ratios.append(own / np.mean(list(norms.values()), axis=0))
    return _over_seeds(ratios)


def push(table: pd.DataFrame, objective: str, token_class: str = "all", n_boot: int = N_BOOT) -> Estimate:
    """First-order change of M, the mean probability of a connector, for a step of length 1 of the adapter's parameters
    along an objective's gradient; less what shuffled advantages would do on average.  Of one arm at one step.

    With `token_class`, the part of it that comes from the tokens of that class; the parts add up.  With A_r and S_r a
    rollout's advantage and score, n the number of rollouts: (sum A_r S_r - sum A_r sum S_r / n) / |gradient|.
    """
    rows = table[table["permutation"] == -1]
    w = _weights(rows, n_boot)
    return _over_seeds([_excess(mine, objective, token_class, w) for mine in _seeds(rows)])


def _excess(rows: pd.DataFrame, objective: str, token_class: str, w: np.ndarray) -> np.ndarray:
    """Of one seed: [resamples]."""
    whole = rows[rows["token_class"] == "all"].sort_values("problem")
    own = rows[rows["token_class"] == token_class].sort_values("problem")
    a = np.stack(own[f"advantage_{objective}"].tolist()).astype(float)  # [problems, rollouts]
    s = np.stack(own["scores"].tolist()).astype(float)
    n = w.sum(1) * a.shape[1]
    shuffled = (w @ a.sum(1)) * (w @ s.sum(1)) / n
    return (w @ (a * s).sum(1) - shuffled) / norm(getattr(grams(whole), objective), w)


def _weights(rows: pd.DataFrame, n_boot: int) -> np.ndarray:
    """Resampling weights of the problems.  Raises TugError for several arms or steps, or problems that differ."""
    if rows.empty or any(rows[name].nunique() != 1 for name in ("arm", "step")):
        raise TugError("give the rows of one arm at one step")
    asked = {seed: own.drop_duplicates("problem").sort_values("problem") for seed, own in rows.groupby("seed")}
    first, *others = asked.values()
    if any(o["id"].tolist() != first["id"].tolist() for o in others):
        raise TugError("the seeds were asked different problems: resampling them together needs the same")
    return weights(first["benchmark"].tolist(), n_boot)


def _seeds(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [own for _, own in rows.groupby("seed")]


def _over_seeds(values: list[np.ndarray]) -> Estimate:
    """Mean over seeds of [1 + n_boot]: the first is the observed one."""
    mean = np.mean(values, axis=0)
    return estimate(mean[0], mean[1:])
