"""Figure 10: below the floor that the teacher's exact entropy sets, and where the arms' entropy lies beside it.

Left: accuracy while the base is trained on, by three diets (`egrc.analysis.floor`).  Right: entropy of the base's and
the arms' rollouts, and the teacher's at the same prefixes.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis import limits
from egrc.figures import style
from egrc.methods import MAIN
from egrc.paths import DATA

SCALES = ("pocket",)
DIETS = {
    "fixed": (style.OKABE_ITO["vermillion"], "-", "fixed traces, below the floor"),
    "limited": (style.OKABE_ITO["blue"], "--", "the same, kept to the floor"),
    "fresh": (style.GREY, "-.", "fresh traces"),
}


def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers drawn: panel, name, seed (-1: all), step, quantity, estimate, low, high."""
    answers = limits.pick(table, stage="beyond", measured="answers", temperature=1.0)
    start = limits.pick(answers, name="fixed", step=0)  # every diet starts where `fixed` does, before its first step
    answers = pd.concat([answers, *(start.assign(name=diet) for diet in DIETS if diet != "fixed")], ignore_index=True)
    arms = limits.pick(table, stage="arms", measured="rollouts")
    sides = {"beyond": (answers, ["name", "step"], ["accuracy"]), "arms": (arms, ["name"], ["entropy", "floor"])}
    frames = [limits.per_token(arms, ["name"], ["impossible"]).assign(panel="arms")]
    for panel, (rows, keys, quantities) in sides.items():
        frames.append(limits.per_token(rows, keys, quantities).assign(panel=panel))
        frames.append(limits.per_token(rows, [*keys, "seed"], quantities, n_boot=0).assign(panel=panel))
    drawn = pd.concat(frames, ignore_index=True).fillna({"seed": -1, "step": -1})
    return drawn.astype({"seed": int, "step": int})


def over_diets(ax: Axes, drawn: pd.DataFrame) -> None:
    """Accuracy on unseen problems while training on: diets by colour and dash, every seed thin."""
    for diet, (colour, dash, label) in DIETS.items():
        for seed, run in drawn[drawn["name"] == diet].sort_values("step").groupby("seed"):
            if seed >= 0:
                ax.plot(run["step"], run["estimate"], color=colour, linestyle=dash, linewidth=0.5, alpha=0.7)
                continue
            ax.fill_between(run["step"], run["low"], run["high"], color=colour, alpha=0.15, linewidth=0)
            ax.plot(run["step"], run["estimate"], color=colour, linestyle=dash, linewidth=1.4, label=label)
    ax.legend(fontsize=6.8, frameon=False, handlelength=2.4, loc="lower left")
    ax.set(xlabel="steps after the base", ylabel="accuracy, unseen problems (T = 1)")


def by_arm(ax: Axes, drawn: pd.DataFrame) -> None:
    """Entropy of each arm's rollouts, every seed, and the teacher's at the same prefixes as a bar."""
    arms = [arm for arm in MAIN if (drawn["name"] == arm).any()]
    for x, arm in enumerate(arms):
        rows, colour = drawn[drawn["name"] == arm].set_index(["quantity", "seed"]), style.colour(arm)
        mean, level = rows.loc[("entropy", -1)], rows.loc[("floor", -1)]
        ax.vlines(x, mean["low"], mean["high"], color=colour, linewidth=0.9, zorder=3)
        ax.plot(x, mean["estimate"], "o", color=colour, markersize=4.5, zorder=3)
        seeds = rows.loc["entropy"].drop(-1)["estimate"]
        ax.plot([x + 0.25] * len(seeds), seeds, "o", color=colour, markersize=1.8, zorder=3)
        ax.hlines(level["estimate"], x - 0.4, x + 0.4, color="0.25", linewidth=1.4, zorder=2)
    ax.set_xticks(range(len(arms)), [arm.replace("-", "-\n") for arm in arms], fontsize=6)
    for tick, arm in zip(ax.get_xticklabels(), arms, strict=True):
        tick.set_color(style.colour(arm))
    ax.set_ylabel("entropy (nats/token)\ndots: policy, bars: teacher")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `floor`.  Raises RecordError where it is missing."""
    drawn = tidy(limits.load(scale, data))
    lost = drawn[drawn["quantity"] == "impossible"].set_index("name")["estimate"]
    left_out = ", ".join(f"{arm} {share:.1%}" for arm, share in lost.items())
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.3))
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
        over_diets(left, drawn[drawn["panel"] == "beyond"])
        by_arm(right, drawn[drawn["panel"] == "arms"])
        bottom = style.caption(figure, [
            "Floor: the teacher's exact entropy. Kept to the floor: a token pulls only while the policy is less sure "
            "than the teacher. Thin lines, small dots: one seed; bands, bars: 95% intervals over problems. Right: "
            f"rollouts at T = 1. Left out, as the teacher could never have written what stands before: {left_out}.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.075, right=0.99, top=0.97, bottom=bottom + 0.01, wspace=0.24)
    return figure, drawn
