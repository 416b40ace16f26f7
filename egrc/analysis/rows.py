"""Rows of measurements, checked before anything is computed from them; for notebooks, why there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import measure
from egrc.analysis.shown import Shown
from egrc.experiments.records import RecordError

T = TypeVar("T")


def load(name: str, scale: str, data: Path | None = None) -> pd.DataFrame:
    """A measurement's table.  Raises NotMade where it is missing; RecordError where it is damaged, lacks a column, or
    has a number that is none, with the row, counted from 1."""
    table = measure.load(name, scale, data)
    numbers = table.select_dtypes("number")
    if (bad := ~np.isfinite(numbers.to_numpy(float))).any():
        row, column = np.argwhere(bad)[0]
        where = f"{paths.shown(measure.file(name, scale, data))}, row {row + 1}"
        raise RecordError(f"{where}: {numbers.columns[column]} is not a number; measure again")
    return table


def or_why(make: Callable[[], T]) -> T | Shown:
    """What `make` makes; where a record or a measurement is missing or bad, the sentence that says which, to be shown.

    For notebooks, which run at scales that have not been measured, too.
    """
    try:
        return make()
    except RecordError as error:
        return Shown(str(error))
