"""Rows of dots with intervals: what figures 6 to 9, 11 and 13 are made of, and how their values are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.figures import style

CONNECTOR = style.OKABE_ITO["vermillion"]
PLAIN = "0.25"
SEED: dict[str, Any] = {"markersize": 2.2, "markeredgecolor": "white", "markeredgewidth": 0.3, "zorder": 4}
"""A seed's dot: over the mean, and still apart from it."""


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


def name_rows(ax: Axes, names: Sequence[str], tints: Sequence[Any] | None = None) -> None:
    """Names on the y axis, the first on top; faint lines lead from a name to its dots."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for y in range(len(names)):
        ax.axhline(y, color="0.93", linewidth=0.6, zorder=0)
    for label, tint in zip(ax.get_yticklabels(), tints or [], strict=False):
        label.set_color(tint)


def legend(figure: Figure, shapes: Mapping[str, str], name: str = "{}") -> None:
    """One line above the panels: arms with their colours and shapes."""
    entries = [Line2D([], [], color=style.colour(arm), marker=marker, markersize=4, linewidth=1, label=name.format(arm))
               for arm, marker in shapes.items()]  # fmt: skip
    figure.legend(handles=entries, loc="upper center", ncols=len(entries), frameon=False, fontsize=7.5)
