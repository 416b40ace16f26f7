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
TITLES = {"all": "all tokens", **{c: f"{c}s" for c in CLASSES[:-1]}, "other": "other tokens"}


@once
def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers drawn: a line per arm, step and set (`seed` empty: mean over seeds, with its interval and the range
    of permuted classes), then the same cosine of each seed."""
    sets, keys = gradients.summary(table[table["arm"].isin(ARMS)]), ["arm", "step", "token_class"]
    permuted = sets[sets["permutation"] >= 0].groupby(keys)["cosine"].agg(permuted_low="min", permuted_high="max")
    lines = [
        (arm, step, name, *gradients.cosine(own, name))
        for (arm, step), own in table[table["arm"].isin(ARMS)].groupby(["arm", "step"], sort=False) for name in TITLES
    ]  # fmt: skip
    means = pd.DataFrame(lines, columns=[*keys, "cosine", "low", "high"]).merge(permuted.reset_index(), "left", keys)
    seeds = sets.loc[sets["permutation"] == -1, [*keys, "seed", "cosine"]]
    return pd.concat([means, seeds], ignore_index=True)


def panel(ax: Axes, drawn: pd.DataFrame, arm: str) -> None:
    """One arm, one set of tokens."""
    ax.axhline(0, color=style.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    means, tint = drawn[drawn["seed"].isna()].sort_values("step"), style.colour(arm)
    ax.fill_between(means["step"], means["permuted_low"], means["permuted_high"], color="0.85", linewidth=0, zorder=0)
    for _, seed in drawn[drawn["seed"].notna()].groupby("seed"):
        ax.plot(seed["step"], seed["cosine"], color=tint, linewidth=0.6, alpha=0.7)
    ax.fill_between(means["step"], means["low"], means["high"], color=tint, alpha=0.22, linewidth=0)
    ax.plot(means["step"], means["cosine"], color=tint, linewidth=1.7, marker="o", markersize=2.8)


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `tug`.  Raises RecordError."""
    drawn = tidy(rows.load("tug", scale, data))
    runs = drawn.dropna(subset="seed")[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None)
    lacking = tables.missing(ARMS, runs)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.6))
        axes = figure.subplots(len(ARMS), len(TITLES), sharex=True, sharey=True, squeeze=False)
        for row, arm in zip(axes, ARMS, strict=True):
            for ax, name in zip(row, TITLES, strict=True):
                panel(ax, drawn[(drawn["arm"] == arm) & (drawn["token_class"] == name)], arm)
            row[0].set_ylabel(f"arm {arm}", color=style.colour(arm), fontweight="bold")
        axes[0, 0].set_ylim(-1.05, 1.05)
        for ax, title in zip(axes[0], TITLES.values(), strict=True):
            ax.set_title(title)
        for ax in axes[-1]:
            ax.set_xlabel("training step")
        bottom = style.caption(figure, [
            "Cosine of the two objectives' gradients. Thin: one seed; thick: mean over seeds with its 95% interval "
            "(jackknife over problems). Grey: random sets of as many tokens, lowest to highest. 1: both move the "
            "adapter alike; −1: each undoes the other. A gap: a gradient vanishes.",
            lacking,
        ])  # fmt: skip
        figure.subplots_adjust(left=0.08, right=0.99, top=0.94, bottom=bottom, hspace=0.2, wspace=0.1)
    return figure, drawn
