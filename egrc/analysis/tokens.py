"""Which tokens carry the entropy: classes and words ranked by it, and who is among those of highest entropy.  Pure.

A **rollout table** has one row per completion.  Its lists have one entry per *unit*, which is what the classes are of:
a token in the pocket world, a word where a tokenizer cuts words (`analysis.word_classes`).  So one set of functions
serves all
scales.  Columns (more are fine):

    benchmark, id       the problem, unit of the bootstrap; problems are drawn within their benchmark
    seed, sample        which completion of it
    tokenizer           its name or hash: one in the whole table
    prompt, correct, truncated, length (tokens, end token included)
    tokens              list of text
    entropies           list of nats at temperature 1
    classes             list of class names

The tokens of highest entropy are a fixed share of all units of all rollouts, pooled.  Where several stand exactly at
the threshold, they share equally what room is left (`top_weights`), so that no order of rows decides.  [ours]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import measure, rows
from egrc.evaluation.intervals import LEVEL, resample
from egrc.experiments.records import RecordError

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = (
    *("benchmark", "id", "seed", "sample", "tokenizer", "prompt", "correct", "truncated", "length"),
    *("tokens", "entropies", "classes"),
)
KEY = ["benchmark", "id", "seed", "sample"]
LISTS = COLUMNS[-3:]
TOP = 0.2
"""The share that 'tokens of highest entropy' means."""
LEAST, IN_PROBLEMS = 20, 5
"""A word is ranked if it occurs so often, in so many problems."""
N_BOOT = 1000
SOURCES = {
    "pocket": ("interventions", {"arm": "base", "condition": "none"}),
    "smol": ("words", {}),
}
"""By scale, the measurement that holds the base model's rollouts, and which of its rows they are."""


# --- reading --------------------------------------------------------------------------------------


def load_rollouts(scale: str, data: Path | None = None) -> pd.DataFrame:
    """The base model's rollouts of a scale.  Raises RecordError where they are missing, or not as they should be."""
    if scale not in SOURCES:
        raise RecordError(f"scale {scale} records no rollouts of its base model: choose one of {', '.join(SOURCES)}")
    name, where = SOURCES[scale]
    file = measure.file(name, scale, data)
    if not file.is_file():
        raise RecordError(f"no {paths.shown(file)}: make it with `python -m egrc measure {name} --scale {scale}`")
    return read_rollouts(file, **where)


def read_rollouts(file: Path, **where: str) -> pd.DataFrame:
    """A parquet file's rollout table, or those of its rows that have the given values; checked.

    Raises RecordError as `check` does, and where the file is missing or no parquet.
    """
    if not file.is_file():
        raise RecordError(f"no {paths.shown(file)}: check its name, or record it again")
    try:
        table = pd.read_parquet(file)
    except (ValueError, OSError) as error:
        raise RecordError(f"{paths.shown(file)}: damaged ({error}); restore it or record it again") from error
    return check(table, file, **where)


def check(table: pd.DataFrame, file: Path | str, **where: str) -> pd.DataFrame:
    """The rollout table as it is, or its rows with the given values, if it is one.

    Raises RecordError with the file, and the row (counted from 1) and column, for: a missing column, no rows, an empty
    cell, several tokenizers, lists of different length in a row, an entropy that is NaN, infinite or negative, and a
    completion that is there twice.
    """
    name = paths.shown(file)
    lacking = [c for c in (*COLUMNS, *where) if c not in table]
    if lacking:
        raise RecordError(f"{name}: no {', '.join(lacking)}; a rollout table has {', '.join(COLUMNS)}")
    table = rows.check(table.reset_index(drop=True), file, single=("tokenizer",))
    for column, value in where.items():
        table = table[table[column] == value]
    if table.empty:
        chosen = " with " + ", ".join(f"{c} {v!r}" for c, v in where.items()) if where else ""
        raise RecordError(f"{name}: no rollouts{chosen}; record them again")
    for column in COLUMNS:
        _refuse(table[column].isna(), name, column, "is empty")
    sizes = table["tokens"].map(len)
    for column in LISTS:
        _refuse(table[column].map(len) != sizes, name, column, "has not as many entries as tokens has")
    _refuse(sizes == 0, name, "tokens", "has no entry")
    nats = np.concatenate(table["entropies"].to_list()).astype(float)
    wrong = pd.Series(~np.isfinite(nats) | (nats < 0), table.index.repeat(sizes))
    _refuse(wrong, name, "entropies", "holds NaN, infinity or a negative number; entropies are nats, 0 or more")
    _refuse(table.duplicated(KEY), name, "sample", "is there twice for this problem and seed")
    return table


def _refuse(bad: pd.Series, name: str, column: str, what: str) -> None:
    if bad.any():
        row = int(bad.index[bad.to_numpy().argmax()]) + 1
        raise RecordError(f"{name}, row {row}: {column} {what}; record it again")


