"""Arms against the base on every benchmark, with intervals: tables 1 and 3, figures 2, 9 and 10.

Of means over samples and seeds: `gain`, accuracy minus the base's at the same temperature; `gain_best`, at the one that
suits the base best (found on training problems); `share`, tokens over the base's; `removed`, the part of the removable
length (base - compact floor) that is gone.  'mean' is the plain mean over benchmarks of each.  Intervals (95%)
are paired bootstraps over problems, given the seeds, whose lowest and highest are shown beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from egrc.evaluation import intervals
from egrc.evaluation.intervals import Means, resampled
from egrc.experiments import scales
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once
from egrc.methods import MAIN
from egrc.paths import DATA, run_folder

SEEDS_WANTED = 3
N_BOOT = 2000
STUDIES = ("peers", "dilemma", "ablations")
"""Whose arms are compared in table 3, and in figures 9 and 10."""
LEVELS = ("accuracy", "tokens", "removed")


def best_temperature(scale: str, data: Path = DATA) -> float | None:
    """The base's own best sampling temperature, as recorded with the world; None where a scale has recorded none."""
    file = data / scale / "world.json"
    return json.loads(file.read_text(encoding="utf-8"))["base_best_temperature"] if file.exists() else None


def compared_at(scale: str, data: Path = DATA) -> float:
    """The sampling temperature of a scale's comparisons: the one that suits the base best; 1 where none is recorded."""
    best = best_temperature(scale, data)
    return 1.0 if best is None else best


def floors(scale: str, benchmarks: Iterable[str]) -> dict[str, float]:
    """Compact floor of each benchmark in completion tokens, end of sequence included; NaN where none is known."""
    known = {name: scales.world(scale).floor_tokens(name) for name in benchmarks}
    return {name: float("nan") if tokens is None else float(tokens) for name, tokens in known.items()}


def wanted(scale: str) -> dict[str, tuple[int, ...]]:
    """Arms, the main ones first, and the seeds that `STUDIES` ask of each; empty where a scale has no such study."""
    s = scales.SCALES[scale]
    studies = [name for name in STUDIES if name in s.studies]
    asked = [(arm, seed) for arm in s.arms for seed in s.seeds] if studies else []
    asked += [run for name in studies for run in scales.study_runs(scale, name)]
    return {arm: tuple(sorted({seed for a, seed in asked if a == arm})) for arm, _ in asked}


def load(scale: str, arms: Iterable[str], data: Path | None = None) -> list[Record]:
    """The records at hand of some arms that are `wanted`, in the order of `arms`, then of seeds.  Raises RecordError
    where the scale has no such studies, or no base was evaluated."""
    asked = wanted(scale)
    if not asked:
        raise RecordError(f"scale {scale!r} has none of the studies {', '.join(STUDIES)}: they are not made there")
    folders = [run_folder(data or DATA, scale, arm, seed) for arm in dict.fromkeys(arms) for seed in asked[arm]]
    runs = [Record.load(folder) for folder in folders if (folder / "run.json").is_file()]
    if not any(run.arm == "base" for run in runs):
        raise RecordError(f"no record of the base at scale {scale!r}: evaluate it with `make train ARM=base`")
    return runs


