"""Figure 13: EGRC with one thing changed at a time, as differences from EGRC (`egrc.analysis.ablations`).

Rows are the ablations that have at least two seeds, columns quantities; the last column says when a run's gate
switched.  Notebook 11 has the ablations of one seed, which no figure should make to look like more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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


def numbers(runs: Sequence[Record], scale: str, data: Path) -> pd.DataFrame:
    """What is drawn; `what` is 'difference', 'seed' (one seed's), or 'switch' (a step).  Only arms of several seeds."""
    table = tables.rows_at(runs, tables.compared_at(scale, data))
    floor = tables.floors(scale, table["benchmark"].unique())
    levels, found = ablations.levels(table, floor), ablations.differences(table, floor, N_BOOT).query("seeds > 1")
    about = levels.loc[WHOLE] - levels.loc[WHOLE].groupby(level="part").mean()
    each = {WHOLE: about, **{arm: ablations.by_seed(levels, arm) for arm in found["arm"].unique()}}
    alone = pd.concat(each, names=["arm"]).rename_axis(columns="quantity").stack().rename("value").reset_index()
    steps = [
        {"arm": run.arm, "seed": run.seed, "step": step, "of": run.config.steps, "config": run.meta["config_hash"]}
        for run in runs
        if run.arm in each
        for step in [first - 1 for first, _ in ablations.switches(run.steps)] or [None]
    ]
    switched = pd.DataFrame(steps).astype({"step": float})  # NaN: never
    parts = {"difference": found, "seed": alone, "switch": switched}
    return pd.concat([part.assign(what=name) for name, part in parts.items()], ignore_index=True)


def panel(ax: Axes, arms: Sequence[str], drawn: pd.DataFrame) -> None:
    """One quantity: every ablation's difference from `egrc` with its interval, and each seed's."""
    ax.axvline(0, color=style.GREY, linewidth=0.7, zorder=1)
    for y, arm in enumerate(arms):
        mine = drawn[drawn["arm"] == arm]
        for _, line in mine[mine["what"] == "difference"].iterrows():
            value, low, high, noise = (100 * line[name] for name in ("estimate", "low", "high", "noise"))
            ax.barh(y, 2 * noise, 0.94, -noise, color="0.92", linewidth=0, zorder=0)
            dots.dot(ax, y - 0.1, value, low, high, dots.CONNECTOR if line["clear"] else dots.PLAIN, markersize=3.8)
        alone = 100 * mine.loc[mine["what"] == "seed", "value"]
        ax.plot(alone, [y + 0.24] * len(alone), "|", color="0.1", markersize=3.6, markeredgewidth=0.7, zorder=4)


def switching(ax: Axes, arms: Sequence[str], drawn: pd.DataFrame) -> None:
    """How far into each run its gate switched: a tick each, and how many runs never did; dashed, those of `egrc`."""
    switches = drawn[drawn["what"] == "switch"]
    at = 100 * switches["step"] / switches["of"]
    for x in at[switches["arm"] == WHOLE]:
        ax.axvline(x, color=style.GREY, linewidth=0.6, linestyle=(0, (3, 2)), zorder=0)
    for y, arm in enumerate(arms):
        mine = at[switches["arm"] == arm]
        ax.plot(mine, [y] * len(mine), "|", color=dots.PLAIN, markersize=5, markeredgewidth=0.9)
        if never := int(mine.isna().sum()):
            ax.text(2, y, f"never: {never} of {switches.loc[mine.index, 'seed'].nunique()}", va="center", fontsize=6,
                    color="0.3", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
    ax.set_xlim(0, 100)
    ax.set_xlabel("switched after\n(% of its steps)")


def caption(scale: str, runs: Sequence[Record], arms: Sequence[str], data: Path) -> list[str]:
    """How to read the figure, and what is missing from it."""
    study, there = scales.study(scale, ablations.STUDY), {run.arm for run in runs}
    at, count = tables.best_temperature(scale, data), len({run.seed for run in runs if run.arm == WHOLE})
    left_out = {"have one seed": len(there - {"base", *arms}), "no record": len(set(study) - there)}
    why = "; ".join(f"{n} of {len(study) - 1} ablations {reason}" for reason, n in left_out.items() if n)
    return [
        f"Held-out problems{labels.at_best(at)}; means over the seeds that both have, with 95% intervals over problems;"
        " ticks: each seed. Grey: how far as many seeds of two equal arms lie apart by chance (95%, from "
        f"{WHOLE}'s {count} seeds). Coloured: clear of 0 and of the grey. Dashed: switches of {WHOLE}."
        + (f" Left out: {why} (notebook 11)." if why else "")
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study that are there.  Raises RecordError."""
    runs = ablations.load(scale, data)
    drawn = numbers(runs, scale, data)
    arms = [WHOLE, *(arm for group in GROUPS.values() for arm in group if arm in set(drawn["arm"]))]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.24 * len(arms) + 1.5))
        axes = figure.subplots(1, len(COLUMNS) + 1, width_ratios=(1.2, 1.2, 1.2, 0.8))
        for ax, (quantity, part, title) in zip(axes, COLUMNS, strict=False):
            panel(ax, arms, drawn[(drawn["quantity"] == quantity) & (drawn["part"] == part)])
            ax.set_xlabel(title)
        switching(axes[-1], arms, drawn)
        for ax in axes:
            names = [f"{WHOLE}, about its mean", *(ablations.WORDS[arm] for arm in arms[1:])]
            dots.name_rows(ax, names if ax is axes[0] else [""] * len(arms))
        bottom = style.caption(figure, caption(scale, runs, arms, data))
        figure.subplots_adjust(left=0.23, right=0.985, top=0.98, bottom=bottom + 0.03, wspace=0.1)
    return figure, drawn
