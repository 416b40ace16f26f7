"""Figure 12: what a reader would pick instead.  Accuracy against length, the benchmark that the mean hides, the field.

On top every arm and seed with the Pareto front of the means, in two parts; below, left, what each arm's worst benchmark
lost against how much length went; below, right, and apart from ours, what others published of larger models.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from egrc.analysis import fronts, tables
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.experiments.records import Record
from egrc.figures import dots, style, table2, table3
from egrc.figures.labels import Mark, beside
from egrc.paths import DATA

SCALES = ("pocket",)
MARKERS = {
    "base": "D",
    "main": "o",
    "ours": "P",
    "peers: cut earlier": "^",
    "peers: paid by length": "s",
    "peers: keep entropy": "v",
}
PEER = "0.35"
SEED: dict[str, Any] = {"markersize": 2.2, "markeredgewidth": 0, "alpha": 0.6, "linestyle": ""}
BRIEF = 2.5
"""Up to how many times the compact floor the first part of the plane reaches: where the arms crowd."""
FRONT: dict[str, Any] = {"color": "0.15", "linewidth": 0.9, "linestyle": (0, (1, 1.5))}
GROUND: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}


def look(scale: str, arm: str) -> dict[str, Any]:
    """Colour (a main arm's own, purple for ours, grey for peers) and marker (of the family)."""
    family, of = table3.family(scale, arm), table3.method(scale, arm)
    colour = PEER if family.startswith("peers") else style.colour(of)
    return {"color": colour, "marker": "*" if arm == "egrc-plus" else MARKERS[family]}


def point(ax: Axes, at: tuple[float, float], spans: Sequence[tuple[float, float]], shown: dict[str, Any]) -> None:
    """A mean with its two 95% intervals."""
    across, up = ([[value - low], [high - value]] for value, (low, high) in zip(at, spans, strict=True))
    size = 8 if shown["marker"] == "*" else 4.8
    ax.errorbar(*at, xerr=across, yerr=up, linestyle="", elinewidth=0.7, markersize=size, markeredgewidth=0.5,
                markeredgecolor="white", zorder=3, **shown)  # fmt: skip


def plane(ax: Axes, scale: str, lines: pd.DataFrame, seeds: pd.DataFrame, front: pd.DataFrame) -> None:
    """Every arm in the plane of tokens and accuracy; lines join the settings of a method, dots the front."""
    ax.axvline(lines["floor"].iloc[0], **GROUND)
    for _, run in seeds.iterrows():
        ax.plot(run["mean_tokens"], run["accuracy"], **SEED, **look(scale, run["arm"]))
    for of, own in lines.groupby(lines["arm"].map(lambda arm: table3.method(scale, arm)), sort=False):
        if len(own) > 1:
            own = own.sort_values("tokens")
            ax.plot(own["tokens"], own["accuracy"], color=look(scale, of)["color"], linewidth=0.9, zorder=2)
    for _, p in lines.iterrows():
        spans = [(p[f"{n}_low"], p[f"{n}_high"]) for n in ("tokens", "accuracy")]
        point(ax, (p["tokens"], p["accuracy"]), spans, look(scale, p["arm"]))
    best = front[front["on"]]
    ax.step(best["tokens"], best["accuracy"], where="post", zorder=1, **FRONT)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def halves(axes: Sequence[Axes], scale: str, found: dict[str, pd.DataFrame]) -> None:
    """The plane in two parts, the crowded brief one wide and the long one narrow, each with its names."""
    lines = found["arm"]
    floor = lines["floor"].iloc[0]
    start = min(lines["tokens"].min(), found["seed"]["mean_tokens"].min(), floor) - 0.06 * floor
    limits = (start, BRIEF * floor, 1.04 * max(lines["tokens_high"].max(), found["seed"]["mean_tokens"].max()))
    named = lines[[table3.method(scale, arm) == arm for arm in lines["arm"]]]
    for ax, low, high in zip(axes, limits, limits[1:], strict=False):
        plane(ax, scale, lines, found["seed"], found["front"])
        ax.set_xlim(low, high)
    for ax in axes:  # both have set the heights that they share
        low, high = ax.get_xlim()
        here = named[(named["tokens"] >= low) & (named["tokens"] < high)]
        colours = [look(scale, arm)["color"] for arm in here["arm"]]
        beside(ax, [Mark(*m) for m in zip(here["tokens"], here["accuracy"], here["arm"], colours, strict=True)], 0.037)
    axes[0].set_xlabel(f"completion tokens, up to {BRIEF:g} x the compact floor (dashed, {floor:.1f})")
    axes[0].set_ylabel("accuracy")
    axes[1].set_xlabel("completion tokens, above")
    axes[1].tick_params(axis="y", labelleft=False)


def hidden(ax: Axes, scale: str, worst: pd.DataFrame) -> None:
    """The change of accuracy on each arm's worst benchmark against the removed length, with the bounds."""
    ax.axhline(WORST, **GROUND)
    ax.axvline(PLUS_REMOVED, **GROUND)
    most = max(1.0, worst["removed_high"].max())
    end = most + 0.1  # a scale on which the last tenths have room, and longer arms still a place
    ax.set_xscale("function", functions=(lambda x: -np.log10(np.maximum(end - x, 1e-6)), lambda y: end - 10.0**-y))
    marks = []
    for _, p in worst.iterrows():
        at, shown = (p["removed"], p["change"]), look(scale, p["arm"])
        point(ax, at, [(p["removed_low"], p["removed_high"]), (p["low"], p["high"])], shown)
        if table3.method(scale, p["arm"]) == p["arm"]:
            marks.append(Mark(*at, p["arm"], shown["color"]))
    ax.set_xlabel("removable length removed")
    ax.set_ylabel("accuracy − base, worst benchmark (points)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}"))
    ax.set_xlim(worst["removed_low"].min() - 0.06, most + 0.01)
    ax.set_xticks([x for x in (-0.5, 0, 0.5, 0.8, PLUS_REMOVED, 1) if x >= ax.get_xlim()[0]])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, WORST - 0.01), max(high, 0.02))
    ax.fill_between([PLUS_REMOVED, ax.get_xlim()[1]], WORST, ax.get_ylim()[1], color="0.93", linewidth=0, zorder=-1)
    beside(ax, marks, line=0.041)


