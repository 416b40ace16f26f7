"""Figure 11: what a chain of thought looks like along training: one held-out problem, answered at several steps.

Which problem, and which of its answers, was fixed before any was looked at (`egrc.analysis.strip`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from egrc.analysis import measure
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
TINTS = {"connector": dots.CONNECTOR, "number": "0.35", "operator": "0.6", "other": "0.8"}


def share(rows: pd.DataFrame) -> float:
    """Connectors, as a share of all tokens."""
    return rows["classes"].explode().eq("connector").mean()


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `strip`.  Raises RecordError."""
    table = measure.load("strip", scale, data)
    steps, samples = sorted(table["step"].unique()), table["sample"].nunique()
    rows = table[table["shown"]]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.7))
        arms = sorted(table["arm"].unique())
        for ax, arm in zip(figure.subplots(1, len(arms), sharex=True), arms, strict=True):
            for row in rows[rows["arm"] == arm].itertuples():
                y = steps.index(row.step) + 0.27 * (row.seed - 1)
                colours = [TINTS[name] for name in row.classes]
                ax.barh([y] * row.length, 0.9, 0.22, range(row.length), color=colours, linewidth=0)
                ax.text(row.length + 1, y, "✓" if row.correct else "✗", fontsize=6, va="center_baseline")
            first, last = (share(table[(table["arm"] == arm) & (table["step"] == step)]) for step in (0, steps[-1]))
            ax.set_title(f"{arm}: connectors are {first:.0%} of the tokens\nbefore training and {last:.0%} after it",
                         loc="left")  # fmt: skip
            ax.set(ylim=(len(steps) - 0.4, -0.6), xlim=(0, 1.05 * rows["length"].max()))
            ax.set_xlabel("token of the completion")
            ax.set_yticks(range(len(steps)), steps if ax is figure.axes[0] else [""] * len(steps))
            ax.tick_params(axis="y", length=0)
        figure.axes[0].set_ylabel("training step")
        handles = [Patch(color=tint, label=name) for name, tint in TINTS.items()]
        figure.axes[-1].legend(handles=handles, loc="lower right", frameon=False, fontsize=7)
        bottom = style.caption(figure, [
            f"One problem, {rows['id'].iloc[0]} (the first held-out one of {rows['benchmark'].iloc[0]}, the hardest "
            f"benchmark), answered along training; bars: one of each seed, at T = 1, the one of median length of "
            f"{samples}. ✓: right. Titles: all {samples} answers of all seeds. Before training both arms are the base."
        ])  # fmt: skip
        figure.subplots_adjust(left=0.065, right=0.985, top=0.89, bottom=bottom, wspace=0.05)
    return figure, table.assign(**{name: table[name].map(" ".join) for name in ("tokens", "classes")})
