"""The paper's claims, each read as predicates over rows, and what the rows say of them.

The readings and their bounds were fixed before any run that decides them [ours], but those of 7d, 7h, 8c and 8d: they
were written when `base`, `egrc` and `egrc-reversed` had been trained and looked at.  A reading is supported when its
95% interval lies wholly on the claimed side of its bound.  A claim that can be read in several ways is judged in all of
them; the primary reading decides, and where several are primary all of them have to hold.

    supported       the interval lies on the claimed side
    not supported   it does not: the note says whether it crosses the bound, or the opposite holds
    not testable    this scale cannot decide it: the note says why
    not measured    a measurement or a record is missing: the note names the command that makes it

Intervals are over problems GIVEN the seeds (bootstrap; of gradients, jackknife: see `egrc.analysis.gradients`); where a
seed alone lies on the other side, the note says so.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import ablations, changes, dilemma, headline, tables, tokens
from egrc.analysis import rows as checked
from egrc.analysis.shown import Shown
from egrc.checks import ConfigError
from egrc.evaluation import intervals
from egrc.experiments import measure, records, scales
from egrc.experiments.shared import once

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_TESTABLE, NOT_MEASURED = "not testable", "not measured"
COLUMNS = (
    *("claim", "reading", "primary", "scale", "quantity", "predicate"),
    *("estimate", "low", "high", "n", "seeds", "verdict", "note"),
)
MEASURED = ("pocket", "smol")
"""Scales that have measurements beyond the runs themselves (see `egrc.experiments.measure`)."""
CONTROLS = ("egrc-fixed", "egrc-by-length", "egrc-shuffled", "egrc-reversed")
"""What the gate is held against in claim 7: it does not look, looks at the length, at shuffled entropy; other order."""
NAN = float("nan")


class NotMeasured(RuntimeError):
    """What a reading needs is not there; the message says what makes it."""


@dataclass(frozen=True)
class Bound:
    """Where the whole interval has to lie: '<', '>' or '>=' a value, in a unit."""

    side: str
    value: float
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.side} {self.value:g} {self.unit}".rstrip()

    def holds(self, x: float) -> bool:
        """Does a number lie on the claimed side?"""
        return {"<": x < self.value, ">": x > self.value, ">=": x >= self.value}[self.side]


class Found(NamedTuple):
    """A reading's estimate and 95% interval, from n units and some seeds; with each seed alone, where known."""

    estimate: float
    low: float
    high: float
    n: int
    seeds: int
    by_seed: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Rows:
    """What a scale has measured.  Each table is read when first asked for, and raises `NotMeasured` if missing;
    a damaged one raises `egrc.experiments.records.RecordError`."""

    scale: str
    data: Path

    def measured(self, name: str) -> Path:
        """The file of a measurement."""
        file = measure.file(name, self.scale, self.data)
        if file.is_file():
            return file
        if self.scale not in MEASURED:
            raise NotMeasured(f"measurement {name} is not made at scale {self.scale} yet")
        raise NotMeasured(f"`python -m egrc measure {name} --scale {self.scale}` makes it")

    def recorded(self, arms: Iterable[str], command: str) -> list[records.Record]:
        """The records of some arms at all seeds of the scale."""
        wanted = [paths.run_folder(self.data, self.scale, a, s) for a in arms for s in scales.runs(self.scale)[1]]
        if not all((folder / "run.json").is_file() for folder in wanted):
            raise NotMeasured(f"`{command}` makes it")
        return [records.Record.load(folder) for folder in wanted]

    @cached_property
    def policies(self) -> pd.DataFrame:
        """A line per completion, and per fixed prefix, of the base and the main arms."""
        return self._checked("policies")

    @cached_property
    def tug(self) -> pd.DataFrame:
        """Gradients on the base's own rollouts."""
        table = self._checked("tug" if self.scale == "pocket" else "tug_words")
        return table[table["arm"] == "base"]

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """The base's rollouts with the entropy and the class of each token, or word."""
        name, _ = tokens.SOURCES.get(self.scale, ("words", {}))
        self.measured(name)
        return tokens.load_rollouts(self.scale, self.data)

    @cached_property
    def top(self) -> pd.DataFrame:
        """Who is among the 20% of tokens with the highest entropy: a line per class, and per class and seed."""
        each = tokens.each_seed(tokens.top_share, self.rollouts)
        return pd.concat([tokens.top_share(self.rollouts), each], keys=["all", "alone"]).query("`class` == 'connector'")

    @cached_property
    def dilemma(self) -> pd.DataFrame:
        """Evaluation rows of the study `dilemma`, at the temperature that suits the base best."""
        if dilemma.STUDY not in scales.SCALES[self.scale].studies:
            raise NotMeasured(f"scale {self.scale} has no study of it")
        arms = scales.study(self.scale, dilemma.STUDY)
        self.recorded(arms, f"python -m egrc sweep --scale {self.scale} --study {dilemma.STUDY}")
        return dilemma.load(self.scale, self.data)

    @cached_property
    def frontiers(self) -> pd.DataFrame:
        """The readings of the study: a line for each, of all seeds and of each seed alone."""
        alone = [dilemma.readings(own, n_boot=1) for _, own in self.dilemma.groupby("seed")]
        return pd.concat([dilemma.readings(self.dilemma), *alone], keys=["all", *("alone" for _ in alone)])

    @cached_property
    def runs(self) -> list[records.Record]:
        """The records of base and EGRC."""
        return self.recorded(("base", "egrc"), f"python -m egrc sweep --scale {self.scale}")

    @cached_property
    def of_egrc(self) -> headline.Headline:
        """EGRC against the base."""
        base, egrc = (headline.rows(self.runs, arm) for arm in ("base", "egrc"))
        floors = tables.floors(self.scale, base["benchmark"].unique())
        return headline.headline(base, egrc, floors, self.temperature)

    @cached_property
    def sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Evaluation rows of EGRC and of the base, at the temperature that suits the base best."""
        egrc, base = (
            own[np.isclose(own["temperature"], self.temperature)]
            for own in (headline.rows(self.runs, arm) for arm in ("egrc", "base"))
        )
        return egrc, base

    @cached_property
    def ablations(self) -> tuple[list[records.Record], pd.DataFrame, dict[str, float]]:
        """The runs of study `ablations` that are there, their evaluation rows, and the benchmarks' compact floors."""
        if ablations.STUDY not in scales.SCALES[self.scale].studies:
            raise NotMeasured(f"scale {self.scale} has no study of it")
        self.recorded(("base", ablations.WHOLE), f"python -m egrc sweep --scale {self.scale}")
        runs = ablations.load(self.scale, self.data)
        table = ablations.rows(runs, self.scale, self.data)
        return runs, table, tables.floors(self.scale, table["benchmark"].unique())

    @cached_property
    def controls(self) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
        """For each control of the gate that has a run: EGRC minus it, of all seeds (`ablations.compare`) and of each
        seed alone (`ablations.by_seed`)."""
        runs, table, floors = self.ablations
        there = {run.arm for run in runs}
        levels = ablations.levels(table, floors)
        return {
            arm: (
                ablations.compare(table, ablations.WHOLE, arm, floors),
                ablations.by_seed(levels, ablations.WHOLE, arm),
            )
            for arm in CONTROLS
            if arm in there
        }

    @property
    def temperature(self) -> float:
        """See `egrc.analysis.tables.compared_at`."""
        return tables.compared_at(self.scale, self.data)

    def _checked(self, name: str) -> pd.DataFrame:
        self.measured(name)
        return checked.load(name, self.scale, self.data)


