"""How many seeds, problems and samples a comparison of arms needs, from recorded runs and before its own.  [ours]

Two statistics of an arm, both linear in its mean outcomes benchmark by benchmark, go into `egrc.analysis.variance`:

    accuracy   arm - base, or arm - other arm
    removed    share of the removable length that is gone, (base - arm) / (base - floor), linearised in both means:
               d/d arm = -1 / (base - floor), d/d base = (arm - floor) / (base - floor)^2

Recorded runs hold one sample of a problem; how much of what problem x seed and sampling make together is sampling
comes from the measurement `policies` (several samples, but at T=1), and matters only to designs with several samples.
The variance of seeds is pooled over the arms that remove as much as the headline asks: three seeds of one arm say
little, and longer arms are another matter.  Costs are recorded seconds of runs that had a core each: training, and the
evaluation in proportion to the tokens sampled.

`python -m egrc power --fresh` writes data/power/<scale>.json and three tables beside it; `power` shows them.  They name
the runs that they were made from, and stay as they are when later ones arrive.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis.headline import REMOVED
from egrc.analysis.variance import POWER, Comparison, Design, Effects, detectable, effects, shared
from egrc.atomic import write_csv, write_json
from egrc.experiments import records
from egrc.experiments.records import Record, RecordError

FOCUS = "egrc"
MARGINS = {"mean": 0.02, "each": 0.05}
"""How far below the base the lower end of an accuracy interval may lie: of the mean, and of each benchmark."""
SEEDS, SEEDS_REST, DECIDING = 5, 3, 4
"""Seeds of the DECIDING arms (egrc, egrc-plus and the two closest peers), and of all others."""
PROBLEMS, SAMPLES = (100, 200, 300, 400, 500, 600, 700), (1, 2, 4)
"""What a design may choose from."""
SHOWN = {"seeds": (3, 5, 8), "problems": (200, 400, 700), "samples": SAMPLES}
MOST_SEEDS = 99
OUTCOMES = {"accuracy": "correct", "removed": "tokens"}
TABLES = ("components", "designs", "needed")
ERRORS = ("se_given", "se_all", "detectable_given", "detectable_all", "seeds_share")


# --- from the records ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Recorded outcomes at the base's best temperature, and what the statistics need to know beside them."""

    temperature: float
    benchmarks: tuple[str, ...]
    """In alphabetical order, as in all arrays."""
    floor: np.ndarray
    """Compact floor in tokens [benchmarks]."""
    outcomes: Mapping[str, Mapping[str, np.ndarray]]
    """Statistic to arm to what it is made of, [benchmarks, seeds, problems, samples]."""
    share: Mapping[str, float]
    """By statistic: what part of problem x seed and sampling together is sampling."""

    @cached_property
    def room(self) -> np.ndarray:
        """The base's length minus the floor [benchmarks]."""
        return _means(self.outcomes["removed"]["base"]) - self.floor

    def removed(self, arm: str) -> np.ndarray:
        """Share of the removable length that is gone [benchmarks]."""
        return 1 - (_means(self.outcomes["removed"][arm]) - self.floor) / self.room

    @cached_property
    def pooled(self) -> list[str]:
        """Trained arms that remove at least what the headline asks: such as those that will be compared."""
        return [arm for arm in self.outcomes["removed"] if arm != "base" and self.removed(arm).mean() >= REMOVED]

    def effects(self, statistic: str, arm: str) -> Effects:
        return effects(self.outcomes[statistic][arm], self.share[statistic], trained=arm != "base")

    def seeds(self, statistic: str) -> np.ndarray:
        """Covariance of seeds between benchmarks, the mean over `pooled`."""
        return np.mean([self.effects(statistic, arm).seed for arm in self.pooled], axis=0)

    def compare(self, arm: str, other: str, statistic: str) -> Comparison:
        """`arm` against `other` (a trained arm, or 'base')."""
        ya, yb = (self.outcomes[statistic][name] for name in (arm, other))
        a, b = self._slopes(arm, other, statistic)
        mine, theirs, seeds = self.effects(statistic, arm), self.effects(statistic, other), self.seeds(statistic)
        level = (lambda name: _means(self.outcomes[statistic][name])) if statistic == "accuracy" else self.removed
        return Comparison(
            f"{arm} - {other}",
            statistic,
            level(arm) - level(other),  # the base itself removes nothing
            a**2 * mine.problem + b**2 * theirs.problem,
            2 * a * b * shared(ya, yb),
            a**2 * mine.interaction + b**2 * theirs.interaction,
            a**2 * mine.sampling + b**2 * theirs.sampling,
            tuple(np.outer(c, c) * seeds for c, name in ((a, arm), (b, other)) if name != "base"),
        )

    def _slopes(self, arm: str, other: str, statistic: str) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of the statistic by both arms' means [benchmarks] (header); of two trained arms, the base's
        length is taken as known, since it moves both alike."""
        one = np.ones(len(self.benchmarks))
        if statistic == "accuracy":
            return one, -one
        return -one / self.room, (1 - self.removed(arm) if other == "base" else one) / self.room


def _means(y: np.ndarray) -> np.ndarray:
    return y.mean((1, 2, 3))


def cube(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Rows of one arm and temperature as [benchmarks, seeds, problems, samples], each in sorted order.

    Raises RecordError where they do not fill such a block.
    """
    keys = ["benchmark", "seed", "id", "sample"]
    benchmarks, seeds, samples = (rows[k].nunique() for k in ("benchmark", "seed", "sample"))
    problems = rows.groupby("benchmark")["id"].nunique()
    shape = benchmarks, seeds, int(problems.iloc[0]), samples
    if problems.nunique() > 1 or len(rows) != math.prod(shape) or rows.duplicated(keys).any():
        raise RecordError("evaluations differ between seeds or benchmarks: train stale arms again (`records list`)")
    return rows.sort_values(keys)[column].to_numpy(float).reshape(shape)