def published(table: pd.DataFrame) -> pd.DataFrame:
    """Methods with a fraction of their base's tokens: name, low, high (of the fraction), change (the source's words).

    A source that gives both lengths has the fraction worked out.
    """
    rows = []
    for _, line in table[table["method"] != "base"].iterrows():
        size = re.search(r"[\d.]+B", line["model"])
        name, change = f"{line['method']}, {size[0] if size else 'model not named'}", line["accuracy_change"]
        share = [float(n) / 100 for n in re.findall(r"\d+", line["length_share"])]
        if base := re.fullmatch(r"base ([\d.]+) at (\d+) tokens", change):
            share = [float(line["tokens"]) / float(base[2])]
            change = f"{line['accuracy']} (base {base[1]}), {line['benchmark']}"
        if share:
            rows.append({"name": name, "low": share[0], "high": share[-1], "change": change or "not in our notes"})
    return pd.DataFrame(rows).sort_values(["low", "high"], kind="stable", ignore_index=True)


def field(ax: Axes, table: pd.DataFrame) -> None:
    """The published fractions of the base's tokens, a range as a bar; the change of accuracy in the source's words."""
    for y, line in table.iterrows():
        ax.plot([line["low"], line["high"]], [y, y], color="0.15", linewidth=2.4, solid_capstyle="round")
        ax.plot((line["low"] + line["high"]) / 2, y, "o", color="0.15", markersize=3.6)
        said = "\n".join(textwrap.wrap(line["change"], 26))
        ax.annotate(said, (1.04, y), xycoords=("axes fraction", "data"), fontsize=6, va="center", linespacing=0.95)
    dots.name_rows(ax, table["name"])
    ax.tick_params(axis="y", labelsize=6.2)
    ax.set_xlim(0, 0.8)
    ax.set_xlabel("tokens / base's")