@dataclass(frozen=True)
class Reading:
    """One way to read a claim: a quantity, the bound it was given beforehand, and how rows answer."""

    name: str
    quantity: str
    bound: Bound
    of: Callable[[Rows], Found]
    primary: bool = False


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract, its words shortened, and its readings."""

    number: int
    words: str
    readings: tuple[Reading, ...]
    of_training: bool = True
    """Is it about what training does?  Then a scale that hardly trains cannot decide it."""


# --- how rows answer ----------------------------------------------------------------------------------------------


def _change(arm: str, quantity: str) -> Callable[[Rows], Found]:
    """The arm minus the base, on the same problems."""

    def found(rows: Rows) -> Found:
        c = changes.change(rows.policies, arm, quantity)
        return Found(c.estimate, c.low, c.high, c.units, len(c.by_seed), tuple(c.by_seed.values()))

    return found


def _reading(name: str, arm: str, quantity: str, side: str, primary: bool = False) -> Reading:
    what = changes.QUANTITIES[quantity]
    return Reading(name, f"{what.title}, {arm} - base", Bound(side, 0, what.unit), _change(arm, quantity), primary)


def _frontier(name: str) -> Callable[[Rows], Found]:
    """The staged objective's frontier against the joint one's."""

    def found(rows: Rows) -> Found:
        own = rows.frontiers[rows.frontiers["reading"] == name]
        line, alone = own.loc["all"].iloc[0], tuple(own.loc["alone", "estimate"])
        values = (line["estimate"], line["low"], line["high"], int(line["problems"]), int(line["seeds"]))
        settings = rows.dilemma.drop_duplicates("arm").set_index("arm")["r"]
        swept = sorted({r for arm, r in settings.items() if dilemma.way(str(arm)) in dilemma.WAYS})
        note = f"both swept over r = {', '.join(f'{r:g}' for r in swept)}"
        return Found(*values, alone, "; ".join(filter(None, (line["reason"], note))))

    return found


def _top(column: str) -> Callable[[Rows], Found]:
    """Connectors among the 20% of tokens with the highest entropy: their share, or its lift over their share of all."""

    def found(rows: Rows) -> Found:
        line, alone = rows.top.loc["all"].iloc[0], rows.top.loc["alone", column]
        values = (line[column], line[f"{column}_low"], line[f"{column}_high"])
        note = "true by construction" if rows.scale == "pocket" else ""
        return Found(*values, int(line["problems"]), len(alone), tuple(alone), note)

    return found


def _norm_ratio(rows: Rows) -> Found:
    """Norm of the accuracy objective's gradient that comes from connectors, over that from as many random tokens."""
    return _of_tug(rows.tug, "norm_ratio", objective="accuracy", token_class="connector")


