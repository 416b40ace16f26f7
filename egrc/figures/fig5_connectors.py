"""Figure 5: which classes of tokens carry the entropy, and their share among the tokens of highest entropy.

The pocket world beside the real model: in the pocket world connectors are uncertain by
construction, so only the other column can say anything about language.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import tokens
from egrc.analysis.measure import NotMade
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket", "real")
COLUMNS = {"pocket": SCALES, "real": SCALES[1:]}
"""What stands side by side."""
NAMES = {"pocket": "Pocket world, by construction", "real": "Qwen2.5-Coder-0.5B, by word"}


def columns(scale: str) -> tuple[str, ...]:
    """The scales whose tokens stand side by side.  Raises NotMade."""
    if scale not in COLUMNS:
        raise NotMade(f"tokens are not compared at scale {scale} yet")
    return COLUMNS[scale]


@once
def tidy(scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn, of one scale: a line per class, and one per class and seed (where there are several)."""
    rollouts, functions = tokens.load_rollouts(scale, data), (tokens.class_entropy, tokens.top_share)
    means, top = (of(rollouts) for of in functions)
    found = [means.merge(top.drop(columns=["units", "problems", "seeds"]), on="class")]
    if rollouts["seed"].nunique() > 1:
        means, top = (tokens.each_seed(of, rollouts) for of in functions)
        kept = ["class", "seed", "share", "overall", "lift"]
        found.append(means[["class", "seed", "mean"]].merge(top[kept], on=["class", "seed"]))
    return pd.concat(found, ignore_index=True).assign(scale=scale)


def panels(upper: Axes, lower: Axes, drawn: pd.DataFrame) -> None:
    """Classes ranked by mean entropy; below, each one's share of all units (hollow) and of those of highest entropy
    (filled), with their ratio."""
    lines = drawn[drawn["units"].notna()].reset_index(drop=True)
    for y, line in lines.iterrows():
        tint = dots.colour(line["class"])
        own = drawn[(drawn["class"] == line["class"]) & drawn["units"].isna()]
        dots.dot(upper, y, *line[["mean", "low", "high"]], tint, seeds=own["mean"])
        lower.plot(line[["overall", "share"]], [y, y], color=tint, linewidth=0.7, alpha=0.5, linestyle=(0, (1, 1)))
        dots.dot(lower, y, *line[["overall", "overall_low", "overall_high"]], tint, markerfacecolor="white")
        dots.dot(lower, y, *line[["share", "share_low", "share_high"]], tint, "D", own["share"])
        lift = f"× {line['lift']:.2f} [{line['lift_low']:.2f}, {line['lift_high']:.2f}]"
        lower.annotate(lift, (1, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=6.5,
                       color=tint)  # fmt: skip
    for ax in (upper, lower):
        dots.name_rows(ax, list(lines["class"]), [dots.colour(c) for c in lines["class"]])
    upper.set_xlim(left=-0.02 * lines["high"].max())
    upper.set_xlabel("mean entropy (nats, T = 1)")
    highest = lines[["share_high", "overall_high"]].max().max()
    lower.set_xlim(-0.04 * highest, 1.75 * highest)  # room for the ratios
    lower.set_xticks([t for t in lower.get_xticks() if 0 <= t <= 1.1 * highest])
    lower.set_xlabel(f"share of all (○) and of the top {tokens.TOP:.0%} by entropy (◆)")


def message(drawn: pd.DataFrame) -> str:
    """What came out, in the words of claim 4."""
    line = drawn[drawn["units"].notna()].set_index("class").loc["connector"]
    return f"connectors ×{line['lift']:.1f} among the uncertain"


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from recorded rollouts.  Raises RecordError."""
    shown = columns(scale)
    every = [tidy(s, data) for s in shown]
    counts = [f"{s}: {own['units'].sum():,.0f} units, {own['problems'].max():.0f} problems, seeds: "
              f"{own['seeds'].max():.0f}." for s, own in zip(shown, every, strict=True)]  # fmt: skip
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.48 * max(own["class"].nunique() for own in every) + 2.2))
        axes = figure.subplots(2, len(shown), squeeze=False)
        for column, own, s in zip(axes.T, every, shown, strict=True):
            column[0].set_title(f"{NAMES[s]}:\n{message(own)}", loc="left")
            panels(*column, own)
        bottom = style.caption(figure, [
            "Bars: 95% intervals, bootstrap over problems; small dots: one seed of sampling. × is the ratio of the two "
            f"shares, at most {1 / tokens.TOP:g}. In the pocket world a step opens with a connector drawn at random: "
            f"its column checks the method, and is no evidence. {' '.join(counts)}",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.1, right=0.985, top=0.91, bottom=bottom, hspace=0.42, wspace=0.27)
    return figure, pd.concat(every, ignore_index=True)
