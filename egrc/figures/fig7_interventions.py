"""Figure 7: what becomes of length, entropy and accuracy when connectors are taken away or asked for at decoding.

Rows are conditions, columns quantities; the dashed lines are each arm's plain decoding.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egrc.analysis import effects, rows
from egrc.analysis.effects import PLAIN
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket", "real")
TITLES = {
    "length": "length\n(tokens)",
    "per_completion": "entropy\n(nats/completion)",
    "per_token": "entropy\n(nats/token)",
    "accuracy": "accuracy\n(share correct)",
    "cost": "KL from the policy\n(nats/token)",
}
SHOWN = tuple(quantity for quantity in TITLES if quantity != "per_completion")
"""In the figure; the page's table has all."""
NAMES = {
    "suppressed": "connectors forbidden",
    "logits -1": "their logits −1",
    PLAIN: "plain",
    "logits +1": "their logits +1",
    "logits +2": "their logits +2",
    "forced": "forced, half the time",
    "random tokens": "other tokens forbidden",
    "random places": "others, other places",
    "random logits +2": "other logits +2",
}
"""Connectors from fewer to more, then the controls."""
CONTROLS = list(NAMES).index("random tokens")
SHAPES = {"base": "o", "accuracy": "^", "compression": "s"}


@once
def tidy(data: Path, scale: str) -> pd.DataFrame:
    """The numbers drawn: a line per arm, condition and quantity, and one for each seed."""
    table = rows.load("interventions", scale, data)
    return pd.concat([effects.effects(table), effects.each_seed(table)], ignore_index=True)


def panel(ax: Axes, drawn: pd.DataFrame, conditions: list[str]) -> None:
    """One quantity of all arms under all conditions."""
    arms = [a for a in SHAPES if a in set(drawn["arm"])]
    for (arm, condition), own in drawn.groupby(["arm", "condition"]):
        y, tint = conditions.index(condition) + 0.25 * (arms.index(arm) - (len(arms) - 1) / 2), style.colour(arm)
        (line,), seeds = own[own["seed"].isna()].iloc, own["value"][own["seed"].notna()]
        dots.dot(ax, y, *line[["value", "value_low", "value_high"]], tint, SHAPES[arm], seeds, 0.11, markersize=3.6)
        if condition == PLAIN:
            ax.axvline(line["value"], color=tint, linewidth=0.6, linestyle=(0, (3, 2)), alpha=0.6, zorder=0)
    dots.name_rows(ax, [NAMES[c] for c in conditions])
    ax.axhline(sum(list(NAMES).index(c) < CONTROLS for c in conditions) - 0.5, color=style.GREY, linewidth=0.6)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))


def message(drawn: pd.DataFrame) -> str:
    """What forbidding connectors, and as much of other tokens, changes for the base, with intervals."""
    base = drawn[(drawn["arm"] == "base") & drawn["seed"].isna()].set_index(["condition", "quantity"])
    control = "random places" if "random places" in base.index.get_level_values(0) else "random tokens"

    def change(condition: str, quantity: str, times: float) -> str:
        value, low, high = times * base.loc[(condition, quantity), ["change", "change_low", "change_high"]]
        return f"{value:+.0f} [{low:+.0f}, {high:+.0f}]"

    lines = [
        f"{name}: {change(condition, 'length', 1)} tokens, accuracy {change(condition, 'accuracy', 100)} points"
        for name, condition in {"Connectors forbidden": "suppressed", "Others, as much": control}.items()
    ]
    return "\n".join(lines).replace("-", "−")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `interventions`.  Raises RecordError."""
    drawn = tidy(data, scale)
    conditions = [c for c in NAMES if c in set(drawn["condition"])]
    seeds, there = drawn["seed"].nunique(), set(drawn["arm"])
    lacking = [arm for arm in SHAPES if arm not in there and scale == "pocket"]  # elsewhere only the base is asked
    cut = drawn[(drawn["quantity"] == "truncated") & drawn["seed"].isna()]["value"].max()
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.2))
        for ax, quantity in zip(figure.subplots(1, len(SHOWN), sharey=True), SHOWN, strict=True):
            panel(ax, drawn[drawn["quantity"] == quantity], conditions)
            ax.set_xlabel(TITLES[quantity])
        dots.legend(figure, {a: m for a, m in SHAPES.items() if a in there})
        bottom = style.caption(figure, [
            "Markers: means with 95% intervals (bootstrap over held-out problems); small dots: one seed; dashed: plain "
            "decoding of the same arm; T = 1. Below the line: controls that take away (raise) as much of other tokens. "
            f"Entropy is the policy's own at the places it came to. At most {cut:.0%} of a condition's completions "
            "were cut." + " Here a verbose step opens with a connector by construction." * (scale == "pocket")
            + f" Missing: {', '.join(lacking)}." * bool(lacking)
            + f" Only {seeds} seed{'s' * (seeds > 1)}." * (seeds < 3),
        ])  # fmt: skip
        figure.axes[0].set_title(message(drawn), loc="left")
        figure.subplots_adjust(left=0.175, right=0.98, top=0.86, bottom=bottom + 0.04, wspace=0.2)
    return figure, drawn
