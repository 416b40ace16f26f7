"""Figure 12: what a reader would pick instead of EGRC: accuracy against length, and the benchmark that the mean hides.

A few methods are named at their points; all others are there in grey, and in table 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from egrc.analysis import dilemma, fronts, tables
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.experiments import scales
from egrc.experiments.records import Record
from egrc.figures import labels, style, table3
from egrc.paths import DATA

SCALES = ("pocket",)
OURS = ("base", "compression", "egrc", "egrc-plus")
PEER, OTHER = "0.3", "0.72"
SEED: dict[str, Any] = {"markersize": 1.8, "markeredgewidth": 0, "alpha": 0.6}
GROUND: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}


def named() -> tuple[str, ...]:
    """The base, EGRC, its first phase alone and our best; the strongest peers on training problems; the closest."""
    return *OURS, *scales.STRONGEST, "deepcompress", "tokensqueeze"


def colour(arm: str) -> Any:
    """A main arm's own, purple for ours, dark grey for a named peer, light grey for all others."""
    return style.colour(arm) if arm in OURS else PEER if arm in named() else OTHER


def numbers(scale: str, runs: Sequence[Record], data: Path) -> dict[str, pd.DataFrame]:
    """What the figure shows of these runs, part by part.  Raises RecordError."""
    rows = tables.rows_at(runs, tables.compared_at(scale, data))
    lines, configs = table3.compare(rows, scale), rows[["arm", "seed", "config"]].drop_duplicates()
    seeds = tables.by_run(rows).query("benchmark == 'mean'").merge(configs, on=["arm", "seed"])
    found = {"arm": lines[lines["benchmark"] == "mean"], "seed": seeds}
    return found | {"worst": fronts.bounds(lines)}


def points(ax: Axes, table: pd.DataFrame, x: str, y: str, ends: Sequence[str]) -> None:
    """Means, those of the named methods with intervals; `ends`: columns of the lower and the upper end of x, then y."""
    for _, p in table.iterrows():
        known = p["arm"] in named()
        spans = [[[p[of] - p[low]], [p[high] - p[of]]] for of, low, high in ((x, *ends[:2]), (y, *ends[2:]))]
        shown = {"xerr": spans[0], "yerr": spans[1], "markersize": 5} if known else {"markersize": 3}
        ax.errorbar(p[x], p[y], fmt="o", color=colour(p["arm"]), elinewidth=0.8, markeredgewidth=0, zorder=2 + known,
                    **shown)  # fmt: skip


def plane(ax: Axes, found: dict[str, pd.DataFrame]) -> None:
    """Tokens and accuracy of every arm; the seeds of those that are named; the front of all means."""
    lines, seeds = found["arm"], found["seed"]
    ax.axvline(lines["floor"].iloc[0], **GROUND)
    for _, run in seeds[seeds["arm"].isin(named())].iterrows():
        ax.plot(run["tokens"], run["accuracy"], "o", color=colour(run["arm"]), **SEED)
    points(ax, lines, "tokens", "accuracy", ("tokens_low", "tokens_high", "accuracy_low", "accuracy_high"))
    front = dilemma.frontier(lines["tokens"], lines["accuracy"])
    ax.step(*front, ":", where="post", color="0.15", linewidth=1, zorder=1)
    ax.set_xscale("log")
    ax.set_xticks([25, 50, 100], ["25", "50", "100"])
    ax.set_xticks([], minor=True)
    ax.set_xlabel("completion tokens (log); dashed: compact floor")
    ax.set_ylabel("accuracy")
    ax.set_title("Accuracy against length", loc="left")


def hidden(ax: Axes, worst: pd.DataFrame) -> None:
    """The change of accuracy on each arm's worst benchmark against the removed length, with the bounds."""
    points(ax, worst, "removed", "change", ("removed_low", "removed_high", "low", "high"))
    ax.set_ylim(min(ax.get_ylim()[0], WORST - 0.01), max(ax.get_ylim()[1], 0.03))
    ax.set_xlim(right=1.04)
    ax.axhline(WORST, **GROUND)
    ax.axvline(PLUS_REMOVED, **GROUND)
    ax.fill_between([PLUS_REMOVED, 1.04], WORST, ax.get_ylim()[1], color="0.92", linewidth=0, zorder=-1)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}"))
    ax.set_xlabel("removable length removed (share)")
    ax.set_ylabel("worst benchmark: accuracy − base (points)")
    ax.set_title(f"Within the bounds (grey area): {worst['within'].sum()} of {len(worst)} arms", loc="left")


def caption(at: float, lacking: str) -> list[str]:
    """How to read the figure, and what is missing from it."""
    return [
        f"Held-out problems{labels.at_best(at)}: means over benchmarks and seeds "
        "with 95% intervals (over problems, given the seeds); small: one seed. Grey: all other arms, see table 3. "
        "Dotted: the front of all means. Right: each arm's own worst benchmark, on average a little too low; bounds as "
        f"fixed before the runs. {lacking}"
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the studies at hand.  Raises RecordError."""
    runs = table3.load(scale, data, ablations=False)
    found = numbers(scale, runs, data)
    asked = [arm for arm in table3.wanted(scale) if table3.family(scale, arm) != table3.ABLATION]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.9))
        left, right = figure.subplots(1, 2)
        plane(left, found)
        hidden(right, found["worst"])
        notes = caption(tables.compared_at(scale, data), table3.missing(scale, runs, asked))
        bottom = style.caption(figure, notes)
        figure.subplots_adjust(left=0.07, right=0.99, top=0.94, bottom=bottom + 0.03, wspace=0.2)
        for ax, part, x, y in ((left, "arm", "tokens", "accuracy"), (right, "worst", "removed", "change")):
            known = found[part][found[part]["arm"].isin(named())]
            labels.beside(ax, [labels.Mark(p[x], p[y], p["arm"], colour(p["arm"])) for _, p in known.iterrows()])
    return figure, pd.concat([part.assign(what=name) for name, part in found.items()], ignore_index=True)
