"""Which part of EGRC matters?  `egrc` with one thing changed, against `egrc` itself.  The choice is [ours].

Differences are at the temperature that suits the base best, on the same problems and the seeds that both have.
Intervals (95%) are over problems, given the seeds.  Noise is how far the means of as many seeds of egrc and of an equal
arm lie apart by chance (95%, by Student's t, from egrc's own seeds).  A difference is called clear where its interval
leaves out 0 and it is larger than the noise; nothing is corrected for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.evaluation import intervals
from egrc.evaluation.intervals import N_BOOT
from egrc.experiments import dryrun, scales
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once

STUDY, WHOLE = "ablations", "egrc"
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
        "egrc-length-term": "a length term",
        "egrc-temperature-1": "temperature 1",
        "egrc-entropy-bonus": "entropy bonus",
        "egrc-hard-more": "hard problems count more",
    },
    "order and number of switches": {
        "egrc-reversed": "stages reversed",
        "egrc-two-switches": "may go back once",
        "egrc-soft": "phases blended",
    },
    "the gate's signal": {
        "egrc-fixed": "fixed step, not looking",
        "egrc-by-length": "length instead of entropy",
        "egrc-shuffled": "entropy, shuffled in time",
    },
    "pressure": {f"egrc-r{r}": f"r = {r}" for r in scales.DILEMMA_R},
}
"""The ablations as they are ordered and shown, each in a few words; its settings are in `changed`."""
WORDS = {arm: words for group in GROUPS.values() for arm, words in group.items()}


def load(scale: str, data: Path | None = None, study: str = STUDY) -> list[Record]:
    """The records at hand of the base and of a study's arms.  Raises RecordError where the scale has no such study, or
    the base or `egrc` itself has no record."""
    if study not in scales.SCALES[scale].studies:
        raise RecordError(f"scale {scale!r} has no study {study!r}: nothing is held against egrc there")
    runs = tables.load(scale, ("base", *scales.study(scale, study)), data)
    if not any(run.arm == WHOLE for run in runs):
        raise RecordError(f"no record of {WHOLE}: `python -m egrc sweep --scale {scale}` makes it")
    return runs


def levels(rows: pd.DataFrame, floor: Mapping[str, float]) -> pd.DataFrame:
    """`tables.by_run` of rows at one temperature: index arm, seed and part ('mean', or a benchmark)."""
    runs = tables.by_run(rows, floor).rename(columns={"benchmark": "part"})
    return runs.set_index(["arm", "seed", "part"])[list(tables.LEVELS)]


@once
def differences(rows: pd.DataFrame, floor: Mapping[str, float], n_boot: int = N_BOOT) -> pd.DataFrame:
    """Every arm minus `egrc`, from `tables.rows_at`: columns arm, part ('mean', or a benchmark), quantity (one of
    `tables.LEVELS`), estimate, low, high, problems (in all parts), seeds (those that both have; arms without any are
    left out), noise and clear (see the header).  Raises ValueError where two arms were asked different problems."""
    runs, lines, seeds = levels(rows, floor), [], rows.groupby("arm", sort=False)["seed"].agg(set)
    limits = np.array([floor[name] for name in sorted(rows["benchmark"].unique())])
    problems = len(rows[["benchmark", "id"]].drop_duplicates())
    for arm, own in seeds.drop(["base", WHOLE]).items():
        if not (both := own & seeds[WHOLE]):
            continue
        sides, chance = rows["arm"].isin((arm, WHOLE)) & rows["seed"].isin(both), noise(runs, len(both))
        means = tables.resampled(rows[sides | (rows["arm"] == "base")], n_boot)
        for part, at in tables.parts(rows).items():
            for name in tables.LEVELS:
                changed, whole = (tables.STATISTICS[name](means[a], means["base"], limits) for a in (arm, WHOLE))
                values = changed[:, at].mean(-1) - whole[:, at].mean(-1)
                estimate, low, high = intervals.estimate(values[0], values[1:])
                clear = (low > 0 or high < 0) and abs(estimate) > chance.loc[part, name]
                numbers = (estimate, low, high, problems, len(both), chance.loc[part, name], clear)
                lines.append((arm, part, name, *numbers))
    columns = ("estimate", "low", "high", "problems", "seeds", "noise", "clear")
    return pd.DataFrame(lines, columns=["arm", "part", "quantity", *columns])


def by_seed(runs: pd.DataFrame, arm: str, other: str = WHOLE) -> pd.DataFrame:
    """`arm` - `other` for each seed that both have, from `levels`: index seed and part."""
    return (runs.loc[arm] - runs.loc[other]).dropna(how="all")


def noise(runs: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """How far the means of `seeds` seeds of `egrc` and of an equal arm lie apart by chance (see the header), from
    `levels`: index part.  NaN where `egrc` has one seed."""
    each = runs.loc[WHOLE].groupby(level="part", sort=False)
    own = int(each.size().iloc[0])
    return each.std() * intervals.t_quantile(0.975, max(1, own - 1)) * (2 / seeds) ** 0.5


def in_words(line: Mapping[str, Any]) -> str:
    """What a line of `differences` says, in a few words: about its interval, and about seeds."""
    number = "one seed" if line["seeds"] == 1 else f"{line['seeds']} seeds"
    if line["low"] <= 0 <= line["high"]:
        return f"none seen on {number}"
    side = "higher" if line["estimate"] > 0 else "lower"
    return f"{side}, {'beyond' if line['clear'] else 'within'} the noise of seeds ({number})"


def changed(scale: str, arm: str) -> pd.DataFrame:
    """The settings in which an arm differs from `egrc`: index setting, columns egrc and here.  NaN: it has none."""
    columns = {}
    for name in (WHOLE, arm):
        config = scales.config(scale, name)
        order = {"order of phases": ", ".join(phase.name for phase in config.recipe.phases)}
        columns[WHOLE if name == WHOLE else "here"] = dryrun.flat(config) | order
    table = pd.DataFrame(columns, dtype=object).drop(["arm", "seed"]).rename_axis("setting")
    return table[[a != b for a, b in table.itertuples(index=False, name=None)]]


def switches(steps: pd.DataFrame) -> list[tuple[int, str]]:
    """(first step, name) of every phase after the first, from a run's steps.csv: before these the gate switched."""
    begins = steps.loc[steps["phase"].ne(steps["phase"].shift()).to_numpy(), ["step", "phase"]]
    return [(int(step), phase) for step, phase in begins.itertuples(index=False)][1:]