def key(figure: Figure) -> None:
    """What markers and lines mean, above the first panel."""
    names = {"main": "main arms (own colours)", "ours": "ours, beyond the paper (egrc-plus: star)"}
    tints = {"base": "black", "ours": style.colour("egrc-plus")}
    entries = [
        Line2D([], [], linestyle="", marker=marker, markersize=4.8, color=tints.get(family, PEER), markeredgewidth=0,
               label=names.get(family, family))
        for family, marker in MARKERS.items()
    ]  # fmt: skip
    entries += [
        Line2D([], [], label="Pareto front of the means", **FRONT),
        Line2D([], [], color=PEER, label="one seed", **(SEED | {"marker": "o"})),
    ]
    figure.legend(handles=entries, loc="upper left", bbox_to_anchor=(0.05, 0.998), ncols=4, frameon=False, fontsize=6.8,
                  handlelength=1.6, columnspacing=1.4, labelspacing=0.3)  # fmt: skip


def others(worst: pd.DataFrame) -> str:
    """Which benchmark is the worst: the most frequent one, and the arms of which it is another."""
    usual = worst["worst"].mode().iloc[0]
    rest = worst[worst["worst"] != usual]
    but = ", ".join(f"{arm}: {name}" for arm, name in zip(rest["arm"], rest["worst"], strict=True))
    return usual + (f" (but {but})" if but else "")


def caption(at: float, worst: pd.DataFrame, joined: bool, lacking: str) -> list[str]:
    """How to read the figure, and what is missing from it."""
    lines = " Lines join the length settings of one method; only its own setting is named." if joined else ""
    return [
        f"Above and left: held-out problems at T = {at:g}, the temperature that suits the base best; plain means over "
        "benchmarks and seeds with 95% intervals (bootstrap over problems, given the seeds); small: one seed. "
        f"Dotted: the front, of the means that no other mean is at least as short and as accurate as.{lines}",
        f"Left: each arm's own worst benchmark, {others(worst)}. Grey: at least {PLUS_REMOVED:.0%} removed and no "
        f"benchmark more than {-100 * WORST:g} points below the base, as fixed before the runs. The lowest of six "
        "is a little too low on average. The horizontal scale is stretched towards 1.",
        "Right, never to be ranked with ours: numbers that others published of much larger models, each under a "
        "protocol of its own (models, benchmarks, samples, caps, temperatures differ); sources in data/published.csv.",
        *([lacking] if lacking else []),
    ]


def numbers(scale: str, runs: Sequence[Record], data: Path) -> dict[str, pd.DataFrame]:
    """What the figure shows of these runs, part by part.  Raises RecordError."""
    rows = table3.rows(runs, tables.compared_at(scale, data))
    lines = table3.compare(rows, scale)
    seeds = tables.run_means(rows).groupby(["arm", "seed"])[["accuracy", "mean_tokens"]].mean().reset_index()
    configs = rows[["arm", "seed", "config"]].drop_duplicates()
    found = {"arm": lines[lines["benchmark"] == "mean"], "seed": seeds.merge(configs, on=["arm", "seed"])}
    found |= {"front": fronts.front(fronts.draws(rows)), "worst": fronts.worst(lines)}
    return found | {"published": published(table2.published())}


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the studies at hand.  Raises RecordError."""
    runs = table3.load(scale, data, ablations=False)
    found = numbers(scale, runs, data)
    shown = [arm for arm in table3.wanted(scale) if table3.family(scale, arm) != table3.ABLATION]
    lacking = table3.missing(scale, runs, shown)
    joined = any(table3.method(scale, arm) != arm for arm in found["arm"]["arm"])
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 8.6))
        bottom = style.caption(figure, caption(tables.compared_at(scale, data), found["worst"], joined, lacking))
        middle = bottom + 0.44 * (0.94 - bottom)
        side = {"top": middle, "bottom": bottom}
        top = {"top": 0.945, "bottom": middle + 0.075}
        brief = figure.add_subplot(figure.add_gridspec(1, 1, left=0.07, right=0.545, **top)[0])
        long = figure.add_subplot(figure.add_gridspec(1, 1, left=0.695, right=0.87, **top)[0], sharey=brief)
        halves((brief, long), scale, found)
        left = figure.add_subplot(figure.add_gridspec(1, 1, left=0.07, right=0.335, **side)[0])
        hidden(left, scale, found["worst"])
        right = figure.add_subplot(figure.add_gridspec(1, 1, left=0.665, right=0.795, **side)[0])
        field(right, found["published"])
        left.set_title("What the mean hides", loc="left")
        right.set_title("Published: larger models, other protocols", loc="right", x=2.5)
        key(figure)
    drawn = [part.assign(what=name) for name, part in found.items()]
    return figure, pd.concat(drawn, ignore_index=True)
