"""Figure 10: EGRC with one thing changed at a time, as differences from EGRC (`egrc.analysis.ablations`)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from egrc.analysis import ablations
from egrc.figures import against
from egrc.paths import DATA

SCALES = ("pocket",)


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study that are there.  Raises RecordError."""
    return against.draw(ablations.STUDY, ablations.WORDS, scale, data)
