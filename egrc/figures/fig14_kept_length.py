"""Figure 14: the length that each problem keeps, hard and easy, and what it costs there.

Above, problems by difficulty (`egrc.analysis.kept`): tokens, and the change of accuracy.  Below, tokens by kind and
size of problem, and over all, correct, and both-correct answers, since a mean over correct answers changes its mix.
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
from egrc.figures import dots, style, table3
from egrc.paths import DATA

SCALES = ("pocket",)
OURS = ("base", "egrc", "compression", "egrc-plus")
SHADES = ("0.35", "0.5", "0.65")
PEERS = "^sv"
MARKERS = {"base": "D", "egrc": "o", "compression": "o", "egrc-plus": "*"}
CASES = {"all": "o", "correct": "s", "both correct": "^"}
SEED: dict[str, Any] = {"markersize": 2, "markeredgewidth": 0, "alpha": 0.6, "linestyle": ""}


def chosen(scale: str) -> list[str]:
    """Who is shown: `OURS`, and the strongest peers."""
    asked = table3.wanted(scale)
    return [arm for arm in (*OURS, *scales.STRONGEST[: len(SHADES)]) if arm in asked]


def looks(arms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker by arm: peers in greys, each with a marker of its own."""
    peers = [arm for arm in arms if arm not in OURS]
    found = {arm: {"color": style.colour(arm), "marker": MARKERS[arm]} for arm in arms if arm in OURS}
    return found | {arm: {"color": c, "marker": m} for arm, c, m in zip(peers, SHADES, PEERS, strict=False)}


def levels(
    ax: Axes, table: pd.DataFrame, name: str, look: dict[str, dict[str, Any]], x: Sequence[Any], on: str
) -> None:
    """A quantity of every arm along categories `x` of the column `on`, side by side, with intervals."""
    arms = [arm for arm in look if arm in set(table["arm"])]
    for k, arm in enumerate(arms):
        own = table[table["arm"] == arm].set_index(on).reindex(x)
        at = np.arange(len(x)) + 0.11 * (k - (len(arms) - 1) / 2)
        spans = [own[name] - own[f"{name}_low"], own[f"{name}_high"] - own[name]]
        ax.plot(at, own[name], color=look[arm]["color"], linewidth=0.6, alpha=0.5, zorder=1)
        ax.errorbar(at, own[name], yerr=spans, linestyle="", elinewidth=0.8, markeredgewidth=0.4, zorder=3,
                    markeredgecolor="white", markersize=7 if arm == "egrc-plus" else 4.6, **look[arm])  # fmt: skip


def seeds(
    ax: Axes, table: pd.DataFrame, name: str, look: dict[str, dict[str, Any]], x: Sequence[Any], on: str
) -> None:
    """Every seed beside its arm's mean."""
    arms = [arm for arm in look if arm in set(table["arm"])]
    for k, arm in enumerate(arms):
        for _, own in table[table["arm"] == arm].groupby("seed"):
            at = np.arange(len(x)) + 0.11 * (k - (len(arms) - 1) / 2) + 0.04
            ax.plot(at, own.set_index(on).reindex(x)[name], **SEED, color=look[arm]["color"], marker="o")


def floors(ax: Axes, values: Sequence[float]) -> None:
    """The compact floor of each category."""
    for i, value in enumerate(values):
        ax.plot([i - 0.42, i + 0.42], [value] * 2, color=style.GREY, linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=0)


def grouped(ax: Axes, table: pd.DataFrame, alone: pd.DataFrame, look: dict[str, dict[str, Any]]) -> None:
    """Tokens as a share of the base's, a row an arm, a marker for each set of answers."""
    arms = [arm for arm in look if arm in set(table["arm"])]
    for y, arm in enumerate(arms):
        for k, (name, marker) in enumerate(CASES.items()):
            line = table[(table["arm"] == arm) & (table["cases"] == name)].iloc[0]
            dots.dot(ax, y + 0.22 * (k - 1), line["share"], line["share_low"], line["share_high"], look[arm]["color"],
                     marker)  # fmt: skip
            own = alone[(alone["arm"] == arm) & (alone["cases"] == name)]
            ax.plot(own["share"], [y + 0.22 * (k - 1) + 0.09] * len(own), **SEED, color=look[arm]["color"], marker="o")
    dots.name_rows(ax, arms)
    ax.set_xlim(left=0)
    ax.set_xlabel("tokens / base's over the same kind of answers")
    entries = [
        Line2D([], [], linestyle="", marker=m, color=style.GREY, markersize=4.6, label=n) for n, m in CASES.items()
    ]
    ax.legend(handles=entries, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False, fontsize=6.8,
              handletextpad=0.2, columnspacing=1.0, borderaxespad=0.1)  # fmt: skip