def units(rollouts: pd.DataFrame) -> pd.DataFrame:
    """One row per token or word: benchmark, id, seed, token, entropy, class."""
    sizes = rollouts["tokens"].map(len)
    long = rollouts.loc[rollouts.index.repeat(sizes), ["benchmark", "id", "seed"]].reset_index(drop=True)
    token, entropy, kind = (np.concatenate(rollouts[c].to_list()) for c in LISTS)
    return long.assign(token=token, entropy=entropy.astype(float)).assign(**{"class": kind})


def by_subword(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The same rollouts by subword token instead of by word (columns starts, subwords, subword_entropies): a token has
    the class of the word it is part of."""
    classes = [
        np.repeat(np.asarray(row.classes, object), np.diff([*row.starts, len(row.subwords)]))
        for row in rollouts.itertuples()
    ]
    return rollouts.assign(
        tokens=rollouts["subwords"], entropies=rollouts["subword_entropies"], classes=pd.Series(classes, rollouts.index)
    )


READINGS: dict[str, tuple[tuple[str, ...], Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "as claimed": ((), lambda rollouts: rollouts),
    "first token of a word": (("entropies_first",), lambda r: r.assign(entropies=r["entropies_first"])),
    "strict list": (("classes_strict",), lambda r: r.assign(classes=r["classes_strict"])),
    "subword tokens": (("starts", "subwords", "subword_entropies"), by_subword),
}
"""Definitions of a word's entropy, of what a connector is, and of the unit: needed columns, and how to take it."""


# --- who carries the entropy ----------------------------------------------------------------------


def class_entropy(rollouts: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Mean entropy of each class in nats, ranked: class, mean, low, high, units, problems, seeds.

    95% intervals over problems; resamples that hold none of a class are left out for it.
    """
    return _means(units(rollouts), ["class"], n_boot)


def by_word(
    rollouts: pd.DataFrame, least: int = LEAST, problems: int = IN_PROBLEMS, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Mean entropy of each word that occurs at least `least` times in at least `problems` problems, ranked.

    Columns word (see `spelling`), class, mean, low, high, units, problems, seeds.  A word that has two classes is two.
    """
    long = units(rollouts)
    long["word"] = long["token"].map(spelling)
    groups = long.assign(problem=long["benchmark"] + "\t" + long["id"]).groupby(["word", "class"])
    enough = (groups["word"].transform("size") >= least) & (groups["problem"].transform("nunique") >= problems)
    return _means(long[enough], ["word", "class"], n_boot)


def spelling(token: str) -> str:
    """A word without case and the blanks before it; a line break or a blank itself as a sign."""
    return token.strip().lower() or ("⏎" if "\n" in token else "␣")


def top_weights(entropies: np.ndarray, top: float = TOP) -> np.ndarray:
    """How much of each unit [n] is among the `top` share of highest entropy: 1, 0, or, for all that stand exactly at
    the threshold, the same part, such that they sum to top * n.  Raises ValueError unless 0 < top < 1 and n > 0."""
    if not 0 < top < 1 or not len(entropies):
        raise ValueError(f"top={top} of {len(entropies)} units: give a share between 0 and 1, and at least one unit")
    ranks = _ranks(entropies)
    (threshold,), (part,) = _threshold([np.sort(ranks)], np.ones((1, 1)), top)
    return np.select([ranks < threshold, ranks == threshold], [1.0, part], 0.0)


def _ranks(entropies: np.ndarray) -> np.ndarray:
    """0 for the highest entropy, and the same for all that are equal: int [n]."""
    return np.unique(-np.asarray(entropies, float), return_inverse=True)[1]


def _threshold(groups: Sequence[np.ndarray], times: np.ndarray, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the `top` share ends if groups of units count so many times, by bisection: the last rank in it, and what
    part of that rank's units belongs to it, each [resamples].

    `groups` hold their units' ranks, sorted; `times` is [resamples, groups].
    """
    room = top * (times @ [len(own) for own in groups])
    low, high = np.zeros(len(times), int), np.full(len(times), max(own[-1] for own in groups))
    while (low < high).any():
        middle = (low + high) // 2
        enough = _within(groups, times, middle) >= room - 1e-9
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    above = _within(groups, times, low - 1)
    return low, (room - above) / (_within(groups, times, low) - above)


def _within(groups: Sequence[np.ndarray], times: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """How many units have at most this rank, which differs between resamples: [resamples].  See `_threshold`."""
    return sum(n * np.searchsorted(own, rank, side="right") for n, own in zip(times.T, groups, strict=True))


def top_share(rollouts: pd.DataFrame, top: float = TOP, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Each class's share of the units of highest entropy, against its share of all, with 95% intervals over problems.

    Columns class, share (of the top), overall (of all), lift (their ratio, at most 1/top), each also _low and _high,
    units, problems, seeds; ordered by lift.  Each resample has a threshold of its own.
    """
    long = units(rollouts)
    long = long.assign(problem=long.groupby(["benchmark", "id"]).ngroup(), rank=_ranks(long["entropy"]))
    times = np.vstack(multiplicities(long, n_boot))
    threshold, part = _threshold(_by_problem(long, times.shape[1]), times, top)
    counts = []
    for _, own in long.groupby("class"):
        groups = _by_problem(own, times.shape[1])
        above, at = (_within(groups, times, rank) for rank in (threshold - 1, threshold))
        counts.append((above + part * (at - above), times @ [len(g) for g in groups]))
    best, counted = np.array(counts).transpose(1, 2, 0)  # [1 + n_boot, classes]
    share, overall = (n / n.sum(-1, keepdims=True) for n in (best, counted))
    table = pd.DataFrame({"class": sorted(set(long["class"]))})
    for name, values in (("share", share), ("overall", overall), ("lift", _ratio(share, overall))):
        table = _with_interval(table, name, values[0], values[1:])
    return _finish(table, counted[0], long, "lift")


def _by_problem(long: pd.DataFrame, problems: int) -> list[np.ndarray]:
    """The ranks of each problem's units, sorted."""
    ordered = long[["problem", "rank"]].sort_values(["problem", "rank"])
    return np.split(ordered["rank"].to_numpy(), np.searchsorted(ordered["problem"], np.arange(1, problems)))


def connector_readings(rollouts: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Connectors' line of `top_share` under each of `READINGS` whose columns are there, with a column reading.

    The first one is the claim's; a conclusion that only some of them bear out depends on the definition.
    """
    lines = []
    for name, (wanted, of) in READINGS.items():
        if all(column in rollouts for column in wanted):
            found = top_share(of(rollouts), n_boot=n_boot)
            lines.append(found[found["class"] == "connector"].assign(reading=name))
    return pd.concat(lines, ignore_index=True).set_index("reading").drop(columns="class").reset_index()


def each_seed(of: Callable[..., pd.DataFrame], rollouts: pd.DataFrame) -> pd.DataFrame:
    """What a function of this module says of each seed's rollouts alone, with a column seed and without intervals."""
    tables = [of(group, n_boot=0).assign(seed=seed) for seed, group in rollouts.groupby("seed")]
    found = pd.concat(tables, ignore_index=True)
    return found.drop(columns=[c for c in found if c.endswith(("low", "high"))])


# --- the bootstrap --------------------------------------------------------------------------------


def multiplicities(long: pd.DataFrame, n_boot: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each problem counts: once [problems], and as resampled within its benchmark [n_boot, problems].

    Problems in the order of (benchmark, id).
    """
    found = long[["benchmark", "id"]].drop_duplicates().sort_values(["benchmark", "id"])
    sizes = found.groupby("benchmark").size().to_numpy()
    means = resample(np.eye(len(found)), list(found["benchmark"]), n_boot)
    observed, drawn = (np.rint(np.tensordot(m, sizes, axes=(-2, 0))) for m in means)
    return observed, drawn


def _means(long: pd.DataFrame, by: list[str], n_boot: int) -> pd.DataFrame:
    """Mean entropy of each key with its interval, ranked."""
    if long.empty:
        raise ValueError("no word, or token, is left to rank: ask for fewer occurrences")
    sums = long.groupby(["benchmark", "id", *by])["entropy"].agg(["sum", "size"]).unstack(by, fill_value=0).sort_index()
    total, count = sums["sum"].to_numpy(), sums["size"].to_numpy(float)
    means = [_ratio(times @ total, times @ count) for times in multiplicities(long, n_boot)]
    table = _with_interval(sums["sum"].columns.to_frame(index=False), "mean", *means)
    return _finish(table, sums["size"].sum().to_numpy(), long, "mean").rename(
        columns={"mean_low": "low", "mean_high": "high"}
    )


def _with_interval(table: pd.DataFrame, name: str, observed: np.ndarray, drawn: np.ndarray) -> pd.DataFrame:
    """Adds observed [keys] and the interval of drawn [n_boot, keys]; NaN without resamples."""
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.nanquantile(drawn, ends, axis=0) if len(drawn) else np.full((2, len(observed)), np.nan)
    return table.assign(**{name: observed, f"{name}_low": low, f"{name}_high": high})


def _finish(table: pd.DataFrame, counts: np.ndarray, long: pd.DataFrame, order: str) -> pd.DataFrame:
    problems = len(long[["benchmark", "id"]].drop_duplicates())
    table = table.assign(units=counts.astype(int), problems=problems, seeds=long["seed"].nunique())
    return table.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; NaN where b is 0."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)


# --- what proves nothing --------------------------------------------------------------------------


def expected_square(logits: Tensor) -> Tensor:
    """Expected square of |d log pi(token) / d logits| for a token drawn from the policy itself, token by token.

    logits [..., V] -> [...].  An identity makes it `disagreement`: the size of this gradient says how undecided the
    policy is, and nothing else.
    """
    import torch

    from egrc.entropy import logit_gradient_norm

    size = logits.shape[-1]
    each = torch.stack([logit_gradient_norm(logits, torch.full(logits.shape[:-1], v)) for v in range(size)], -1)
    return (logits.float().softmax(-1) * each.square()).sum(-1)


def disagreement(logits: Tensor) -> Tensor:
    """1 - sum_v p_v^2: the chance that two tokens drawn from the policy differ.  logits [..., V] -> [...]."""
    return 1 - logits.float().softmax(-1).square().sum(-1)
