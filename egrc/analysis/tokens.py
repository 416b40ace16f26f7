"""Which tokens carry the entropy: classes and words ranked by it, and who is among those of highest entropy.

A **rollout table** has a row per completion: benchmark, id (the problem, unit of the bootstrap, drawn within its
benchmark), seed, sample, and lists with one entry per *unit*, a token in the pocket world and a word
(`egrc.analysis.words`) of a real model: tokens (text), entropies (nats at T=1), classes (names).

The tokens of highest entropy are a fixed share of all units, pooled.  Those exactly at the threshold share equally what
room is left, so that no order of rows decides.  [ours]
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from egrc.analysis import rows
from egrc.analysis.measure import NotMade
from egrc.evaluation.intervals import LEVEL, resample

LISTS = ("tokens", "entropies", "classes")
TOP = 0.2
"""The share that 'tokens of highest entropy' means."""
LEAST, IN_PROBLEMS = 20, 5
"""A word is ranked if it occurs so often, in so many problems."""
N_BOOT = 1000
SOURCES = {
    "pocket": ("interventions", {"arm": "base", "condition": "none"}),
    "real": ("words", {}),
}
"""By scale, the measurement that holds the base model's rollouts, and which of its rows they are."""


def load_rollouts(scale: str, data: Path | None = None) -> pd.DataFrame:
    """The base model's rollouts of a scale.  Raises NotMade where they are missing, RecordError where damaged."""
    if scale not in SOURCES:
        raise NotMade(f"scale {scale} records no rollouts of its base model: choose one of {', '.join(SOURCES)}")
    name, where = SOURCES[scale]
    table = rows.load(name, scale, data)
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def units(rollouts: pd.DataFrame) -> pd.DataFrame:
    """One row per token or word: benchmark, id, seed, token, entropy, class."""
    long = rollouts[["benchmark", "id", "seed", *LISTS]].explode(list(LISTS), ignore_index=True)
    return long.set_axis(["benchmark", "id", "seed", "token", "entropy", "class"], axis=1).astype({"entropy": float})


def by_subword(rollouts: pd.DataFrame) -> pd.DataFrame:
    """The same rollouts by subword token instead of by word (columns starts, subwords, subword_entropies): a token has
    the class of the word it is part of."""
    classes = [np.repeat(np.asarray(row.classes, object), np.diff([*row.starts, len(row.subwords)]))
               for row in rollouts.itertuples()]  # fmt: skip
    return rollouts.assign(
        tokens=rollouts["subwords"], entropies=rollouts["subword_entropies"], classes=pd.Series(classes, rollouts.index)
    )


READINGS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "as claimed": ("entropies", lambda r: r),
    "first token of a word": ("entropies_first", lambda r: r.assign(entropies=r["entropies_first"])),
    "strict list": ("classes_strict", lambda r: r.assign(classes=r["classes_strict"])),
    "subword tokens": ("subwords", by_subword),
}
"""Definitions of a word's entropy, of what a connector is, and of the unit: the column it needs, and how to take it."""


