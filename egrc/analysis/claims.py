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

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis import ablations, changes, dilemma, headline
from egrc.analysis import verdicts as as_text
from egrc.analysis.evidence import CONTROLS, NotMeasured, Rows
from egrc.analysis.shown import Shown
from egrc.analysis.verdicts import NOT_MEASURED, NOT_TESTABLE, Answer, Bound, judged
from egrc.checks import ConfigError
from egrc.evaluation import intervals
from egrc.experiments import records, scales
from egrc.experiments.shared import once

COLUMNS = (
    *("claim", "reading", "primary", "scale", "quantity", "predicate"),
    *("estimate", "low", "high", "n", "seeds", "verdict", "note"),
)
NAN = float("nan")


@dataclass(frozen=True)
class Reading:
    """One way to read a claim: a quantity, the bound it was given beforehand, and how rows answer."""

    name: str
    quantity: str
    bound: Bound
    of: Callable[[Rows], Answer]
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


def _change(arm: str, quantity: str) -> Callable[[Rows], Answer]:
    """The arm minus the base, on the same problems."""

    def found(rows: Rows) -> Answer:
        c = changes.change(rows.policies, arm, quantity)
        return Answer(c.estimate, c.low, c.high, c.units, len(c.by_seed), tuple(c.by_seed.values()))

    return found


def _moved(claim: int, arm: str, side: str, *quantities: str) -> tuple[Reading, ...]:
    """A reading a quantity, lettered; the first is primary."""
    return tuple(
        Reading(f"{claim}{letter}", f"{what.title}, {arm} - base", Bound(side, 0, what.unit), _change(arm, q), not i)
        for i, (letter, q) in enumerate(zip("abcdef", quantities, strict=False))
        for what in [changes.QUANTITIES[q]]
    )


def _frontier(name: str) -> Callable[[Rows], Answer]:
    """The staged objective's frontier against the joint one's."""

    def found(rows: Rows) -> Answer:
        own = rows.frontiers[rows.frontiers["reading"] == name]
        line, alone = own.loc["all"].iloc[0], tuple(own.loc["alone", "estimate"])
        values = (line["estimate"], line["low"], line["high"], int(line["problems"]), int(line["seeds"]))
        settings = rows.dilemma.drop_duplicates("arm").set_index("arm")["r"]
        swept = sorted({r for arm, r in settings.items() if dilemma.way(str(arm)) in dilemma.WAYS})
        note = f"both swept over r = {', '.join(f'{r:g}' for r in swept)}"
        return Answer(*values, alone, "; ".join(filter(None, (line["reason"], note))))

    return found


def _top(column: str) -> Callable[[Rows], Answer]:
    """Connectors among the 20% of tokens with the highest entropy: their share, or its lift over their share of all."""

    def found(rows: Rows) -> Answer:
        line, alone = rows.top.loc["all"].iloc[0], rows.top.loc["alone", column]
        values = (line[column], line[f"{column}_low"], line[f"{column}_high"])
        note = "true by construction" if rows.scale == "pocket" else ""
        return Answer(*values, int(line["problems"]), len(alone), tuple(alone), note)

    return found


def _norm_ratio(rows: Rows) -> Answer:
    """Norm of the accuracy objective's gradient that comes from connectors, over that from as many random tokens."""
    return _of_tug(rows.tug, "norm_ratio", objective="accuracy", token_class="connector")


def _push(objective: str) -> Callable[[Rows], Answer]:
    """Change of the connectors' probability mass along an objective's gradient, less that under shuffled advantages."""
    return lambda rows: _of_tug(rows.tug, "push", objective=objective)


def _of_tug(tug: pd.DataFrame, name: str, **named: str) -> Answer:
    """What a function of `egrc.analysis.gradients` finds, over all seeds and for each."""
    from egrc.analysis import gradients  # loads torch, which nothing else here needs

    ask = partial(getattr(gradients, name), **named)
    alone = tuple(ask(own)[0] for _, own in tug.groupby("seed"))
    return Answer(*ask(tug), tug["problem"].nunique(), len(alone), alone)


def _control(arm: str, quantity: str) -> Callable[[Rows], Answer]:
    """EGRC minus a control whose gate looks at something else, or whose stages are reversed: seeds that both have."""

    def found(rows: Rows) -> Answer:
        if arm not in rows.controls:
            raise NotMeasured(ablations.command(rows.scale))
        lines, alone = rows.controls[arm]
        line = lines[(lines["part"] == "mean") & (lines["quantity"] == quantity)].squeeze()
        estimate, low, high, n, seeds = line[["estimate", "low", "high", "problems", "seeds"]]
        each = tuple(alone.xs("mean", level="part")[quantity])
        return Answer(estimate, low, high, n, seeds, each, _switching(rows.ablations[0], arm))

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


