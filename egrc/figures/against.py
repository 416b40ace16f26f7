"""Figures 9 and 10: rows of arms, columns of quantities, each arm minus `egrc` (`egrc.analysis.ablations`).

Every difference has its interval, every seed, and the noise of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import ablations, tables
from egrc.analysis.ablations import WHOLE
from egrc.evaluation.intervals import N_BOOT
from egrc.figures import dots, style

FEW = 3
"""Arms that are not there are named, if they are so few."""
LEAST = 1
"""Points by which every seed must lie on one side, for a difference to be called clear."""


def panel(ax: Axes, arms: Mapping[str, str], drawn: pd.DataFrame) -> str:
    """One quantity, a share, in hundredths: every arm's difference from `egrc` with its interval, and each seed's;
    returns which are clearly higher, and which lower: by their interval, beyond the noise, and in every seed."""
    means, seeds = (drawn[drawn["what"] == what].set_index("arm") for what in ("difference", "seed"))
    ax.axvline(0, color=style.GREY, linewidth=0.7, zorder=1)
    sides = []
    for y, arm in enumerate(arms):
        alone = 100 * seeds.loc[[arm], "value"]
        if arm != WHOLE:
            value, low, high, noise = 100 * means.loc[arm, ["estimate", "low", "high", "noise"]].astype(float)
            ax.barh(y, 2 * noise, 0.94, -noise, color="0.92", linewidth=0, zorder=0)
            sides.append(bool(means.loc[arm, "clear"]) * ((alone > LEAST).all() * 1 - (alone < -LEAST).all() * 1))
            tint = dots.CONNECTOR if sides[-1] else dots.PLAIN
            dots.dot(ax, y - 0.1, value, low, high, tint, markersize=3.8)
        ax.plot(alone, [y + 0.24] * len(alone), "o", color=dots.PLAIN, **dots.SEED)
    others = [name for arm, name in arms.items() if arm != WHOLE]
    higher, lower = ([name for name, at in zip(others, sides, strict=True) if at == side] for side in (1, -1))
    return dots.message({"higher": higher, "lower": lower}, others, room=27)


def draw(study: str, words: Mapping[str, str], scale: str, data: Path) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study that are there; `words`: the arms in their
    order, each in a few words.  Raises RecordError."""
    runs, at = ablations.load(scale, data, study), tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at)
    floor = tables.floors(scale, rows["benchmark"].unique())
    levels, means = ablations.levels(rows, floor), ablations.differences(rows, floor, N_BOOT).query("seeds > 1")
    alone = {arm: ablations.by_seed(levels, arm) for arm in means["arm"].unique()}
    alone[WHOLE] = levels.loc[WHOLE] - levels.loc[WHOLE].groupby(level="part").mean()
    seeds = pd.concat(alone, names=["arm"]).rename_axis(columns="quantity").stack().rename("value").reset_index()
    configs = rows.loc[rows["arm"].isin(alone), ["arm", "seed", "config"]].drop_duplicates()
    drawn = {"difference": means, "seed": seeds, "run": configs}
    drawn = pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
    arms = {WHOLE: f"{WHOLE}, about its mean"} | {arm: name for arm, name in words.items() if arm in alone}
    absent = sorted(set(words) - set(alone))
    named = ", ".join(absent) if len(absent) <= FEW else f"{len(absent)} arms (table 3 has their names)"
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 0.24 * len(arms) + 1.75))
        axes = figure.subplots(1, 2)
        for ax, quantity, title in zip(axes, ("accuracy", "removed"), ("Accuracy", "Length removed"), strict=True):
            said = panel(ax, arms, drawn[(drawn["quantity"] == quantity) & (drawn["part"] == "mean")])
            ax.set_title(f"{title}\n{said}", loc="left")
            ax.set_xlabel(f"arm − {WHOLE} (points)")
            dots.name_rows(ax, list(arms.values()) if ax is axes[0] else [""] * len(arms))
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}; means over benchmarks and the seeds of both; 95% intervals over "
            "problems; small dots: one seed. Grey: how far as many seeds of two equal arms lie apart by chance "
            f"(95%, from {WHOLE}'s {configs['arm'].eq(WHOLE).sum()} seeds). Higher, lower (coloured): beyond the grey, "
            f"and beyond {LEAST} point in every seed." + f" Not trained on two seeds: {named}." * bool(absent)
        ])  # fmt: skip
        figure.subplots_adjust(left=0.22, right=0.985, top=1 - 0.42 / figure.get_figheight(), bottom=bottom, wspace=0.1)
    return figure, drawn
