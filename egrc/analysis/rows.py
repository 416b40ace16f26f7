"""Rows of measurements, checked before anything is computed from them: refused by file and row, with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import measure
from egrc.analysis.shown import Shown
from egrc.experiments.records import RecordError

T = TypeVar("T")
ONE_ONLY = ("scale", "tokenizer")
"""What must not differ inside a table: counts of tokens, and entropies, of two tokenizers cannot be compared."""


def load(name: str, scale: str, data: Path | None = None) -> pd.DataFrame:
    """A measurement's table, checked.  Raises RecordError, also where it is missing or lacks a column."""
    file, made_at = measure.file(name, scale, data), measure.made_at(name)
    if scale != made_at and not file.is_file():
        raise RecordError(f"{name} is not measured at scale {scale!r}, only at {made_at}")
    table = check(measure.load(name, scale, data), file)
    if len(table) and table["scale"].iloc[0] != scale:
        raise RecordError(f"{paths.shown(file)}, row 1: scale {table['scale'].iloc[0]!r} in the folder of {scale!r}")
    return table


def check(table: pd.DataFrame, file: Path | str, single: Sequence[str] = ONE_ONLY) -> pd.DataFrame:
    """The table as it is, if it has no missing or infinite number and one value in each column of `single`.

    Raises RecordError with the file and the first bad row, counted from 1.
    """
    where = paths.shown(file)
    if lacking := [c for c in single if c not in table]:
        raise RecordError(f"{where}: no {', '.join(lacking)}; restore it or measure again")
    for column in single:
        first = np.flatnonzero(~table[column].duplicated())  # the first row of each value
        if len(first) > 1:
            value, other = table[column].iloc[first[:2]]
            raise RecordError(f"{where}, row {first[1] + 1}: {column} {other!r} beside {value!r}; measure them apart")
    for column in table.select_dtypes("number"):
        bad = ~np.isfinite(table[column].to_numpy(float))
        if bad.any():
            raise RecordError(f"{where}, row {int(bad.argmax()) + 1}: {column} is not a number; measure again")
    return table


def or_why(make: Callable[[], T]) -> T | Shown:
    """What `make` makes; where a record or a measurement is missing or bad, the sentence that says which, to be shown.

    For notebooks, which run at scales that have not been measured, too.
    """
    try:
        return make()
    except RecordError as error:
        return Shown(str(error))
