"""The paper's claims, each read as predicates over rows, and what the rows say of them.

The readings and their bounds were fixed before any run that decides them [ours]; the settings swept for claim 3 were
added to after a first look (`scales.DILEMMA_R`).  All primary readings of a claim have to hold.  `base` is the arm that
is not trained: of the pocket world, the accuracy-trained policy from which all arms start.

    supported       the 95% interval lies wholly on the claimed side of the bound
    not supported   it does not: the note says whether it crosses the bound, or the opposite holds
    premise absent  what the claim presupposes did not happen: the note says what, with its number
    not testable    this scale cannot decide it: the note says why
    not measured    a measurement or a record is missing: the note names the command that makes it

Intervals are over problems GIVEN the seeds (bootstrap; of gradients, jackknife: see `egrc.analysis.gradients`); where a
seed alone lies on the other side, the note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import ablations, changes, dilemma, gradients, tables, tokens
from egrc.analysis import rows as checked
from egrc.analysis.bounds import NOT_BELOW, REMOVED, WORST
from egrc.analysis.measure import NotMade
from egrc.analysis.shown import Shown
from egrc.analysis.verdicts import NOT_MEASURED, NOT_TESTABLE, Answer, judged, markdown, sentences, text
from egrc.checks import ConfigError
from egrc.evaluation.intervals import N_BOOT, estimate, t_quantile
from egrc.experiments import records, scales
from egrc.experiments.shared import once

COLUMNS = (
    *("claim", "reading", "primary", "scale", "quantity", "predicate"),
    *("estimate", "low", "high", "n", "seeds", "verdict", "note"),
)
CONTROLS = ("egrc-fixed", "egrc-by-length", "egrc-shuffled", "egrc-reversed")
"""What the gate is held against in claim 7: it does not look, looks at the length, at shuffled entropy; other order."""


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract, its words shortened; its readings, and how a scale's rows answer them."""

    words: str
    readings: dict[str, str]
    """A quantity, and the bound that it was given."""
    answers: Callable[[str, Path], Sequence[Answer | str]]
    """Of a scale and a data folder: an answer to each reading, or what makes the evidence that it lacks.  Raises
    NotMade where all of that is missing."""
    deciding: int = 1
    """How many readings, the first ones, are primary."""
    of_training: bool = True
    """Is it about what training does?  Then a scale that hardly trains cannot decide it."""


def _recorded(arms: Iterable[str], scale: str, data: Path, study: str = "") -> list[records.Record]:
    """The records of some arms, at all seeds of the scale; without arms, of a study, at those that it asks for."""
    if study and study not in scales.SCALES[scale].studies:
        raise NotMade(f"scale {scale} has no study of it")
    runs = [(arm, seed) for arm in arms for seed in scales.runs(scale)[1]] or scales.study_runs(scale, study)
    folders = [paths.run_folder(data, scale, arm, seed) for arm, seed in runs]
    if not all((folder / "run.json").is_file() for folder in folders):
        raise NotMade(_command(scale, study))
    return [records.Record.load(folder) for folder in folders]


def _command(scale: str, study: str) -> str:
    return f"`python -m egrc sweep --scale {scale}{study and f' --study {study}'}` makes it"


def moved(scale: str, data: Path, arm: str, quantities: Sequence[str]) -> list[Answer]:
    """The arm minus the base, on the same problems."""
    policies = checked.load("policies", scale, data)
    return [changes.change(policies, arm, quantity) for quantity in quantities]


def frontier(study: pd.DataFrame) -> list[Answer]:
    """The staged objective's frontier against the joint one's; `study`: the rows of `dilemma.load`."""
    alone = dilemma.by_seed(study).groupby("reading")["estimate"].agg(tuple)
    settings = study.drop_duplicates("arm").set_index("arm")["r"]
    swept = sorted({r for arm, r in settings.items() if dilemma.way(str(arm)) in dilemma.WAYS})
    swept_over = f"both swept over r = {', '.join(f'{r:g}' for r in swept)}"
    return [
        Answer(*x[1:4], x.problems, x.seeds, alone[x.Index], "; ".join(filter(None, (x.reason, swept_over))))
        for x in dilemma.readings(study).set_index("reading").itertuples()
    ]


def on_top(rollouts: pd.DataFrame, scale: str) -> list[Answer]:
    """Connectors among the 20% of tokens with the highest entropy: the lift over their share of all, and the share."""
    line = tokens.top_share(rollouts).set_index("class").loc["connector"]
    alone = tokens.each_seed(tokens.top_share, rollouts).query("`class` == 'connector'")
    note = "true by construction" if scale == "pocket" else ""
    ends = {name: line[[name, f"{name}_low", f"{name}_high"]] for name in ("lift", "share")}
    return [Answer(*ends[x], int(line["problems"]), len(alone), tuple(alone[x]), note) for x in ends]


