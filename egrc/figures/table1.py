"""Table 1 as text: arms against the base on every benchmark; the numbers are those of `egrc.analysis.tables`.

Its cells and headings are those of table 3, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import dots, typeset
from egrc.methods import MAIN
from egrc.paths import DATA, FIGURES

TITLES = {
    "accuracy": "accuracy (%)",
    "gain": "accuracy − base (points)",
    "gain_best": "accuracy − base at its best T (points)",
    "tokens": "tokens",
    "share": "tokens / base's (%)",
    "removed": "removable length removed (%)",
}
CELLS = "Estimate [95% interval, paired bootstrap over problems given the seeds] (lowest to highest seed). "
COMPARED = "Comparisons are with the base at the same sampling temperature T, unless said; "
LENGTH = "emovable length is base's tokens - compact floor. The mean is the plain mean over benchmarks of each column."


def cell(line: pd.Series, name: str) -> str:
    """'81.2 [79.9, 82.4] (80.1 to 82.0)': estimate, interval, lowest and highest seed; '–' where there is none."""
    if np.isnan(line[name]):
        return "–"
    scale, sign = 1 if name == "tokens" else 100, "+" if name.startswith("gain") else ""
    value, low, high, least, most = (f"{scale * line[name + end]:{sign}.1f}" for end in tables.ENDS)
    spread = f" ({least} to {most})" if line["seeds"] > 1 else ""
    return f"{value} [{low}, {high}]{spread}"


def pretty(lines: pd.DataFrame, columns: Iterable[str] = tuple(TITLES), best: float | None = None) -> pd.DataFrame:
    """`egrc.analysis.tables.compare`'s lines as text: arm, temperature (where there is one), seeds, then `columns`."""
    out = lines[["arm"]].copy()
    if "temperature" in lines:
        out["T"] = [tables.temperature_label(t, best) for t in lines["temperature"]]
    out["seeds"] = lines["seeds"].astype(str)
    return out.assign(**{TITLES[name]: [cell(line, name) for _, line in lines.iterrows()] for name in columns})


def parts(lines: pd.DataFrame, **how: Any) -> dict[str, pd.DataFrame]:
    """A table for each benchmark, under its name and its compact floor, where one is known."""
    found = {}
    for (name, floor), own in lines.groupby(["benchmark", "floor"], sort=False, dropna=False):
        title = "mean over benchmarks" if name == "mean" else str(name)
        found[title if np.isnan(floor) else f"{title} (compact floor {floor:.1f} tokens)"] = pretty(own, **how)
    return found


def notes(rows: pd.DataFrame, best: float | None) -> list[str]:
    """How to read the table, and what is missing from it."""
    lines = [f"{CELLS}{COMPARED}r{LENGTH}", tables.best_note(rows, best), dots.missing(MAIN, rows)]
    return [line for line in lines if line]


def write(scale: str = "pocket", data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table1.md and table1.tex from a scale's records.  Raises RecordError, or `egrc.atomic.WriteError`."""
    rows, best = tables.evaluations(load_all(scale, data)), tables.best_temperature(scale, data)
    lines = tables.compare(rows, tables.floors(scale, rows["benchmark"].unique()), best)
    return typeset.write(out / "table1", notes(rows, best), parts(lines, best=best))
