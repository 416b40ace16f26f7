"""Figure 12: what a reader would pick instead of EGRC: accuracy against length, and the benchmark that the mean hides.

A few methods are named at their points; all others are there in grey, and in table 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import fronts, tables
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.experiments import scales
from egrc.figures import dots, style, table3
from egrc.paths import DATA

SCALES = ("pocket",)
OURS = ("base", "compression", "egrc", "egrc-plus")
FOCUS = "egrc"
PEER, OTHER = "0.3", "0.72"


def named() -> tuple[str, ...]:
    """The base, EGRC, its first phase alone and our best; the strongest peers on training problems; the closest."""
    return *OURS, *scales.STRONGEST, "deepcompress", "tokensqueeze"


def colour(arm: str) -> Any:
    """A main arm's own, purple for ours, dark grey for a named peer, light grey for all others."""
    return style.colour(arm) if arm in OURS else PEER if arm in named() else OTHER


def points(ax: Axes, lines: pd.DataFrame, x: str, y: str, seeds: pd.DataFrame | None = None) -> None:
    """All arms; those that are named with their intervals, and their seeds."""
    known = lines["arm"].isin(named())
    ax.plot(lines.loc[~known, x], lines.loc[~known, y], "o", color=OTHER, markersize=3, markeredgewidth=0, zorder=1)
    for _, line in lines[known].iterrows():
        alone = None if seeds is None else seeds[seeds["arm"] == line["arm"]]
        dots.point(ax, line, x, y, colour(line["arm"]), alone, markeredgewidth=0, zorder=3)


def area(ax: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """The grey area that a panel's title counts."""
    ax.fill_between(x, *y, color="0.93", linewidth=0, zorder=-1)
    ax.set_axisbelow(True)


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the studies at hand.  Raises RecordError."""
    runs, at = table3.load(scale, data, ablations=False), tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at)
    lines, seeds = table3.compare(rows, scale), tables.by_run(rows).query("benchmark == 'mean'")
    worst = fronts.bounds(lines).rename(columns={"low": "change_low", "high": "change_high"})
    points_lost = [of + end for of in ("change", "removed") for end in ("", "_low", "_high")]
    percent = worst.assign(**100 * worst[points_lost])
    lines = lines[lines["benchmark"] == "mean"]
    focus, others = lines[lines["arm"] == FOCUS].iloc[0], lines[lines["arm"] != FOCUS]
    ahead = ((others["tokens"] <= focus["tokens"]) & (others["accuracy"] >= focus["accuracy"])).sum()
    asked = [arm for arm in table3.wanted(scale) if table3.family(scale, arm) != table3.ABLATION]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.0))
        left, right = figure.subplots(1, 2)
        points(left, lines, "tokens", "accuracy", seeds)
        left.set(xscale="log", xlabel="completion tokens (log; dashed: compact floor)", ylabel="accuracy")
        left.set_xticks([25, 50, 100], ["25", "50", "100"])
        left.set_xticks([], minor=True)
        left.axvline(focus["floor"], **dots.GUIDE)
        left.set_title(f"No longer and no less accurate\nthan {FOCUS} (grey): {ahead} of {len(others)}", loc="left")
        points(right, percent, "removed", "change")
        right.set(xlabel="removable length removed (%)", ylabel="worst benchmark: accuracy − base (points)")
        right.axhline(100 * WORST, **dots.GUIDE)
        right.axvline(100 * PLUS_REMOVED, **dots.GUIDE)
        kept = f"{worst['within'].sum()} of {len(worst)}"
        right.set_title(f"Within the bounds on length\nand worst benchmark (grey): {kept}", loc="left")
        for ax, (x, y) in ((left, focus[["tokens", "accuracy"]]), (right, (100 * PLUS_REMOVED, 100 * WORST))):
            (x0, x1), (y0, y1) = ax.get_xlim(), (ax.get_ylim()[0], max(ax.get_ylim()[1], y + 0.01))
            ax.set(xlim=(x0, x1), ylim=(y0, y1))
            area(ax, (x0, x) if ax is left else (x, x1), (y, y1))
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}: means over benchmarks and seeds with 95% intervals (over problems, "
            "given the seeds); small dots: one seed. Grey dots: all other arms (table 3). Right: each arm's own worst "
            f"benchmark, on average a little too low. {table3.missing(scale, runs, asked)}"
        ])  # fmt: skip
        figure.subplots_adjust(left=0.07, right=0.985, top=0.89, bottom=bottom, wspace=0.2)
        for ax, part, x, y in ((left, lines, "tokens", "accuracy"), (right, percent, "removed", "change")):
            known = part[part["arm"].isin(named())]
            dots.name_points(ax, zip(known[x], known[y], known["arm"], known["arm"].map(colour), strict=True))
    configs = rows[["arm", "seed", "config"]].drop_duplicates()
    drawn = {"arm": lines, "seed": seeds.merge(configs, on=["arm", "seed"]), "worst": worst}
    return figure, pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