def moved(run: Record, phase: str) -> float:
    """Entropy per token at the end of a phase minus at its beginning (means over the gate's window), in nats; NaN
    where the run has no such phase."""
    entropy, window = run.steps.loc[run.steps["phase"] == phase, "entropy"], run.config.recipe.gate.window
    return float(entropy.tail(window).mean() - entropy.head(window).mean())


SIGNALS = (
    *("entropy", "entropy_connector", "entropy_number", "entropy_operator", "entropy_other", "probe_entropy"),
    "tokens_mean",
)
"""Columns of steps.csv that a gate could go by; the last one is the length."""


def crossings(runs: Iterable[Record]) -> pd.DataFrame:
    """Where each signal is first below the gate's `low` of its start: index signal, a column of steps for each seed
    (empty: nowhere), and `useful`: before the length on every seed.  Smoothed as the gate does, the probe as read."""
    found = {}
    for run in runs:
        gate, steps = scales.SCALES[run.scale].lengths.gate, run.steps.set_index("step")[list(SIGNALS)]
        smoothed = steps.rolling(gate.window).mean().assign(probe_entropy=steps["probe_entropy"])
        below = smoothed < gate.low * smoothed.bfill().iloc[0]
        found[f"seed {run.seed}"] = below.idxmax().where(below.any())
    table = pd.DataFrame(found)
    first = table.fillna(np.inf)
    return table.astype("Int64").assign(useful=first.lt(first.loc["tokens_mean"]).all(axis="columns"))
