"""Figure 8: what becomes of length, entropy and accuracy when connectors are taken away or asked for at decoding.

Rows are conditions, columns quantities; the dashed lines are each arm's plain decoding.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from egrc.analysis import effects, rows
from egrc.analysis.effects import PLAIN
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
SHOWN = ("length", "per_completion", "per_token", "accuracy", "cost")
TITLES = {
    "length": "length\n(tokens)",
    "per_completion": "entropy\n(nats/completion)",
    "per_token": "entropy\n(nats/token)",
    "accuracy": "accuracy\n(share correct)",
    "cost": "KL from the policy\n(nats/token)",
}
ORDER = (
    *("suppressed", "logits -1", PLAIN, "logits +1", "logits +2", "forced"),
    *("random tokens", "random places", "random logits +2"),
)
"""Connectors from fewer to more, then the controls."""
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
SHAPES = {"base": "o", "accuracy": "^", "compression": "s"}


@once
def tidy(data: Path, scale: str) -> pd.DataFrame:
    """The numbers drawn: a line per arm, condition and quantity, and one for each seed."""
    table = rows.load("interventions", scale, data)
    return pd.concat([effects.effects(table), effects.each_seed(table)], ignore_index=True)


def panel(ax: Axes, drawn: pd.DataFrame, conditions: list[str]) -> None:
    """One quantity of all arms under all conditions."""
    arms = [a for a in SHAPES if a in set(drawn["arm"])]
    for number, arm in enumerate(arms):
        own, tint = drawn[drawn["arm"] == arm], style.colour(arm)
        for _, line in own[own["problems"].notna()].iterrows():
            y = conditions.index(line["condition"]) + 0.24 * (number - (len(arms) - 1) / 2)
            each = own[(own["condition"] == line["condition"]) & own["seed"].notna()]["value"]
            dots.dot(ax, y, line["value"], line["value_low"], line["value_high"], tint, SHAPES[arm], markersize=3.6)
            for value in each:
                ax.plot(value, y + 0.11, "|", color=tint, markersize=2.6, markeredgewidth=0.6, zorder=1)
            if line["condition"] == PLAIN:
                ax.axvline(line["value"], color=tint, linewidth=0.6, linestyle=(0, (3, 2)), alpha=0.6, zorder=0)
    dots.name_rows(ax, [NAMES[c] for c in conditions])
    ax.axhline(ORDER.index("random tokens") - 0.5, color=style.GREY, linewidth=0.6)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure, and what is missing from it."""
    lacking = [a for a in SHAPES if a not in set(drawn["arm"])]
    seeds = drawn["seed"].dropna().nunique()
    cut = drawn[(drawn["quantity"] == "truncated") & drawn["problems"].notna()]["value"].max()
    return [
        "Markers: mean over samples and seeds, with 95% intervals (bootstrap over held-out problems); ticks: one seed; "
        "dashed: plain decoding of the same arm. All at T = 1. Below the line: controls that take away (raise) other "
        "tokens than connectors, as much as forbidding (raising) connectors would; the last column says how far the "
        "sampled distribution was from the policy. Entropy is that of the policy itself, at the places it came to. Up "
        f"to {cut:.0%} of a condition's completions were cut at the cap. In the pocket world a verbose step opens with "
        "a connector by construction.",
        f"Missing: {', '.join(lacking)}." if lacking else "",
        f"Only {seeds} seeds." if seeds < 3 else "",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `interventions`.  Raises RecordError."""
    drawn = tidy(data, scale)
    conditions = [c for c in ORDER if c in set(drawn["condition"])]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.2))
        axes = figure.subplots(1, len(SHOWN), sharey=True)
        for ax, quantity in zip(axes, SHOWN, strict=True):
            panel(ax, drawn[drawn["quantity"] == quantity], conditions)
            ax.set_xlabel(TITLES[quantity])
        entries = [
            Line2D([], [], color=style.colour(a), marker=m, markersize=3.6, linewidth=1, label=a)
            for a, m in SHAPES.items()
            if a in set(drawn["arm"])
        ]
        figure.legend(handles=entries, loc="upper center", ncols=len(entries), frameon=False, fontsize=7.5)
        bottom = style.caption(figure, caption(drawn))
        figure.subplots_adjust(left=0.175, right=0.98, top=0.93, bottom=bottom + 0.04, wspace=0.2)
    return figure, drawn
