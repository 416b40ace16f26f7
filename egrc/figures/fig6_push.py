"""Figure 6: which tokens' gradient reaches the adapter, and where each objective pushes the connectors.

The base policy, by class of token: the gradient's norm over that of random sets of as many tokens, and the push on the
connectors' probability mass (`egrc.analysis.gradients`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from egrc.analysis import gradients
from egrc.entropy import CLASSES
from egrc.experiments.shared import once
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket", "real")
OBJECTIVES = ("accuracy", "compression")
SHAPES = {"accuracy": "^", "compression": "s"}
OF = {"ratio": gradients.norm_ratio, "push": gradients.push}
LABELS = {
    "ratio": ("gradient norm / that of random sets of as many tokens", 1),
    "push": ("push on connectors' mass by these tokens", 0),
}
"""Label, and what means nothing."""
WAYS = {"ratio": ("larger", "smaller"), "push": ("up", "down")}


@once
def tidy(scale: str, data: Path) -> pd.DataFrame:
    """The numbers drawn: `quantity` ratio or push (with a `seed`: of that seed alone), or random (how far random sets
    of a class's size scatter about their mean norm, lowest and highest over seeds)."""
    table = gradients.load_base(scale, data)
    permuted = table[table["permutation"] >= 0]
    sets = {"ratio": set(permuted["token_class"]), "push": {"all", *CLASSES} & set(table["token_class"])}
    lines, norms = [], gradients.summary(permuted)
    for objective in OBJECTIVES:
        for name in dict.fromkeys(("all", *CLASSES, *sorted(sets["ratio"]))):
            for quantity in (q for q in OF if name in sets[q]):
                what = {"quantity": quantity, "objective": objective, "token_class": name}
                found = OF[quantity](table, objective, name)
                lines.append(what | dict(zip(("value", "low", "high"), found, strict=True)))
                lines += [what | {"seed": seed, "value": OF[quantity](own, objective, name)[0]}
                          for seed, own in table.groupby("seed")]  # fmt: skip
        norm = norms[f"norm_{objective}"]
        ratio = norm / norm.groupby([norms["seed"], norms["token_class"]]).transform("mean")
        ends = ratio.groupby(norms["token_class"]).agg(low="min", high="max").reset_index()
        lines += ends.assign(quantity="random", objective=objective).to_dict("records")
    return pd.DataFrame(lines).assign(arm="base")


def panel(ax: Axes, drawn: pd.DataFrame, quantity: str) -> None:
    """One quantity, class by class, under both objectives."""
    own = drawn[drawn["quantity"] == quantity]
    random = drawn[drawn["quantity"] == "random"].set_index(["objective", "token_class"])
    names = list(dict.fromkeys(own["token_class"]))
    for (objective, name), here in own.groupby(["objective", "token_class"]):
        at = names.index(name) + 0.34 * (OBJECTIVES.index(objective) - 0.5)
        if quantity == "ratio":
            ax.hlines(at, *random.loc[(objective, name), ["low", "high"]], color="0.85", linewidth=5, zorder=1)
        mean, seeds = here[here["seed"].isna()].iloc[0], here["value"][here["seed"].notna()]
        dots.dot(ax, at, *mean[["value", "low", "high"]], style.colour(objective), SHAPES[objective],
                 seeds if len(seeds) > 1 else (), 0.16, markersize=4)  # fmt: skip
    shown = ["all tokens" if n == "all" else n.replace(" (", "\n(") for n in names]
    dots.name_rows(ax, shown, [dots.colour(n) for n in names])
    label, nothing = LABELS[quantity]
    ax.axvline(nothing, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_title(message(own, quantity), loc="left")
    ax.set_xlabel(label)


def message(own: pd.DataFrame, quantity: str) -> str:
    """What came out for the connectors, by intervals that are clear of what means nothing."""
    means = own[own["seed"].isna()] if "seed" in own else own
    of = means[means["token_class"] == ("connector" if quantity == "ratio" else "all")].set_index("objective")
    nothing, (more, less) = LABELS[quantity][1], WAYS[quantity]
    ways = {o: more if of["low"][o] > nothing else less if of["high"][o] < nothing else "unclear" for o in OBJECTIVES}
    head = "Connectors' gradient, against random sets" if quantity == "ratio" else "Connectors are pushed"
    return f"{head}\n" + "; ".join(f"{o}: {way}" for o, way in ways.items())


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the measurement `tug` (real: `tug_words`).  Raises RecordError."""
    drawn = tidy(scale, data)
    seeds = drawn["seed"].nunique()
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 3.15))
        for ax, quantity in zip(figure.subplots(1, 2), OF, strict=True):
            panel(ax, drawn, quantity)
        dots.legend(figure, SHAPES, "{} objective")
        bottom = style.caption(figure, [
            "Base policy; markers: mean over seeds, with 95% intervals (jackknife over problems); dots: one seed. "
            "Grey: random sets, lowest to highest. Push: first-order change of the mean probability of a connector for "
            "a step of unit length along the objective's gradient, less what shuffled advantages would do."
            + f" Only {seeds} seed{'s' * (seeds > 1)}." * (seeds < 3),
        ])  # fmt: skip
        figure.subplots_adjust(left=0.105, right=0.985, top=0.81, bottom=bottom + 0.02, wspace=0.27)
    return figure, drawn
