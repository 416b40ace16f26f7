"""Figure 2: accuracy against completion length, from the base to each arm, on every benchmark and their mean.

The numbers are table 1's.  Colour is the arm; the marker's shape is the sampling temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import style
from egrc.methods import MAIN
from egrc.paths import DATA

COLUMNS = 4
SEED: dict[str, Any] = {"markersize": 2.3, "markeredgecolor": "white", "markeredgewidth": 0.35}
"""A seed's dot: over the means, and still apart from them."""


def shape(temperature: float, best: float | None) -> str:
    """Marker of a sampling temperature: T = 1, the base's best, greedy, any other."""
    return {tables.GREEDY: "v", best: "D", 1.0: "o"}.get(temperature, "s")


def shown(drawn: pd.DataFrame, best: float | None) -> pd.DataFrame:
    """The lines that are drawn: every temperature of the base; the arms at T = 1 and at the base's best."""
    return drawn[(drawn["arm"] == "base") | drawn["temperature"].isin([1.0, best])]


def mark(ax: Axes, line: pd.Series, best: float | None) -> None:
    """One arm at one temperature: its mean over seeds with both 95% intervals; hollow off T = 1."""
    colour, filled = style.colour(line["arm"]), line["temperature"] == 1.0
    x, y = line["tokens"], line["accuracy"]
    dx, dy = ([[line[n] - line[f"{n}_low"]], [line[f"{n}_high"] - line[n]]] for n in ("tokens", "accuracy"))
    ax.errorbar(
        x, y, yerr=dy, xerr=dx, fmt=shape(line["temperature"], best), color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=4.5 if filled else 3.6, markeredgewidth=0.9, elinewidth=0.9, zorder=3,
    )  # fmt: skip


def panel(ax: Axes, lines: pd.DataFrame, seeds: pd.DataFrame, best: float | None) -> None:
    """One benchmark: floor, the way from the base to each arm at T = 1, every seed, means with intervals."""
    floor = lines["floor"].iloc[0]
    if floor == floor:  # not NaN: a floor is known
        ax.axvline(floor, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        ax.annotate(f"floor {floor:.0f}", (floor, 1), xycoords=("data", "axes fraction"), xytext=(0, 1),
                    textcoords="offset points", ha="center", fontsize=6.5, color=style.GREY)  # fmt: skip
    base = lines[lines["arm"] == "base"].sort_values("temperature")
    ax.plot(base["tokens"], base["accuracy"], color=style.colour("base"), linewidth=0.8, zorder=2)
    start = base[base["temperature"] == 1.0]
    for _, line in lines[(lines["arm"] != "base") & (lines["temperature"] == 1.0)].iterrows():
        if not start.empty:
            ax.plot([start["tokens"].iloc[0], line["tokens"]], [start["accuracy"].iloc[0], line["accuracy"]],
                    color=style.colour(line["arm"]), linewidth=0.7, alpha=0.45, zorder=1)  # fmt: skip
    for arm, runs in seeds[seeds["temperature"] == 1.0].groupby("arm"):
        ax.plot(runs["tokens"], runs["accuracy"], "o", color=style.colour(arm), zorder=4, **SEED)
    for _, line in lines.iterrows():
        mark(ax, line, best)
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.set_xlim(left=0)


def key(ax: Axes, present: Sequence[str], best: float | None) -> None:
    """What colours and shapes mean, in a cell of its own; arms without a record are named as such."""
    ax.axis("off")
    temperatures = dict.fromkeys(t for t in (1.0, best, tables.GREEDY) if t is not None)
    names = {t: f"T = {tables.temperature_label(t, best)}".replace("T = greedy", "greedy") for t in temperatures}
    names[tables.GREEDY] += "" if best == tables.GREEDY else " (base only)"
    entries = [
        Line2D([], [], color=style.colour(a) if a in present else "0.85", linewidth=2.5,
               label=a if a in present else f"{a}: no record")
        for a in dict.fromkeys((*MAIN, *present))
    ]  # fmt: skip
    entries += [
        Line2D([], [], color=style.GREY, linestyle="", marker=shape(t, best), markersize=4.5, label=names[t],
               markerfacecolor=style.GREY if t == 1.0 else "white")
        for t in temperatures
    ]  # fmt: skip
    entries.append(Line2D([], [], color=style.GREY, linestyle="", marker="o", label="one seed, T = 1", **SEED))
    ax.legend(handles=entries, loc="center left", bbox_to_anchor=(-0.08, 0.5), frameon=False, fontsize=7.5,
              labelspacing=0.45, handlelength=1.4)  # fmt: skip


def caption(*notes: str) -> list[str]:
    """How to read the figure, and notes of what is missing from it."""
    return [
        "Markers: mean over seeds, with 95% intervals (bootstrap over problems, given the seeds); dots: one seed at "
        "T = 1. Faint lines lead from the base at T = 1 to each arm at T = 1; the black line joins the base's "
        "temperatures. Dashed: compact floor (shortest correct procedure).",
        *notes,
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder.  Raises RecordError."""
    rows, best = tables.evaluations(load_all(scale, data)), tables.best_temperature(scale, data)
    floor = tables.floors(scale, rows["benchmark"].unique())
    drawn = shown(tables.compare(rows, floor, best, ("accuracy", "tokens")), best)
    seeds = tables.by_run(rows)
    runs = rows[["arm", "seed", "config"]].drop_duplicates()
    lacking = tables.missing(MAIN, runs[["arm", "seed"]].itertuples(index=False, name=None))
    missing = f"Missing: {'; '.join(lacking)}." if lacking else ""
    names = [b for b in drawn["benchmark"].unique() if b != "mean"]
    names.insert(COLUMNS - 1, "mean")  # ends the first row, above the key
    n_rows = -(-(len(names) + 1) // COLUMNS)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.2 * n_rows + 0.5))
        axes = figure.subplots(n_rows, COLUMNS, sharey=True, squeeze=False).ravel()
        for ax, name in zip(axes, names, strict=False):
            panel(ax, drawn[drawn["benchmark"] == name], seeds[seeds["benchmark"] == name], best)
            ax.set_title(name, fontweight="bold" if name == "mean" else None, pad=11)
            ax.set_xlabel("completion tokens")
        for ax in axes[::COLUMNS]:
            ax.set_ylabel("accuracy")
        key(axes[len(names)], list(drawn["arm"].unique()), best)
        for ax in axes[len(names) + 1 :]:
            ax.axis("off")
        bottom = style.caption(figure, caption(tables.best_note(rows, best), missing))
        figure.subplots_adjust(left=0.07, right=0.99, top=0.93, bottom=bottom, hspace=0.5, wspace=0.12)
    return figure, pd.concat([drawn, seeds, runs], ignore_index=True)
