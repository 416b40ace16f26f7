"""Norms, cosines and pushes from the rows of the measurement `tug`, with intervals over problems.

A batch's gradient is the sum of its problems' gradients g_i, so with weights w_i of the problems

    |sum_i w_i g_i|^2  =  w^T G w,     G_ij = <g_i, g_j>:

the rows hold the inner products G, and nothing else of the gradients is needed for norms, for cosines, or for their
intervals.  These are the delete-one jackknife's: each problem is left out once, its benchmark's others weighing a
little more.  Not the bootstrap's, which was used at first: it draws a problem twice, what is drawn twice cannot cancel,
norms grow, and a ratio's interval may then miss its own estimate.  (On the first table that was made, both gave every
claim the same verdict.)  All seeds were asked the same problems, and leave out the same one together; what is computed
is computed for each seed, then averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.entropy import CLASSES
from egrc.evaluation.intervals import LEVEL

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
    return Grams(*(gram(rows, name) for name in Grams._fields))


def gram(rows: pd.DataFrame, name: str) -> np.ndarray:
    """One of `grams`, by its name."""
    rows = rows.sort_values("problem")
    if rows["problem"].tolist() != list(range(len(rows))):
        raise TugError("one set has one row for each problem, numbered from 0: select a run, step, permutation, class")
    return _symmetric(rows[f"gram_{name}"].tolist())


def _symmetric(lower: Sequence[np.ndarray]) -> np.ndarray:
    if [len(row) for row in lower] != list(range(1, len(lower) + 1)):
        raise TugError("a list of inner products does not end with its own problem: measure again")
    matrix = np.zeros((len(lower), len(lower)))
    matrix[np.tril_indices(len(lower))] = np.concatenate(lower)
    return matrix + np.tril(matrix, -1).T


def weights(benchmarks: Sequence[str]) -> np.ndarray:
    """Each problem's weight with nothing left out, then with each problem left out: [1 + problems, problems].

    The others of its benchmark make up for the missing one.  A benchmark's only problem is never left out: it shows no
    spread.
    """
    names = np.asarray(benchmarks)
    others = (names[:, None] == names[None]) & ~np.eye(len(names), dtype=bool)
    n = others.sum(1, keepdims=True)
    w = np.where(others, 1 + 1 / n.clip(min=1), 1.0)
    np.fill_diagonal(w, np.where(n[:, 0] > 0, 0.0, 1.0))
    return np.vstack([np.ones(len(names)), w])


def quadratic(matrix: np.ndarray, w: np.ndarray) -> np.ndarray:
    """w^T G w for every row of weights: [rows]."""
    return ((w @ matrix) * w).sum(-1)


def norm(matrix: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Norm of the weighted gradient; rounding may take the square of a vanishing one below 0."""
    return np.sqrt(quadratic(matrix, w).clip(min=0))


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


def tug(table: pd.DataFrame) -> pd.DataFrame:
    """Cosine between the objectives, one line per arm, step and class ('all' too), means over seeds.

    Columns arm, step, token_class, cosine, low, high, and the range over seeds and permutations of the same cosine of
    random sets of the same sizes (permuted_low, permuted_high; NaN for 'all').
    """
    lines = []
    for (arm, step), rows in table.groupby(["arm", "step"], sort=False):
        random = summary(rows[rows["permutation"] >= 0]).groupby("token_class")["cosine"].agg(["min", "max"])
        for token_class in ("all", *CLASSES):
            found = dict(zip(("cosine", "low", "high"), cosine(rows, token_class), strict=True))
            low, high = random.loc[token_class] if token_class in random.index else (np.nan, np.nan)
            line = {"arm": arm, "step": step, "token_class": token_class, **found}
            lines.append(line | {"permuted_low": low, "permuted_high": high})
    return pd.DataFrame(lines)


# --- estimates with intervals ---------------------------------------------------------------------


