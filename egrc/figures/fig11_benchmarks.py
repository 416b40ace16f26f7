"""Figure 11: benchmarks put to models, one by one: pass@1 beside the vote, tokens, and what was cut at the cap.

On top the pocket world's own six kinds, base and trained; below the six benchmarks and Minerva, for the one real model
that was asked, with the empty places of the sets and models that were not.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.evaluation import benchmarks
from egrc.experiments import evaluations
from egrc.experiments.evaluations import NotEvaluated
from egrc.figures import dots, style, table2
from egrc.paths import DATA
from egrc.worlds.deepseek import NOT_RUN

SCALES = ("pocket",)
SHOWN = {
    "accuracy": "pass@1 (filled) and\nmajority vote (open)",
    "mean_tokens": "tokens\n(an answer)",
    "truncated": "cut at the cap\n(share)",
}
ROWS = ("pocket", "smol")
CAPTION = (
    "Markers: mean over the k samples of each problem, then over problems, with 95% intervals (bootstrap over problems;"
    " the exact binomial one where all problems fared alike). A cut answer is wrong. Vote: the most frequent final "
    "answer of a problem, ties shared. Each row of panels has a protocol of its own: compare within a row only. There "
    "is no mean over sets: they differ in size and difficulty."
)


def panel(ax: Axes, own: pd.DataFrame, rows: list[str], quantity: str) -> None:
    """One quantity of every benchmark, a dot for each who."""
    whos = list(dict.fromkeys(own["who"]))
    for _, line in own.iterrows():
        number, tint = whos.index(line["who"]), style.colour(line["who"].split("-seed-")[0])
        y = rows.index(line["benchmark"]) + 0.26 * (number - (len(whos) - 1) / 2)
        dots.dot(ax, y, *(line[quantity + end] for end in ("", "_low", "_high")), tint)
        if quantity == "accuracy":
            ax.plot(line["majority"], y, "o", color="none", markeredgecolor=tint, markersize=6.6, zorder=4)
    right = max(ax.get_xlim()[1], 0.1)  # of a share that is 0 everywhere, the interval must not look wide
    ax.set_xlim(-0.03 * right, right)


def absent(ax: Axes, rows: list[str], there: set[str]) -> None:
    """Say in an empty row why it is empty."""
    for y, name in enumerate(rows):
        if name not in there:
            why = "not recorded" if name in table2.AT_HAND else table2.NO_COPY
            ax.text(0.03, y, why, transform=ax.get_yaxis_transform(), va="center", color=style.GREY, style="italic",
                    fontsize=6.5)  # fmt: skip


def title(own: pd.DataFrame, scale: str) -> str:
    """Who was asked, and how."""
    if own.empty:
        return scale
    line, who = own.iloc[0], "pocket world" if scale == "pocket" else table2.MODELS[scale]
    asked = f"k = {line['samples']}, T = {line['temperature']:g}, top-p = {line['top_p']:g}, cap = {line['cap']}"
    n = " to ".join(str(n) for n in dict.fromkeys((own["problems"].min(), own["problems"].max())))
    return f"{who}: {asked}, n = {n} problems a set"


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the recorded evaluations.  Raises NotEvaluated, or RecordError."""
    drawn = evaluations.table([e for part in ROWS for e in evaluations.load_all(part, data)])
    if drawn.empty:
        raise NotEvaluated("no evaluations of benchmarks: make some with `python -m egrc evaluate`")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.2))
        axes = figure.subplots(len(ROWS), len(SHOWN))
        for line, part in zip(axes, ROWS, strict=True):
            own = drawn[drawn["scale"] == part]
            rows = list(own["benchmark"].unique()) if part == "pocket" else list(table2.SETS)
            for ax, (quantity, words) in zip(line, SHOWN.items(), strict=True):
                panel(ax, own, rows, quantity)
                titles = [b if part == "pocket" else benchmarks.get(b).title for b in rows]
                dots.name_rows(ax, titles if ax is line[0] else [""] * len(rows))
                ax.set_xlabel(words)
            if part != "pocket":
                absent(line[0], rows, set(own["benchmark"]))
            line[0].set_title(title(own, part), loc="left", fontsize=7.5)
        entries = [
            Line2D([], [], color=style.colour(who.split("-seed-")[0]), marker="o", markersize=4, linewidth=1, label=who)
            for who in drawn["who"].unique()
        ]
        figure.legend(handles=entries, loc="upper right", ncols=len(entries), frameon=False, fontsize=7.5)
        bottom = style.caption(figure, [CAPTION, f"{table2.MODELS['gpu']}, {table2.MODELS['gpu-7b']}: {NOT_RUN}."])
        figure.subplots_adjust(left=0.12, right=0.985, top=0.93, bottom=bottom + 0.05, wspace=0.1, hspace=0.5)
    return figure, drawn
