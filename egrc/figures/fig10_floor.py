"""Figure 10: the base, and what training makes of it, against the floor that the teacher's exact entropy sets.

Top: the base's own training, to the floor.  Middle: training on below it, on a few fixed traces, beside two controls.
Bottom: entropy of the base's and the arms' rollouts, and the teacher's at the same prefixes, by class of token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egrc.analysis import limits
from egrc.entropy import CLASSES
from egrc.experiments.shared import once
from egrc.figures import style
from egrc.methods import MAIN
from egrc.paths import DATA

SCALES = ("pocket",)

CLASS_STYLES = {
    limits.ALL: (style.OKABE_ITO["black"], "-"),
    "connector": (style.OKABE_ITO["vermillion"], "--"),
    "number": (style.OKABE_ITO["blue"], "-."),
    "operator": (style.OKABE_ITO["green"], ":"),
    "other": (style.OKABE_ITO["purple"], (0, (5, 1, 1, 1, 1, 1))),
}
"""Colour and dash of each class."""
DIETS = {
    "fixed": (style.OKABE_ITO["vermillion"], "-"),
    "limited": (style.OKABE_ITO["blue"], "--"),
    "fresh": (style.GREY, "-."),
}
ACCURACY = "accuracy, unseen problems\n(share correct, T = 1)"
LINEAR = 0.02
"""Nats per token: within so much of the floor the axis of the upper right panel is linear, beyond it logarithmic."""


# --- the numbers ----------------------------------------------------------------------------------


@once
def tidy(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers drawn: panel, name, seed (-1: all), step, temperature, class, quantity, estimate, low, high."""
    frames = [_along(table), _beyond(table), _arms(table)]
    drawn = pd.concat(frames, ignore_index=True).fillna({"seed": -1, "step": -1, "temperature": 1.0})
    drawn["class"] = drawn["class"].fillna(limits.ALL)
    return drawn.astype({"seed": int, "step": int})


def _with_seeds(rows: pd.DataFrame, keys: list[str], quantities: Sequence[str], by_class: bool = False) -> pd.DataFrame:
    """Quantities over all seeds with intervals, and each seed's without."""
    together = limits.per_token(rows, keys, quantities, by_class)
    return pd.concat([together, limits.per_token(rows, [*keys, "seed"], quantities, by_class, n_boot=0)])


def _along(table: pd.DataFrame) -> pd.DataFrame:
    traces = limits.pick(table, stage="along", measured="traces")
    found = limits.per_token(traces, ["step"], ("excess", "entropy", "floor", "distance"), by_class=True)
    answers = limits.pick(table, stage="along", measured="answers")
    accuracy = limits.per_token(answers, ["step", "temperature"], ["accuracy"])
    return pd.concat([found, accuracy]).assign(panel="along", name="base")


def _beyond(table: pd.DataFrame) -> pd.DataFrame:
    """Training on; every diet starts where `fixed` does, before its first step."""
    rows = limits.pick(table, stage="beyond")
    start = rows[(rows["name"] == "fixed") & (rows["step"] == 0)]
    rows = pd.concat([rows, *(start.assign(name=d) for d in DIETS if d != "fixed")], ignore_index=True)
    by, keys = rows.groupby("measured"), ["name", "step"]
    own = _with_seeds(by.get_group("fixed"), keys, ["distance"])
    unseen = _with_seeds(by.get_group("traces"), keys, ["excess"])
    accuracy = _with_seeds(by.get_group("answers"), [*keys, "temperature"], ["accuracy"])
    return pd.concat([own, unseen, accuracy]).assign(panel="beyond")


def _arms(table: pd.DataFrame) -> pd.DataFrame:
    rows = limits.pick(table, stage="arms", measured="rollouts")
    by_class = _with_seeds(rows, ["name"], ["entropy", "floor"], by_class=True)
    return pd.concat([by_class, limits.per_token(rows, ["name"], ["impossible"])]).assign(panel="arms")