def pull(tug: pd.DataFrame, of: Callable[..., tuple[float, float, float]], **named: str) -> Answer:
    """What a function of `egrc.analysis.gradients` gives, over all seeds and for each: by how much the gradient from
    connectors is larger (`norm_ratio`), or how much more probable it makes them than chance would (`push`)."""
    alone = tuple(of(own, **named)[0] for _, own in tug.groupby("seed"))
    return Answer(*of(tug, **named), tug["problem"].nunique(), len(alone), alone)


def encouraged(tug: pd.DataFrame) -> list[Answer]:
    """How the accuracy objective treats connectors: the gradient that they get, and where it moves their mass."""
    ratio = pull(tug, gradients.norm_ratio, objective="accuracy", token_class="connector")
    return [ratio, pull(tug, gradients.push, objective="accuracy")]


def of_mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean with its 95% interval by Student's t; seeds without a number (the phase did not come) are left out."""
    there = np.array([x for x in values if not np.isnan(x)])
    if len(there) < 2:
        return np.nan, np.nan, np.nan
    half = t_quantile(0.975, len(there) - 1) * there.std(ddof=1) / len(there) ** 0.5
    return there.mean(), there.mean() - half, there.mean() + half


def over(line: pd.Series, alone: pd.Series, *notes: str) -> Answer:
    """EGRC minus another arm: a line of `ablations.differences`, which has the other minus EGRC, and each seed."""
    ends = (-line["estimate"], -line["high"], -line["low"], line["problems"], line["seeds"])
    return Answer(*ends, tuple(alone), *notes)


def gates(scale: str, data: Path) -> list[Answer | str]:
    """EGRC minus each control on the seeds that both have: accuracy, then the removed length.  The note: on how many
    seeds it switched at another step than EGRC, and on how many never.  Premise: entropy rises in EGRC's phase 2."""
    _recorded(("base", ablations.WHOLE), scale, data, ablations.STUDY)
    runs = tables.load(scale, ("base", ablations.WHOLE, *CONTROLS), data)
    rows = tables.rows_at(runs, tables.compared_at(scale, data))
    floor = tables.floors(scale, rows["benchmark"].unique())
    lines = ablations.differences(rows, floor).set_index(["quantity", "part", "arm"])
    levels = ablations.levels(rows, floor)
    steps = {(run.arm, run.seed): ablations.switches(run.steps) for run in runs if run.arm != "base"}
    rise, low, high = of_mean([ablations.moved(run, "explore") for run in runs if run.arm == ablations.WHOLE])
    absent = "" if low > 0 else f"entropy changed by {rise:+.3f} [{low:+.3f}, {high:+.3f}] nats in phase 2 (over seeds)"
    absent = "fewer than two seeds came to phase 2" if np.isnan(rise) else absent
    answers: list[Answer | str] = []
    for quantity, arm in product(("accuracy", "removed"), CONTROLS):
        if (quantity, "mean", arm) not in lines.index:
            answers.append(_command(scale, ablations.STUDY))
            continue
        line, alone = lines.loc[quantity, "mean", arm], ablations.by_seed(levels, ablations.WHOLE, arm)
        both = [(steps[arm, seed], steps[ablations.WHOLE, seed]) for seed in alone.index.unique("seed")]
        never = sum(not control for control, _ in both)
        apart = sum(control != gated for control, gated in both) - never
        note = f"control: {ablations.WORDS[arm]}; it switched at another step on {apart} of {len(both)} seeds"
        note += f", never on {never}" if never else ""
        answers.append(over(line, alone.xs("mean", level="part")[quantity], note, absent))
    return answers