def _push(objective: str) -> Callable[[Rows], Found]:
    """Change of the connectors' probability mass along an objective's gradient, less that under shuffled advantages."""
    return lambda rows: _of_tug(rows.tug, "push", objective=objective)


def _of_tug(tug: pd.DataFrame, name: str, **named: str) -> Found:
    """What a function of `egrc.analysis.gradients` finds, over all seeds and for each."""
    from egrc.analysis import gradients  # loads torch, which nothing else here needs

    ask = partial(getattr(gradients, name), **named)
    alone = tuple(ask(own)[0] for _, own in tug.groupby("seed"))
    return Found(*ask(tug), tug["problem"].nunique(), len(alone), alone)


def _control(arm: str, quantity: str) -> Callable[[Rows], Found]:
    """EGRC minus a control whose gate looks at something else, or whose stages are reversed: seeds that both have."""

    def found(rows: Rows) -> Found:
        if arm not in rows.controls:
            raise NotMeasured(ablations.command(rows.scale))
        lines, alone = rows.controls[arm]
        line = lines[(lines["part"] == "mean") & (lines["quantity"] == quantity)].squeeze()
        estimate, low, high, n, seeds = line[["estimate", "low", "high", "problems", "seeds"]]
        each = tuple(alone.xs("mean", level="part")[quantity])
        return Found(estimate, low, high, n, seeds, each, _switching(rows.ablations[0], arm))

    return found


def _against(name: str, arm: str, quantity: str, primary: bool = False) -> Reading:
    what = {"accuracy": "accuracy", "removed": "removable length removed"}[quantity]
    return Reading(name, f"{what}, egrc - {arm}", Bound(">", 0), _control(arm, quantity), primary)


def _switching(runs: list[records.Record], arm: str) -> str:
    """What the control is, and on how many seeds it did not switch where EGRC did, or not at all."""
    mine, gated = ({r.seed: ablations.switches(r.steps) for r in runs if r.arm == a} for a in (arm, ablations.WHOLE))
    both = mine.keys() & gated.keys()
    apart = sum(mine[seed] != gated[seed] for seed in both)
    what, never = ablations.words(runs[0].scale, arm), sum(not mine[seed] for seed in both)
    said = f"control: {what}; it switched at another step on {apart - never} of {len(both)} seeds"
    return f"{said}, never on {never}" if never else said