def sampling_share(rows: pd.DataFrame, column: str) -> float:
    """What part of problem x seed and sampling together is sampling, over all trained arms; several samples needed."""
    found = [effects(cube(mine, column)) for arm, mine in rows.groupby("arm") if arm != "base"]
    sampling, interaction = (sum(float(getattr(e, k).sum()) for e in found) for k in ("sampling", "interaction"))
    return min(1.0, sampling / (sampling + interaction))


def usable(found: Sequence[Record]) -> list[Record]:
    """Records of the arms with as many seeds as FOCUS.  Raises RecordError without two of FOCUS and of the base."""
    seeds = pd.Series([r.arm for r in found], dtype=object).value_counts()
    if min(seeds.get(FOCUS, 0), seeds.get("base", 0)) < 2:
        raise RecordError(f"two recorded seeds of {FOCUS!r} and of 'base' are needed: run `python -m egrc sweep`")
    return [r for r in found if seeds[r.arm] == seeds[FOCUS]]


def study(scale: str, found: Sequence[Record], data: Path) -> Study:
    """The records' outcomes.  Raises RecordError where they are too few, or differ in kind."""
    from egrc.analysis import tables
    from egrc.experiments import measure

    best = tables.best_temperature(scale, data)
    rows = pd.concat([r.evaluation.assign(arm=r.arm, seed=r.seed) for r in found], ignore_index=True)
    if note := tables.best_note(rows, best):
        raise RecordError(f"{note} Nothing can be planned for scale {scale!r}: `python -m egrc world` measures it")
    rows = rows[rows["temperature"] == best]
    repeated = measure.load("policies", scale, data).query("kind == 'completion'")
    names = tuple(sorted(rows["benchmark"].unique()))
    floors = tables.floors(scale, names)
    return Study(
        best,
        names,
        np.array([floors[b] for b in names]),
        {s: {arm: cube(mine, c) for arm, mine in rows.groupby("arm")} for s, c in OUTCOMES.items()},
        {s: sampling_share(repeated, c) for s, c in OUTCOMES.items()},
    )


# --- designs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """Mean recorded seconds of some arms' runs, and what the evaluation's seconds were spent on."""

    training: float
    evaluation: float
    problems: int
    """A benchmark, one sample each."""
    greedy: float
    """Share of the tokens that were decoded greedily: once, however many samples are asked."""

    def minutes(self, d: Design) -> float:
        """Core-minutes of one arm."""
        times = d.problems / self.problems * (self.greedy + (1 - self.greedy) * d.samples)
        return d.seeds * (self.training + self.evaluation * times) / 60


def costs(found: Sequence[Record]) -> Costs:
    """Of runs that were evaluated with one sample of a problem."""
    tokens = pd.concat([r.evaluation for r in found]).groupby("temperature")["tokens"].sum()
    training, evaluation = (np.mean([r.meta[f"{k}_seconds"] for r in found]) for k in ("training", "evaluation"))
    greedy = tokens.get(0.0, 0) / tokens.sum()
    return Costs(float(training), float(evaluation), found[0].config.eval_problems, float(greedy))


