"""Files that are either the old ones or the new ones, never half of one: temporary file, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd


class WriteError(OSError):
    """A file could not be written; what stood there before still does."""


def _replace(path: Path, fill: Callable[[Path], Any]) -> None:
    """Let `fill` write a temporary file in the same folder, then put it in the place of `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        remedy = "Free some space (or make the folder writable) and run the command again; nothing was lost."
        raise WriteError(f"cannot write {path}: {error.strerror or error}. {remedy}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file.  Here and below: whole or not at all; raises WriteError if it cannot be written."""
    _replace(path, lambda file: file.write_bytes(content))


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, keys in the order given, NaN refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a csv without an index; floats as Python's shortest exact form."""
    _replace(path, lambda file: table.to_csv(file, index=False))


def write_parquet(path: Path, table: pd.DataFrame, **schema: Any) -> None:
    """Write a compressed parquet without an index; `schema` is pyarrow's, where pandas cannot tell the types."""
    # no dictionary: of measured numbers hardly two are equal, and a dictionary of them only takes room
    how = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    _replace(path, lambda file: table.to_parquet(file, index=False, **how, **schema))


def publish_folder(source: Path, target: Path) -> None:
    """Copy a folder to `target`, beside it first, so that no half-copied one ever stands there."""
    incoming = target.with_name(f".{target.name}.new.tmp")
    try:
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.copytree(source, incoming)
        shutil.rmtree(target, ignore_errors=True)
        incoming.rename(target)
    except (OSError, shutil.Error) as error:
        shutil.rmtree(incoming, ignore_errors=True)
        remedy = f"Free some space and run the command again; the finished run waits in {source}."
        raise WriteError(f"cannot write {target}: {error}. {remedy}") from error
