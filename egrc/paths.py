"""Where things are: the one module that knows the repository's folders."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("EGRC_DATA") or ROOT / "data").resolve()
"""Records of runs and of benchmarks; the variable EGRC_DATA moves it."""
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
BUILD = ROOT / "build"
"""Never committed: checkpoints, logs, executed notebooks.  `make clean` removes it."""


def figures(scale: str) -> Path:
    """Where a scale's figures and tables go: the default scale's at the top, the others in a folder of their own."""
    return FIGURES if scale == "pocket" else FIGURES / scale


def run_folder(data: Path, scale: str, arm: str, seed: int) -> Path:
    """Of one finished run."""
    return data / "runs" / scale / arm / f"seed-{seed}"


def work_folder(data: Path, scale: str, arm: str, seed: int) -> Path:
    """Where an unfinished run keeps its checkpoints: in BUILD, or under a data folder other than DATA."""
    base = BUILD / "work" if data == DATA else data / "work"
    return base / scale / arm / f"seed-{seed}"


def shown(path: Path | str) -> str:
    """A path as it may be printed: relative to the repository if it lies inside, else as given."""
    full = Path(path).resolve()
    return str(full.relative_to(ROOT)) if full.is_relative_to(ROOT) else str(path)
