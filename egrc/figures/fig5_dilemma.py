"""Figure 5: one joint objective against two stages, both swept over the same shaping, and the controls beside them.

Left, all settings in the plane of length and accuracy; right, what lies between the two frontiers
(`egrc.analysis.dilemma`).
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
from egrc.figures import labels, style
from egrc.figures.labels import Mark, beside
from egrc.paths import DATA

SCALES = ("pocket",)

COLOURS = {name: style.colour(arm) for name, arm in dilemma.WAYS.items()}
MARKERS = {"joint": "o", "staged": "s"}
NAMES = {"joint": "joint objective, swept over r", "staged": "two stages (egrc), swept over r"}
CONTROLS = {"compression": "^", "truncation": "D", "truncation-L50": "d", "joint-grpo": "X", "joint-dapo": "P"}
OTHER = "*"
N_BOOT = dilemma.N_BOOT
AXES = {"3a": ("completion tokens", "accuracy,\nstaged − joint"), "3b": ("accuracy", "tokens,\njoint − staged")}


def look(arm: str) -> dict[str, Any]:
    """Colour and marker of a setting: its way's, or grey and a marker of its own."""
    way = dilemma.way(arm)
    if way in COLOURS:
        return {"color": COLOURS[way], "marker": MARKERS[way], "linestyle": ""}
    return {"color": style.GREY, "marker": CONTROLS.get(arm, OTHER), "linestyle": ""}


def settings(ax: Axes, points: pd.DataFrame, seeds: pd.DataFrame) -> None:
    """Every setting with both intervals and its seeds; a line through each frontier; hollow: beaten by another."""
    for _, run in seeds.iterrows():
        ax.plot(run["tokens"], run["accuracy"], markersize=2.4, alpha=0.55, markeredgewidth=0, **look(run["arm"]))
    for _, p in points.iterrows():
        shown = look(p["arm"])
        beaten = p["way"] != "control" and not p["frontier"]
        across, up = ([[p[n] - p[f"{n}_low"]], [p[f"{n}_high"] - p[n]]] for n in ("tokens", "accuracy"))
        ax.errorbar(
            p["tokens"], p["accuracy"], xerr=across, yerr=up, elinewidth=0.8, markersize=5.2, markeredgewidth=0.9,
            markerfacecolor="white" if beaten else shown["color"], zorder=3, **shown,
        )  # fmt: skip
    for way, tint in COLOURS.items():
        line = points[(points["way"] == way) & points["frontier"]].sort_values("tokens")
        ax.plot(line["tokens"], line["accuracy"], color=tint, linewidth=1.3, zorder=2)
    ax.set_xlabel("completion tokens")
    ax.set_ylabel("accuracy")


def label(ax: Axes, points: pd.DataFrame) -> None:
    """r beside every swept setting, in one column right of all of them, so that near ones can be told apart."""
    swept = points[points["way"].isin(COLOURS)]
    beside(ax, [Mark(p["tokens"], p["accuracy"], f"r = {p['r']:g}", COLOURS[p["way"]]) for _, p in swept.iterrows()])


def key(ax: Axes, points: pd.DataFrame) -> None:
    """What colours and markers mean."""
    entries = [
        Line2D([], [], color=COLOURS[way], marker=MARKERS[way], markersize=5, linewidth=1.3, label=NAMES[way])
        for way in COLOURS
    ]
    for arm in points.loc[points["way"] == "control", "arm"]:
        entries.append(Line2D([], [], markersize=5, label=arm, **look(arm)))
    ax.legend(handles=entries, loc="best", frameon=False, fontsize=6.8, handlelength=1.6, labelspacing=0.35)


def between(ax: Axes, curve: pd.DataFrame, reading: pd.Series, alone: pd.Series) -> None:
    """One reading along its axis with a 95% band; to the right, its mean with the interval, and each seed's alone."""
    ax.set_xlabel(AXES[reading["reading"]][0])
    ax.set_ylabel(AXES[reading["reading"]][1])
    ax.axhline(0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    if curve.empty:
        ax.text(0.5, 0.6, reading["reason"], transform=ax.transAxes, ha="center", va="center", color=style.GREY,
                style="italic", wrap=True, fontsize=6.8)  # fmt: skip
        return
    ax.fill_between(curve["x"], curve["low"], curve["high"], color=COLOURS["staged"], alpha=0.2, linewidth=0)
    ax.plot(curve["x"], curve["estimate"], color=COLOURS["staged"], linewidth=1.4)
    start, end = curve["x"].iloc[[0, -1]]
    beside = end + 0.08 * max(end - start, 1e-3)
    if np.isfinite([reading["low"], reading["high"]]).all():
        ax.plot([beside, beside], [reading["low"], reading["high"]], color="0.15", linewidth=1.2)
    ax.plot(beside, reading["estimate"], "_", color="0.15", markersize=7)
    further = end + 0.14 * max(end - start, 1e-3)
    ax.plot(np.full(len(alone), further), alone, "o", color=style.GREY, markersize=2.4, markeredgewidth=0)


def caption(points: pd.DataFrame, scale: str, data: Path) -> list[str]:
    """How to read the figure."""
    at = labels.at_best(tables.best_temperature(scale, data))
    controls = ", ".join(points.loc[points["way"] == "control", "arm"])
    return [
        f"Left: held-out problems{at}; plain means over benchmarks and seeds with 95% intervals (bootstrap over "
        "problems); small: one seed. All settings were trained on as many rollouts. r: reward of a correct answer of "
        "L tokens. Lines join the settings that no other of the same way beats in both length and accuracy (beaten "
        f"ones are hollow). Grey: controls ({controls}).",
        "Right: the staged frontier against the joint one, where both have the same length (above) or the same "
        "accuracy (below): line with 95% band; beside it, the mean over that range with its interval, and the same of "
        "each seed alone (dots). Above 0 the two stages are better.",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study.  Raises RecordError, `dilemma.DilemmaError`."""
    table = dilemma.load(scale, data)
    points, seeds, readings = dilemma.points(table, N_BOOT), dilemma.by_seed(table), dilemma.readings(table, N_BOOT)
    alone = dilemma.readings_by_seed(table)
    curves = {name: dilemma.gap_curve(table, name, n_boot=N_BOOT) for name in dilemma.READINGS}
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.3))
        grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1))
        left = figure.add_subplot(grid[:, 0])
        settings(left, points, seeds)
        label(left, points)
        key(left, points)
        for i, (_, reading) in enumerate(readings.iterrows()):
            name = reading["reading"]
            own = alone.loc[alone["reading"] == name, "estimate"]
            between(figure.add_subplot(grid[i, 1]), curves[name], reading, own)
        figure.align_ylabels(figure.axes[1:])
        bottom = style.caption(figure, caption(points, scale, data))
        figure.subplots_adjust(left=0.075, right=0.98, top=0.97, bottom=bottom, hspace=0.5, wspace=0.42)
    drawn = {"setting": points, "seed": seeds, "reading": readings, "alone": alone, **curves}
    return figure, pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
