"""Figure 8: the most uncertain words, ordered by mean entropy; a dot with its interval, and no area that misleads.

Rule, fixed before the rollouts were recorded: words that occur at least `tokens.LEAST` times, in at least
`tokens.IN_PROBLEMS` problems; of these the first `MOST`.  [ours]
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import tokens
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.figures.fig5_connectors import NAMES, columns
from egrc.paths import DATA

SCALES = ("pocket", "real")
MOST = 15


@once
def tidy(scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn, of one scale: a line per word, and one per word and seed (where there are several)."""
    rollouts = tokens.load_rollouts(scale, data)
    found = tokens.by_word(rollouts)
    shown = found.head(MOST).assign(rank=range(min(MOST, len(found))), ranked=len(found))
    if rollouts["seed"].nunique() > 1:
        own = tokens.each_seed(lambda r, n_boot: tokens.by_word(r, least=1, problems=1, n_boot=n_boot), rollouts)
        own = own.merge(shown[["word", "class", "rank"]], on=["word", "class"])
        shown = pd.concat([shown, own.drop(columns=["problems", "seeds"])], ignore_index=True)
    return shown.assign(scale=scale)


def panel(ax: Axes, drawn: pd.DataFrame) -> None:
    """Words by falling mean entropy; how often they occur stands beside them."""
    lines = drawn[drawn["ranked"].notna()]
    tints = [dots.colour(c) for c in lines["class"]]
    for tint, (_, line) in zip(tints, lines.iterrows(), strict=True):
        seeds = drawn["mean"][(drawn["rank"] == line["rank"]) & drawn["ranked"].isna()]
        face = tint if line["class"] == "connector" else "white"
        dots.dot(ax, line["rank"], *line[["mean", "low", "high"]], tint, seeds=seeds, markersize=3.8,
                 markerfacecolor=face)  # fmt: skip
        ax.annotate(f"{line['units']:.0f}", (1.0, line["rank"]), xycoords=("axes fraction", "data"), ha="right",
                    va="center", fontsize=6.2, color=style.GREY)  # fmt: skip
    dots.name_rows(ax, list(lines["word"]), tints)
    ax.set_xlim(0, 1.15 * drawn[["high", "mean"]].max().max())  # room for the counts
    ax.set_xlabel("mean entropy (nats, T = 1)")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from recorded rollouts.  Raises RecordError."""
    shown = columns(scale)
    drawn = pd.concat([tidy(s, data) for s in shown], ignore_index=True)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.19 * int(drawn["rank"].max() + 1) + 1.55))
        ranked = []
        for ax, s in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            panel(ax, drawn[drawn["scale"] == s])
            own = drawn[(drawn["scale"] == s) & drawn["ranked"].notna()]
            connectors = (own["class"] == "connector").sum()
            ax.set_title(f"{NAMES[s]}:\n{connectors} of the {len(own)} most uncertain: connectors", loc="left")
            ranked.append(f"{own['ranked'].iloc[0]:.0f} ({s})")
        bottom = style.caption(figure, [
            "Filled, coloured: connectors; hollow: other words. Bars: 95% intervals, bootstrap over problems; small "
            "dots: one seed of sampling. Grey: occurrences. Words that occur at least "
            f"{tokens.LEAST} times in at least {tokens.IN_PROBLEMS} problems, the first of "
            f"{' and '.join(ranked)}.",
        ])  # fmt: skip
        top = 1 - 0.45 / figure.get_figheight()
        figure.subplots_adjust(left=0.15, right=0.985, top=top, bottom=bottom, wspace=0.48)
    return figure, drawn