def cosine(table: pd.DataFrame, token_class: str = "all") -> Estimate:
    """Cosine between the two objectives' gradients on one class of tokens, of one arm at one step."""
    rows = table[(table["token_class"] == token_class) & (table["permutation"] == -1)]
    names = _benchmarks(rows)
    w = weights(names)
    return _over_seeds(names, [cosines(grams(mine), w) for mine in _seeds(rows)])


def norm_ratio(table: pd.DataFrame, objective: str = "accuracy", token_class: str = "connector") -> Estimate:
    """Norm of the gradient that reaches the adapter from one class of tokens, over the mean norm of random sets of the
    same size, of one arm at one step.  1: the class pulls as any tokens would."""
    rows = table[table["token_class"] == token_class]
    names = _benchmarks(rows)
    w = weights(names)
    ratios = []
    for mine in _seeds(rows):
        norms = {k: norm(gram(own, objective), w) for k, own in mine.groupby("permutation")}
        own = norms.pop(-1)
        with np.errstate(invalid="ignore", divide="ignore"):  # NaN where no such token was said
            ratios.append(own / np.mean(list(norms.values()), axis=0))
    return _over_seeds(names, ratios)


def push(table: pd.DataFrame, objective: str, token_class: str = "all") -> Estimate:
    """First-order change of M, the mean probability of a connector, for a step of length 1 of the adapter's parameters
    along an objective's gradient; less what shuffled advantages would do on average.  Of one arm at one step.

    With `token_class`, the part of it that comes from the tokens of that class; the parts add up.  With A_r and S_r a
    rollout's advantage and score, n the number of rollouts: (sum A_r S_r - sum A_r sum S_r / n) / |gradient|.
    """
    rows = table[table["permutation"] == -1]
    names = _benchmarks(rows)
    w = weights(names)
    return _over_seeds(names, [_excess(mine, objective, token_class, w) for mine in _seeds(rows)])


def _excess(rows: pd.DataFrame, objective: str, token_class: str, w: np.ndarray) -> np.ndarray:
    """Of one seed, for every row of weights: [rows]."""
    whole = rows[rows["token_class"] == "all"].sort_values("problem")
    own = rows[rows["token_class"] == token_class].sort_values("problem")
    a = np.stack(own[f"advantage_{objective}"].tolist()).astype(float)  # [problems, rollouts]
    s = np.stack(own["scores"].tolist()).astype(float)
    n = w.sum(1) * a.shape[1]
    shuffled = (w @ a.sum(1)) * (w @ s.sum(1)) / n
    return (w @ (a * s).sum(1) - shuffled) / norm(gram(whole, objective), w)


def _benchmarks(rows: pd.DataFrame) -> list[str]:
    """Each problem's benchmark.  Raises TugError for several arms or steps, or seeds that were asked other problems."""
    if rows.empty or any(rows[name].nunique() != 1 for name in ("arm", "step")):
        raise TugError("give the rows of one arm at one step")
    asked = {seed: own.drop_duplicates("problem").sort_values("problem") for seed, own in rows.groupby("seed")}
    first, *others = asked.values()
    if any(o["id"].tolist() != first["id"].tolist() for o in others):
        raise TugError("the seeds were asked different problems: leaving them out together needs the same")
    return first["benchmark"].tolist()


def _seeds(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [own for _, own in rows.groupby("seed")]


def _over_seeds(benchmarks: Sequence[str], values: list[np.ndarray]) -> Estimate:
    """Mean over seeds of what each row of `weights` gave, [1 + problems], with its jackknife interval; NaN where any
    is."""
    mean = np.mean(values, axis=0)
    own = pd.Series(mean[1:]).groupby(np.asarray(benchmarks))
    n = own.transform("size")
    variance = ((n - 1) / n * (mean[1:] - own.transform("mean")) ** 2).sum(skipna=False)
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * np.sqrt(variance)
    return float(mean[0]), float(mean[0] - half), float(mean[0] + half)