def _removed(rows: Rows) -> Answer:
    tokens = rows.of_egrc.by_benchmark.mean()
    left, least = (tokens[side] / tokens["base_tokens"] for side in ("arm_tokens", "floor_tokens"))
    return _of_headline(rows, "removed", f"{left:.0%} of the base's tokens are left, the compact floor is {least:.0%}")


def _accuracy(rows: Rows) -> Answer:
    change = rows.of_egrc.by_benchmark["accuracy"]
    return _of_headline(rows, "accuracy", f"a mean over benchmarks; {change.idxmin()}: {change.min():+.3f}")


def _of_headline(rows: Rows, name: str, note: str) -> Answer:
    interval, seeds = getattr(rows.of_egrc, name), rows.of_egrc.by_seed[name]
    return _answer((interval.estimate, interval.low, interval.high), rows.runs[0].evaluation, seeds, note)


def _left(rows: Rows) -> Answer:
    """EGRC's tokens over the base's, both means over benchmarks: the literal reading, however high the floor is."""
    arm, base = rows.sides
    of = rows.of_egrc.by_benchmark[["base_tokens", "floor_tokens"]].mean()
    alone = arm.groupby(["seed", "benchmark"])["tokens"].mean().groupby("seed").mean() / of["base_tokens"]
    note = f"the compact floor is {of['floor_tokens'] / of['base_tokens']:.0%} of the base's tokens"
    return _answer(intervals.paired_bootstrap(arm, base, "token_ratio"), base, alone, note)


def _worst(rows: Rows) -> Answer:
    """Accuracy on the benchmark that loses most in the estimate.  That choice is pessimistic: among benchmarks that
    are equally good, the one that chance treated worst is looked at, and its interval does not make up for it."""
    worst = rows.of_egrc.by_benchmark["accuracy"].idxmin()
    arm, base = (side[side["benchmark"] == worst] for side in rows.sides)
    alone = arm.groupby("seed")["correct"].mean() - base["correct"].mean()
    return _answer(intervals.paired_bootstrap(arm, base), base, alone, f"the worst is {worst}")


def _answer(values: tuple[float, ...], problems: pd.DataFrame, alone: pd.Series, note: str) -> Answer:
    n = len(problems[["benchmark", "id"]].drop_duplicates())
    return Answer(*values, n, len(alone), tuple(alone), note)


# --- the claims ---------------------------------------------------------------------------------------------------

_CLAIMS = (
    Claim(
        1,
        "compression training lowers entropy; reasoning gets shorter, exploration is limited",
        _moved(1, "compression", "<", "per_token", "per_completion", "prefix", "tokens", "distinct", "coverage"),
    ),
    Claim(
        2,
        "accuracy-oriented objectives raise entropy and lengthen reasoning chains",
        _moved(2, "accuracy", ">", "per_token", "per_completion", "prefix", "tokens"),
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
            Reading("6a", "compression's push on connectors - expected", Bound("<", 0), _push("compression"), True),
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


def _line(claim: Claim, reading: Reading, rows: Rows) -> tuple[Any, ...]:
    numbers: tuple[Any, ...] = (NAN, NAN, NAN, pd.NA, pd.NA)
    try:
        if reason := _why_not(claim, rows):
            verdict, note = NOT_TESTABLE, reason
        else:
            answer = reading.of(rows)
            numbers, (verdict, note) = answer[: len(numbers)], judged(answer, reading.bound)
    except NotMeasured as missing:
        verdict, note = NOT_MEASURED, str(missing)
    of = (claim.number, reading.name, reading.primary, rows.scale, reading.quantity, str(reading.bound))
    return *of, *numbers, verdict, note


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

WORDS = {claim.number: claim.words for claim in _CLAIMS}


def text(table: pd.DataFrame) -> str:
    """`verdicts` for a terminal: claims, under each its readings, under these their notes."""
    return as_text.text(table, WORDS)


def markdown(scale: str, data: Path | None = None) -> str:
    """All of a scale's verdicts as a Markdown table.  Raises as `verdicts` does."""
    return as_text.markdown(verdicts(scale, data=data), WORDS)


def show(table: pd.DataFrame) -> Shown:
    """`verdicts` as a notebook displays them."""
    return Shown(text(table), markdown=as_text.markdown(table, WORDS))