def _removed(rows: Rows) -> Found:
    tokens = rows.of_egrc.by_benchmark.mean()
    left, least = (tokens[side] / tokens["base_tokens"] for side in ("arm_tokens", "floor_tokens"))
    return _of_headline(rows, "removed", f"{left:.0%} of the base's tokens are left, the compact floor is {least:.0%}")


def _accuracy(rows: Rows) -> Found:
    change = rows.of_egrc.by_benchmark["accuracy"]
    return _of_headline(rows, "accuracy", f"a mean over benchmarks; {change.idxmin()}: {change.min():+.3f}")


def _left(rows: Rows) -> Found:
    """EGRC's tokens over the base's, both means over benchmarks: the literal reading, however high the floor is."""
    arm, base = rows.sides
    of = rows.of_egrc.by_benchmark[["base_tokens", "floor_tokens"]].mean()
    seeds = arm.groupby(["seed", "benchmark"])["tokens"].mean().groupby("seed").mean()
    alone = seeds / of["base_tokens"]
    values = intervals.paired_bootstrap(arm, base, "token_ratio")
    note = f"the compact floor is {of['floor_tokens'] / of['base_tokens']:.0%} of the base's tokens"
    return Found(*values, _problems(base), len(alone), tuple(alone), note)


def _worst(rows: Rows) -> Found:
    """Accuracy on the benchmark that loses most in the estimate.  That choice is pessimistic: among benchmarks that
    are equally good, the one that chance treated worst is looked at, and its interval does not make up for it."""
    worst = rows.of_egrc.by_benchmark["accuracy"].idxmin()
    arm, base = (side[side["benchmark"] == worst] for side in rows.sides)
    alone = arm.groupby("seed")["correct"].mean() - base["correct"].mean()
    values = intervals.paired_bootstrap(arm, base)
    return Found(*values, _problems(base), len(alone), tuple(alone), f"the worst is {worst}")


def _problems(table: pd.DataFrame) -> int:
    return len(table[["benchmark", "id"]].drop_duplicates())


def _of_headline(rows: Rows, name: str, note: str) -> Found:
    interval, seeds = getattr(rows.of_egrc, name), rows.of_egrc.by_seed[name]
    problems = _problems(rows.runs[0].evaluation)
    return Found(*(interval.estimate, interval.low, interval.high), problems, len(seeds), tuple(seeds), note)


# --- the claims ---------------------------------------------------------------------------------------------------

_CLAIMS = (
    Claim(
        1,
        "compression training lowers entropy; reasoning gets shorter, exploration is limited",
        (
            _reading("1a", "compression", "per_token", "<", primary=True),
            _reading("1b", "compression", "per_completion", "<"),
            _reading("1c", "compression", "prefix", "<"),
            _reading("1d", "compression", "tokens", "<"),
            _reading("1e", "compression", "distinct", "<"),
            _reading("1f", "compression", "coverage", "<"),
        ),
    ),
    Claim(
        2,
        "accuracy-oriented objectives raise entropy and lengthen reasoning chains",
        (
            _reading("2a", "accuracy", "per_token", ">", primary=True),
            _reading("2b", "accuracy", "per_completion", ">"),
            _reading("2c", "accuracy", "prefix", ">"),
            _reading("2d", "accuracy", "tokens", ">"),
        ),
    ),
    Claim(
        3,
        "trained together the two get stuck in a local dilemma, the entropy conflict",
        (
            Reading("3a", "accuracy at equal length, staged - joint", Bound(">", 0), _frontier("3a"), primary=True),
            Reading("3b", "length at equal accuracy, joint - staged", Bound(">", 0, "tokens"), _frontier("3b")),
        ),
    ),
    Claim(
        4,
        "many high-entropy tokens are logical connectors",
        (
            Reading("4a", "connectors' share of the top 20% / of all", Bound(">", 1), _top("lift"), primary=True),
            Reading("4b", "connectors' share of the top 20% by entropy", Bound(">=", 0.2), _top("share")),
        ),
        of_training=False,
    ),
    Claim(
        5,
        "connectors receive larger gradients, and the performance objective encourages them",
        (
            Reading("5a", "accuracy's gradient, connectors / random tokens", Bound(">", 1), _norm_ratio, primary=True),
            Reading("5b", "accuracy's push on connectors - expected", Bound(">", 0), _push("accuracy")),
        ),
        of_training=False,
    ),
    Claim(
        6,
        "the compression objective penalises the same connectors",
        (
            Reading(
                "6a", "compression's push on connectors - expected", Bound("<", 0), _push("compression"), primary=True
            ),
        ),
        of_training=False,
    ),
    Claim(
        7,
        "while entropy descends brevity is encouraged; while it rises, exploration in the compact mode",
        (
            *(_against(f"7{x}", arm, "accuracy", primary=True) for x, arm in zip("abcd", CONTROLS, strict=True)),
            *(_against(f"7{x}", arm, "removed") for x, arm in zip("efgh", CONTROLS, strict=True)),
        ),
    ),
    Claim(
        8,
        "on six benchmarks length falls to 20%, accuracy maintained or better",
        (
            Reading("8a", "removable length removed, egrc", Bound(">=", headline.REMOVED), _removed, primary=True),
            Reading("8b", "accuracy, egrc - base", Bound(">=", 0), _accuracy, primary=True),
            Reading("8c", "tokens left as a share of the base's, egrc", Bound("<", 0.2), _left),
            Reading("8d", "worst benchmark's accuracy, egrc - base", Bound(">=", -0.05), _worst),
        ),
    ),
)
CLAIMS = {claim.number: claim for claim in _CLAIMS}
"""All [abstract]; by number, as in the paper's abstract.  The readings are [ours]."""


