"""Figure 4: one joint objective against two stages, both swept over the same shaping r, and the controls beside them.

Settings in the plane of length and accuracy, with both frontiers; the two readings of what lies between these
(`egrc.analysis.dilemma`) are its title.  A staged setting whose gate never fired is compression alone, and not drawn.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from egrc.analysis import dilemma, tables
from egrc.experiments import scales
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
COLOURS = {way: style.colour(arm) for way, arm in dilemma.WAYS.items()} | {"control": style.GREY}
NAMES = {"joint": "one joint objective", "staged": "two stages (egrc)"}
N_BOOT = dilemma.N_BOOT
GAPS = {"3a": ("Two stages − joint, at equal length: {} points of accuracy", 100),
        "3b": ("Joint − two stages, at equal accuracy: {} tokens", 1)}  # fmt: skip


def title(readings: pd.DataFrame) -> str:
    """Both readings with their intervals, or why there is none."""
    said = []
    for line in readings.itertuples():
        text, scale = GAPS[line.reading]
        numbers = (f"{scale * x:+.1f}" for x in (line.estimate, line.low, line.high))
        sentence = line.reason[:1].upper() + line.reason[1:]  # `capitalize` would lower the rest
        said.append(sentence or text.format("{} [{}, {}]".format(*numbers)))
    return "\n".join(said).replace("-", "−")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study.  Raises RecordError."""
    rows, at = dilemma.load(scale, data), tables.compared_at(scale, data)
    still = sorted(set(scales.study(scale, dilemma.STUDY)) - set(rows["arm"]))
    every, readings = dilemma.points(rows, N_BOOT), dilemma.readings(rows, N_BOOT)
    seeds = tables.by_run(rows.assign(temperature=at)).query("benchmark == 'mean'")
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.9))
        ax = figure.subplots()
        for _, p in every.iterrows():
            beaten = p["way"] != "control" and not p["frontier"]
            tint = COLOURS[p["way"]]
            dots.point(ax, p, "tokens", "accuracy", tint, seeds[seeds["arm"] == p["arm"]],
                       marker="s" if p["way"] == "control" else "o", markerfacecolor="white" if beaten else tint,
                       zorder=3)  # fmt: skip
        ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim(), xlabel="completion tokens", ylabel="accuracy")
        for way in NAMES:  # after the limits are set: a line may leave the panel
            line = every[(every["way"] == way) & every["frontier"]].sort_values("tokens")
            ax.plot(line["tokens"], line["accuracy"], color=COLOURS[way], linewidth=1.3, zorder=1, label=NAMES[way])
        ax.legend(loc="lower right", frameon=False, fontsize=7.5)
        ax.set_title(title(readings), loc="left")
        left_out = f" Left out, its gate never fired: {', '.join(still)}." * bool(still)
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}, all settings at equal rollouts; means over benchmarks and seeds with "
            "95% intervals (bootstrap over problems); small dots: one seed. Lines: the frontiers; hollow: beaten by "
            f"another r; squares: controls. Title: means over what both frontiers have.{left_out}"
        ])  # fmt: skip
        figure.subplots_adjust(left=0.07, right=0.985, top=0.89, bottom=bottom)
        names = [p.arm if p.way == "control" else f"r = {p.r:g}" for p in every.itertuples()]
        points = zip(every["tokens"], every["accuracy"], names, every["way"].map(COLOURS), strict=True)
        dots.name_points(ax, points)
    drawn = {"setting": every, "seed": seeds, "reading": readings}
    return figure, pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
