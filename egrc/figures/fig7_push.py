"""Figure 7: which tokens' gradient reaches the adapter, and where each objective pushes the connectors.

Above, the base policy: by class of token, the gradient's norm over that of random sets of as many tokens, and the push
on the connectors' probability mass.  Below, both for the connectors along training, where training has been watched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from egrc.analysis import gradients, rows
from egrc.analysis.gradients import Estimate
from egrc.entropy import CLASSES
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket", "smol")
MEASUREMENT = {"pocket": "tug", "smol": "tug_words"}
OBJECTIVES = ("accuracy", "compression")
ARMS = ("accuracy", "compression", "joint")
SHAPES = {"accuracy": "^", "compression": "s"}
LABELS = {
    "ratio": "gradient norm / that of random sets",
    "push": "push on the connectors' mass\n(change per unit step)",
}
TITLES = {
    "ratio": "base policy: gradient that reaches the adapter",
    "push": "base policy: push, by the tokens it comes from",
}
OF: dict[str, Callable[..., Estimate]] = {"ratio": gradients.norm_ratio, "push": gradients.push}


def line(table: pd.DataFrame, quantity: str, objective: str, token_class: str) -> list[dict[str, object]]:
    """One number of an arm at a step, over its seeds with its interval, then of each seed alone."""
    name = {"quantity": quantity, "objective": objective, "token_class": token_class}
    value, low, high = OF[quantity](table, objective, token_class)
    lines: list[dict[str, object]] = [name | {"value": value, "low": low, "high": high}]
    for seed, own in table.groupby("seed"):
        lines.append(name | {"seed": seed, "value": OF[quantity](own, objective, token_class)[0]})
    return lines


def random_sets(table: pd.DataFrame) -> pd.DataFrame:
    """How far random sets of a class's size scatter about their mean: lowest and highest norm, over seeds."""
    found = gradients.summary(table[table["permutation"] >= 0])
    lines = []
    for objective in OBJECTIVES:
        norm = found[f"norm_{objective}"]
        ratio = norm / norm.groupby([found["seed"], found["token_class"]]).transform("mean")
        ends = ratio.groupby(found["token_class"]).agg(["min", "max"])
        lines.append(ends.rename(columns={"min": "low", "max": "high"}).assign(objective=objective).reset_index())
    return pd.concat(lines, ignore_index=True).assign(quantity="random")