# --- verdicts -----------------------------------------------------------------------------------------------------


def verdicts(scale: str, claim: int | None = None, data: Path | None = None) -> pd.DataFrame:
    """What a scale's records and measurements say of all claims, or of one.

    Returns a line per reading, with the columns `COLUMNS`: `primary` readings decide their claim; `predicate` is the
    bound, in the unit that `quantity` names; estimate with its 95% interval [low, high]; `n` units (problems, or
    prefixes) and `seeds` (numbers are empty where there are none); verdict and note as the module's header says.
    Raises ConfigError for an unknown scale or claim, RecordError for damaged data.
    """
    scales.runs(scale)  # refuses unknown names
    if claim is not None and claim not in CLAIMS:
        raise ConfigError(f"no claim {claim}: choose one of {', '.join(map(str, CLAIMS))}")
    rows = Rows(scale, data or paths.DATA)
    wanted = CLAIMS.values() if claim is None else (CLAIMS[claim],)
    return pd.concat([_of(c.number, rows) for c in wanted], ignore_index=True)


@once
def _of(claim: int, rows: Rows) -> pd.DataFrame:
    lines = [_line(CLAIMS[claim], reading, rows) for reading in CLAIMS[claim].readings]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"n": "Int64", "seeds": "Int64"})


def _line(claim: Claim, reading: Reading, rows: Rows) -> dict[str, Any]:
    found, verdict, note = _judge(claim, reading, rows)
    numbers = {"estimate": NAN, "low": NAN, "high": NAN, "n": pd.NA, "seeds": pd.NA}
    if found:
        numbers = dict(zip(numbers, found[: len(numbers)], strict=True))
    return {
        **{"claim": claim.number, "reading": reading.name, "primary": reading.primary, "scale": rows.scale},
        **{"quantity": reading.quantity, "predicate": str(reading.bound), **numbers},
        **{"verdict": verdict, "note": note},
    }


def _judge(claim: Claim, reading: Reading, rows: Rows) -> tuple[Found | None, str, str]:
    try:
        reason = _why_not(claim, rows)
        if reason:
            return None, NOT_TESTABLE, reason
        found = reading.of(rows)
    except NotMeasured as missing:
        return None, NOT_MEASURED, str(missing)
    return found, *judged(found, reading.bound)


def judged(found: Found, bound: Bound) -> tuple[str, str]:
    """Verdict and note for an estimate with its interval; without an estimate (NaN) the note is the reason."""
    inside = [bound.holds(end) for end in (found.low, found.high)]
    there = not math.isnan(found.estimate)
    notes = []
    if there and not all(inside):
        notes = ["the interval crosses the bound" if any(inside) else "the opposite holds"]
    alone = [x for x in found.by_seed if not math.isnan(x)]
    if len({bound.holds(x) for x in alone}) > 1:
        notes.append(f"seeds differ: {', '.join(f'{x:.3g}' for x in alone)}")
    notes += [found.note] if found.note else []
    return SUPPORTED if there and all(inside) else NOT_SUPPORTED, "; ".join(notes)


