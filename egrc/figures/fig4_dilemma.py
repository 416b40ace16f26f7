"""Figure 4: one joint objective against two stages, both swept over the same shaping r, and the controls beside them.

Length and accuracy by r; the two readings of what lies between the frontiers (`egrc.analysis.dilemma`) are its title.
A staged setting whose gate never fired is compression alone, and not drawn.
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
N_BOOT = dilemma.N_BOOT
GAPS = {"3a": ("Two stages − joint, at equal length: {} points of accuracy", 100),
        "3b": ("Joint − two stages, at equal accuracy: {} tokens", 1)}  # fmt: skip
PANELS = {"tokens": "completion length (tokens)", "accuracy": "accuracy (share correct)"}


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
    swept = sorted(every.loc[every["way"] != "control", "r"].unique())
    controls = list(every.loc[every["way"] == "control", "arm"])
    places = [*range(len(swept)), *(len(swept) + 0.5 + 1.5 * i for i in range(len(controls)))]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.4))
        for ax, (quantity, label) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
            for p in every.itertuples():
                x = places[-1 - controls.index(p.arm)] if p.way == "control" else swept.index(p.r)
                x += {"joint": -0.2, "staged": 0.2, "control": 0}[p.way]
                tint, beaten = COLOURS[p.way], p.way != "control" and not p.frontier
                value, low, high = (getattr(p, quantity + end) for end in ("", "_low", "_high"))
                ax.plot([x, x], [low, high], color=tint, linewidth=1)
                ax.plot(x, value, "s" if p.way == "control" else "o", color=tint, markersize=4.6,
                        markerfacecolor="white" if beaten else tint, zorder=3)  # fmt: skip
                alone = seeds.loc[seeds["arm"] == p.arm, quantity]
                ax.plot([x + 0.14] * len(alone), alone, "o", color=tint, **dots.SEED)
            ax.set_xticks(places, [*(f"{r:g}" for r in swept), *reversed(controls)])
            ax.set_xlim(-0.6, places[-1] + 0.9)
            ax.set(xlabel="shaping r (the smaller, the more pressure)", ylabel=label)
        figure.axes[0].set_ylim(bottom=0)
        figure.axes[0].set_title(title(readings), loc="left")
        for i, (way, words) in enumerate({"joint": "one joint objective", "staged": "two stages (egrc)"}.items()):
            figure.axes[0].text(0.02, 0.1 - 0.07 * i, words, color=COLOURS[way], transform=figure.axes[0].transAxes)
        left_out = f" Left out, its gate never fired: {', '.join(still)}." * bool(still)
        bottom = style.caption(figure, [
            f"Held-out problems at T = {at:g}, all settings at equal rollouts; means over benchmarks and seeds with "
            "95% intervals (bootstrap over problems); small dots: one seed. Hollow: beaten by another r in both length "
            f"and accuracy; square: control. Title: means over what both frontiers have.{left_out}"
        ])  # fmt: skip
        figure.subplots_adjust(left=0.065, right=0.985, top=0.88, bottom=bottom, wspace=0.19)
    drawn = {"setting": every, "seed": seeds, "reading": readings}
    return figure, pd.concat([part.assign(what=name) for name, part in drawn.items()], ignore_index=True)
