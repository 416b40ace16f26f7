"""Figure 14: the length that hard and easy problems keep, and what it costs there.  Three methods beside the base.

Problems by difficulty (`egrc.analysis.kept`): tokens, and the change of accuracy; then tokens by kind and size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import kept, tables
from egrc.experiments import scales
from egrc.experiments.records import Record
from egrc.figures import style, table3
from egrc.paths import DATA

SCALES = ("pocket",)


def looks() -> dict[str, dict[str, Any]]:
    """Colour and marker of the base, ours, and the strongest peer."""
    peer = {arm: {"color": style.OKABE_ITO["orange"], "marker": "s"} for arm in scales.STRONGEST[:1]}
    ours = {"base": "D", "egrc": "o", "egrc-plus": "^"}
    return {arm: {"color": style.colour(arm), "marker": marker} for arm, marker in ours.items()} | peer


def numbers(scale: str, runs: Sequence[Record], data: Path) -> dict[str, pd.DataFrame]:
    """What the figure shows of these runs, part by part.

    Raises RecordError, or ValueError where difficulty cannot be estimated.
    """
    at = tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at)
    rates = kept.difficulty(tables.evaluations([run for run in runs if run.arm == "base"]), at)
    lines = table3.compare(rows, scale)
    return {
        "difficulty": kept.by_difficulty(rows, rates, tables.floors(scale, rows["benchmark"].unique())),
        "difficulty, seed": kept.seeds_by_difficulty(rows, rates),
        "kind": lines[lines["benchmark"] != "mean"].sort_values("benchmark", kind="stable"),
        "kind, seed": tables.by_run(rows),
        "run": rows[["arm", "seed", "config"]].drop_duplicates(),
    }


def panel(ax: Axes, table: pd.DataFrame, seeds: pd.DataFrame, on: str, name: str) -> None:
    """A quantity of every arm along the categories of the column `on`: means with intervals, and every seed."""
    x = sorted(table[on].unique())
    arms = [arm for arm in looks() if arm in set(table["arm"])]
    for k, arm in enumerate(arms):
        own, look = table[table["arm"] == arm].set_index(on).reindex(x), looks()[arm]
        at = np.arange(len(x)) + 0.15 * (k - (len(arms) - 1) / 2)
        spans = [own[name] - own[f"{name}_low"], own[f"{name}_high"] - own[name]]
        ax.plot(at, own[name], color=look["color"], linewidth=0.6, alpha=0.5, zorder=1)
        ax.errorbar(at, own[name], yerr=spans, linestyle="", elinewidth=0.8, markeredgewidth=0.4, zorder=3,
                    markeredgecolor="white", markersize=4.8, **look)  # fmt: skip
        for _, run in seeds[seeds["arm"] == arm].groupby("seed"):
            ax.plot(at + 0.06, run.set_index(on).reindex(x)[name], "o", color=look["color"], markersize=2, alpha=0.6,
                    markeredgewidth=0)  # fmt: skip
    if name == "tokens":
        floors = table.drop_duplicates(on).set_index(on).loc[x, "floor"]
        ax.hlines(floors, np.arange(len(x)) - 0.42, np.arange(len(x)) + 0.42, color=style.GREY, linewidth=0.9,
                  linestyle=(0, (3, 1.5)), zorder=0)  # fmt: skip
        ax.set(ylabel="completion tokens", ylim=(0, None))
    else:
        ax.axhline(0, color=style.GREY, linewidth=0.8, zorder=0)
        ax.set_ylabel("accuracy − base")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records at hand.  Raises RecordError, or ValueError as `numbers`."""
    runs = tables.load(scale, [arm for arm in tables.wanted(scale) if arm in looks()], data)
    found, lacking = numbers(scale, runs, data), table3.missing(scale, runs, looks())
    hard, alone = found["difficulty"], found["difficulty, seed"]
    trained, seeds = hard[hard["arm"] != "base"], alone[alone["arm"] != "base"]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.2))
        grid = figure.add_gridspec(2, 2)
        length, change, kind = (figure.add_subplot(grid[at]) for at in ((0, 0), (0, 1), (1, slice(None))))
        panel(length, hard, alone, "pass_rate", "tokens")
        panel(change, trained, seeds, "pass_rate", "change")
        panel(kind, found["kind"], found["kind, seed"], "benchmark", "tokens")
        levels = hard.drop_duplicates("pass_rate").sort_values("pass_rate")
        names = [f"{rate:.0%}\n({n})" for rate, n in zip(levels["pass_rate"], levels["problems"], strict=True)]
        for ax in (length, change):
            ax.set_xticks(range(len(names)), names)
            ax.set_xlabel("the base's pass rate on the problem (problems)")
        kinds = list(found["kind"]["benchmark"].unique())
        kind.set_xticks(range(len(kinds)), kinds)
        entries = [Line2D([], [], linewidth=0.8, markersize=4.8, label=arm, **look) for arm, look in looks().items()
                   if arm in set(hard["arm"])]  # fmt: skip
        figure.legend(handles=entries, loc="upper left", bbox_to_anchor=(0.06, 0.998), ncols=len(entries),
                      frameon=False, handlelength=1.6, columnspacing=1.4)  # fmt: skip
        bottom = style.caption(figure, [
            f"Held-out problems at T = {tables.compared_at(scale, data):g}. Means over seeds with 95% intervals "
            "(bootstrap over problems); small dots: one seed. Dashes: compact floor. Difficulty: the base's pass rate "
            "in its answers at other temperatures, so that bad luck does not look like a problem shortened. " + lacking,
        ])  # fmt: skip
        figure.subplots_adjust(left=0.07, right=0.99, top=0.935, bottom=bottom - 0.02, hspace=0.38, wspace=0.22)
    return figure, pd.concat([part.assign(what=name) for name, part in found.items()], ignore_index=True)
