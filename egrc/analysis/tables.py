"""Arms against the base on every benchmark, with intervals: the numbers of tables 1 and 3 and of figure 2.

For an arm and the base, both means over samples and seeds, benchmark by benchmark:

    gain      accuracy - base's, at the same temperature
    gain_best accuracy - base's at the temperature that suits the base best (found on training problems)
    share     tokens / base's
    removed   (base - tokens) / (base - compact floor): the part of the removable length that is gone

The benchmark 'mean' is the plain mean over benchmarks of each of these.  Intervals (95%) are paired bootstraps over
problems, given the seeds; what the seeds add is shown beside them, as the lowest and the highest seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from egrc.evaluation import intervals
from egrc.evaluation.evaluate import summarise
from egrc.evaluation.intervals import Means
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once
from egrc.methods import MAIN
from egrc.paths import DATA, shown

SEEDS_WANTED = 3
N_BOOT = 2000
GREEDY = 0.0


# --- what is there ------------------------------------------------------------------------------------------------


def best_temperature(scale: str, data: Path = DATA) -> float | None:
    """The base's own best sampling temperature, as recorded with the world; None where a scale has recorded none.

    Raises RecordError if the file is there but does not say.
    """
    file = data / scale / "world.json"
    if not file.exists():
        return None
    facts = json.loads(file.read_text(encoding="utf-8"))
    if "base_best_temperature" not in facts:
        raise RecordError(f"{shown(file)}: no base_best_temperature; measure it with `python -m egrc measure world`")
    return float(facts["base_best_temperature"])


def compared_at(scale: str, data: Path = DATA) -> float:
    """The sampling temperature of a scale's comparisons: the one that suits the base best; 1 where none is recorded."""
    best = best_temperature(scale, data)
    return 1.0 if best is None else best


def floors(scale: str, benchmarks: Iterable[str]) -> dict[str, float]:
    """Compact floor of each benchmark in completion tokens, end of sequence included; NaN where none is known."""
    return dict(_floors(scale, tuple(benchmarks)).itertuples(index=False, name=None))


@once
def _floors(scale: str, benchmarks: tuple[str, ...]) -> pd.DataFrame:
    """Columns benchmark and tokens."""
    from egrc.experiments import scales  # imports transformers, so only here

    world = scales.world(scale)
    known = {b: world.floor_tokens(b) for b in benchmarks}
    tokens = [float("nan") if tokens is None else float(tokens) for tokens in known.values()]
    return pd.DataFrame({"benchmark": list(known), "tokens": tokens})


