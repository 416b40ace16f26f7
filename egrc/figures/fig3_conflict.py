"""Figure 3: what each objective alone, and both in one reward, did to entropy: another mix of tokens, or surer ones?

Arm minus base on held-out problems (`egrc.analysis.changes`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egrc.analysis import changes, rows
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
ARMS = ("accuracy", "compression", "joint")
N_BOOT = 1000
PANELS = {
    "per_token": "Entropy per token",
    "mix": "= by the mix of tokens",
    "certainty": "+ by certainty",
    "prefix": "After fixed prefixes",
}
"""The quantities, all arm minus base, in nats per token."""


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


def title(name: str, own: pd.DataFrame) -> str:
    """Which arms fell, and which rose: the interval, and every seed."""
    by_arm = own.groupby("arm", sort=False)
    fell = (by_arm[["value", "high"]].max() < 0).all(axis=1)
    rose = (by_arm[["value", "low"]].min() > 0).all(axis=1)
    return f"{name}\n{dots.message({'fell': fell.index[fell], 'rose': rose.index[rose]}, fell.index, room=24)}"


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `policies`.  Raises RecordError."""
    drawn = differences(rows.load("policies", scale, data))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.3))
        axes = figure.subplots(1, len(PANELS), sharex=True)
        for ax, (quantity, name) in zip(axes, PANELS.items(), strict=True):
            own = drawn[drawn["quantity"] == quantity]
            for y, arm in enumerate(ARMS):
                mean, *seeds = own[own["arm"] == arm].itertuples()
                dots.dot(ax, y, mean.value, mean.low, mean.high, style.colour(arm), seeds=[s.value for s in seeds])
            ax.axvline(0, **dots.GUIDE)
            first = ax is axes[0]
            dots.name_rows(ax, ARMS if first else [""] * len(ARMS), map(style.colour, ARMS))
            ax.set_title(title(name, own), loc="left")
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.set_xlabel("arm − base (nats)")
        bottom = style.caption(figure, [
            "Entropy per token after training, arm − base, on held-out problems at T = 1, and its two parts: "
            "other shares of the classes of tokens, and surer tokens within them. Means, to which a seed with more "
            "tokens gives more, with 95% intervals over problems or prefixes; small dots: one seed. Fell, rose: the "
            "interval, and every seed.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.12, right=0.985, top=0.8, bottom=bottom, wspace=0.15)
    return figure, drawn
