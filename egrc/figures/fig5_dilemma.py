"""Figure 5: one joint objective against two stages, both swept over the same shaping, and the controls beside them.

Left, settings in the plane of length and accuracy; right, the two readings of what lies between the two frontiers
(`egrc.analysis.dilemma`).  A staged setting whose gate never fired is compression alone, and is not drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import dilemma, tables
from egrc.experiments import records
from egrc.figures import labels, style
from egrc.paths import DATA

SCALES = ("pocket",)
COLOURS = {name: style.colour(arm) for name, arm in dilemma.WAYS.items()} | {"control": style.GREY}
NAMES = {"joint": "joint objective, swept over r", "staged": "two stages (egrc), swept over r"}
CONTROLS = {"compression": "^", "truncation": "D", "truncation-L50": "d", "joint-grpo": "X"}
N_BOOT = dilemma.N_BOOT
AXES = {"3a": "accuracy at equal length,\nstaged − joint", "3b": "tokens at equal accuracy,\njoint − staged"}


def never_fired(runs: list[records.Record]) -> list[str]:
    """Staged settings that stayed in one phase on every seed."""
    fired = {run.arm for run in runs if run.arm != "base" and run.steps["phase"].nunique() > 1}
    return sorted({run.arm for run in runs if dilemma.way(run.arm) == "staged"} - fired)


def look(arm: str) -> dict[str, Any]:
    """Colour and marker of a setting: its way's, or grey and a marker of its own."""
    way = dilemma.way(arm)
    marker = {"joint": "o", "staged": "s"}.get(way) or CONTROLS.get(arm, "*")
    return {"color": COLOURS[way], "marker": marker, "linestyle": ""}


def plane(ax: Axes, every: pd.DataFrame, seeds: pd.DataFrame) -> None:
    """The settings that `seeds` has with both intervals and their seeds; a line through each whole frontier; hollow:
    beaten by another."""
    points = every[every["arm"].isin(seeds["arm"])]
    for run in seeds.itertuples():
        ax.plot(run.tokens, run.correct, markersize=2.4, alpha=0.55, markeredgewidth=0, **look(run.arm))
    for _, p in points.iterrows():
        shown = look(p["arm"])
        beaten = p["way"] != "control" and not p["frontier"]
        across, up = ([[p[n] - p[f"{n}_low"]], [p[f"{n}_high"] - p[n]]] for n in ("tokens", "accuracy"))
        ax.errorbar(p["tokens"], p["accuracy"], xerr=across, yerr=up, elinewidth=0.8, markersize=5.2, zorder=3,
                    markeredgewidth=0.9, markerfacecolor="white" if beaten else shown["color"], **shown)  # fmt: skip
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    swept = points[points["way"] != "control"].itertuples()
    labels.beside(ax, [labels.Mark(p.tokens, p.accuracy, f"r = {p.r:g}", COLOURS[p.way]) for p in swept])
    entries = []
    for way, name in NAMES.items():  # after the limits are set: a line may leave the panel
        line = every[(every["way"] == way) & every["frontier"]].sort_values("tokens")
        ax.plot(line["tokens"], line["accuracy"], color=COLOURS[way], linewidth=1.3, zorder=2)
        entries.append(Line2D([], [], markersize=5, label=name, **look(dilemma.WAYS[way]) | {"linestyle": "-"}))
    controls = points.loc[points["way"] == "control", "arm"]
    entries += [Line2D([], [], markersize=5, label=arm, **look(arm)) for arm in controls]
    ax.legend(handles=entries, loc="best", frameon=False, fontsize=6.8, handlelength=1.6, labelspacing=0.35)
    ax.set(xlabel="completion tokens", ylabel="accuracy")


def gap(ax: Axes, reading: pd.Series, alone: pd.Series) -> None:
    """A reading with its interval, and each seed's alone; or why there is none."""
    ax.set_ylabel(AXES[reading["reading"]])
    ax.set_xticks([])
    ax.set_xlim(-1, 1.4)
    ax.axhline(0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    if reading["reason"]:
        ax.text(0.5, 0.6, reading["reason"], transform=ax.transAxes, ha="center", va="center", color=style.GREY,
                style="italic", wrap=True, fontsize=6.8)  # fmt: skip
        return
    if np.isfinite([reading["low"], reading["high"]]).all():
        ax.plot([0, 0], [reading["low"], reading["high"]], color=COLOURS["staged"], linewidth=1.4)
    ax.plot(0, reading["estimate"], "o", color=COLOURS["staged"], markersize=5)
    ax.plot(np.full(len(alone), 0.4), alone, "o", color=style.GREY, markersize=2.4, markeredgewidth=0)


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study.  Raises RecordError."""
    table, still = dilemma.load(scale, data), never_fired(records.load_study(scale, dilemma.STUDY, data))
    points, readings, alone = dilemma.points(table, N_BOOT), dilemma.readings(table, N_BOOT), dilemma.by_seed(table)
    shown = table[~table["arm"].isin(still)]
    seeds = shown.groupby(["arm", "seed", "benchmark"], sort=False)[["tokens", "correct"]].mean()
    seeds = seeds.groupby(["arm", "seed"], sort=False).mean().reset_index()
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.0))
        grid = figure.add_gridspec(2, 2, width_ratios=(2.6, 1))
        plane(figure.add_subplot(grid[:, 0]), points, seeds)
        for i, reading in readings.iterrows():
            gap(figure.add_subplot(grid[i, 1]), reading, alone.query("reading == @reading.reading")["estimate"])
        figure.align_ylabels(figure.axes[1:])
        names = ", ".join(still)
        left_out = f" Not drawn, its gate never fired: {names}; lines and readings count it." if still else ""
        bottom = style.caption(figure, [
            f"Held-out problems{labels.at_best(tables.best_temperature(scale, data))}; means over benchmarks and "
            "seeds with 95% intervals (bootstrap over problems); small: one seed. All settings had as many rollouts. "
            f"Lines: the frontiers; hollow: beaten by another r.{left_out} Right: means over what both frontiers have; "
            "above 0 two stages are better.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.075, right=0.985, top=0.97, bottom=bottom, hspace=0.14, wspace=0.52)
    drawn = {"setting": points, "seed": seeds, "reading": readings, "alone": alone}
    return figure, pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
