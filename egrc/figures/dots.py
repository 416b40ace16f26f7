"""What figures are made of: means with intervals, each seed a small dot, names at their points, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from egrc.analysis import tables
from egrc.figures import style

CONNECTOR = style.OKABE_ITO["vermillion"]
PLAIN = "0.25"
SEED: dict[str, Any] = {"markersize": 2.2, "markeredgecolor": "white", "markeredgewidth": 0.3, "zorder": 4}
"""A seed's dot: over the mean, and still apart from it."""
GUIDE: dict[str, Any] = {"color": style.GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}
"""A bound, a floor, or nothing happening: dashed."""
SIDES = {-1: "right", 0: "center", 1: "left"}
PLACES = [(x * far, y * far) for far in (1, 2, 3, 5, 7, 9, 12) for x, y in (
    (1, 0), (-1, 0), (0, 1), (0, -1), *((x, y) for y in (1, -1, 0.5, -0.5) for x in (1, -1)))]  # fmt: skip


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


def point(ax: Axes, line: pd.Series, x: str, y: str, tint: Any, seeds: pd.DataFrame | None = None, **more: Any) -> None:
    """One estimate in a plane, with its intervals (columns `x`_low, `x`_high, ...), and each seed of it."""
    ax.plot([line[f"{x}_low"], line[f"{x}_high"]], [line[y]] * 2, color=tint, linewidth=0.9)
    ax.plot([line[x]] * 2, [line[f"{y}_low"], line[f"{y}_high"]], color=tint, linewidth=0.9)
    ax.plot(line[x], line[y], **{"color": tint, "marker": "o", "markersize": 5, "markeredgewidth": 0.9, **more})
    if seeds is not None:
        ax.plot(seeds[x], seeds[y], "o", color=tint, **SEED)


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


def name_points(ax: Axes, marks: Iterable[tuple[float, float, str, Any]], size: float = 7.0, gap: float = 5.0) -> None:
    """Each name (x, y, name, colour) at the first of `PLACES` where it covers no point and no name (else the least),
    with a line to it where that is far.  For axes that have their limits and their place in the figure; `size` and
    `gap` in points."""
    marks, canvas = list(marks), FigureCanvasAgg(ax.get_figure())
    canvas.draw()
    points = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in ax.transData.transform([m[:2] for m in marks])]
    names: list[Bbox] = []
    for x, y, name, tint in marks:
        text = ax.annotate(
            name, (x, y), (0, 0), textcoords="offset points", va="center", color=tint, zorder=5, fontsize=size,
            annotation_clip=False, path_effects=[withStroke(linewidth=3, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": tint, "linewidth": 0.5, "shrinkB": 2},
        )  # fmt: skip

        def put(place: tuple[float, float], text: Any = text) -> Bbox:
            dx, dy = place
            text.xyann = dx * gap, dy * gap
            text.set_horizontalalignment(SIDES[(dx > 0) - (dx < 0)])
            text.arrow_patch.set_visible(max(abs(dx), abs(dy)) > 2)
            text.update_positions(canvas.get_renderer())
            return Text.get_window_extent(text).padded(1.5)  # without the line

        def covered(place: tuple[float, float]) -> int:
            box = put(place)
            inside = ax.bbox.x0 < box.x0 and box.x1 < ax.bbox.x1 and ax.bbox.y0 < box.y0 and box.y1 < ax.bbox.y1
            return 10**4 * (not inside) + sum(100 * box.overlaps(n) for n in names) + sum(map(box.overlaps, points))

        names.append(put(next((place for place in PLACES if not covered(place)), None) or min(PLACES, key=covered)))


def legend(figure: Figure, shapes: Mapping[str, str], name: str = "{}") -> None:
    """One line above the panels: arms with their colours and shapes."""
    entries = [Line2D([], [], color=style.colour(arm), marker=marker, markersize=4, linewidth=1, label=name.format(arm))
               for arm, marker in shapes.items()]  # fmt: skip
    figure.legend(handles=entries, loc="upper center", ncols=len(entries), frameon=False, fontsize=7.5)


def missing(arms: Iterable[str], runs: pd.DataFrame) -> str:
    """What a reader must be told: arms without a record, or with few seeds, of `runs` (columns arm, seed); else ''."""
    return tables.missing(arms, runs[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None))