def transfer(scale: str, data: Path) -> list[Answer | str]:
    """The gate against the clock, both unchanged, at learning rates for which neither was set: accuracy, then the
    removed length, as means over rates and seeds.  The note: the steps at which the gate switched, rate by rate."""
    try:
        runs = _recorded((), scale, data, "transfer")
    except NotMade as missing:
        return [str(missing)] * 2
    bases = [run for run in tables.load(scale, ("base",), data) if run.seed in {own.seed for own in runs}]
    rows = tables.rows_at([*bases, *runs], tables.compared_at(scale, data))
    parts = rows["arm"].str.partition("-rate")
    rows = rows.assign(arm=parts[0], seed=parts[2] + "/" + rows["seed"].astype(str))
    floor = tables.floors(scale, rows["benchmark"].unique())
    lines = ablations.differences(rows, floor).query("part == 'mean'").set_index("quantity")
    alone = ablations.by_seed(ablations.levels(rows, floor), ablations.WHOLE, "egrc-fixed").xs("mean", level="part")
    switched: dict[str, list[str]] = {}
    for run in runs:
        arm, _, rate = run.arm.partition("-rate")
        if arm == ablations.WHOLE:
            steps = [str(first - 1) for first, _ in ablations.switches(run.steps)]
            switched.setdefault(rate, []).append(", ".join(steps) or "never")
    note = "; ".join(f"at {rate} the gate switched after step {', '.join(steps)}" for rate, steps in switched.items())
    return [over(lines.loc[name], alone[name], note) for name in ("accuracy", "removed")]


def headline(scale: str, data: Path) -> list[Answer]:
    """EGRC against the base at the temperature that suits the base best: the share of the removable length that is
    gone; accuracy, against two bounds; tokens over the base's, however high the floor is; and accuracy on the benchmark
    that loses most in the estimate: a pessimistic choice, for which its interval does not make up."""
    rows = tables.rows_at(_recorded(("base", "egrc"), scale, data), tables.compared_at(scale, data))
    floor = tables.floors(scale, sorted(rows["benchmark"].unique()))
    limits, levels = np.array([*floor.values()]), ablations.levels(rows, floor)
    each = levels.loc["egrc"].unstack("part")
    base, egrc = (levels.loc[arm].groupby("part").mean() for arm in ("base", "egrc"))
    change, tokens_before = (egrc - base)["accuracy"].drop("mean"), base["tokens"]["mean"]
    worst, left, least = change.idxmin(), egrc["tokens"]["mean"] / tokens_before, limits.mean() / tokens_before
    gain, known = each["accuracy"] - base["accuracy"], f"the compact floor is {least:.0%}"
    all_of_it, there = (tables.resampled(own, N_BOOT) for own in (rows, rows[rows["benchmark"] == worst]))

    def answer(values: np.ndarray, alone: pd.Series, note: str, part: pd.DataFrame = rows) -> Answer:
        n = len(part[["benchmark", "id"]].drop_duplicates())
        return Answer(*estimate(values[0], values[1:]), n, len(alone), tuple(alone), note)

    a, b = all_of_it["egrc"], all_of_it["base"]
    lost = (there["egrc"].accuracy - there["base"].accuracy)[..., 0]
    mean = answer((a.accuracy - b.accuracy).mean(-1), gain["mean"],
                  f"a mean over benchmarks; {worst}: {change.min():+.3f}")  # fmt: skip
    return [
        answer(tables.STATISTICS["removed"](a, b, limits).mean(-1), each["removed", "mean"],
               f"{left:.0%} of the base's tokens are left, {known}"),
        *(mean, mean._replace(note="as the reading before")),  # against two bounds
        answer(a.tokens.mean(-1) / b.tokens.mean(-1), each["tokens", "mean"] / tokens_before,
               f"{known} of the base's tokens"),
        answer(lost, gain[worst], f"the worst is {worst}", rows[rows["benchmark"] == worst]),
    ]  # fmt: skip


def _moved(words: str, arm: str, side: str, *quantities: str) -> Claim:
    """A reading a quantity."""
    of = [changes.QUANTITIES[name] for name in quantities]
    readings = {f"{what.title}, {arm} - base": f"{side} 0 {what.unit}".rstrip() for what in of}
    return Claim(words, readings, lambda s, d: moved(s, d, arm, quantities))