def weights(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Weights over benchmarks [benchmarks], of their mean and of each alone."""
    return {"mean": np.full(len(names), 1 / len(names)), **dict(zip(names, np.eye(len(names)), strict=True))}


def comparisons(study: Study, arms: Sequence[str]) -> list[Comparison]:
    """Each arm against the base, and FOCUS against each other arm: stand-ins for peers that are not trained yet."""
    pairs = [(arm, "base") for arm in arms] + [(FOCUS, arm) for arm in arms if arm != FOCUS]
    return [study.compare(a, b, statistic) for statistic in OUTCOMES for a, b in pairs]


def margin(part: str) -> float:
    """How far below the base the lower end may lie, of the mean or of one benchmark."""
    return MARGINS["mean" if part == "mean" else "each"]


def component_table(study: Study) -> pd.DataFrame:
    """Standard deviations (of accuracy in [0, 1], of tokens) by arm and part.

    Of the mean, only what seeds add; of the arms 'pooled', only that, too.
    """
    lines = []
    for (statistic, column), arm in product(OUTCOMES.items(), ("base", *study.pooled, "pooled")):
        own = None if arm == "pooled" else study.effects(statistic, arm)
        seed = study.seeds(statistic) if own is None else own.seed
        for part, w in weights(study.benchmarks).items():
            alone = own is not None and part != "mean"
            rest = {k: _root(w @ getattr(own, k)) for k in ("problem", "interaction", "sampling")} if alone else {}
            lines.append({"outcome": column, "arm": arm, "part": part, "seed": _root(w @ seed @ w), **rest})
    return pd.DataFrame(lines)


def _root(variance: float) -> float:
    return max(0.0, float(variance)) ** 0.5


def design_table(found: Sequence[Comparison], names: Sequence[str], costs: Costs) -> pd.DataFrame:
    """A line for each comparison, part and design of SHOWN.

    Parts: the mean, the benchmark that lost most, and the least certain one.  Columns: see `Comparison.errors`;
    `se_unpaired` as if both arms were asked different problems; core-minutes of one arm.
    """
    lines, at = [], weights(names)
    for c, design in product(found, product(*SHOWN.values())):
        d = Design(*design)
        for part in dict.fromkeys(("mean", names[int(c.estimate.argmin())], least_certain(c, names, d))):
            w = at[part]
            lines.append(
                {"comparison": c.name, "statistic": c.outcome, "part": part, "estimate": float(w @ c.estimate),
                 **d._asdict(), **c.errors(w, d), "se_unpaired": c.given(w, d, paired=False) ** 0.5,
                 "minutes": costs.minutes(d)}
            )  # fmt: skip
    return pd.DataFrame(lines)


def least_certain(c: Comparison, names: Sequence[str], d: Design) -> str:
    """The benchmark with the largest standard error given the seeds."""
    at = weights(names)
    return max(names, key=lambda b: c.given(at[b], d))


def needed_table(found: Sequence[Comparison], names: Sequence[str]) -> pd.DataFrame:
    """What it takes, where there is no true difference, to see an accuracy interval end above its margin with POWER.

    `problems` (a benchmark): given the seeds, for so many seeds and samples.  `seeds_all`: seeds that it takes with as
    many problems once seeds count, too (empty: more than MOST_SEEDS).
    """
    lines = []
    for c, (part, w) in product(against_base(found), weights(names).items()):
        for seeds, samples in product((SEEDS_REST, SEEDS), SAMPLES):
            one = detectable(c.given(w, Design(seeds, 1, samples)) ** 0.5)
            problems = math.ceil((one / margin(part)) ** 2)
            enough = (n for n in range(2, MOST_SEEDS + 1) if _seen(c, part, w, Design(n, problems, samples)))
            lines.append(
                {"comparison": c.name, "part": part, "seeds": seeds, "samples": samples, "problems": problems,
                 "seeds_all": next(enough, math.nan)}
            )  # fmt: skip
    return pd.DataFrame(lines)


def _seen(c: Comparison, part: str, w: np.ndarray, d: Design) -> bool:
    return c.errors(w, d)["detectable_all"] <= margin(part)


def against_base(found: Sequence[Comparison]) -> list[Comparison]:
    """Accuracy against the base: what the margins are about."""
    return [c for c in found if c.outcome == "accuracy" and c.name.endswith("- base")]


def recommend(found: Sequence[Comparison], names: Sequence[str], costs: Costs, unseen: int) -> Design:
    """The cheapest problems and samples at which SEEDS seeds keep every margin of `needed_table`, for every arm.

    Given the seeds, and with no more than `unseen` problems a benchmark.  Raises RecordError if none does.
    """
    def meets(d: Design) -> bool:
        return all(
            detectable(c.given(w, d) ** 0.5) <= margin(part)
            for c in against_base(found) for part, w in weights(names).items()
        )  # fmt: skip

    designs = [Design(SEEDS, p, k) for p, k in product(PROBLEMS, SAMPLES) if p <= unseen]
    chosen = min(filter(meets, designs), key=lambda d: (costs.minutes(d), d.samples), default=None)
    if chosen is None:
        raise RecordError(f"no design with {unseen} problems a benchmark keeps the margins: give SAMPLES larger values")
    return chosen


# --- the record ---------------------------------------------------------------------------------------------------


def folder(data: Path | None = None) -> Path:
    """Where the tables are."""
    return (data or paths.DATA) / "power"


def make(scale: str, data: Path | None = None) -> Path:
    """Work everything out from the records that are there, and record it; returns the JSON file.

    Raises RecordError where the records do not allow it.
    """
    from egrc.experiments import scales
    from egrc.experiments.measure import file

    data = data or paths.DATA
    found = usable(records.load_all(scale, data, studies=True))
    known = study(scale, found, data)
    if FOCUS not in known.pooled:
        raise RecordError(f"{FOCUS!r} removes less of the length than the headline asks: nothing to plan from")
    arms = [arm for arm in scales.runs(scale)[0] if arm in known.pooled]
    spent = costs([r for r in found if r.arm in known.pooled])
    all_of = comparisons(known, arms)
    unseen = held_out(scale, data) - spent.problems
    chosen = recommend(all_of, known.benchmarks, spent, unseen)
    tables = {
        "components": component_table(known),
        "designs": design_table(all_of, known.benchmarks, spent),
        "needed": needed_table(all_of, known.benchmarks),
    }
    for name in TABLES:
        write_csv(_table_file(scale, name, data), tables[name].round(6))
    write_json(
        folder(data) / f"{scale}.json",
        {
            "temperature": known.temperature,
            "recommended": chosen._asdict(),
            "unseen_problems": unseen,
            "minutes": {str(n): spent.minutes(chosen._replace(seeds=n)) for n in (SEEDS, SEEDS_REST)},
            "errors": errors_at(chosen, all_of, known.benchmarks),
            "pooled": known.pooled,
            "sampling_share": dict(known.share),
            "costs": vars(spent),
            "runs": {r.name: _digest(r.path / "evaluation.parquet") for r in found},
            "measurement": _digest(file("policies", scale, data)),
        },
    )
    return folder(data) / f"{scale}.json"


def errors_at(d: Design, found: Sequence[Comparison], names: Sequence[str]) -> list[dict[str, Any]]:
    """`Comparison.errors` of the comparisons of FOCUS at one design, with SEEDS_REST seeds, too; every part."""
    return [
        {"comparison": c.name, "statistic": c.outcome, "part": part, "seeds": seeds, "estimate": float(w @ c.estimate),
         **c.errors(w, d._replace(seeds=seeds))}
        for c in found if FOCUS in c.name.split(" - ")
        for (part, w), seeds in product(weights(names).items(), (d.seeds, SEEDS_REST))
    ]  # fmt: skip


def held_out(scale: str, data: Path) -> int:
    """Held-out problems of the smallest benchmark, as recorded with the world."""
    return min(s["held_out"] for s in json.loads((data / scale / "world.json").read_text(encoding="utf-8"))["sizes"])


def _table_file(scale: str, name: str, data: Path | None) -> Path:
    return folder(data) / f"{scale}-{name}.csv"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def load(scale: str, data: Path | None = None) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """The recorded summary and tables.  Raises RecordError if they are missing."""
    files = [folder(data) / f"{scale}.json", *(_table_file(scale, name, data) for name in TABLES)]
    if lacking := [paths.shown(f) for f in files if not f.is_file()]:
        raise RecordError(f"no {', '.join(lacking)}: make it with `python -m egrc power --scale {scale} --fresh`")
    summary = json.loads(files[0].read_text(encoding="utf-8"))
    return summary, {name: pd.read_csv(f) for name, f in zip(TABLES, files[1:], strict=True)}


def stale(summary: Mapping[str, Any], data: Path | None = None) -> list[str]:
    """Runs whose evaluation is no longer the one that was read; later runs do not count."""
    root = (data or paths.DATA) / "runs"
    now = {name: root / name / "evaluation.parquet" for name in summary["runs"]}
    return [name for name, then in summary["runs"].items() if not now[name].is_file() or _digest(now[name]) != then]


def report(scale: str, data: Path | None = None) -> str:
    """The recorded plan as text: components, designs, what the margins take, and the design to use."""
    summary, tables = load(scale, data)
    d = summary["recommended"]
    named = f"{FOCUS} - base"
    designs = tables["designs"].query("comparison == @named and samples == 1").drop(columns=["comparison", "samples"])
    parts = [
        "Standard deviations by component (accuracy as a share, length in tokens)",
        _text(tables["components"].query("arm in ['base', @FOCUS, 'pooled']")),
        f"{named}, one sample a problem: standard errors, smallest detectable differences, core-minutes of one arm",
        _text(designs),
        f"What it takes to see accuracy above the margins ({MARGINS['mean']:.0%} on the mean, {MARGINS['each']:.0%} on "
        "each) at no true difference",
        _text(tables["needed"].query("comparison == @named and seeds == @SEEDS").drop(columns=["comparison", "seeds"])),
        f"At {d['seeds']} and {SEEDS_REST} seeds, {d['problems']} problems a benchmark, {d['samples']} sample(s)",
        _text(pd.DataFrame(summary["errors"]).query("part == 'mean'").drop(columns="part")),
        "\n".join(conclusions(summary)),
    ]
    if changed := stale(summary, data):
        parts.append(f"Stale: evaluated again since this was made: {', '.join(changed)}.")
    return "\n\n".join(parts)


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, float_format="{:.4f}".format, na_rep="-")


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """The plan in sentences, every number from the summary."""
    d, errors = summary["recommended"], pd.DataFrame(summary["errors"])
    accuracy = errors[(errors["statistic"] == "accuracy") & (errors["seeds"] == d["seeds"])]
    mean = (100 * accuracy[accuracy["part"] == "mean"].set_index("comparison")[list(ERRORS)]).T
    base, peers = mean.pop(f"{FOCUS} - base"), mean.max(axis=1)
    each = accuracy[accuracy["comparison"].eq(f"{FOCUS} - base") & accuracy["part"].ne("mean")].set_index("part")
    lost = each["estimate"].idxmin()
    minutes = summary["minutes"]
    plateau = (base["se_all"] ** 2 - base["se_given"] ** 2) ** 0.5
    said = [
        f"Design: {d['problems']} problems a benchmark (of {summary['unseen_problems']} held out and not asked yet), "
        f"{d['samples']} sample(s) of each; {SEEDS} seeds of {DECIDING} arms, {SEEDS_REST} of the others.",
        f"Cost: {DECIDING * minutes[str(SEEDS)]:.0f} core-minutes for the {DECIDING}, "
        f"{minutes[str(SEEDS_REST)]:.0f} for every other arm.",
        f"Two stories: given the seeds, the gain on the base has a standard error of {base['se_given']:.2f} points; "
        f"over seeds, of {base['se_all']:.2f}, and with any number of problems or samples still of {plateau:.2f}. An "
        "interval over problems alone says how sure these runs are, not how sure the method is.",
        f"A gain on the base is found from {base['detectable_given']:.1f} points on given the seeds, from "
        f"{base['detectable_all']:.1f} over seeds; a difference between two trained arms from "
        f"{peers['detectable_given']:.1f} and from {peers['detectable_all']:.1f}.",
        f"So over seeds the margin of {MARGINS['mean']:.0%} on the mean is kept, with {POWER:.0%} power, by an arm "
        f"that truly gains {max(0.0, base['detectable_all'] - 100 * MARGINS['mean']):.1f} points or more.",
    ]
    if each["estimate"][lost] < -MARGINS["each"]:
        said.append(
            f"{lost} stood {100 * each['estimate'][lost]:+.1f} points against the base: an arm that truly loses so "
            f"much fails the margin of {MARGINS['each']:.0%} under any design."
        )
    return said
