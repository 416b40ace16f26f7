"""What several processes of one `make paper` need is worked out by the first of them and read by the others.

Figures, tables and notebooks show the same numbers, each in a process of its own.  `paper.products` names a folder for
them in the environment and removes it afterwards, so nothing can outlive what it was made from; without that folder, as
in JupyterLab or in a test, every number is worked out where it is asked for.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import pandas as pd

from egrc.atomic import write_bytes

FOLDER = "EGRC_SHARED"
P = ParamSpec("P")


def once(work: Callable[P, pd.DataFrame]) -> Callable[P, pd.DataFrame]:
    """A function whose table is kept, as parquet, by its name and its arguments (tables among them by their content).

    Its arguments must say all that matters, apart from the files under data/, which do not change meanwhile.  Two that
    ask at once both work it out, and get the same.
    """

    @wraps(work)
    def worked(*args: P.args, **named: P.kwargs) -> pd.DataFrame:
        if not os.environ.get(FOLDER):
            return work(*args, **named)
        arguments = inspect.signature(work).bind(*args, **named)
        arguments.apply_defaults()
        key = hashlib.sha256(repr([_key(value) for value in arguments.arguments.values()]).encode()).hexdigest()[:16]
        file = Path(os.environ[FOLDER]) / f"{work.__module__}.{work.__qualname__}-{key}.parquet"
        if not file.is_file():
            table = work(*args, **named)
            if not isinstance(table.index, pd.RangeIndex):
                raise TypeError(f"{work.__qualname__}: only a table without an index of its own can be kept")
            write_bytes(file, table.to_parquet())  # read soon and often: quick to write
        return pd.read_parquet(file)  # also who worked it out: all go on with the very same table

    return worked


def _key(value: object) -> str:
    """An argument as text that tells it from any other."""
    if isinstance(value, pd.Series):
        value = value.rename(value.name or "values").to_frame()
    if isinstance(value, pd.DataFrame):
        return hashlib.sha256(value.to_parquet(compression=None)).hexdigest()
    return repr(value)


def keep(name: str, content: bytes) -> None:
    """Hand a file on to all processes of this `make paper`; outside of one, nobody is there to have it."""
    if place := os.environ.get(FOLDER):
        write_bytes(Path(place) / name, content)


def kept(name: str) -> bytes | None:
    """What was handed on under this name, or None."""
    file = Path(os.environ.get(FOLDER) or "") / name
    return file.read_bytes() if os.environ.get(FOLDER) and file.is_file() else None
