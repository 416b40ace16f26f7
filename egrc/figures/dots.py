"""Rows of dots with intervals: what figures 6 to 9 are made of, and how their values are read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes

from egrc.figures import style

CONNECTOR = style.OKABE_ITO["vermillion"]
PLAIN = "0.25"
SEED: dict[str, Any] = {"markersize": 2.4, "markeredgecolor": "white", "markeredgewidth": 0.35, "zorder": 4}
"""A seed's dot: over the mean, and still apart from it."""


def colour(token_class: str) -> Any:
    """Connectors stand out; every other class is dark grey."""
    return CONNECTOR if token_class.startswith("connector") else PLAIN


def dot(ax: Axes, y: float, value: float, low: float, high: float, tint: Any, marker: str = "o", **more: Any) -> None:
    """One estimate with its interval, along x."""
    ax.plot([low, high], [y, y], color=tint, linewidth=1.0, zorder=2, solid_capstyle="butt")
    ax.plot(value, y, marker, color=tint, **{"markersize": 4.6, "markeredgewidth": 0.9, "zorder": 3, **more})


def seeds(ax: Axes, y: float, values: Iterable[float], tint: Any) -> None:
    """The same quantity of each seed alone, a little below the mean."""
    for value in values:
        ax.plot(value, y + 0.27, "o", color=tint, **SEED)


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


def say(ax: Axes, text: str) -> None:
    """A panel that has nothing to show says why."""
    ax.axis("off")
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=style.GREY, style="italic")
