"""Figure 13: EGRC with one thing changed at a time, as differences from EGRC (`egrc.analysis.ablations`).

Rows are ablations in groups, columns quantities; the last column says when each run's gate switched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import ablations, tables
from egrc.analysis.ablations import GROUPS, WHOLE
from egrc.evaluation.intervals import N_BOOT
from egrc.experiments import scales
from egrc.experiments.records import Record
from egrc.figures import dots, labels, style
from egrc.paths import DATA

SCALES = ("pocket",)
HARDEST = "hole-3"
"""The benchmark that arms which compress hard lose."""
COLUMNS = (
    ("accuracy", "mean", "accuracy\n− egrc's (points)"),
    ("removed", "mean", "length removed\n− egrc's (points)"),
    ("accuracy", HARDEST, f"accuracy on {HARDEST}\n− egrc's (points)"),
)
"""Quantity, part and title: all of them shares, drawn in hundredths."""
ROW = 0.178  # inches
TINT = {True: dots.CONNECTOR, False: dots.PLAIN}


class Row(NamedTuple):
    """A line of the figure: an arm (or none: a group's title) and what is written beside it."""

    arm: str | None
    text: str


def layout(scale: str, seeds: pd.Series) -> list[Row]:
    """`egrc`, then the study's ablations in groups; `seeds` counts those of each arm, and few are said."""
    study = scales.study(scale, ablations.STUDY)
    known = {arm for group in GROUPS.values() for arm in group}
    groups = {**GROUPS, "others": {arm: arm for arm in study if arm not in known}}
    lines = [Row(WHOLE, f"{WHOLE}, each seed about their mean")]
    for title, group in groups.items():
        there = [arm for arm in group if arm in study and arm != WHOLE]
        lines += [Row(None, title)] if there else []
        lines += [Row(arm, ablations.words(scale, arm) + _few(int(seeds.get(arm, 0)))) for arm in there]
    return lines


def _few(seeds: int) -> str:
    return f" · {seeds} seed{'s' * (seeds > 1)}" if 0 < seeds < tables.SEEDS_WANTED else ""


def tidy(runs: Sequence[Record], scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn; `what` is 'difference', 'seed' (one seed's), or 'switch' (a step)."""
    table = ablations.rows(runs, scale, data)
    floor = tables.floors(scale, table["benchmark"].unique())
    levels = ablations.levels(table, floor)
    found = ablations.differences(table, floor, N_BOOT)
    centred = levels.loc[WHOLE] - levels.loc[WHOLE].groupby(level="part").mean()
    each = {arm: ablations.by_seed(levels, arm, WHOLE) for arm in found["arm"].unique()}
    alone = pd.concat({WHOLE: centred, **each}, names=["arm"]).rename_axis(columns="quantity")
    steps = [
        {"arm": run.arm, "seed": run.seed, "step": step, "of": run.config.steps, "config": run.meta["config_hash"]}
        for run in runs
        if run.arm != "base"
        for step in ablations.switches(run.steps) or [None]
    ]
    switched = pd.DataFrame(steps).astype({"step": float})  # NaN: never
    parts = {"difference": found, "seed": alone.stack().rename("value").reset_index(), "switch": switched}
    return pd.concat([part.assign(what=name) for name, part in parts.items()], ignore_index=True)


def panel(ax: Axes, lines: Sequence[Row], drawn: pd.DataFrame, quantity: str, part: str) -> None:
    """One quantity: every ablation's difference from `egrc` with its interval, and each seed's."""
    own = drawn[(drawn["quantity"] == quantity) & (drawn["part"] == part)]
    ax.axvline(0, color=style.GREY, linewidth=0.7, zorder=1)
    for y, (arm, _) in enumerate(lines):
        mine = own[own["arm"] == arm]
        alone = 100 * mine.loc[mine["what"] == "seed", "value"]
        for _, line in mine[mine["what"] == "difference"].iterrows():
            value, low, high, noise = (100 * line[name] for name in ("estimate", "low", "high", "noise"))
            ax.barh(y, 2 * noise, 0.94, -noise, color="0.92", linewidth=0, zorder=0)
            face = {"markerfacecolor": "white"} if line["seeds"] == 1 else {}
            tint, above = TINT[bool(line["clear"])], 0.1 * (len(alone) > 1)
            dots.dot(ax, y - above, value, low, high, tint, markersize=3.8, **face)
        if arm == WHOLE or len(alone) > 1:  # a single seed is the mean itself
            below = 0.0 if arm == WHOLE else 0.24
            ax.plot(alone, [y + below] * len(alone), "|", color="0.1", markersize=3.6, markeredgewidth=0.7, zorder=4)


def switching(ax: Axes, lines: Sequence[Row], drawn: pd.DataFrame) -> None:
    """How far into each run its gate switched: a tick each; dashed, those of `egrc`."""
    own = drawn[drawn["what"] == "switch"]
    own = own.assign(at=100 * own["step"] / own["of"])
    for at in own.loc[own["arm"] == WHOLE, "at"]:
        ax.axvline(at, color=style.GREY, linewidth=0.6, linestyle=(0, (3, 2)), zorder=0)
    for y, (arm, _) in enumerate(lines):
        mine = own[own["arm"] == arm]
        never = int(mine["step"].isna().sum())
        ax.plot(mine["at"], [y] * len(mine), "|", color=dots.PLAIN, markersize=4.6, markeredgewidth=0.9)
        if never:
            said = "never" if never == len(mine) else f"never ({never} of {mine['seed'].nunique()})"
            late = mine["at"].max() > 50  # its ticks would lie under the words
            x, side = (0.0, "left") if late else (1.0, "right")
            clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            ax.text(x, y, said, transform=ax.get_yaxis_transform(), ha=side, va="center", fontsize=6, color="0.3",
                    bbox=clear)  # fmt: skip


def frame(axes: Sequence[Axes], lines: Sequence[Row], there: set[str]) -> None:
    """Names on the left, groups' titles in bold over them, faint lines through the rows, and what is not recorded."""
    for ax in axes:
        ax.set_yticks([])
        ax.set_ylim(len(lines) - 0.4, -0.7)
        ax.spines["left"].set_visible(False)
        for y, (arm, _) in enumerate(lines):
            if arm is not None:
                ax.axhline(y, color="0.88", linewidth=0.5, zorder=0.5)
    for y, (arm, text) in enumerate(lines):
        weight = "bold" if arm is None else "normal"
        indent = 3 if arm is None or arm == WHOLE else 10
        axes[0].annotate(text, (0, y), (indent, 0), xycoords=("figure fraction", "data"), textcoords="offset points",
                         va="center", fontsize=7, annotation_clip=False, fontweight=weight)  # fmt: skip
        if arm is not None and arm not in there:
            axes[0].text(0.5, y, "no record", transform=axes[0].get_yaxis_transform(), ha="center", va="center",
                         fontsize=6, style="italic", color=style.GREY,
                         bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip


def caption(scale: str, runs: Sequence[Record], data: Path) -> list[str]:
    """How to read the figure, and what is missing from it."""
    count = len({run.seed for run in runs if run.arm == WHOLE})
    at = labels.at_best(tables.best_temperature(scale, data))
    lacking = ablations.missing(scale, {run.arm for run in runs})
    return [
        f"Ablation minus {WHOLE} on the same held-out problems{at}: mean over the seeds that both have, with 95% "
        "intervals (bootstrap over problems); ticks below: each seed's own difference; hollow: one seed only. Grey "
        f"bar: how far as many seeds of two equal arms lie apart by chance (95%, from {WHOLE}'s {count} seeds). "
        "Coloured: the interval leaves out 0 and the difference lies beyond the bar. Last column: each run's switches; "
        f"dashed, those of {WHOLE}; where phases are blended, when the other one comes to weigh more. Length removed: "
        "of the removable length, the base's tokens minus the compact floor.",
        f"Missing: {len(lacking)} of {len(scales.study(scale, ablations.STUDY)) - 1} ablations, marked in their rows; "
        f"python -m egrc sweep --study {ablations.STUDY} trains them." if lacking else "",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study that are there.  Raises RecordError."""
    runs = ablations.load(scale, data)
    drawn = tidy(runs, scale, data)
    seeds = drawn[drawn["what"] == "difference"].groupby("arm")["seeds"].first()
    lines = layout(scale, seeds)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, ROW * len(lines) + 1.75))
        axes = figure.subplots(1, len(COLUMNS) + 1, width_ratios=(1.2, 1.2, 1.2, 0.8))
        for ax, (quantity, part, title) in zip(axes, COLUMNS, strict=False):
            panel(ax, lines, drawn, quantity, part)
            ax.set_xlabel(title)
        switching(axes[-1], lines, drawn)
        axes[-1].set_xlabel("switched after\n(% of its steps)")
        axes[-1].set_xlim(0, 100)
        frame(axes, lines, set(seeds.index) | {WHOLE})
        bottom = style.caption(figure, caption(scale, runs, data))
        figure.subplots_adjust(left=0.29, right=0.985, top=0.99, bottom=bottom + 0.015, wspace=0.1)
    return figure, drawn