def evaluations(records: Sequence[Record]) -> pd.DataFrame:
    """Evaluation rows of all records, with columns arm, seed and config (its hash).  Raises RecordError if none."""
    if not records:
        raise RecordError("no records to show: train some with `python -m egrc train`, or check EGRC_DATA")
    keep = ["benchmark", "id", "temperature", "correct", "tokens", "truncated"]
    rows = [r.evaluation[keep].assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"]) for r in records]
    return pd.concat(rows, ignore_index=True)


@once
def rows_at(records: Sequence[Record], temperature: float) -> pd.DataFrame:
    """`evaluations` at one temperature.  Raises RecordError if a run lacks it."""
    table = evaluations(records)
    here = table[np.isclose(table["temperature"], temperature)].reset_index(drop=True)
    there = set(here[["arm", "seed"]].itertuples(index=False, name=None))
    if lacking := [r.name for r in records if (r.arm, r.seed) not in there]:
        raise RecordError(f"not evaluated at temperature {temperature:g}: {', '.join(lacking)}; train them again")
    return here


def hardest(rows: pd.DataFrame) -> str:
    """The benchmark on which the base is least accurate, of `rows_at` one temperature."""
    return rows[rows["arm"] == "base"].groupby("benchmark")["correct"].mean().idxmin()


def missing(wanted: Iterable[str] | Mapping[str, int], present: Iterable[tuple[str, int]]) -> str:
    """What a reader must be told: arms without a record, and arms with fewer seeds than wanted; empty if none.

    `wanted`: arms, with the number of seeds where it is not `SEEDS_WANTED`; `present`: (arm, seed) of the records.
    """
    seeds, reasons = [arm for arm, _ in set(present)], dict[str, list[str]]()
    for arm in wanted:
        n, asked = seeds.count(arm), wanted[arm] if isinstance(wanted, Mapping) else SEEDS_WANTED
        if n < asked:
            reasons.setdefault(f"only {n} seed{'s' * (n > 1)}" if n else "no record", []).append(arm)
    groups = "; ".join(f"{reason}: {', '.join(arms)}" for reason, arms in reasons.items())
    return f"Missing: {groups}." if groups else ""


def best_note(rows: pd.DataFrame, best: float | None) -> str:
    """What a reader must be told where the base's best temperature cannot be shown; else empty."""
    if best is None:
        return "The base's own best temperature is not recorded for this scale."
    if best not in set(rows.loc[rows["arm"] == "base", "temperature"]):
        return f"The base was not evaluated at its own best temperature, {best:g}."
    return ""


def temperature_label(temperature: float, best: float | None) -> str:
    """'greedy', '1', or '0.6 (base's best)'."""
    text = "greedy" if temperature == 0 else f"{temperature:g}"
    return f"{text} (base's best)" if temperature == best else text


STATISTICS: dict[str, Callable[[Means, Means, np.ndarray], np.ndarray]] = {
    "accuracy": lambda a, b, floor: a.accuracy,
    "gain": lambda a, b, floor: a.accuracy - b.accuracy,
    "gain_best": lambda a, b, floor: a.accuracy - b.accuracy,
    "tokens": lambda a, b, floor: a.tokens,
    "share": lambda a, b, floor: a.tokens / b.tokens,
    "removed": lambda a, b, floor: (b.tokens - a.tokens) / (b.tokens - floor),
}
"""Of an arm's means, the base's, and the floors: [..., benchmarks] in alphabetical order."""
ALONE = ("accuracy", "tokens")  # of one side only
ENDS = ("", "_low", "_high", "_min", "_max")


def parts(rows: pd.DataFrame) -> dict[str, list[int]]:
    """'mean', then every benchmark: where they are among the benchmarks in alphabetical order."""
    names = sorted(rows["benchmark"].unique())
    return {"mean": list(range(len(names))), **{b: [names.index(b)] for b in rows["benchmark"].unique()}}


@once
def compare(
    rows: pd.DataFrame,
    floor: Mapping[str, float],
    best: float | None,
    columns: Iterable[str] = tuple(STATISTICS),
    n_boot: int | None = None,
) -> pd.DataFrame:
    """One line per benchmark ('mean' first), arm and temperature, from `evaluations` of some runs.

    Columns benchmark, arm, temperature, seeds, floor (tokens), and for each of `columns` (names in `STATISTICS`) its
    estimate (name), its 95% interval (name_low, name_high; `n_boot` resamples) and the lowest and highest seed
    (name_min, name_max); shares lie in [0, 1].  What compares with the base is empty (NaN) for the base itself and
    where the base was not evaluated, `removed` without a floor, `gain_best` without the base's best temperature.
    Raises ValueError if two arms were asked different problems.
    """
    columns, limits = list(columns), np.array([floor[b] for b in sorted(rows["benchmark"].unique())])
    keys, where, order = ["benchmark", "arm", "temperature"], parts(rows), list(dict.fromkeys((*MAIN, *rows["arm"])))
    drawn, runs = resampled(rows, n_boot or N_BOOT, keys[1:]), resampled(rows, 0, [*keys[1:], "seed"])
    sides = sorted(drawn, key=lambda side: (order.index(side[0]), -side[1]))
    lines: dict[tuple[str, str, float], dict[str, float]] = {(b, *side): {} for b in where for side in sides}
    for side in sides:
        seeds = [means for run, means in runs.items() if run[:2] == side]
        for benchmark, at in where.items():
            lines[benchmark, *side] |= {"seeds": len(seeds), "floor": limits[at].mean()}
        for name in columns:
            base = side if name in ALONE else ("base", best if name == "gain_best" else side[1])
            if base not in drawn or (base == side and name not in ALONE):
                continue
            values = STATISTICS[name](drawn[side], drawn[base], limits)
            observed = Means(*(means[:1] for means in drawn[base]))
            alone = [STATISTICS[name](seed, observed, limits)[0] for seed in seeds]
            for benchmark, at in where.items():
                value, each = values[:, at].mean(-1), [float(x[at].mean()) for x in alone]
                ends = (*intervals.estimate(value[0], value[1:]), min(each), max(each))
                lines[benchmark, *side] |= dict(zip((name + end for end in ENDS), ends, strict=True))
    table = pd.DataFrame([dict(zip(keys, key, strict=True)) | line for key, line in lines.items()])
    return table.reindex(columns=[*keys, "seeds", "floor", *(name + end for name in columns for end in ENDS)])


def by_run(rows: pd.DataFrame, floor: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Each run alone: columns arm, temperature, seed, benchmark ('mean' first), accuracy, tokens, removed.

    The base's length, of which a run removes its share, is the mean over the base's seeds at the same temperature.
    """
    run = ["arm", "temperature", "seed"]
    each = rows.groupby([*run, "benchmark"], sort=False)[["correct", "tokens"]].mean().reset_index()
    each = each.rename(columns={"correct": "accuracy"})
    at = ["temperature", "benchmark"]
    base = each[at].join(each[each["arm"] == "base"].groupby(at)["tokens"].mean(), on=at)["tokens"]
    each["removed"] = (base - each["tokens"]) / (base - each["benchmark"].map(floor or {}).astype(float))
    mean = each.groupby(run, sort=False)[list(LEVELS)].mean().reset_index()
    return pd.concat([mean.assign(benchmark="mean"), each], ignore_index=True)
