"""What several processes of one `make paper` need is worked out by the first of them and read by the others.

`paper.products` names a folder for it in the environment and removes it afterwards; without that folder, as in
JupyterLab or in a test, every number is worked out where it is asked for.
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

    Its arguments must say all that matters, apart from the files under data/, which do not change meanwhile.
    """

    @wraps(work)
    def worked(*args: P.args, **named: P.kwargs) -> pd.DataFrame:
        if not os.environ.get(FOLDER):
            return work(*args, **named)
        given = inspect.signature(work).bind(*args, **named)
        given.apply_defaults()
        key = hashlib.sha256(repr([_key(value) for value in given.arguments.values()]).encode()).hexdigest()[:16]
        file = Path(os.environ[FOLDER]) / f"{work.__module__}.{work.__qualname__}-{key}.parquet"
        if not file.is_file():
            write_bytes(file, work(*args, **named).to_parquet())
        return pd.read_parquet(file)  # also who worked it out: all go on with the very same table

    return worked


def _key(value: object) -> str:
    """An argument as text that tells it from any other."""
    table = value.rename(value.name or "values").to_frame() if isinstance(value, pd.Series) else value
    return str(table.to_parquet(compression=None)) if isinstance(table, pd.DataFrame) else repr(value)


def keep(name: str, content: bytes) -> None:
    """Hand a file on to all processes of this `make paper`; outside of one, nobody is there to have it."""
    if place := os.environ.get(FOLDER):
        write_bytes(Path(place) / name, content)


def kept(name: str) -> bytes | None:
    """What was handed on under this name, or None."""
    file = Path(os.environ.get(FOLDER) or "nowhere") / name
    return file.read_bytes() if file.is_file() else None