CLAIMS = {
    1: _moved(
        "compression training lowers entropy; reasoning gets shorter, exploration is limited",
        *("compression", "<", "per_token", "per_completion", "prefix", "tokens", "distinct", "coverage"),
    ),
    2: _moved(
        "accuracy-oriented objectives raise entropy and lengthen reasoning chains",
        *("accuracy", ">", "per_token", "per_completion", "prefix", "tokens"),
    ),
    3: Claim(
        "trained together the two get stuck in a local dilemma, the entropy conflict",
        {"accuracy at equal length, staged - joint": "> 0", "length at equal accuracy, joint - staged": "> 0 tokens"},
        lambda s, d: _recorded((), s, d, dilemma.STUDY) and frontier(dilemma.load(s, d)),
    ),
    4: Claim(
        "many high-entropy tokens are logical connectors",
        {
            "connectors' share of the top 20% / of all": "> 1",
            "connectors' share of the top 20% by entropy": ">= 0.2",
        },
        lambda s, d: on_top(tokens.load_rollouts(s, d), s),
        of_training=False,
    ),
    5: Claim(
        "connectors receive larger gradients, and the performance objective encourages them",
        {
            "accuracy's gradient, connectors / random tokens": "> 1",
            "accuracy's push on connectors - expected": "> 0",
        },
        lambda s, d: encouraged(gradients.load_base(s, d)),
        of_training=False,
    ),
    6: Claim(
        "the compression objective penalises the same connectors",
        {"compression's push on connectors - expected": "< 0"},
        lambda s, d: [pull(gradients.load_base(s, d), gradients.push, objective="compression")],
        of_training=False,
    ),
    7: Claim(
        "while entropy descends brevity is encouraged; while it rises, exploration in the compact mode",
        {f"{what}, egrc - {arm}": "> 0" for what in ("accuracy", "removable length removed") for arm in CONTROLS}
        | {f"{what} at other learning rates, egrc - egrc-fixed": "> 0" for what in ("accuracy", "removed length")},
        lambda s, d: gates(s, d) + transfer(s, d),
        deciding=4,
    ),
    8: Claim(
        "on six benchmarks length falls to 20%, accuracy maintained or better",
        {
            "removable length removed, egrc": f">= {REMOVED}",
            "accuracy, egrc - base": ">= 0",
            "accuracy, egrc - base, within two points": f"> {-NOT_BELOW}",
            "tokens left as a share of the base's, egrc": "< 0.2",
            "worst benchmark's accuracy, egrc - base": f">= {WORST}",
        },
        headline,
        deciding=2,
    ),
}
"""All [abstract]; by number, as in the paper's abstract.  The readings are [ours]."""
WORDS = {number: claim.words for number, claim in CLAIMS.items()}


def verdicts(scale: str, claim: int | None = None, data: Path | None = None) -> pd.DataFrame:
    """What a scale's records and measurements say of all claims, or of one: a line per reading, with `COLUMNS`.

    `primary` readings decide their claim; `predicate` is the bound, in the unit that `quantity` names; numbers, `n` the
    units (problems, or prefixes) among them, are empty where there are none; verdict and note: see the header.
    Raises ConfigError for an unknown scale or claim, RecordError for damaged data.
    """
    scales.runs(scale)  # refuses unknown names
    if claim is not None and claim not in CLAIMS:
        raise ConfigError(f"no claim {claim}: choose one of {', '.join(map(str, CLAIMS))}")
    return pd.concat([_of(n, scale, data or paths.DATA) for n in ([claim] if claim else CLAIMS)], ignore_index=True)


@once
def _of(number: int, scale: str, data: Path) -> pd.DataFrame:
    """`verdicts` on one claim."""
    claim, lines, reason = CLAIMS[number], [], ""
    answers: Sequence[Answer | str]
    try:
        reason = _why_not(claim, scale, data)
        answers = [reason] * len(claim.readings) if reason else claim.answers(scale, data)
    except NotMade as missing:
        answers = [str(missing)] * len(claim.readings)
    for i, ((quantity, predicate), answer) in enumerate(zip(claim.readings.items(), answers, strict=True)):
        name = f"{number}{ascii_lowercase[i]}"
        line: tuple[Any, ...] = (number, name, i < claim.deciding, scale, quantity, predicate)
        if isinstance(answer, Answer):
            line += (*answer[:5], *judged(answer, predicate))
        else:
            line += (*[np.nan] * 3, pd.NA, pd.NA, NOT_TESTABLE if reason else NOT_MEASURED, answer)
        lines.append(line)
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"n": "Int64", "seeds": "Int64"})


def _why_not(claim: Claim, scale: str, data: Path) -> str:
    """Why a scale cannot decide a claim; empty if it can."""
    if scale.startswith("gpu") and not any((data / "runs" / scale).glob("*/seed-*/run.json")):
        return "not yet run on a GPU"
    if scale == "real" and claim.of_training:
        return "the model is measured, not trained"
    return ""


def show(table: pd.DataFrame) -> Shown:
    """`verdicts` for a terminal (its text), a notebook and a file (its Markdown)."""
    return Shown(text(table, WORDS), markdown=markdown(table, WORDS))


def in_short(table: pd.DataFrame) -> Shown:
    """`verdicts` in a sentence for each claim, by its deciding readings: what a page opens with."""
    said = "\n\n".join(sentences(table, WORDS))
    return Shown(said, markdown=said)
