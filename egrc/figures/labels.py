"""What figures share in words: names at their points, so that none overlap, and a caption's temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

SIDES = {-1: "right", 0: "center", 1: "left"}
PLACES = [(x, y) for far in (1, 2, 3) for x, y in ((far, 0), (-far, 0), (0, far), (0, -far), *((x * far, y * far)
          for x in (1, -1) for y in (1, -1)))]  # fmt: skip


class Mark(NamedTuple):
    """A point in data coordinates, its name, and the colour of both."""

    x: float
    y: float
    text: str
    colour: Any


def beside(ax: Axes, marks: Sequence[Mark], size: float = 7.0, gap: float = 5.0) -> None:
    """Each name at its point, at the first of `PLACES` where it stays right of the y axis and covers no point or name.

    For axes that have their limits and their place in the figure; `size` and `gap` in points.
    """
    FigureCanvasAgg(ax.get_figure()).draw()
    points = ax.transData.transform([(m.x, m.y) for m in marks])
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in points]
    for m in marks:
        for x, y in PLACES:
            side = SIDES[(x > 0) - (x < 0)]
            text = ax.annotate(m.text, (m.x, m.y), (x * gap, y * gap), textcoords="offset points", ha=side, va="center",
                               fontsize=size, color=m.colour, annotation_clip=False, zorder=5,
                               path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
            box = text.get_window_extent()
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.get_figure().bbox.x1
            if inside and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            raise ValueError(f"no place for the name {m.text!r}: a larger figure, or fewer names")
        taken.append(box)


def at_best(temperature: float | None) -> str:
    """' at T = ...' for a caption; nothing where a scale has no such temperature."""
    return "" if temperature is None else f" at T = {temperature:g}, the temperature that suits the base best"
