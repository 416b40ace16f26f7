"""Figure 3: what each objective alone, and both in one reward, did to entropy, in all readings of the word.

Arm minus base on held-out problems (`egrc.analysis.changes`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from egrc.analysis import changes, rows
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
ARMS = ("accuracy", "compression", "joint")
N_BOOT = 1000
PANELS = {
    "per_token": "entropy per token (nats)",
    "prefix": "... after fixed prefixes (nats)",
    "per_completion": "... per completion (nats)",
    "tokens": "length (tokens)",
}
"""The quantities, all arm minus base."""


def differences(policies: pd.DataFrame) -> pd.DataFrame:
    """Arm minus base on held-out problems: columns arm, quantity, seed (empty: mean over seeds), value, low, high."""
    lines = []
    for arm in ARMS:
        for quantity in PANELS:
            c = changes.change(policies, arm, quantity, N_BOOT)
            lines.append((arm, quantity, None, c.estimate, c.low, c.high))
            lines += [(arm, quantity, seed, value, None, None) for seed, value in enumerate(c.by_seed)]
    table = pd.DataFrame(lines, columns=["arm", "quantity", "seed", "value", "low", "high"])
    return table.astype(dict.fromkeys(table.columns[2:], float))


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `policies`.  Raises RecordError."""
    drawn = differences(rows.load("policies", scale, data))
    means = drawn[drawn["seed"].isna()].set_index(["quantity", "arm"])
    lower = [arm for arm in ARMS if means.loc[("per_token", arm), "high"] < 0]
    higher = [arm for arm in ARMS if means.loc[("per_token", arm), "low"] > 0]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.1))
        for ax, (quantity, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for y, arm in enumerate(ARMS):
                seeds = drawn.query("arm == @arm and quantity == @quantity")["value"].iloc[1:]
                values = means.loc[(quantity, arm), ["value", "low", "high"]]
                dots.dot(ax, y, *values, style.colour(arm), seeds=seeds)
            ax.axvline(0, **dots.GUIDE)
            first = ax is figure.axes[0]
            dots.name_rows(ax, ARMS if first else [""] * len(ARMS), [style.colour(arm) for arm in ARMS])
            ax.set_xlabel(title)
        message = f"Entropy per token fell: {', '.join(lower) or 'no arm'}; rose: {', '.join(higher) or 'no arm'}"
        figure.axes[0].set_title(message, loc="left")
        bottom = style.caption(figure, [
            "After training, arm − base on held-out problems at T = 1: means with 95% intervals (bootstrap over "
            "problems, or prefixes); small dots: one seed. The title counts intervals clear of 0.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.12, right=0.985, top=0.87, bottom=bottom, wspace=0.15)
    return figure, drawn
