"""What figures are made of: means with intervals, each seed a small dot, names beside them, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import tables
from egrc.figures import style

CONNECTOR = style.OKABE_ITO["vermillion"]
PLAIN = "0.25"
SEED: dict[str, Any] = {"markersize": 2.2, "markeredgecolor": "white", "markeredgewidth": 0.3, "zorder": 4}
"""A seed's dot: over the mean, and still apart from it."""
GUIDE: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}
"""A bound, a floor, or nothing happening: dashed."""


def colour(token_class: str) -> Any:
    """Connectors stand out; every other class is dark grey."""
    return CONNECTOR if token_class.startswith("connector") else PLAIN


def dot(
    ax: Axes, y: float, value: float, low: float, high: float, tint: Any, marker: str = "o",
    seeds: Sequence[float] = (), below: float = 0.27, **more: Any,
) -> None:  # fmt: skip
    """One estimate with its interval, along x; a little `below`, the same quantity of each seed alone."""
    ax.plot([low, high], [y, y], color=tint, linewidth=1.0, zorder=2, solid_capstyle="butt")
    ax.plot(value, y, marker, color=tint, **{"markersize": 4.6, "markeredgewidth": 0.9, "zorder": 3, **more})
    if len(seeds):
        ax.plot(seeds, [y + below] * len(seeds), "o", color=tint, **SEED)


def name_rows(ax: Axes, names: Sequence[str], tints: Iterable[Any] = ()) -> None:
    """Names on the y axis, the first on top; faint lines lead from a name to its dots."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for y in range(len(names)):
        ax.axhline(y, color="0.93", linewidth=0.6, zorder=0)
    for label, tint in zip(ax.get_yticklabels(), tints, strict=False):
        label.set_color(tint)


def name_ends(ax: Axes, ends: Mapping[str, float], size: float = 7.0) -> None:
    """Arms' names right of the panel, each as near to where its line ends (`ends`) as the others let it.  For axes that
    have their limits and their place in the figure; `size` in points."""
    low, high = ax.get_ylim()
    gap = 1.3 * size / 72 / (ax.get_position().height * ax.get_figure().get_figheight())  # as a share of the panel
    arms = sorted(ends, key=ends.__getitem__)
    places = [(ends[arm] - low) / (high - low) for arm in arms]
    up = list(accumulate(places, lambda last, y: max(last + gap, y)))
    down = list(accumulate(reversed(places), lambda last, y: min(last - gap, y)))[::-1]
    for arm, *both in zip(arms, up, down, strict=True):
        ax.text(1.02, sum(both) / 2, arm, color=style.colour(arm), fontsize=size, va="center", transform=ax.transAxes)


def message(ways: Mapping[str, Sequence[str]], every: Sequence[str], room: int) -> str:
    """What the arms did, for a title: 'fell: a, b; rose: all but c', or '2 fell, 5 rose' where that has no `room`."""
    named, counted = [], []
    for way, arms in ways.items():
        others = [arm for arm in every if arm not in arms]
        names = ", ".join(arms) if others[1:] or len(arms) < 2 else " but ".join(["all", *others])
        named += [f"{way}: {names}"] * (len(arms) > 0)
        counted += [f"{len(arms)} {way}"] * (len(arms) > 0)
    said = "; ".join(named) or "no clear difference"
    return said if len(said) <= room else ", ".join(counted)


def legend(figure: Figure, shapes: Mapping[str, str], name: str = "{}") -> None:
    """One line above the panels: arms with their colours and shapes."""
    entries = [Line2D([], [], color=style.colour(arm), marker=marker, markersize=4, linewidth=1, label=name.format(arm))
               for arm, marker in shapes.items()]  # fmt: skip
    figure.legend(handles=entries, loc="upper center", ncols=len(entries), frameon=False, fontsize=7.5)


def missing(arms: Iterable[str], runs: pd.DataFrame) -> str:
    """What a reader must be told: arms without a record, or with few seeds, of `runs` (columns arm, seed); else ''."""
    return tables.missing(arms, runs[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None))
