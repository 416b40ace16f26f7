"""The players: sliders that move a picture, and the same picture still."""

from __future__ import annotations

from matplotlib.axes import Axes

from egrc.checks import require
from egrc.figures import players

drawn: list[tuple[float, int]] = []


def draw(ax: Axes, low: float, window: int) -> None:
    require(low < 0.9, f"low={low}: must be below 0.9")
    drawn.append((low, window))
    ax.plot([low, window])


def test_stills_are_one_picture_and_settings_that_are_refused_do_not_stop_it() -> None:
    drawn.clear()
    shown = players.still(draw, {"one": {"low": 0.5, "window": 3}, "refused": {"low": 0.95, "window": 3}})
    assert shown.png is not None and shown.png.startswith(b"\x89PNG") and repr(shown) == "one; refused"
    assert drawn == [(0.5, 3)]


def test_sliders_move_the_picture() -> None:
    sliders, picture = players.player(draw, {"low": 0.5, "window": 3}, low=(0.1, 1.0, 0.05), window=(1, 9, 1)).children
    low, window = sliders.children
    pictures = [picture.outputs[0]["data"]["image/png"]]
    for slider, value in ((window, 7), (low, 0.95)):
        slider.value = value
        pictures.append(picture.outputs[0]["data"]["image/png"])
    assert len(set(pictures)) == 3 and drawn[-1] == (0.5, 7) and window.step == 1
