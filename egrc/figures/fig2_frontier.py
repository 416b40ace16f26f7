"""Figure 2: length and accuracy of the base and each arm: the mean over benchmarks, and the hardest one.

The numbers are table 1's, at the temperature that suits the base best (table 1 has the others).  A mean can hide a
benchmark that collapsed, so the one that is hardest for the base stands beside it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egrc.analysis import tables
from egrc.experiments.records import load_all
from egrc.figures import dots, style
from egrc.methods import MAIN
from egrc.paths import DATA


def title(name: str, quantity: str, lines: pd.DataFrame) -> str:
    """What came out, by the intervals."""
    arms = lines[lines["arm"] != "base"]
    where, ways = "Length", {"shorter": arms["share_high"] < 1}
    if quantity == "accuracy":
        where = "Mean accuracy" if name == "mean" else f"Accuracy on {name}"
        ways = {"higher": arms["gain_best_low"] > 0, "lower": arms["gain_best_high"] < 0}
    names = {way: list(arms.index[true]) for way, true in ways.items()}
    return f"{where}\n{dots.message(names, list(arms.index), room=32)}"


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder.  Raises RecordError."""
    runs, at = load_all(scale, data), tables.compared_at(scale, data)
    rows = tables.rows_at(runs, at) if runs else tables.evaluations(runs)
    floor = tables.floors(scale, rows["benchmark"].unique())
    lines = tables.compare(rows, floor, at, ("accuracy", "tokens", "share", "gain_best"))
    panels = [("mean", "tokens"), ("mean", "accuracy"), (tables.hardest(rows), "accuracy")]
    seeds, names = tables.by_run(rows), list(dict.fromkeys(lines["arm"]))
    with style.context():
        figure, best = Figure(figsize=(style.WIDTH, 2.9)), tables.best_temperature(scale, data)
        for ax, (name, quantity) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            own = lines[lines["benchmark"] == name].set_index("arm", drop=False)
            for y, arm in enumerate(names):
                alone = seeds.query("benchmark == @name and arm == @arm")[quantity]
                dots.dot(ax, y - 0.1, *own.loc[arm, [quantity, f"{quantity}_low", f"{quantity}_high"]],
                         style.colour(arm), seeds=alone, below=0.36)  # fmt: skip
            level = own["floor" if quantity == "tokens" else "accuracy"].iloc[0]
            ax.axvline(level, **dots.GUIDE)
            dots.name_rows(ax, names if not ax.get_subplotspec().colspan.start else [""] * len(names),
                           map(style.colour, names))  # fmt: skip
            ax.set_title(title(name, quantity, own), loc="left")
            ax.set_xlabel({"tokens": "tokens per completion", "accuracy": "accuracy (share correct)"}[quantity])
            ax.xaxis.set_major_locator(MaxNLocator(4))
            if quantity == "tokens":
                ax.set_xlim(left=0)
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}: means over seeds with 95% intervals (bootstrap over problems, given the "
            "seeds); small dots: one seed. Dashed: the compact floor (the shortest correct procedure); the base's "
            f"accuracy. {panels[2][0]}: its hardest benchmark. Titles: against the base, by the whole interval. "
            f"{tables.best_note(rows, best)} "
            f"{dots.missing(MAIN, rows)}",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.125, right=0.985, top=0.85, bottom=bottom, wspace=0.12)
    shown = [lines[lines["benchmark"].isin(dict(panels))], seeds[seeds["benchmark"].isin(dict(panels))]]
    return figure, pd.concat([*shown, rows[["arm", "seed", "config"]].drop_duplicates()], ignore_index=True)
