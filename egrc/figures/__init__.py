"""The paper's figures: one module each, named as its file; `draw(scale, data)` returns the figure and its numbers.

A module with `SCALES` is drawn at those scales only: elsewhere there is nothing measured to draw.
"""

from __future__ import annotations

NAMES = (
    *("fig0_method", "fig1_training", "fig2_frontier", "fig3_conflict", "fig4_dilemma"),
    *("fig5_connectors", "fig6_push", "fig7_interventions", "fig8_words", "fig11_strip"),
    *("fig9_peers", "fig10_ablations"),
)
FIGURES = {name: f"egrc.figures.{name}" for name in NAMES}
"""Modules by name, as paths: importing one loads matplotlib, which is wanted only where something is drawn."""


def picture(name: str, scale: str) -> str:
    """The name under which `make paper` hands a figure on that it has drawn (`egrc.experiments.shared`)."""
    return f"{name}-{scale}.png"
