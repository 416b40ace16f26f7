"""Figure 6: which classes of tokens carry the entropy, and their share among the tokens of highest entropy.

The pocket world beside the real model, where that has been recorded: in the pocket world connectors are uncertain by
construction, so only the other column can say anything about language.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import measure, tokens
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket", "smol")
TITLES = {
    "pocket": "pocket world: by construction",
    "smol": "SmolLM2-135M-Instruct: by word",
}


def columns(scale: str, data: Path) -> tuple[str, ...]:
    """What stands side by side: the real model beside the pocket world, where it has been recorded."""
    beside = ("smol",) if scale == "pocket" and measure.file("words", "smol", data).is_file() else ()
    return (scale, *beside)


@once
def tidy(scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn, of one scale: a line per class, and one per class and seed (where there are several)."""
    rollouts = tokens.load_rollouts(scale, data)
    top = tokens.top_share(rollouts).drop(columns=["units", "problems", "seeds"])
    found = [tokens.class_entropy(rollouts).merge(top, on="class")]
    if rollouts["seed"].nunique() > 1:
        means, shares = (tokens.each_seed(of, rollouts) for of in (tokens.class_entropy, tokens.top_share))
        columns = ["class", "seed", "share", "overall", "lift"]
        found.append(means[["class", "seed", "mean"]].merge(shares[columns], on=["class", "seed"]))
    return pd.concat(found, ignore_index=True).assign(scale=scale)


def entropies(ax: Axes, drawn: pd.DataFrame) -> None:
    """Classes ranked by mean entropy."""
    for y, line in means(drawn).iterrows():
        tint = dots.colour(line["class"])
        dots.dot(ax, y, line["mean"], line["low"], line["high"], tint)
        dots.seeds(ax, y, seeds_of(drawn, line["class"])["mean"], tint)
    name(ax, drawn)
    ax.set_xlim(left=-0.02 * means(drawn)["high"].max())
    ax.set_xlabel("mean entropy (nats, T = 1)")


def shares(ax: Axes, drawn: pd.DataFrame) -> None:
    """Each class's share of all units (hollow) and of those of highest entropy (filled), with their ratio."""
    for y, line in means(drawn).iterrows():
        tint = dots.colour(line["class"])
        ax.plot([line["overall"], line["share"]], [y, y], color=tint, linewidth=0.7, alpha=0.5, linestyle=(0, (1, 1)))
        hollow = {"markerfacecolor": "white"}
        dots.dot(ax, y, line["overall"], line["overall_low"], line["overall_high"], tint, "o", **hollow)
        dots.dot(ax, y, line["share"], line["share_low"], line["share_high"], tint, "D")
        dots.seeds(ax, y, seeds_of(drawn, line["class"])["share"], tint)
        lift = f"× {line['lift']:.2f} [{line['lift_low']:.2f}, {line['lift_high']:.2f}]"
        ax.annotate(lift, (1, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6.5, color=tint)
    name(ax, drawn)
    highest = means(drawn)[["share_high", "overall_high"]].max().max()
    ax.set_xlim(-0.04 * highest, 1.75 * highest)  # room for the ratios
    ax.set_xticks([t for t in ax.get_xticks() if 0 <= t <= 1.1 * highest])
    ax.set_xlabel(f"share of all (○) and of the top {tokens.TOP:.0%} by entropy (◆)")


def means(drawn: pd.DataFrame) -> pd.DataFrame:
    return drawn[drawn["low"].notna() | drawn["units"].notna()].reset_index(drop=True)


def seeds_of(drawn: pd.DataFrame, token_class: str) -> pd.DataFrame:
    if "seed" not in drawn:
        return drawn.iloc[:0]
    return drawn[(drawn["class"] == token_class) & drawn["seed"].notna()]


def name(ax: Axes, drawn: pd.DataFrame) -> None:
    lines = means(drawn)
    dots.name_rows(ax, list(lines["class"]), [dots.colour(c) for c in lines["class"]])


def counts(drawn: pd.DataFrame) -> str:
    """How much stands behind a column."""
    lines = means(drawn)
    seeds = int(lines["seeds"].iloc[0])
    units, problems = lines["units"].sum(), lines["problems"].iloc[0]
    return f"{units:,.0f} units, {problems:.0f} problems, {seeds} seed{'s' * (seeds > 1)}"


def caption(drawn: pd.DataFrame, shown: tuple[str, ...]) -> list[str]:
    """How to read the figure, and what is missing from it."""
    said = [f"{TITLES[scale].split(':')[0]}: {counts(drawn[drawn['scale'] == scale])}." for scale in shown]
    return [
        "Bars: 95% intervals, bootstrap over problems; small dots: one seed of sampling. × is the ratio of the two "
        f"shares, which cannot exceed {1 / tokens.TOP:g}. Tokens exactly at the threshold share what room is "
        "left. In the pocket world a step opens with a connector drawn at random: its column checks the method, and is "
        "no evidence. " + " ".join(said),
        "" if "smol" in shown else "Missing: the real model (python -m egrc measure words --scale smol).",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from a scale's recorded rollouts.  Raises RecordError."""
    shown = columns(scale, data)
    drawn = pd.concat([tidy(s, data) for s in shown], ignore_index=True)
    rows = max(drawn[drawn["scale"] == s]["class"].nunique() for s in shown)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2 * (0.24 * rows + 0.75) + 0.8))
        axes = figure.subplots(2, len(shown), squeeze=False)
        for column, s in zip(axes.T, shown, strict=True):
            own = drawn[drawn["scale"] == s]
            column[0].set_title(TITLES[s])
            entropies(column[0], own)
            shares(column[1], own)
        bottom = style.caption(figure, caption(drawn, shown))
        figure.subplots_adjust(left=0.1, right=0.985, top=0.93, bottom=bottom, hspace=0.42, wspace=0.27)
    return figure, drawn
