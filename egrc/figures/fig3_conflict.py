"""Figure 3: what each objective alone, and both in one reward, did to entropy, in all readings of the word.

Arm minus base on held-out problems; a change of entropy per token is split into the mix of tokens and the certainty
within each kind (`egrc.analysis.changes`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import changes, rows
from egrc.figures import style
from egrc.paths import DATA

SCALES = ("pocket",)
ARMS = ("accuracy", "compression", "joint")
N_BOOT = 1000
PANELS = ("per_token", "per_completion", "prefix", "tokens")
PARTS = {"mix": "s", "certainty": "D"}
"""Marker of each part of a change of entropy per token."""


def differences(policies: pd.DataFrame) -> pd.DataFrame:
    """Arm minus base on held-out problems: columns arm, quantity, seed (empty: mean over seeds), value, low, high."""
    lines = []
    for arm in ARMS:
        for quantity in PANELS:
            c = changes.change(policies, arm, quantity, N_BOOT)
            lines.append((arm, quantity, None, c.estimate, c.low, c.high))
            lines += [(arm, quantity, seed, value, None, None) for seed, value in enumerate(c.by_seed)]
        completions = policies[policies["kind"] == "completion"]
        own, base = (completions[completions["arm"] == name] for name in (arm, "base"))
        for seed, side in [(None, own), *own.groupby("seed")]:
            found = changes.split(base, side, N_BOOT if seed is None else 1).set_index("part").loc[list(PARTS)]
            values = found if seed is None else found[["estimate"]].assign(low=None, high=None)
            lines += [(arm, part, seed, *line) for part, line in zip(PARTS, values.to_numpy(), strict=True)]
    table = pd.DataFrame(lines, columns=["arm", "quantity", "seed", "value", "low", "high"])
    return table.astype(dict.fromkeys(table.columns[2:], float))


def panel(ax: Axes, drawn: pd.DataFrame, quantities: dict[str, str]) -> None:
    """Arm minus base, a marker for each quantity: mean with interval, every seed beside it."""
    ax.axhline(0, color=style.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    for i, arm in enumerate(ARMS):
        tint = style.colour(arm)
        for j, (quantity, marker) in enumerate(quantities.items()):
            own = drawn[(drawn["arm"] == arm) & (drawn["quantity"] == quantity)]
            x, mean = i + 0.27 * (j - (len(quantities) - 1) / 2), own[own["seed"].isna()].iloc[0]
            ax.plot([x, x], [mean["low"], mean["high"]], color=tint, linewidth=1.1)
            face = tint if marker == "o" else "white"
            ax.plot(x, mean["value"], marker, color=tint, markersize=4.2, markerfacecolor=face, zorder=3)
            seeds = own.loc[own["seed"].notna(), "value"]
            ax.plot([x + 0.11] * len(seeds), seeds, "o", color=tint, markersize=1.8, markeredgewidth=0)
    ax.set_xlim(-0.6, len(ARMS) - 0.4)
    ax.set_xticks(range(len(ARMS)), ARMS)
    for tick, arm in zip(ax.get_xticklabels(), ARMS, strict=True):
        tick.set_color(style.colour(arm))


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `policies`.  Raises RecordError."""
    drawn = differences(rows.load("policies", scale, data))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.4))
        for ax, quantity in zip(figure.subplots(2, 2).ravel(), PANELS, strict=True):
            what = changes.QUANTITIES[quantity]
            panel(ax, drawn, {quantity: "o"} | (PARTS if quantity == "per_token" else {}))
            ax.set_title(what.title)
            ax.set_ylabel(f"arm − base ({what.unit})")
        names = {"entropy per token": "o", "of it: mix": "s", "of it: certainty": "D"}
        entries = [Line2D([], [], linestyle="", marker=m, color="0.3", markersize=4.2, label=name,
                          markerfacecolor="0.3" if m == "o" else "white") for name, m in names.items()]  # fmt: skip
        figure.axes[0].legend(handles=entries, frameon=False, fontsize=6.5, loc="best", handletextpad=0.2)
        bottom = style.caption(figure, [
            "After training, on held-out problems at T = 1: means with 95% intervals (bootstrap over problems, or "
            "prefixes); small dots: one seed. Mix: more, or fewer, tokens of the uncertain kinds. Certainty: each kind "
            "less sure (upwards) or more. The two add up.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.085, right=0.99, top=0.94, bottom=bottom - 0.03, hspace=0.42, wspace=0.24)
    return figure, drawn
