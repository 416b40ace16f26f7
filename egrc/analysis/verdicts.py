"""A verdict on an estimate with its interval, given a bound; tables of verdicts as text and as Markdown.  [ours]

Which estimates and bounds is in `egrc.analysis.claims`; `words` holds the claims' words by their numbers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
NOT_TESTABLE, NOT_MEASURED = "not testable", "not measured"


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


class Answer(NamedTuple):
    """A reading's estimate and 95% interval, from n units and some seeds; with each seed alone, where known."""

    estimate: float
    low: float
    high: float
    n: int
    seeds: int
    by_seed: tuple[float, ...] = ()
    note: str = ""


def judged(answer: Answer, bound: Bound) -> tuple[str, str]:
    """Verdict and note for an estimate with its interval; without an estimate (NaN) the note is the reason."""
    inside = [bound.holds(end) for end in (answer.low, answer.high)]
    there = not math.isnan(answer.estimate)
    notes = []
    if there and not all(inside):
        notes = ["the interval crosses the bound" if any(inside) else "the opposite holds"]
    alone = [x for x in answer.by_seed if not math.isnan(x)]
    if len({bound.holds(x) for x in alone}) > 1:
        notes.append(f"seeds differ: {', '.join(f'{x:.3g}' for x in alone)}")
    notes += [answer.note] if answer.note else []
    return SUPPORTED if there and all(inside) else NOT_SUPPORTED, "; ".join(notes)


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


def text(table: pd.DataFrame, words: Mapping[int, str]) -> str:
    """The table for a terminal, `WIDTH` characters wide: claims, under each its readings, under these their notes."""
    out = [HOW]
    for scale, own in table.groupby("scale", sort=False):
        head = _columns(f"scale {scale}", "predicate", "estimate [interval]", "n", "seeds", "verdict")
        out += ["", head, "-" * WIDTH]
        if own["claim"].nunique() > 1 == len(own[["verdict", "note"]].drop_duplicates()):
            out.append(f"   all readings: {own['verdict'].iloc[0]} ({own['note'].iloc[0]})")
            continue
        for claim, lines in own.groupby("claim", sort=False):
            out.append(f"{claim}  {words[claim]}")
            for (_, line), below in zip(lines.iterrows(), [*lines["note"][1:], None], strict=True):
                name = f"   {line['reading'] + '*' * line['primary']:<4} {line['quantity']}"
                n, seeds = ("-" if pd.isna(line[c]) else str(line[c]) for c in ("n", "seeds"))
                out.append(_columns(name, line["predicate"], interval(line), n, seeds, line["verdict"]))
                if line["note"] != below:  # said once for all
                    out += textwrap.wrap(line["note"], WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(out)


def _columns(name: str, predicate: str, estimate: str, n: str, seeds: str, verdict: str) -> str:
    return f"{name:<57}{predicate:<11}{estimate:<26}{n:>5} {seeds:>5}  {verdict}"


def markdown(table: pd.DataFrame, words: Mapping[int, str]) -> str:
    """A Markdown table for each scale; readings without numbers that have the same reason share a line."""
    alike = table["estimate"].isna() & table.duplicated(["scale", "claim", "verdict", "note"])
    parts = []
    for scale, lines in table[~alike].groupby("scale", sort=False):
        head = ("claim", "reading", "predicate", "estimate [95% interval]", "n", "seeds", "verdict")
        first = lines["claim"].ne(lines["claim"].shift())
        cells = [_cells(line, words if new else None) for new, (_, line) in zip(first, lines.iterrows(), strict=True)]
        rows = [head, ["---"] * len(head), *cells]
        parts.append("\n".join([f"Scale `{scale}`:", "", *(f"| {' | '.join(row)} |" for row in rows)]))
    return "\n\n".join(parts)


def _cells(line: pd.Series, words: Mapping[int, str] | None) -> list[str]:
    return [
        f"{line['claim']}: {words[line['claim']]}" if words else "",
        f"**{line['reading']}**" if line["primary"] else line["reading"],
        f"{line['quantity']} `{line['predicate']}`",
        *("" if cell in ("-", "<NA>") else cell for cell in (interval(line), str(line["n"]), str(line["seeds"]))),
        line["verdict"] + (f" ({line['note']})" if line["note"] else ""),
    ]