def class_entropy(rollouts: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Mean entropy of each class in nats, ranked: class, mean, low, high, units, problems, seeds.

    95% intervals over problems; resamples that hold none of a class are left out for it.
    """
    return _means(units(rollouts), ["class"], n_boot)


def by_word(
    rollouts: pd.DataFrame, least: int = LEAST, problems: int = IN_PROBLEMS, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Mean entropy of each word that occurs at least `least` times in at least `problems` problems, ranked.

    Columns word (without case and blanks; a blank or line break as a sign), class, mean, low, high, units, problems,
    seeds.  A word that has two classes is two.  Raises ValueError where no word is left.
    """
    long = units(rollouts)
    long["word"] = long["token"].map(lambda text: text.strip().lower() or ("⏎" if "\n" in text else "␣"))
    groups = long.assign(problem=long["benchmark"] + "\t" + long["id"]).groupby(["word", "class"])
    enough = (groups["word"].transform("size") >= least) & (groups["problem"].transform("nunique") >= problems)
    if not enough.any():
        raise ValueError("no word, or token, is left to rank: ask for fewer occurrences")
    return _means(long[enough], ["word", "class"], n_boot)


def top_share(rollouts: pd.DataFrame, top: float = TOP, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Each class's share of the units of highest entropy, against its share of all, with 95% intervals over problems.

    Columns class, share (of the top), overall (of all), lift (their ratio, at most 1/top), each also _low and _high,
    units, problems, seeds; ordered by lift.  Each resample has a threshold of its own.
    """
    long = units(rollouts)
    problem = long.groupby(["benchmark", "id"]).ngroup().to_numpy()
    names, kind = np.unique(long["class"].astype(str), return_inverse=True)
    times = multiplicities(long, n_boot)
    counted = times @ pd.crosstab(problem, kind).to_numpy()
    order = np.argsort(-long["entropy"].to_numpy(), kind="stable")
    nats, problem, kind = -long["entropy"].to_numpy()[order], problem[order], kind[order]
    best = np.zeros_like(counted)
    for row, own in zip(best, times.astype(np.int32), strict=True):  # each unit is there so many times
        n = own[problem]
        total = np.concatenate([[0], n.cumsum(dtype=np.int32)])
        room = top * total[-1]
        last = nats[np.searchsorted(total, room) - 1]
        a, b = np.searchsorted(nats, last, "left"), np.searchsorted(nats, last, "right")
        part = (room - total[a]) / (total[b] - total[a])
        row += np.bincount(kind[:a], n[:a], len(names)) + part * np.bincount(kind[a:b], n[a:b], len(names))
    share, overall = (n / n.sum(-1, keepdims=True) for n in (best, counted))  # [1 + n_boot, classes]
    table = pd.DataFrame({"class": names, "units": counted[0].astype(int)})
    return _ranked(table, long, {"lift": _ratio(share, overall), "share": share, "overall": overall})


def connector_readings(rollouts: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Connectors' line of `top_share` under each of `READINGS` whose column is there, with a column reading.

    The first one is the claim's; a conclusion that only some of them bear out depends on the definition.
    """
    taken = {name: top_share(of(rollouts), n_boot=n_boot) for name, (need, of) in READINGS.items() if need in rollouts}
    table = pd.concat(taken, names=["reading"]).reset_index("reading")
    return table[table["class"] == "connector"].drop(columns="class").reset_index(drop=True)


def each_seed(of: Callable[..., pd.DataFrame], rollouts: pd.DataFrame) -> pd.DataFrame:
    """What a function of this module says of each seed's rollouts alone, with a column seed and without intervals."""
    tables = [of(group, n_boot=0).assign(seed=seed) for seed, group in rollouts.groupby("seed")]
    found = pd.concat(tables, ignore_index=True)
    return found.drop(columns=[c for c in found if c.endswith(("low", "high"))])


def multiplicities(long: pd.DataFrame, n_boot: int) -> np.ndarray:
    """How often each problem counts: once, then as resampled within its benchmark, [1 + n_boot, problems].

    Problems in the order of (benchmark, id).
    """
    problems = long[["benchmark", "id"]].drop_duplicates().sort_values(["benchmark", "id"])
    sizes = problems.groupby("benchmark").size().to_numpy()
    observed, drawn = resample(np.eye(len(problems)), list(problems["benchmark"]), n_boot)  # means by benchmark
    return np.rint(np.tensordot(np.concatenate([observed[None], drawn]), sizes, axes=(-2, 0)))


def _means(long: pd.DataFrame, by: list[str], n_boot: int) -> pd.DataFrame:
    """Mean entropy of each key with its interval, ranked."""
    sums = long.groupby(["benchmark", "id", *by])["entropy"].agg(["sum", "size"]).unstack(by, fill_value=0).sort_index()
    times = multiplicities(long, n_boot)
    mean = _ratio(times @ sums["sum"].to_numpy(), times @ sums["size"].to_numpy(float))
    table = sums["size"].sum().rename("units").reset_index()
    return _ranked(table, long, {"mean": mean}).rename(columns={"mean_low": "low", "mean_high": "high"})


def _ranked(table: pd.DataFrame, long: pd.DataFrame, estimates: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table with estimates [1 + n_boot, keys] and their intervals (NaN without resamples), by the first of them."""
    for name, (observed, *drawn) in estimates.items():
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) if drawn else (np.nan, np.nan)
        table = table.assign(**{name: observed, f"{name}_low": low, f"{name}_high": high})
    table = table.assign(problems=len(long[["benchmark", "id"]].drop_duplicates()), seeds=long["seed"].nunique())
    return table.sort_values(next(iter(estimates)), ascending=False, kind="stable", ignore_index=True)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; NaN where b is 0."""
    return np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0)