def _why_not(claim: Claim, rows: Rows) -> str:
    """Why a scale cannot decide a claim; empty if it can.  What the reason rests on is measured, too."""
    if rows.scale.startswith("gpu") and not any((rows.data / "runs" / rows.scale).glob("*/seed-*/run.json")):
        return "not yet run on a GPU"
    if rows.scale == "smol" and claim.of_training:
        correct, config = rows.rollouts["correct"], scales.config("smol", "egrc")
        return (
            f"the model answers {correct.mean():.1%} of {len(correct)} rollouts correctly, and training ends after "
            f"{config.steps} steps: nothing that it does could be seen"
        )
    return ""


# --- as text ------------------------------------------------------------------------------------------------------

WIDTH = 120
HOW = "* decides its claim; where several do, all have to hold.  Intervals: 95% over units, given the seeds."


def interval(line: pd.Series) -> str:
    """'-0.051 [-0.060, -0.042]', to two digits of the interval's width; '-' where there is none."""
    numbers = [line[name] for name in ("estimate", "low", "high")]
    if math.isnan(numbers[0]):
        return "-"
    width = numbers[2] - numbers[1]
    decimals = max(0, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else 3
    value, low, high = (f"{x:.{decimals}f}" if decimals <= 5 else f"{x:.1e}" for x in numbers)
    return f"{value} [{low}, {high}]"


def text(table: pd.DataFrame) -> str:
    """The table for a terminal, `WIDTH` characters wide: claims, under each its readings, under these their notes."""
    out = [HOW]
    for scale, own in table.groupby("scale", sort=False):
        head = _columns(f"scale {scale}", "predicate", "estimate [interval]", "n", "seeds", "verdict")
        out += ["", head, "-" * WIDTH]
        if own["claim"].nunique() > 1 == len(own[["verdict", "note"]].drop_duplicates()):
            out.append(f"   all readings: {own['verdict'].iloc[0]} ({own['note'].iloc[0]})")
            continue
        for claim, lines in own.groupby("claim", sort=False):
            out.append(f"{claim}  {CLAIMS[claim].words}")
            for (_, line), below in zip(lines.iterrows(), [*lines["note"][1:], None], strict=True):
                name = f"   {line['reading'] + '*' * line['primary']:<4} {line['quantity']}"
                n, seeds = ("-" if pd.isna(line[c]) else str(line[c]) for c in ("n", "seeds"))
                out.append(_columns(name, line["predicate"], interval(line), n, seeds, line["verdict"]))
                if line["note"] != below:  # said once for all
                    out += textwrap.wrap(line["note"], WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(out)


def _columns(name: str, predicate: str, estimate: str, n: str, seeds: str, verdict: str) -> str:
    return f"{name:<57}{predicate:<11}{estimate:<26}{n:>5} {seeds:>5}  {verdict}"


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table for each scale; readings without numbers that have the same reason share a line."""
    alike = table["estimate"].isna() & table.duplicated(["scale", "claim", "verdict", "note"])
    parts = []
    for scale, lines in table[~alike].groupby("scale", sort=False):
        head = ("claim", "reading", "predicate", "estimate [95% interval]", "n", "seeds", "verdict")
        rows = [head, ["---"] * len(head), *(_cells(line) for _, line in lines.iterrows())]
        parts.append("\n".join([f"Scale `{scale}`:", "", *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join(parts)


def _cells(line: pd.Series) -> list[str]:
    first = CLAIMS[line["claim"]].readings[0].name == line["reading"]
    return [
        f"{line['claim']}: {CLAIMS[line['claim']].words}" if first else "",
        f"**{line['reading']}**" if line["primary"] else line["reading"],
        f"{line['quantity']} `{line['predicate']}`",
        *("" if cell in ("-", "<NA>") else cell for cell in (interval(line), str(line["n"]), str(line["seeds"]))),
        line["verdict"] + (f" ({line['note']})" if line["note"] else ""),
    ]


def show(table: pd.DataFrame) -> Shown:
    """The table as a notebook displays it."""
    return Shown(text(table), markdown=markdown(table))
