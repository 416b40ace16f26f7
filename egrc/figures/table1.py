"""Table 1 as text: arms against the base on every benchmark; the numbers are those of `egrc.analysis.tables`.

Its cells and headings are those of table 3, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import typeset
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


def cell(line: pd.Series, name: str) -> str:
    """'81.2 [79.9, 82.4] (80.1 to 82.0)': estimate, interval, lowest and highest seed; '–' where there is none."""
    if np.isnan(line[name]):
        return "–"
    scale, sign = 1 if name == "tokens" else 100, "+" if name.startswith("gain") else ""
    value, low, high, least, most = (f"{scale * line[name + end]:{sign}.1f}" for end in tables.ENDS)
    spread = f" ({least} to {most})" if line["seeds"] > 1 else ""
    return f"{value} [{low}, {high}]{spread}"


def pretty(table: pd.DataFrame, best: float | None) -> pd.DataFrame:
    """`egrc.analysis.tables.compare`'s lines as text, a column for each of `TITLES`."""
    out = table[["benchmark", "arm"]].copy()
    out["T"] = [tables.temperature_label(t, best) for t in table["temperature"]]
    out["seeds"] = table["seeds"].astype(str)
    return out.assign(**{TITLES[name]: [cell(line, name) for _, line in table.iterrows()] for name in TITLES})


def notes(rows: pd.DataFrame, best: float | None) -> list[str]:
    """How to read the table, and what is missing from it."""
    present = rows[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    lacking = tables.missing(MAIN, present)
    lines = [
        "Estimate [95% interval, paired bootstrap over problems given the seeds] (lowest to highest seed). "
        "Comparisons are with the base at the same sampling temperature T, unless said; "
        "removable length is base's tokens - compact floor. The mean is the plain mean over benchmarks of each column.",
        tables.best_note(rows, best),
        lacking,
    ]
    return [line for line in lines if line]


def heading(benchmark: str, floor: float) -> str:
    """A section's title, with its compact floor where one is known."""
    title = "mean over benchmarks" if benchmark == "mean" else benchmark
    return title if np.isnan(floor) else f"{title} (compact floor {floor:.1f} tokens)"


def write(scale: str = "pocket", data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table1.md and table1.tex from a scale's records.  Raises RecordError, or `egrc.atomic.WriteError`."""
    rows, best = tables.evaluations(load_all(scale, data)), tables.best_temperature(scale, data)
    table = tables.compare(rows, tables.floors(scale, rows["benchmark"].unique()), best)
    titles = [heading(*line) for line in table[["benchmark", "floor"]].itertuples(index=False, name=None)]
    text = pretty(table, best).assign(benchmark=titles)
    parts = {str(title): own.drop(columns="benchmark") for title, own in text.groupby("benchmark", sort=False)}
    columns = "p{2cm}ll" + "l" * (text.shape[1] - 3)
    text = text.set_index(["benchmark", "arm", "T"])
    body = typeset.longtable(text, "Every arm against the base.", "tab:arms", columns, index=True)
    return typeset.write(out / "table1", notes(rows, best), parts, [body])