def caption(at: float, lacking: str) -> list[str]:
    """How to read the figure, and what is missing from it."""
    return [
        f"Held-out problems at T = {at:g}, the temperature that suits the base best. Means over seeds with 95% "
        "intervals (bootstrap over problems, given the seeds); small dots: one seed. Dashes: compact floor.",
        "Difficulty: the base's pass rate on the problem, from its sampled answers at other temperatures: a problem "
        "that looks hard by bad luck must not look shortened by a second try. Lengths and accuracy are of the T above.",
        "Both correct: problems that base and arm solve, each side's correct answers averaged by problem, so that both "
        "sides have the same mix of problems; over the correct answers of each alone the mix differs.",
        *([lacking] if lacking else []),
    ]


def numbers(scale: str, runs: Sequence[Record], data: Path) -> dict[str, pd.DataFrame]:
    """What the figure shows of these runs, part by part.

    Raises RecordError, or ValueError where difficulty cannot be estimated.
    """
    at = tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at)
    floor = tables.floors(scale, rows["benchmark"].unique())
    rates = kept.difficulty(tables.evaluations([run for run in runs if run.arm == "base"]), at)
    lines = table3.compare(rows, scale)
    return {
        "difficulty": kept.by_difficulty(rows, rates, floor),
        "difficulty, seed": kept.seeds_by_difficulty(rows, rates),
        "kind": lines[lines["benchmark"] != "mean"],
        "kind, seed": tables.by_run(rows),
        "cases": kept.cases(rows),
        "cases, seed": kept.cases_by_seed(rows),
        "run": rows[["arm", "seed", "config"]].drop_duplicates(),
    }


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records at hand.  Raises RecordError, or ValueError as `numbers`."""
    arms = chosen(scale)
    runs = [run for run in table3.load(scale, data, ablations=False) if run.arm in arms]
    found, lacking = numbers(scale, runs, data), table3.missing(scale, runs, arms)
    look, hard, kinds = looks(arms), found["difficulty"], sorted(found["kind"]["benchmark"].unique())
    rates = sorted(hard["pass_rate"].unique())
    first = hard.drop_duplicates("pass_rate").set_index("pass_rate").loc[rates]
    named = [f"{rate:.0%}\n({n})" for rate, n in zip(rates, first["problems"], strict=True)]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.2))
        (length, change), (kind, over) = figure.subplots(2, 2)
        levels(length, hard, "tokens", look, rates, "pass_rate")
        seeds(length, found["difficulty, seed"], "tokens", look, rates, "pass_rate")
        floors(length, list(first["floor"]))
        levels(change, hard[hard["arm"] != "base"], "change", look, rates, "pass_rate")
        alone = found["difficulty, seed"]
        seeds(change, alone[alone["arm"] != "base"], "change", look, rates, "pass_rate")
        change.axhline(0, color=style.GREY, linewidth=0.8, zorder=0)
        levels(kind, found["kind"], "tokens", look, kinds, "benchmark")
        seeds(kind, found["kind, seed"], "tokens", look, kinds, "benchmark")
        floors(kind, list(found["kind"].drop_duplicates("benchmark").set_index("benchmark").loc[kinds, "floor"]))
        grouped(over, found["cases"], found["cases, seed"], look)
        for ax, names in ((length, named), (change, named), (kind, [name.replace("-", "\n") for name in kinds])):
            ax.set_xticks(range(len(names)), names)
        for ax in (length, change):
            ax.set_xlabel("the base's pass rate on the problem (problems)")
        for ax in (length, kind):
            ax.set_ylabel("completion tokens")
            ax.set_ylim(bottom=0)
        change.set_ylabel("accuracy − base")
        entries = [Line2D([], [], linewidth=0.8, markersize=4.8, label=arm, **look[arm]) for arm in look
                   if arm in set(hard["arm"])]  # fmt: skip
        figure.legend(handles=entries, loc="upper left", bbox_to_anchor=(0.06, 0.998), ncols=len(entries),
                      frameon=False, handlelength=1.6, columnspacing=1.4)  # fmt: skip
        bottom = style.caption(figure, caption(tables.compared_at(scale, data), lacking))
        figure.subplots_adjust(left=0.07, right=0.99, top=0.945, bottom=bottom, hspace=0.42, wspace=0.26)
    drawn = [part.assign(what=name) for name, part in found.items()]
    return figure, pd.concat(drawn, ignore_index=True)
