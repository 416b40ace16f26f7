"""Table 1 as text: arms against the base on every benchmark; the numbers are those of `egrc.analysis.tables`.

Its cells and headings are those of table 3, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import typeset
from egrc.methods.arms import MAIN
from egrc.paths import DATA, FIGURES

TITLES = {
    "accuracy": "accuracy (%)",
    "gain": "accuracy − base (points)",
    "gain_best": "accuracy − base at its best T (points)",
    "tokens": "tokens",
    "share": "tokens / base's (%)",
    "removed": "removable length removed (%)",
}
PERCENT = {"accuracy", "gain", "gain_best", "share", "removed"}


def cell(line: pd.Series, name: str) -> str:
    """'81.2 [79.9, 82.4] (80.1 to 82.0)': estimate, interval, lowest and highest seed; '–' where there is none."""
    if np.isnan(line[name]):
        return "–"
    scale = 100 if name in PERCENT else 1
    sign = "+" if name.startswith("gain") else ""
    value, low, high, least, most = (
        f"{scale * line[name + part]:{sign}.1f}" for part in ("", "_low", "_high", "_min", "_max")
    )
    spread = f" ({least} to {most})" if line["seeds"] > 1 else ""
    return f"{value} [{low}, {high}]{spread}"


def pretty(table: pd.DataFrame, best: float | None) -> pd.DataFrame:
    """`egrc.analysis.tables.compare`'s lines as text, a column for each of `TITLES`."""
    out = table[["benchmark", "arm"]].copy()
    out["T"] = [tables.temperature_label(t, best) for t in table["temperature"]]
    out["seeds"] = table["seeds"].astype(str)
    for name, title in TITLES.items():
        out[title] = [cell(line, name) for _, line in table.iterrows()]
    return out


def notes(table: pd.DataFrame, rows: pd.DataFrame, best: float | None) -> list[str]:
    """How to read the table, and what is missing from it."""
    present = rows[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    lines = [
        "Estimate [95% interval, paired bootstrap over problems given the seeds] (lowest to highest seed). "
        "Comparisons are with the base at the same sampling temperature T, unless said; "
        "removable length is base's tokens - compact floor. The mean is the plain mean over benchmarks of each column.",
    ]
    lines += [note] if (note := tables.best_note(rows, best)) else []
    if lacking := tables.missing(MAIN, present):
        lines.append(f"Missing: {'; '.join(lacking)}.")
    return lines


def heading(benchmark: str, floor: float) -> str:
    """A section's title, with its compact floor where one is known."""
    title = "mean over benchmarks" if benchmark == "mean" else benchmark
    return title if np.isnan(floor) else f"{title} (compact floor {floor:.1f} tokens)"


def markdown(table: pd.DataFrame, best: float | None, said: Sequence[str]) -> str:
    """The table as Markdown, a section per benchmark."""
    parts = {
        heading(str(benchmark), lines["floor"].iloc[0]): pretty(lines, best).drop(columns="benchmark")
        for benchmark, lines in table.groupby("benchmark", sort=False)
    }
    return typeset.markdown("Table 1", said, parts)


def latex(table: pd.DataFrame, best: float | None, said: Sequence[str]) -> str:
    """The table as one LaTeX longtable."""
    text = pretty(table, best)
    titles = {b: heading(str(b), lines["floor"].iloc[0]) for b, lines in table.groupby("benchmark")}
    text["benchmark"] = text["benchmark"].map(titles)
    columns = "p{2cm}ll" + "l" * (text.shape[1] - 3)
    text = text.set_index(["benchmark", "arm", "T"])
    body = typeset.longtable(text, "Every arm against the base.", "tab:arms", columns, index=True)
    return typeset.latex(said, [body])


def write(scale: str = "pocket", data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table1.md and table1.tex from a scale's records.  Raises RecordError, or `egrc.atomic.WriteError`."""
    rows, best = tables.evaluations(load_all(scale, data)), tables.best_temperature(scale, data)
    table = tables.compare(rows, tables.floors(scale, rows["benchmark"].unique()), best)
    said = notes(table, rows, best)
    return typeset.write(out / "table1", markdown(table, best, said), latex(table, best, said))
