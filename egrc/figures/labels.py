"""What figures share in words: names beside a crowded panel, so that none overlap, and a caption's temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes


class Mark(NamedTuple):
    """A point in data coordinates, its name, and the colour of both."""

    x: float
    y: float
    text: str
    colour: Any


def spread(values: Sequence[float], gap: float, top: float) -> np.ndarray:
    """Increasing values moved up until they are `gap` apart; those that would pass `top`, back down from there."""
    at = np.array(values, float)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + gap)
    if len(at) and at[-1] > top:
        at[-1] = top
        for i in range(len(at) - 2, -1, -1):
            at[i] = min(at[i], at[i + 1] - gap)
    return at


def beside(ax: Axes, marks: Sequence[Mark], line: float = 0.035) -> None:
    """The names right of the axes, in the order of their heights; `line` is a line of text as a share of its height."""
    marks = sorted(marks, key=lambda m: m.y)
    low, high = ax.get_ylim()
    right = ax.get_xlim()[1]
    for m, y in zip(marks, spread([m.y for m in marks], line * (high - low), high), strict=True):
        ax.plot([m.x, right], [m.y, y], color=m.colour, linewidth=0.4, alpha=0.5, zorder=1)
        ax.annotate(f" {m.text}", (right, y), fontsize=6.5, color=m.colour, va="center", annotation_clip=False)
    ax.set_xlim(right=right)
    ax.set_ylim(low, high)


def at_best(temperature: float | None) -> str:
    """' at T = ...' for a caption; nothing where no base has been evaluated."""
    return "" if temperature is None else f" at T = {temperature:g}, the temperature that suits the base best"
