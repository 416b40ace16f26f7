"""Which part of EGRC matters?  `egrc` with one thing changed, against `egrc` itself.  Pure; the choice is [ours].

    difference   variant - egrc, at the temperature that suits the base best, on the same problems
    interval     95% over problems, given the seeds; only seeds that both have, so that they match one by one
    noise        of seeds: how far the means of as many seeds of egrc and of an equal arm lie apart by chance (95%, by
                 Student's t, from the standard deviation of egrc's own seeds)

The interval says how sure a difference is for these seeds; the noise says what other seeds alone can make of it, and
is the larger the fewer seeds there are.  A difference is called clear where its interval leaves out 0 and it is larger
than the noise.  Nothing is corrected for the number of comparisons: of twenty ablations that change nothing, one is
expected to look clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import tables
from egrc.config import Config
from egrc.evaluation import intervals
from egrc.evaluation.intervals import N_BOOT, Means
from egrc.experiments import scales
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once

STUDY, WHOLE = "ablations", "egrc"
QUANTITIES = ("accuracy", "tokens", "removed")
"""Names in `analysis.tables.STATISTICS`: a share in [0, 1], tokens, and the share of the removable length that is
gone."""

GROUPS: dict[str, dict[str, str]] = {
    "phase 1: compress": {
        "egrc-no-clipping": "no clipping at L",
        "egrc-not-positive-only": "advantage of both signs",
        "egrc-group-relative": "group-relative advantage",
        "egrc-linear": "linear shaping",
        "egrc-no-shaping": "no shaping",
    },
    "phase 2: explore": {
        "compression": "no phase 2",
        "egrc-separate": "length of wrong answers, too",
        "egrc-correctness-only": "correctness only",
        "egrc-temperature-1": "temperature {change}",
    },
    "order and number of switches": {
        "egrc-reversed": "stages reversed",
        "egrc-one-switch": "may go back, one switch",
        "egrc-two-switches": "may go back, two switches",
        "egrc-many-switches": "may go back, many switches",
    },
    "soft gate": {"egrc-soft": "phases blended"},
    "the gate's signal": {
        "egrc-fixed": "fixed schedule, not looking",
        "egrc-by-length": "length instead of entropy",
        "egrc-shuffled": "entropy, shuffled in time",
    },
    "settings": {
        "egrc-r0.02": "r {change}",
        "egrc-r0.2": "r {change}",
        "egrc-r0.8": "r {change}",
        "egrc-L120": "L {change}",
        "egrc-L240": "L {change}",
        "egrc-dapo": "loss {change}",
        "egrc-more-updates": "half the batch, twice the steps",
    },
}
"""The ablations as they are ordered and shown, each in a few words; `{change}` is filled in from the settings."""


# --- the runs -----------------------------------------------------------------------------------------------------


def load(scale: str, data: Path | None = None) -> list[Record]:
    """The records of the base and of the study's arms that are there, in the study's order, at every seed that the
    scale or one of its studies gives them.

    Raises RecordError where the scale has no such study, or the base or `egrc` itself has no record.
    """
    if STUDY not in scales.SCALES[scale].studies:
        raise RecordError(f"scale {scale!r} has no study {STUDY!r}: nothing is taken out of egrc there")
    known = {*product(*scales.runs(scale)), *scales.extras(scale)}
    wanted = sorted(known, key=lambda run: run[1])
    folders = [
        paths.run_folder(data or paths.DATA, scale, arm, seed)
        for arm in ("base", *scales.study(scale, STUDY))
        for of, seed in wanted
        if of == arm
    ]
    found = [Record.load(folder) for folder in folders if (folder / "run.json").is_file()]
    if lost := {"base", WHOLE} - {run.arm for run in found}:
        raise RecordError(f"no record of {' and '.join(sorted(lost))}: {command(scale)}")
    return found


def command(scale: str) -> str:
    """What trains the missing runs."""
    return f"`python -m egrc sweep --scale {scale} --study {STUDY}` makes it"


def missing(scale: str, arms: Iterable[str]) -> list[str]:
    """Ablations of the study that are not among the arms at hand."""
    there = set(arms)
    return [arm for arm in scales.study(scale, STUDY) if arm not in there]


@once
def rows(runs: Sequence[Record], scale: str, data: Path | None = None) -> pd.DataFrame:
    """Evaluation rows of `load`'s runs at the base's best temperature, with arm, seed and config (its hash)."""
    found = tables.evaluations(runs)
    here = np.isclose(found["temperature"], tables.compared_at(scale, data or paths.DATA))
    return found[here].reset_index(drop=True)


# --- differences --------------------------------------------------------------------------------------------------


def levels(table: pd.DataFrame, floor: Mapping[str, float]) -> pd.DataFrame:
    """Each run alone: index arm, seed and part ('mean', or a benchmark); a column for each of `QUANTITIES`.

    `floor` holds each benchmark's compact floor in tokens.  The base's length, of which a run removes its share, is
    the mean over all of the base's seeds; 'mean' is the plain mean over benchmarks.
    """
    each = table.groupby(["arm", "seed", "benchmark"], sort=False)[["correct", "tokens"]].mean().reset_index()
    each = each.rename(columns={"benchmark": "part", "correct": "accuracy"})
    base = each["part"].map(each[each["arm"] == "base"].groupby("part")["tokens"].mean())
    each["removed"] = (base - each["tokens"]) / (base - each["part"].map(floor))
    means = each.groupby(["arm", "seed"], sort=False)[list(QUANTITIES)].mean().reset_index()
    return pd.concat([means.assign(part="mean"), each]).set_index(["arm", "seed", "part"])[list(QUANTITIES)]


Side = Callable[[str, tuple[int, ...]], list[tuple[Means, Means]]]


def sides(table: pd.DataFrame, n_boot: int = N_BOOT) -> Side:
    """Some seeds of an arm beside the base, as observed and as resampled (`intervals.pairs`); each worked out once."""
    base = table[table["arm"] == "base"]

    @cache
    def side(arm: str, seeds: tuple[int, ...]) -> list[tuple[Means, Means]]:
        return intervals.pairs(table[(table["arm"] == arm) & table["seed"].isin(seeds)], base, n_boot)

    return side


def compare(
    table: pd.DataFrame,
    arm: str,
    other: str,
    floor: Mapping[str, float],
    n_boot: int = N_BOOT,
    side: Side | None = None,
) -> pd.DataFrame:
    """`arm` - `other`: a line for each part ('mean', then each benchmark) and quantity.

    `side`: from `sides` of the same table, where many arms are compared with the same other.
    Columns part, quantity, estimate, low, high, problems (in all parts), seeds (those that both have).
    Raises RecordError where they have no seed in common, ValueError where they were asked different problems.
    """
    both, side = tuple(common(table, arm, other)), side or sides(table, n_boot)
    base = table[table["arm"] == "base"]
    names = sorted(base["benchmark"].unique())
    limits = np.array([floor[name] for name in names])
    # one set of problems and one seed of the bootstrap: each resample draws the same problems for both sides
    a, b = side(arm, both), side(other, both)
    lines = []
    for part, at in {"mean": list(range(len(names))), **{n: [i] for i, n in enumerate(names)}}.items():
        for quantity in QUANTITIES:
            first, second = ([_level(quantity, *pair, limits, at) for pair in pairs] for pairs in (a, b))
            estimate, low, high = intervals.estimate(*(x - y for x, y in zip(first, second, strict=True)))
            lines.append({"part": part, "quantity": quantity, "estimate": estimate, "low": low, "high": high})
    return pd.DataFrame(lines).assign(problems=base.groupby("benchmark")["id"].nunique().sum(), seeds=len(both))


def _level(quantity: str, mine: Means, base: Means, limits: np.ndarray, at: list[int]) -> np.ndarray:
    own, others = (Means(side.accuracy[..., at], side.tokens[..., at]) for side in (mine, base))
    return tables.STATISTICS[quantity](own, others, limits[at])


def common(table: pd.DataFrame, arm: str, other: str) -> list[int]:
    """The seeds that two arms have in common.  Raises RecordError if there is none."""
    mine, theirs = (set(table.loc[table["arm"] == name, "seed"]) for name in (arm, other))
    if not mine & theirs:
        raise RecordError(f"{arm} and {other} have no seed in common, so they cannot be compared")
    return sorted(mine & theirs)


def by_seed(found: pd.DataFrame, arm: str, other: str) -> pd.DataFrame:
    """`arm` - `other` for each seed that both have, from `levels`: index seed and part."""
    return (found.loc[arm] - found.loc[other]).dropna(how="all")


def spread(found: pd.DataFrame, arm: str = WHOLE) -> pd.DataFrame:
    """The largest difference between two seeds of an arm, from `levels`: index part.  NaN where it has one seed."""
    of_parts = found.loc[arm].groupby(level="part", sort=False)
    return (of_parts.max() - of_parts.min()).where(of_parts.count() > 1)


def noise(found: pd.DataFrame, seeds: int, arm: str = WHOLE) -> pd.DataFrame:
    """How far the means of `seeds` seeds of an arm and of an equal one lie apart by chance (see the header), from
    `levels`: index part.  NaN where it has one seed."""
    of_parts = found.loc[arm].groupby(level="part", sort=False)
    own = int(of_parts.size().iloc[0])
    return of_parts.std() * intervals.t_quantile(0.975, max(1, own - 1)) * (2 / seeds) ** 0.5


@once
def differences(table: pd.DataFrame, floor: Mapping[str, float], n_boot: int = N_BOOT) -> pd.DataFrame:
    """Every arm but the base and `egrc` minus `egrc`: `compare`'s columns with arm, noise and clear (see the header).

    An arm that shares no seed with `egrc` is left out.
    """
    of = table.groupby("arm", sort=False)["seed"].unique()
    arms = [arm for arm in of.index if arm not in ("base", WHOLE) and set(of[arm]) & set(of[WHOLE])]
    if not arms:
        return pd.DataFrame(columns=["arm", "part", "quantity", "estimate", "low", "high", "seeds", "noise", "clear"])
    side = sides(table, n_boot)
    found = [compare(table, arm, WHOLE, floor, n_boot, side).assign(arm=arm) for arm in arms]
    lines = pd.concat(found, ignore_index=True)
    own = levels(table, floor)
    noises = {n: noise(own, n).stack() for n in lines["seeds"].unique()}
    limit = pd.concat(noises, names=["seeds", "part", "quantity"]).rename("noise")
    lines = lines.join(limit, on=["seeds", "part", "quantity"])
    sure = (lines["low"] > 0) | (lines["high"] < 0)
    return lines.assign(clear=sure & (lines["estimate"].abs() > lines["noise"]))


def in_words(line: Mapping[str, Any]) -> str:
    """What a line of `differences` says, in a few words: about its interval, and about seeds."""
    number = "one seed" if line["seeds"] == 1 else f"{line['seeds']} seeds"
    if line["low"] <= 0 <= line["high"]:
        return f"none seen on {number}"
    side = "higher" if line["estimate"] > 0 else "lower"
    return f"{side}, {'beyond' if line['clear'] else 'within'} the noise of seeds ({number})"


# --- what a variant changes, and when it switched -----------------------------------------------------------------


def changed(scale: str, arm: str, other: str = WHOLE) -> pd.DataFrame:
    """The settings in which two arms differ: index setting, a column for each arm.  None: off."""
    sides = {name: _flat(scales.config(scale, name)) for name in (other, arm)}
    table = pd.DataFrame(sides, dtype=object).rename_axis("setting")
    return table[[a != b for a, b in table.itertuples(index=False, name=None)]]


def _flat(config: Config) -> dict[str, Any]:
    """All settings but the names and the seed, each under one name, in which a phase is named and not counted."""
    settings = config.to_dict()
    recipe = settings.pop("recipe")
    flat = {k: v for k, v in settings.items() if k not in ("arm", "seed")}
    flat["order of phases"] = ", ".join(phase["name"] for phase in recipe["phases"])
    named = {**{phase["name"]: phase for phase in recipe["phases"]}, "gate": recipe["gate"], "trl": recipe["trl"]}
    return flat | {f"{part}: {k}": v for part, fields in named.items() for k, v in fields.items() if k != "name"}


def words(scale: str, arm: str) -> str:
    """An ablation in a few words; its name where none are written."""
    said = next((of[arm] for of in GROUPS.values() if arm in of), arm)
    if "{change}" not in said:
        return said
    ((before, after),) = changed(scale, arm).to_numpy()
    return said.format(change=f"{before} → {after}")


def switches(steps: pd.DataFrame) -> list[int]:
    """The last step of every phase but the last one: after these the gate switched.  From a run's steps.csv."""
    last = steps["phase"].ne(steps["phase"].shift(-1)).to_numpy()
    return [int(step) for step in steps.loc[last, "step"]][:-1]


def moved(run: Record, phase: str) -> float:
    """Entropy per token at the end of a phase minus at its beginning (means over the gate's window), in nats; NaN
    where the run has no such phase."""
    entropy, window = run.steps.loc[run.steps["phase"] == phase, "entropy"], run.config.recipe.gate.window
    return float(entropy.tail(window).mean() - entropy.head(window).mean())
