"""Figure 4: do the accuracy and the compression objective pull the adapter the same way, and on the connectors?

Cosine between the two objectives' gradients on the same frozen rollouts (`egrc.analysis.tug`), along the training of
three arms: over all tokens, and over the connectors beside random sets of as many tokens.  Notebook 05 has all classes.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import gradients, rows
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
ARMS = ("accuracy", "compression", "joint")
SETS = {"all": "all tokens", "connector": "connectors"}


@once
def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers drawn: a line per arm, step and set (`seed` empty: mean over seeds, with its interval and the range
    of permuted classes), then the same cosine of each seed."""
    table = table[table["arm"].isin(ARMS) & table["token_class"].isin(SETS)]
    sets, keys = gradients.summary(table), ["arm", "step", "token_class"]
    permuted = sets[sets["permutation"] >= 0].groupby(keys)["cosine"].agg(permuted_low="min", permuted_high="max")
    lines = [(arm, step, name, *gradients.cosine(own, name))
             for (arm, step), own in table.groupby(["arm", "step"], sort=False) for name in SETS]  # fmt: skip
    means = pd.DataFrame(lines, columns=[*keys, "cosine", "low", "high"]).merge(permuted.reset_index(), "left", keys)
    seeds = sets.loc[sets["permutation"] == -1, [*keys, "seed", "cosine"]]
    return pd.concat([means, seeds], ignore_index=True)


def panel(ax: Axes, drawn: pd.DataFrame, arm: str) -> None:
    """One arm: its cosine over all tokens, and over the connectors."""
    ax.axhline(0, **dots.GUIDE)
    for name, words in SETS.items():
        own, tint = drawn[drawn["token_class"] == name], style.colour(arm) if name == "all" else dots.CONNECTOR
        means = own[own["seed"].isna()].sort_values("step")
        for low, high, look in (("permuted_low", "permuted_high", {"color": "0.9", "zorder": 0}),
                                ("low", "high", {"color": tint, "alpha": 0.2})):  # fmt: skip
            ax.fill_between(means["step"], means[low], means[high], linewidth=0, **look)
        for _, seed in own[own["seed"].notna()].groupby("seed"):
            ax.plot(seed["step"], seed["cosine"], color=tint, linewidth=0.6, alpha=0.7)
        ax.plot(means["step"], means["cosine"], color=tint, linewidth=1.7, marker="o", markersize=2.8)
        y, va = (0.97, "top") if name == "all" else (0.03, "bottom")
        ax.text(0.03, y, words, transform=ax.transAxes, color=tint, va=va)
    ax.set_title(f"arm {arm}", color=style.colour(arm), fontweight="bold")
    ax.set(ylim=(-1.05, 1.05), xlabel="training step")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `tug`.  Raises RecordError."""
    drawn = tidy(rows.load("tug", scale, data))
    means = drawn[drawn["seed"].isna() & drawn["low"].notna()]
    agree, oppose = means["low"] > 0, means["high"] < 0
    points = [means["token_class"] == name for name in SETS]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.2))
        for ax, arm in zip(figure.subplots(1, len(ARMS), sharey=True), ARMS, strict=True):
            panel(ax, drawn[drawn["arm"] == arm], arm)
        figure.axes[0].set_ylabel("cosine of the two gradients")
        figure.text(0.012, 0.985, f"Over all tokens the two objectives agree at {(agree & points[0]).sum()} of "
                    f"{points[0].sum()} points and oppose each other at {(oppose & points[0]).sum()}; over connectors "
                    f"at {(agree & points[1]).sum()} and {(oppose & points[1]).sum()} of {points[1].sum()}.",
                    fontsize=8, va="top")  # fmt: skip
        bottom = style.caption(figure, [
            "Thin: one seed; thick: mean over seeds with 95% interval (jackknife over problems; none where a gradient "
            "vanishes). Grey: random sets of as many tokens as connectors, lowest to highest. 1: both move the adapter "
            "alike; −1: each undoes the other. Counted: intervals clear of 0. "
            + dots.missing(ARMS, drawn.dropna(subset="seed"))
        ])  # fmt: skip
        figure.subplots_adjust(left=0.085, right=0.99, top=0.86, bottom=bottom, wspace=0.1)
    return figure, drawn
