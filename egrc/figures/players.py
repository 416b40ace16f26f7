"""A picture that sliders move, and the same picture still, for pages without a kernel.  [ours]

What is drawn stands in the notebook, for the reader to edit; here are only the sliders and the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from matplotlib.figure import Figure

from egrc.analysis.shown import Shown
from egrc.checks import ConfigError
from egrc.figures import style

Draw = Callable[..., None]
"""Called as draw(ax, **settings)."""


def still(draw: Draw, panels: dict[str, dict[str, Any]], columns: int = 2) -> Shown:
    """One panel for each title, with these settings; settings that are refused say why in their panel."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.1 * rows), layout="constrained")
        for i, (title, settings) in enumerate(panels.items(), 1):
            ax = figure.add_subplot(rows, columns, i)
            ax.set_title(title)
            try:
                draw(ax, **settings)
            except ConfigError as reason:
                ax.text(0.5, 0.5, str(reason), ha="center", transform=ax.transAxes)
    return Shown("; ".join(panels), png=style.rendered(figure, "png"))


def player(draw: Draw, start: dict[str, Any], **reach: tuple[float, float, float]) -> ipywidgets.VBox:
    """Sliders with the picture that they move: `start` has all settings, `reach` lowest, highest and step of each."""
    kinds = {int: ipywidgets.IntSlider, float: ipywidgets.FloatSlider}
    sliders = {
        name: kinds[type(start[name])](
            value=start[name], min=low, max=high, step=step, description=name, continuous_update=False
        )
        for name, (low, high, step) in reach.items()
    }
    shown = ipywidgets.Output()

    def redraw(_: Any = None) -> None:
        made = still(draw, {"": {name: slider.value for name, slider in sliders.items()}}, columns=1)
        data, metadata = made._repr_mimebundle_()
        shown.outputs = ({"output_type": "display_data", "data": data, "metadata": metadata},)

    for slider in sliders.values():
        slider.observe(redraw, "value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox([*sliders.values()], layout={"flex_flow": "row wrap"}), shown])
