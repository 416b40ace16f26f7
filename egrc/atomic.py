"""Files that are either the old ones or the new ones, never half of one: temporary file, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd


class WriteError(OSError):
    """A file could not be written; what stood there before still does."""


def _replace(path: Path, fill: Callable[[Path], Any]) -> None:
    """Let `fill` write a temporary file in the same folder, then put it in the place of `path`.

    Raises WriteError where the disk is full or the folder cannot be written; the old file is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's 0600 would keep a shared checkout's other readers out
        temporary.replace(path)
    except OSError as error:
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}. "
            "Free some space (or make the folder writable) and run the command again; nothing was lost."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file, whole or not at all.  Raises WriteError, as all of these."""
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


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a compressed parquet without an index."""
    # no dictionary: of measured numbers hardly two are equal, and a dictionary of them only takes room
    how = {"compression": "zstd", "compression_level": 19, "use_dictionary": False}
    _replace(path, lambda file: table.to_parquet(file, index=False, **how))


def publish_folder(source: Path, target: Path) -> None:
    """Copy a folder to `target` so that a reader sees the old one or the new one, whole.

    Copied beside the target first, because the source may lie on another disk, where a rename cannot reach.
    Raises WriteError.
    """
    incoming, outgoing = (target.parent / f".{target.name}.{word}.tmp" for word in ("new", "old"))
    try:
        for leftover in (incoming, outgoing):
            shutil.rmtree(leftover, ignore_errors=True)
        shutil.copytree(source, incoming)
        if target.exists():
            target.rename(outgoing)
        incoming.rename(target)
    except (OSError, shutil.Error) as error:
        if outgoing.exists() and not target.exists():
            outgoing.rename(target)
        raise WriteError(
            f"cannot write {target}: {error}. "
            f"Free some space and run the command again; the finished run waits in {source}."
        ) from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        shutil.rmtree(outgoing, ignore_errors=True)
