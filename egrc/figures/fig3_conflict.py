"""Figure 3: what each objective alone, and both in one reward, did to entropy, in all readings of the word.

Arm minus base on held-out problems; a change of entropy per token is split into the mix of tokens and the certainty
within each kind (`egrc.analysis.changes`).
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
PARTS = ("mix", "certainty")
PANELS = {
    "entropy per token, arm − base (nats)": {"per_token": "", "mix": "of it: mix", "certainty": "of it: certainty"},
    "... after fixed prefixes (nats)": {"prefix": ""},
    "... per completion (nats)": {"per_completion": ""},
    "length, arm − base (tokens)": {"tokens": ""},
}
"""The quantities of each panel."""


def differences(policies: pd.DataFrame) -> pd.DataFrame:
    """Arm minus base on held-out problems: columns arm, quantity, seed (empty: mean over seeds), value, low, high."""
    lines = []
    for arm in ARMS:
        for quantity in (q for of in PANELS.values() for q in of if q not in PARTS):
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


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `policies`.  Raises RecordError."""
    drawn = differences(rows.load("policies", scale, data))
    means = drawn[drawn["seed"].isna()].set_index(["arm", "quantity"])
    apart = [arm for arm in ARMS if means.loc[(arm, "mix"), "high"] < 0 < means.loc[(arm, "certainty"), "low"]]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.9))
        grid = figure.add_gridspec(2, 3, height_ratios=(1.9, 1))
        places = (grid[0, :], *(grid[1, i] for i in range(3)))
        for place, (title, of) in zip(places, PANELS.items(), strict=True):
            ax, names = figure.add_subplot(place), []
            for arm in ARMS:
                for quantity, part in of.items():
                    seeds = drawn.query("arm == @arm and quantity == @quantity")["value"].iloc[1:]
                    face = {"markerfacecolor": "white"} if quantity in PARTS else {}
                    values = means.loc[(arm, quantity), ["value", "low", "high"]]
                    dots.dot(ax, len(names), *values, style.colour(arm), seeds=seeds, **face)
                    names.append(part or arm)
            ax.axvline(0, **dots.GUIDE)
            dots.name_rows(ax, names, [style.colour(arm) for arm in ARMS for _ in of])
            ax.set_xlabel(title)
        split = f"Uncertain tokens became rarer, yet each kind less sure: {', '.join(apart) or 'no arm'}"
        figure.axes[0].set_title(split, loc="left")
        bottom = style.caption(figure, [
            "After training, on held-out problems at T = 1: means with 95% intervals (bootstrap over problems, or "
            "prefixes); small dots: one seed. Mix: more, or fewer, tokens of the uncertain kinds. Certainty: each kind "
            "less sure (to the right) or more; the two add up. The title names arms with both intervals clear of 0.",
        ])  # fmt: skip
        figure.subplots_adjust(left=0.13, right=0.985, top=0.94, bottom=bottom, hspace=0.45, wspace=0.5)
    return figure, drawn
