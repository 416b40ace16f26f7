"""Do two runs agree?  Cell by cell in the first steps of steps.csv, as far as rounding lets them.  [ours]"""

from __future__ import annotations

import csv
import math
from pathlib import Path

STEPS = 3
"""Of a replay: enough for rewards, advantages and updates to show."""
TOLERANCE = 1e-5
"""Relative; far above rounding, far below what another rule would do."""


def differing_cell(new: list[dict[str, str]], old: list[dict[str, str]]) -> str | None:
    """The first cell in which rows of steps.csv differ by more than rounding, or None."""
    for row, (a, b) in enumerate(zip(new, old, strict=True), 1):
        differing = sorted(c for c in a.keys() | b.keys() if not _close(a.get(c), b.get(c)))
        if differing:
            return f"steps.csv, row {row}: {differing[0]} {a.get(differing[0])} was {b.get(differing[0])}"
    return None


def _close(a: str | None, b: str | None) -> bool:
    if a == b or a is None or b is None:
        return a == b
    try:
        return math.isclose(float(a), float(b), rel_tol=TOLERANCE, abs_tol=1e-8)
    except ValueError:  # words
        return False


def cells(file: Path) -> list[dict[str, str]]:
    """Rows as written; without the one column that is never the same."""
    with file.open(newline="") as lines:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(lines)]