def line(drawn: pd.DataFrame, x: str = "step", **where: Any) -> pd.DataFrame:
    """The numbers of one line, in the order of x."""
    return drawn.loc[(drawn[list(where)] == pd.Series(where)).all(axis=1)].sort_values(x)


# --- the panels -----------------------------------------------------------------------------------


def band(ax: Axes, rows: pd.DataFrame, colour: Any, dash: Any = "-", width: float = 1.3, **more: Any) -> None:
    """A line over steps with its 95% interval."""
    ax.fill_between(rows["step"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    ax.plot(rows["step"], rows["estimate"], color=colour, linestyle=dash, linewidth=width, **more)


def excess_by_class(ax: Axes, drawn: pd.DataFrame) -> None:
    """Loss above the teacher's, along training."""
    for name, (colour, dash) in CLASS_STYLES.items():
        rows = line(drawn, panel="along", quantity="excess", **{"class": name})
        band(ax, rows, colour, dash, 1.7 if name == limits.ALL else 1.1, label=name)
    ax.set(xscale="log", yscale="symlog", xlabel="training step", ylabel="loss above the teacher's\n(nats/token)")
    ax.set_yscale("symlog", linthresh=0.01)
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=6.5, frameon=False, handlelength=2.4, labelspacing=0.25, loc="best")


def entropy_by_class(ax: Axes, drawn: pd.DataFrame) -> None:
    """The policy's entropy by class, and the teacher's as a level."""
    for name, (colour, dash) in CLASS_STYLES.items():
        rows = line(drawn, panel="along", quantity="entropy", **{"class": name})
        band(ax, rows, colour, dash, 1.7 if name == limits.ALL else 1.1)
        level = line(drawn, panel="along", quantity="floor", **{"class": name})["estimate"].iloc[-1]
        ax.axhline(level, color=colour, linewidth=0.6, zorder=0)
    ax.set(xscale="log", xlabel="training step", ylabel="policy entropy (nats/token)\nthin: the teacher's")


def accuracy_by_distance(ax: Axes, drawn: pd.DataFrame) -> None:
    """Accuracy on unseen problems against how far the loss on what is trained on is above the floor."""
    distance = line(drawn, panel="along", quantity="distance", **{"class": limits.ALL}).set_index("step")["estimate"]
    accuracy = line(drawn, panel="along", quantity="accuracy", temperature=1.0).set_index("step")["estimate"]
    ax.plot(distance, accuracy.reindex(distance.index), "o-", color=style.colour("base"), markersize=2.5, linewidth=1)
    colour, _ = DIETS["fixed"]
    fixed = line(drawn, panel="beyond", name="fixed").query("temperature == 1.0")
    for _, run in fixed[fixed["seed"] >= 0].groupby("seed"):
        parts = run.pivot_table(index="step", columns="quantity", values="estimate")
        ax.plot(parts["distance"], parts["accuracy"], "s-", color=colour, markersize=2.2, linewidth=0.8, alpha=0.8)
    ax.axvline(0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    ax.annotate("floor", (0, 1), xycoords=("data", "axes fraction"), xytext=(0, 1), textcoords="offset points",
                ha="center", fontsize=6.5, color=style.GREY)  # fmt: skip
    ax.set_xscale("symlog", linthresh=LINEAR)
    ax.invert_xaxis()
    ax.set_xticks([1, 0.1, 0, -0.1], ["1", "0.1", "0", "-0.1"])
    ax.minorticks_off()
    ax.set(xlabel="training loss - floor (nats/token)", ylabel=ACCURACY)


def over_diets(ax: Axes, drawn: pd.DataFrame, quantity: str, label: str) -> None:
    """One quantity while training on: diets by colour and dash, every seed thin."""
    for diet, (colour, dash) in DIETS.items():
        rows = line(drawn, panel="beyond", quantity=quantity, name=diet, temperature=1.0)
        for _, run in rows[rows["seed"] >= 0].groupby("seed"):
            ax.plot(run["step"], run["estimate"], color=colour, linestyle=dash, linewidth=0.5, alpha=0.7)
        band(ax, rows[rows["seed"] < 0], colour, dash, label=diet)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.set(xlabel="steps after the base", ylabel=label)


def by_arm(ax: Axes, drawn: pd.DataFrame, name: str) -> None:
    """One class: entropy of each arm's rollouts, every seed, and the teacher's at the same prefixes as a bar."""
    arms = [arm for arm in MAIN if (drawn["name"] == arm).any()]
    for x, arm in enumerate(arms):
        rows = line(drawn, panel="arms", name=arm, **{"class": name})
        policy, teacher = (rows[rows["quantity"] == q] for q in ("entropy", "floor"))
        mean, level = policy[policy["seed"] < 0].iloc[0], teacher[teacher["seed"] < 0].iloc[0]
        colour = style.colour(arm)
        ax.vlines(x, mean["low"], mean["high"], color=colour, linewidth=0.9, zorder=3)
        ax.plot(x, mean["estimate"], "o", color=colour, markersize=4, zorder=3)
        each = policy[policy["seed"] >= 0]["estimate"]
        ax.plot([x + 0.28] * len(each), each, "o", color=colour, markersize=1.8, zorder=3)
        ax.hlines(level["estimate"], x - 0.4, x + 0.4, color="0.25", linewidth=1.4, zorder=2)
    ax.set_xticks(range(len(arms)), arms, rotation=90)
    for tick, arm in zip(ax.get_xticklabels(), arms, strict=True):
        tick.set_color(style.colour(arm))
    ax.set_title(name, pad=3)
    ax.set_xlim(-0.6, len(arms) - 0.4)
    ax.margins(y=0.15)


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure; how much of the rollouts has no floor."""
    lost = line(drawn, panel="arms", quantity="impossible").set_index("name")["estimate"]
    left_out = ", ".join(f"{arm} {share:.1%}" for arm, share in lost.items())
    return [
        "Floor: the teacher's exact conditional entropy, below which no model's expected loss on fresh traces can be. "
        "Upper row: the base trained again from scratch; left, centre: on fresh traces of held-out problems (for half "
        "of the steps its diet was another, half compact). Upper right, middle row: the recorded base trained on. "
        "Fixed: a few traces, the same again and again; limited: a token of them pulls only while the policy is less "
        "sure than the teacher; fresh: new traces. Squares, thin lines: one seed; bands, bars: 95% intervals over "
        "problems. Lower row: rollouts at T = 1; dots: policy entropy (small: one seed); black: the teacher's at the "
        "same prefixes; no mark: no such token.",
        f"Left out, as the teacher could never have written what stands before them (share of tokens): {left_out}.",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `floor`.  Raises RecordError where it is missing."""
    drawn = tidy(limits.load(scale, data))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 7.9))
        bottom = style.caption(figure, caption(drawn))
        upper = figure.add_gridspec(2, 3, left=0.105, right=0.99, top=0.975, bottom=0.485, hspace=0.42, wspace=0.48)
        lower = figure.add_gridspec(1, 5, left=0.105, right=0.99, top=0.4, bottom=bottom + 0.045, wspace=0.45)
        top = [figure.add_subplot(upper[0, i]) for i in range(3)]
        excess_by_class(top[0], drawn)
        entropy_by_class(top[1], drawn)
        accuracy_by_distance(top[2], drawn)
        middle = [figure.add_subplot(upper[1, i]) for i in range(3)]
        over_diets(middle[0], drawn, "distance", "fixed traces: loss\n- floor (nats/token)")
        middle[0].axhline(0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
        over_diets(middle[1], drawn, "excess", "unseen traces: loss above\nthe teacher's (nats/token)")
        over_diets(middle[2], drawn, "accuracy", ACCURACY)
        middle[0].legend(fontsize=6.5, frameon=False, handlelength=2.2, labelspacing=0.25, loc="lower left")
        for i, name in enumerate((limits.ALL, *CLASSES)):
            by_arm(figure.add_subplot(lower[0, i]), drawn, name)
        figure.axes[-len(CLASS_STYLES)].set_ylabel("entropy of rollouts (nats/token)\ndots: policy, bars: teacher")
    return figure, drawn
