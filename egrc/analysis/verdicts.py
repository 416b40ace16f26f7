"""A verdict on an estimate with its interval, given a bound; tables of verdicts as text and as Markdown.  [ours]

Which estimates and bounds is in `egrc.analysis.claims`; `words` holds the claims' words by their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_TESTABLE, NOT_MEASURED, ABSENT = "not testable", "not measured", "premise absent"


def holds(predicate: str, x: float) -> bool:
    """Does a number lie on the claimed side of a bound, such as '> 0 tokens'?"""
    side, value, *_ = predicate.split()
    return {"<": x < float(value), ">": x > float(value), ">=": x >= float(value)}[side]


class Answer(NamedTuple):
    """A reading's estimate and 95% interval, from n units and some seeds; with each seed alone, where known."""

    estimate: float
    low: float
    high: float
    n: int
    seeds: int
    by_seed: tuple[float, ...] = ()
    note: str = ""
    absent: str = ""
    """Why what the claim presupposes did not happen; empty where it did."""


def judged(answer: Answer, predicate: str) -> tuple[str, str]:
    """Verdict and note for an estimate with its interval; without an estimate (NaN) the note is the reason."""
    inside = [holds(predicate, end) for end in (answer.low, answer.high)]
    there = not math.isnan(answer.estimate)
    notes = []
    if there and not all(inside):
        notes = ["the interval crosses the bound" if any(inside) else "the opposite holds"]
    alone = [x for x in answer.by_seed if not math.isnan(x)]
    if there and len({holds(predicate, x) for x in (answer.estimate, *alone)}) > 1:
        notes.append(f"seeds differ: {', '.join(f'{x:.3g}' for x in alone)}")
    notes += [answer.note] if answer.note else []
    if answer.absent:
        return ABSENT, "; ".join([answer.absent, *notes])
    return SUPPORTED if there and all(inside) else NOT_SUPPORTED, "; ".join(notes)


def interval(line: pd.Series) -> str:
    """'-0.051 [-0.060, -0.042]', to two digits of the interval's width; empty where there is none."""
    numbers = [line[name] for name in ("estimate", "low", "high")]
    if math.isnan(numbers[0]):
        return ""
    width = numbers[2] - numbers[1]
    decimals = max(0, 1 - math.floor(math.log10(width))) if 0 < width < math.inf else 3
    value, low, high = (f"{x:.{decimals}f}" if decimals <= 5 else f"{x:.1e}" for x in numbers)
    return f"{value} [{low}, {high}]"


def _brief(table: pd.DataFrame) -> pd.DataFrame:
    """Readings of a claim that have no number, for the same reason, as one line."""
    return table[~(table["estimate"].isna() & table.duplicated(["scale", "claim", "verdict", "note"]))]


def sentences(table: pd.DataFrame, words: Mapping[int, str]) -> list[str]:
    """A sentence for each claim of each scale, in Markdown: its verdict, which is the worst of its deciding readings',
    since all have to hold, and their numbers, or why there are none."""
    said, worst = [], (NOT_SUPPORTED, ABSENT, NOT_TESTABLE, NOT_MEASURED, SUPPORTED)
    for (scale, claim), lines in _brief(table[table["primary"]]).groupby(["scale", "claim"], sort=False):
        verdict = min(lines["verdict"], key=worst.index)
        parts = [note.split("; ")[0] for note in lines.loc[lines["verdict"] == ABSENT, "note"].head(1)]
        for _, line in lines.iterrows():
            parts.append(f"{line['quantity']}: {interval(line)}" if interval(line) else line["note"])
        said.append(f"Claim {claim}, {words[claim]}: **{verdict}** at scale {scale} ({'; '.join(parts)}).")
    return said


def text(table: pd.DataFrame, words: Mapping[int, str]) -> str:
    """The table for a terminal: claims, and under each its readings, a line each; a terminal wraps them."""
    out = ["* decides its claim; where several do, all have to hold.  Intervals: 95% over units, given the seeds."]
    for (scale, claim), lines in _brief(table).groupby(["scale", "claim"], sort=False):
        out += ["", f"{scale}, claim {claim}: {words[claim]}"]
        for _, line in lines.iterrows():
            number = f"{interval(line)} (n = {line['n']}, seeds: {line['seeds']})" if interval(line) else ""
            cells = "; ".join(filter(None, (f"{line['quantity']} {line['predicate']}", number, line["note"])))
            out.append(f"  {line['reading'] + '*' * line['primary']:<3} {line['verdict']:<15}{cells}")
    return "\n".join(out)


def markdown(table: pd.DataFrame, words: Mapping[int, str]) -> str:
    """A Markdown table for each scale."""
    parts = []
    for scale, lines in _brief(table).groupby("scale", sort=False):
        rows = [("claim", "reading", "predicate", "estimate [95% interval]", "n", "seeds", "verdict"), ("---",) * 7]
        for new, (_, line) in zip(lines["claim"].ne(lines["claim"].shift()), lines.iterrows(), strict=True):
            claim = f"{line['claim']}: {words[line['claim']]}" if new else ""
            name = f"**{line['reading']}**" if line["primary"] else line["reading"]
            counts = ("" if pd.isna(line[column]) else str(line[column]) for column in ("n", "seeds"))
            verdict = line["verdict"] + (f" ({line['note']})" if line["note"] else "")
            rows.append((claim, name, f"{line['quantity']} `{line['predicate']}`", interval(line), *counts, verdict))
        parts.append("\n".join([f"Scale `{scale}`:", "", *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join(parts)
