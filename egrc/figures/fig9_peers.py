"""Figure 9: what a reader would pick instead of EGRC, as differences from EGRC at the same budget of rollouts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from egrc.analysis import ablations
from egrc.experiments import scales
from egrc.figures import against
from egrc.paths import DATA

SCALES = ("pocket",)
STUDY = "peers"
"""With phase 1 alone, and the objective that several peers build on."""


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of the study that are there.  Raises RecordError."""
    others = {arm: arm for arm in scales.study(scale, STUDY) if arm != ablations.WHOLE}
    return against.draw(STUDY, others, scale, data)
