"""Figure 2: accuracy against completion length, the base and each arm: the mean over benchmarks, and the hardest.

The numbers are table 1's, at the temperature that suits the base best (table 1 has the others).  A mean can hide a
benchmark that collapsed, so the one that is hardest for the base stands beside it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import dots, style
from egrc.methods import MAIN
from egrc.paths import DATA


def title(name: str, lines: pd.DataFrame) -> str:
    """What came out, counted from the intervals."""
    arms, shorter = lines[lines["arm"] != "base"], lines["share_high"] < 1
    if name == "mean":
        better = (shorter & (lines["gain_best_low"] > 0)).sum()
        return f"Mean over benchmarks: {better} of {len(arms)} arms are\nshorter and more accurate than the base"
    lost = (lines["gain_best_high"] < 0).sum()
    return f"On {name}, hardest for the base,\n{lost} of {len(arms)} arms are less accurate"


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder.  Raises RecordError."""
    runs, at = load_all(scale, data), tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at) if runs else tables.evaluations(runs)
    floor = tables.floors(scale, rows["benchmark"].unique())
    lines = tables.compare(rows, floor, at, ("accuracy", "tokens", "share", "gain_best"))
    base = lines[(lines["arm"] == "base") & (lines["benchmark"] != "mean")]
    names = ["mean", *base.sort_values("accuracy")["benchmark"].head(1)]
    lines, seeds = lines[lines["benchmark"].isin(names)], tables.by_run(rows).query("benchmark in @names")
    with style.context():
        figure, best = Figure(figsize=(style.WIDTH, 3.4)), tables.best_temperature(scale, data)
        axes = figure.subplots(1, len(names), squeeze=False)[0]
        for ax, name in zip(axes, names, strict=True):
            own = lines[lines["benchmark"] == name]
            if (level := own["floor"].iloc[0]) == level:  # not NaN: a floor is known
                ax.axvline(level, **dots.GUIDE)
            for _, line in own.iterrows():
                alone = seeds.query("benchmark == @name and arm == @line.arm")
                dots.point(ax, line, "tokens", "accuracy", style.colour(line["arm"]), alone)
            ax.set(xlim=(0, None), xlabel="completion tokens (dashed: compact floor)")
            ax.margins(y=0.12)
            ax.set_title(title(name, own), loc="left")
        axes[0].set_ylabel("accuracy")
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}: means over seeds with 95% intervals (bootstrap over problems, given the "
            "seeds); small dots: one seed. Compact floor: the shortest correct procedure. Counted where the whole "
            f"interval is clear. {tables.best_note(rows, best)} {dots.missing(MAIN, rows)}",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.085, right=0.985, top=0.87, bottom=bottom, wspace=0.16)
        for ax, name in zip(axes, names, strict=True):
            own = lines[lines["benchmark"] == name]
            dots.name_points(ax, [(p.tokens, p.accuracy, p.arm, style.colour(p.arm)) for p in own.itertuples()])
    return figure, pd.concat([lines, seeds, rows[["arm", "seed", "config"]].drop_duplicates()], ignore_index=True)
