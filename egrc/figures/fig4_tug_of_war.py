"""Figure 4: do the accuracy and the compression objective pull the adapter the same way?  Class by class.

Cosine between the two objectives' gradients on the same frozen rollouts (`egrc.analysis.tug`).  Rows: the arm that is
trained; columns: the tokens whose gradients are added up.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import gradients, rows, tables
from egrc.entropy import CLASSES
from egrc.experiments.shared import once
from egrc.figures import style
from egrc.paths import DATA

SCALES = ("pocket",)

ARMS = ("accuracy", "compression", "joint")
SETS = ("all", *CLASSES)
TITLES = {"all": "all tokens", "other": "other tokens", **{c: f"{c}s" for c in ("connector", "number", "operator")}}


@once
def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers drawn: a line per arm, step and set (`seed` empty: mean over seeds, with its interval and the range
    of permuted classes), then the same cosine of each seed."""
    trained = table[table["arm"].isin(ARMS)]
    seeds = gradients.summary(trained[trained["permutation"] == -1])
    return pd.concat([gradients.tug(trained), seeds.drop(columns="permutation")], ignore_index=True)


def panel(ax: Axes, drawn: pd.DataFrame, arm: str) -> None:
    """One arm, one set of tokens."""
    ax.axhline(0, color=style.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    means, tint = drawn[drawn["seed"].isna()].sort_values("step"), style.colour(arm)
    ax.fill_between(means["step"], means["permuted_low"], means["permuted_high"], color="0.85", linewidth=0, zorder=0)
    for _, seed in drawn[drawn["seed"].notna()].groupby("seed"):
        ax.plot(seed["step"], seed["cosine"], color=tint, linewidth=0.6, alpha=0.7)
    ax.fill_between(means["step"], means["low"], means["high"], color=tint, alpha=0.22, linewidth=0)
    ax.plot(means["step"], means["cosine"], color=tint, linewidth=1.7, marker="o", markersize=2.8)


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure, and what is missing from it."""
    runs = drawn.dropna(subset="seed")[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    lacking = tables.missing(ARMS, runs)
    return [
        "Thin: one seed; thick: mean over seeds with its 95% interval (jackknife over problems). Grey band: the same "
        "cosine of random sets of as many tokens of the same problems, lowest to highest. 1: both objectives move the "
        "adapter alike; 0: they do not touch each other; −1: what one does the other undoes. A gap: a gradient "
        "vanishes. Each row is the policy of one arm while it trains; the two objectives are the same in all rows.",
        f"Missing: {'; '.join(lacking)}." if lacking else "",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `tug`.  Raises RecordError."""
    drawn = tidy(rows.load("tug", scale, data))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.0))
        axes = figure.subplots(len(ARMS), len(SETS), sharex=True, sharey=True, squeeze=False)
        for i, arm in enumerate(ARMS):
            for ax, name in zip(axes[i], SETS, strict=True):
                panel(ax, drawn[(drawn["arm"] == arm) & (drawn["token_class"] == name)], arm)
            axes[i, 0].set_ylabel("cosine of the two\nobjectives' gradients")
            axes[i, 0].annotate(f"arm {arm}", (0, 1), (2, 2), xycoords="axes fraction", textcoords="offset points",
                                color=style.colour(arm), fontweight="bold", fontsize=7.5)  # fmt: skip
        axes[0, 0].set_ylim(-1.05, 1.05)
        for ax, name in zip(axes[0], SETS, strict=True):
            ax.set_title(TITLES[name], pad=14)
        for ax in axes[-1]:
            ax.set_xlabel("training step")
        bottom = style.caption(figure, caption(drawn))
        figure.subplots_adjust(left=0.1, right=0.99, top=0.92, bottom=bottom, hspace=0.25, wspace=0.1)
    return figure, drawn