@once
def tidy(scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn: `quantity` ratio, push or random; lines with a seed are that seed's alone."""
    table = rows.load(MEASUREMENT[scale], scale, data)
    base, lines = table[table["arm"] == "base"], []
    permuted = set(base.loc[base["permutation"] >= 0, "token_class"])
    present = [c for c in ("all", *CLASSES) if c in set(base["token_class"])]
    for objective in OBJECTIVES:
        for token_class in dict.fromkeys((*present, *sorted(permuted))):
            if token_class in permuted:  # random sets of that size have been looked at
                lines += line(base, "ratio", objective, token_class)
            if token_class in present:
                lines += line(base, "push", objective, token_class)
    drawn = [pd.DataFrame(lines).assign(arm="base", step=0), random_sets(base).assign(arm="base", step=0)]
    for (arm, step), own in table[table["arm"] != "base"].groupby(["arm", "step"], sort=False):
        found = [x for o in OBJECTIVES for x in (*line(own, "ratio", o, "connector"), *line(own, "push", o, "all"))]
        drawn.append(pd.DataFrame(found).assign(arm=arm, step=step))
    return pd.concat(drawn, ignore_index=True)


def by_class(ax: Axes, drawn: pd.DataFrame, quantity: str) -> None:
    """The base policy, class by class, both objectives."""
    own = drawn[(drawn["arm"] == "base") & (drawn["quantity"] == quantity)]
    random = drawn[drawn["quantity"] == "random"].set_index(["objective", "token_class"])
    names = list(dict.fromkeys(own["token_class"]))
    for number, objective in enumerate(OBJECTIVES):
        tint = style.colour(objective)
        for y, token_class in enumerate(names):
            at = y + 0.3 * (number - 0.5)
            here = own[(own["objective"] == objective) & (own["token_class"] == token_class)]
            mean, seeds = here[here["seed"].isna()].iloc[0], here[here["seed"].notna()]["value"]
            if quantity == "ratio":
                ends = random.loc[(objective, token_class)]
                ax.hlines(at, ends["low"], ends["high"], color="0.85", linewidth=5, zorder=1)
            dots.dot(ax, at, mean["value"], mean["low"], mean["high"], tint, SHAPES[objective], markersize=4)
            if len(seeds) > 1:
                ax.plot(seeds, np.full(len(seeds), at + 0.15), "|", color=tint, markersize=3, markeredgewidth=0.7)
    shown = ["all tokens" if n == "all" else n.replace(" (", "\n(") for n in names]
    dots.name_rows(ax, shown, [dots.colour(n) for n in names])
    ax.axvline(1 if quantity == "ratio" else 0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(LABELS[quantity])


def along(ax: Axes, drawn: pd.DataFrame, quantity: str, arm: str) -> None:
    """One arm's training: both objectives, every seed thin, their mean thick with its interval."""
    own = drawn[(drawn["arm"] == arm) & (drawn["quantity"] == quantity)].sort_values("step")
    ax.axhline(1 if quantity == "ratio" else 0, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    if own.empty:
        dots.say(ax, f"{arm}: not measured")
        return
    for objective in OBJECTIVES:
        here, tint = own[own["objective"] == objective], style.colour(objective)
        for _, seed in here[here["seed"].notna()].groupby("seed"):
            ax.plot(seed["step"], seed["value"], color=tint, linewidth=0.6, alpha=0.7)
        mean = here[here["seed"].isna()]
        ax.fill_between(mean["step"], mean["low"], mean["high"], color=tint, alpha=0.18, linewidth=0)
        ax.plot(mean["step"], mean["value"], color=tint, linewidth=1.6, marker=SHAPES[objective], markersize=3.4)


def caption(drawn: pd.DataFrame, trained: bool) -> list[str]:
    """How to read the figure, and what is missing from it."""
    seeds = drawn["seed"].nunique()
    return [
        "Markers: mean over seeds, with 95% intervals (jackknife over problems); ticks and thin lines: one seed. "
        "Gradients are with respect to the adapter, summed over a batch of frozen rollouts: tokens have cancelled each "
        "other. Grey bars: random sets of as many tokens of the same problems (lowest to highest). Push: first-order "
        "change of the mean probability of a connector, for a step of unit length along the objective's gradient, less "
        "what shuffled advantages would do (dashed: 0); the classes' parts add up to all tokens.",
        "Below: rows as above, for connectors (ratio) and all tokens (push), while the arm named on top is trained. "
        "A band that leaves its panel: hardly any connector is left."
        if trained
        else "Training was not watched at this scale.",
        f"Only {seeds} seed{'s' * (seeds > 1)}." if seeds < 3 else "",
    ]


def training(figure: Figure, grid: GridSpec, drawn: pd.DataFrame) -> None:
    """Two rows of panels: connectors' gradient and push, arm by arm."""
    for row, quantity in enumerate(OF):
        for column, arm in enumerate(ARMS):
            ax = figure.add_subplot(grid[row, column], sharey=figure.axes[-column] if column else None)
            along(ax, drawn, quantity, arm)
            ax.tick_params(labelleft=column == 0)
            if row == 0:
                # as far as the lines go: where hardly a connector is left, a ratio's band has no end
                highest = drawn.loc[(drawn["arm"] != "base") & (drawn["quantity"] == quantity), "value"].max()
                ax.set_ylim(0, 1.05 * highest)
                ax.set_title(f"arm {arm}", color=style.colour(arm), fontweight="bold")
            if column == 0:
                ax.set_ylabel(LABELS[quantity].replace(" / ", " /\n"))
    for ax in figure.axes[-len(ARMS) :]:
        ax.set_xlabel("training step")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `tug` (smol: `tug_words`).  Raises RecordError."""
    drawn = tidy(scale, data)
    trained = bool((drawn["arm"] != "base").any())
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.6 if trained else 3.1))
        bottom = style.caption(figure, caption(drawn, trained))
        top, sides = 1 - 0.5 / figure.get_figheight(), {"left": 0.105, "right": 0.985}
        upper = figure.add_gridspec(1, 2, top=top, bottom=0.725 if trained else bottom + 0.04, wspace=0.27, **sides)
        for i, (quantity, title) in enumerate(TITLES.items()):
            by_class(figure.add_subplot(upper[i]), drawn, quantity)
            figure.axes[i].set_title(title)
        if trained:
            lower = figure.add_gridspec(2, 3, top=0.615, bottom=bottom, hspace=0.25, wspace=0.1, **sides)
            training(figure, lower, drawn)
        entries = [
            Line2D([], [], color=style.colour(o), marker=SHAPES[o], markersize=4, linewidth=1.2, label=f"{o} objective")
            for o in OBJECTIVES
        ]
        figure.legend(handles=entries, loc="upper center", ncols=2, frameon=False, fontsize=7.5)
    return figure, drawn