def evaluations(records: Sequence[Record]) -> pd.DataFrame:
    """Evaluation rows of all records, with columns arm, seed and config (its hash).  Raises RecordError if none."""
    if not records:
        raise RecordError("no records to show: train some with `python -m egrc train`, or check EGRC_DATA")
    keep = ["benchmark", "id", "temperature", "correct", "tokens", "truncated"]
    return pd.concat(
        [r.evaluation[keep].assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"]) for r in records],
        ignore_index=True,
    )


def missing(
    arms: Iterable[str], present: Iterable[tuple[str, int]], wanted: Mapping[str, int] | None = None
) -> list[str]:
    """What a reader must be told: arms without a record, and arms with fewer seeds than wanted of them.

    `present` lists (arm, seed) of the records at hand; `wanted` seeds by arm, `SEEDS_WANTED` of all unless given.
    """
    found = set(present)
    told = []
    for arm in arms:
        n = sum(a == arm for a, _ in found)
        if not n:
            told.append(f"{arm}: no record")
        elif n < (wanted or {}).get(arm, SEEDS_WANTED):
            told.append(f"{arm}: only {n} seed{'s' * (n > 1)}")
    return told


def best_note(rows: pd.DataFrame, best: float | None) -> str:
    """What a reader must be told where the base's best temperature cannot be shown; else empty."""
    if best is None:
        return "The base's own best temperature is not recorded for this scale."
    if best not in set(rows.loc[rows["arm"] == "base", "temperature"]):
        return f"The base was not evaluated at its own best temperature, {best:g}."
    return ""


def temperature_label(temperature: float, best: float | None) -> str:
    """'greedy', '1', or '0.6 (base's best)'."""
    text = "greedy" if temperature == GREEDY else f"{temperature:g}"
    return f"{text} (base's best)" if temperature == best else text


# --- the numbers --------------------------------------------------------------------------------------------------


STATISTICS: dict[str, Callable[[Means, Means, np.ndarray], np.ndarray]] = {
    "accuracy": lambda a, b, floor: a.accuracy.mean(-1),
    "gain": lambda a, b, floor: (a.accuracy - b.accuracy).mean(-1),
    "gain_best": lambda a, b, floor: (a.accuracy - b.accuracy).mean(-1),
    "tokens": lambda a, b, floor: a.tokens.mean(-1),
    "share": lambda a, b, floor: (a.tokens / b.tokens).mean(-1),
    "removed": lambda a, b, floor: ((b.tokens - a.tokens) / (b.tokens - floor)).mean(-1),
}
"""Of an arm's means, the base's, and the floors, each [..., benchmarks]; the header says what they are."""
PARTS = ("", "_low", "_high", "_min", "_max")
Side = tuple[str, float]


@once
def compare(
    rows: pd.DataFrame, floor: Mapping[str, float], best: float | None, columns: Iterable[str] = tuple(STATISTICS)
) -> pd.DataFrame:
    """One line per benchmark ('mean' first), arm and temperature.

    Parameters
    ----------
    rows : see `evaluations`.
    floor : tokens by benchmark; NaN leaves `removed` empty.
    best : the base's best temperature; None leaves `gain_best` empty.
    columns : which of `STATISTICS` to work out.

    Returns
    -------
    Columns benchmark, arm, temperature, seeds, floor, and for each of `columns` its estimate (name), its 95% interval
    (name_low, name_high) and the lowest and highest seed (name_min, name_max).  Accuracy and fractions lie in [0, 1].
    What compares with the base is empty (NaN) for the base itself, and where the base was not evaluated.

    Raises ValueError if two arms were asked different problems.
    """
    columns, names = list(columns), sorted(rows["benchmark"].unique())  # `Means` hold benchmarks alphabetically
    parts = {"mean": list(range(len(names))), **{b: [names.index(b)] for b in rows["benchmark"].unique()}}
    limits = np.array([floor[b] for b in names])
    sides, summaries = _by_side(rows), _by_side(run_means(rows))
    averages = {side: means(lines) for side, lines in summaries.items()}
    order = list(dict.fromkeys((*MAIN, *rows["arm"])))
    lines: dict[tuple[str, Side], dict[str, float]] = {}
    for mine in sorted(sides, key=lambda side: (order.index(side[0]), -side[1])):
        against = {name: _opponent(name, mine, sides, best) for name in columns}
        pairs = {other: intervals.pairs(sides[mine], sides[other], N_BOOT) for other in set(against.values()) if other}
        seeds = [means(run) for _, run in summaries[mine].groupby("seed")]
        for benchmark, at in parts.items():
            line = lines[benchmark, mine] = {"seeds": len(seeds), "floor": limits[at].mean()}
            for name, other in against.items():
                if other is not None:
                    worked = [
                        STATISTICS[name](_only(a, at), _only(b, at), limits[at])
                        for a, b in (*pairs[other], *((seed, averages[other]) for seed in seeds))
                    ]
                    line |= dict(zip((name + part for part in PARTS), _estimate(*worked), strict=True))
    table = pd.DataFrame(
        [
            {"benchmark": benchmark, "arm": mine[0], "temperature": mine[1], **lines[benchmark, mine]}
            for benchmark in parts
            for mine in dict.fromkeys(side for _, side in lines)
        ]
    )
    keys = ["benchmark", "arm", "temperature", "seeds", "floor"]
    return table.reindex(columns=keys + [name + part for name in columns for part in PARTS])


@once
def by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """`egrc.evaluation.evaluate.summarise` of every run: its columns, with arm and seed; the 'mean' lines included."""
    parts = [summarise(run).assign(arm=arm, seed=seed) for (arm, seed), run in rows.groupby(["arm", "seed"])]
    return pd.concat(parts, ignore_index=True)


def run_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Only accuracy and mean_tokens of every run and benchmark, with arm, temperature and seed: `by_seed` does more and
    takes longer."""
    runs = rows.groupby(["arm", "temperature", "seed", "benchmark"])[["correct", "tokens"]].mean()
    return runs.rename(columns={"correct": "accuracy", "tokens": "mean_tokens"}).reset_index()


def means(lines: pd.DataFrame) -> Means:
    """Per-benchmark means, in alphabetical order, of `run_means`' lines of one arm and temperature: mean over seeds."""
    table = lines.groupby("benchmark", sort=True)[["accuracy", "mean_tokens"]].mean()
    return Means(*table.to_numpy().T)


def _by_side(rows: pd.DataFrame) -> dict[Side, pd.DataFrame]:
    """Rows by (arm, temperature)."""
    return dict(iter(rows.groupby(["arm", "temperature"])))


def _opponent(name: str, mine: Side, sides: Iterable[Side], best: float | None) -> Side | None:
    """The side that a statistic of `mine` is about; None where there is nothing to compare with."""
    temperature = best if name == "gain_best" else mine[1]
    if temperature is None:
        return None
    base = ("base", temperature)
    if name in ("accuracy", "tokens"):  # of one side only: any opponent does, and the base's draws can be shared
        return base if base in sides else mine
    return base if base in sides and base != mine else None


def _only(side: Means, at: list[int]) -> Means:
    return Means(side.accuracy[..., at], side.tokens[..., at])


def _estimate(observed: np.ndarray, resampled: np.ndarray, *seeds: np.ndarray) -> tuple[float, ...]:
    """Estimate, 95% percentile interval, lowest and highest seed."""
    return float(observed), *map(float, np.quantile(resampled, [0.025, 0.975])), float(min(seeds)), float(max(seeds))
