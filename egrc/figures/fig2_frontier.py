"""Figure 2: accuracy against completion length, from the base to each arm: the mean over benchmarks, and the hardest.

The numbers are table 1's.  Colour is the arm; filled markers are T = 1, hollow ones the temperature that suits the base
best.  A mean can hide a benchmark that collapsed, so the one that is hardest for the base stands beside it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import style
from egrc.methods import MAIN
from egrc.paths import DATA


def panel(ax: Axes, lines: pd.DataFrame, seeds: pd.DataFrame) -> None:
    """One benchmark: floor, the way from the base to each arm at T = 1, every seed, means with intervals."""
    floor = lines["floor"].iloc[0]
    if floor == floor:  # not NaN: a floor is known
        ax.axvline(floor, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        ax.annotate(f"floor {floor:.0f}", (floor, 1), xycoords=("data", "axes fraction"), xytext=(0, 1),
                    textcoords="offset points", ha="center", fontsize=6.5, color=style.GREY)  # fmt: skip
    hot = lines[lines["temperature"] == 1.0]
    start = hot.loc[hot["arm"] == "base", ["tokens", "accuracy"]]
    for line in hot[hot["arm"] != "base"].itertuples():
        for x, y in start.to_numpy():
            ax.plot([x, line.tokens], [y, line.accuracy], color=style.colour(line.arm), linewidth=0.7, alpha=0.45)
    for arm, runs in seeds[seeds["temperature"] == 1.0].groupby("arm"):
        ax.plot(runs["tokens"], runs["accuracy"], "o", color=style.colour(arm), zorder=4, markersize=2.3,
                markeredgecolor="white", markeredgewidth=0.35)  # fmt: skip
    for _, line in lines.iterrows():
        colour, filled = style.colour(line["arm"]), line["temperature"] == 1.0
        dx, dy = ([[line[n] - line[f"{n}_low"]], [line[f"{n}_high"] - line[n]]] for n in ("tokens", "accuracy"))
        ax.errorbar(line["tokens"], line["accuracy"], yerr=dy, xerr=dx, fmt="o" if filled else "D", color=colour,
                    markerfacecolor=colour if filled else "white", markersize=4.5 if filled else 3.6,
                    markeredgewidth=0.9, elinewidth=0.9, zorder=3)  # fmt: skip
    ax.set_xlim(left=0)
    ax.set_xlabel("completion tokens")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder.  Raises RecordError."""
    rows, best = tables.evaluations(load_all(scale, data)), tables.best_temperature(scale, data)
    floor = tables.floors(scale, rows["benchmark"].unique())
    compared = tables.compare(rows, floor, best, ("accuracy", "tokens"))
    compared = compared[compared["temperature"].isin([1.0, best])]
    base = compared[(compared["arm"] == "base") & (compared["benchmark"] != "mean")]
    names = ["mean", *base.sort_values("accuracy")["benchmark"].head(1)]
    drawn = compared[compared["benchmark"].isin(names)]
    seeds = tables.by_run(rows).query("benchmark in @names and temperature in [1.0, @best]")
    runs = rows[["arm", "seed", "config"]].drop_duplicates()
    lacking = tables.missing(MAIN, runs[["arm", "seed"]].itertuples(index=False, name=None))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.3))
        for ax, name in zip(figure.subplots(1, len(names)), names, strict=True):
            panel(ax, drawn[drawn["benchmark"] == name], seeds[seeds["benchmark"] == name])
            ax.set_title("mean over benchmarks" if name == "mean" else f"{name}, hardest for the base", pad=11)
        figure.axes[0].set_ylabel("accuracy")
        entries = [Line2D([], [], color=style.colour(arm), linewidth=2.5, label=arm) for arm in drawn["arm"].unique()]
        entries += [Line2D([], [], color=style.GREY, linestyle="", marker=marker, markersize=4.5, markerfacecolor=face,
                           label=f"T = {tables.temperature_label(t, best)}")
                    for t, marker, face in ((1.0, "o", style.GREY), (best, "D", "white")) if t is not None]  # fmt: skip
        figure.legend(handles=entries, loc="center right", frameon=False, fontsize=7.5, handlelength=1.4)
        bottom = style.caption(figure, [
            "Markers: mean over seeds with 95% intervals (bootstrap over problems, given the seeds); dots: one seed at "
            "T = 1. Faint lines lead from the base to each arm at T = 1. Dashed: compact floor (shortest correct "
            f"procedure). {tables.best_note(rows, best)} {lacking}",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.07, right=0.785, top=0.9, bottom=bottom, wspace=0.16)
    return figure, pd.concat([drawn, seeds, runs], ignore_index=True)
