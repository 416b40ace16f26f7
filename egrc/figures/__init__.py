"""The paper's figures: one module each, named as its file; `draw(scale, data)` returns the figure and its numbers."""

from __future__ import annotations

FIGURES = {name: f"egrc.figures.{name}" for name in ("fig1_training", "fig2_frontier")}
"""Modules by name, as paths: importing one loads matplotlib, which is wanted only where something is drawn."""
