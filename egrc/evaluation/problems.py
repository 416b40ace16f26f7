"""Word problems from local files, checked as they are read, in one typed record.  [ours]

A `Schema` says which columns hold the problem and its answer, and how a gold answer is read from the
latter. GSM8K's is the only one here; another benchmark is another `Schema`.  Files may be json, jsonl,
csv or parquet.

Where training and test problems come from one file, a hash of the problem's text divides them: the same
problem falls on the same side whatever stands around it, and a repeated one cannot stand on both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from egrc.checks import ConfigError
from egrc.paths import ROOT

VARIABLE = "EGRC_PROBLEMS"
"""Environment variable that names a folder (or a file) of problems."""
HANDMADE = ROOT / "data" / "problems" / "handmade.jsonl"
"""Grade-school problems written for this project: what is used where nobody names a folder."""
TEST_SHARE = 0.5
"""Of a single file, the share of problems that the hash keeps for testing."""
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")

log = logging.getLogger(__name__)


class ProblemError(ConfigError):
    """A file of problems cannot be used; the message names file, row and column, and what is expected."""


@dataclass(frozen=True)
class Problem:
    """One problem, whatever file it came from."""

    id: str
    """'source/split/row'; stable as long as the file is."""
    text: str
    """What is asked."""
    gold: tuple[str, ...]
    """Accepted final answers; any of them is right."""
    solution: str
    """Worked steps without the final line; empty where the source has none."""
    source: str
    """Name of the benchmark."""


@dataclass(frozen=True)
class Schema:
    """How a source writes its problems."""

    name: str
    """Name of the benchmark, and of its folder inside a data directory."""
    problem: str
    """Column of the problem's text."""
    answer: str
    """Column of the answer."""
    read: Callable[[Any], tuple[str, tuple[str, ...]]]
    """From a cell of `answer` to (solution, gold answers); raises ValueError that says what is missing."""


def read_gsm8k(cell: Any) -> tuple[str, tuple[str, ...]]:
    """Worked steps, without GSM8K's <<calculator notes>>, and the number after the last '####'.

    Thousands separators, dollar and per cent signs are dropped.  Raises ValueError where the cell is no
    text or no number follows.
    """
    if not isinstance(cell, str):
        raise ValueError(f"expected text that ends in '#### number', found {type(cell).__name__}")
    solution, mark, gold = cell.rpartition("####")
    number = re.sub(r"[\s,$%]", "", gold)
    if not mark or not re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)(/\d+)?", number):
        raise ValueError(f"expected text that ends in '#### number', found {cell[-40:]!r}")
    return re.sub(r"<<.*?>>", "", solution).strip(), (number,)


GSM8K = Schema("gsm8k", "question", "answer", read_gsm8k)


def load(path: Path, schema: Schema = GSM8K, source: str | None = None) -> list[Problem]:
    """All problems of one file, in its order.

    Raises `ProblemError` for a missing, unreadable or empty file, a missing column, and any row without
    a problem or a gold answer.  Rows count from 1: the line in jsonl, else the record (a csv's header
    is none).
    """
    rows = list(_rows(path))
    if not rows:
        raise ProblemError(f"{path}: no rows; expected columns {schema.problem!r} and {schema.answer!r}")
    return [_problem(path, number, row, schema, source or schema.name) for number, row in rows]


def splits(folder: Path | str | None = None, schema: Schema = GSM8K) -> dict[str, list[Problem]]:
    """Training and test problems, disjoint: {'train': [...], 'test': [...]}, neither of them empty.

    `folder` (default: the variable EGRC_PROBLEMS, else the problems that ship) is a file, or a folder
    that holds `train.*` and `test.*`, itself or under the schema's name.  One file alone is divided by
    hash; training problems that also stand in the test file are dropped.  Raises `ProblemError`.
    """
    given = folder or os.environ.get(VARIABLE)
    files = _files(Path(given), schema) if given else {"all": HANDMADE}
    source = schema.name if given else HANDMADE.stem
    read = {name: load(path, schema, source) for name, path in files.items()}
    if len(read) == 1:
        only, problems = read.popitem()
        if only == "test":
            log.warning(
                "%s: no training file beside it, so its rows are divided; what is then measured on the rest "
                "must not be compared with published results", files[only],
            )  # fmt: skip
        read = {name: [p for p in problems if _side(p) == name] for name in ("train", "test")}
    tested = {key(p.text) for p in read["test"]}
    train = [p for p in read["train"] if key(p.text) not in tested]
    if len(train) < len(read["train"]):
        dropped = len(read["train"]) - len(train)
        log.warning("%d training problems stand in the test file too: dropped", dropped)
    if not train or not tested:
        named = ", ".join(map(str, files.values()))
        raise ProblemError(f"{named}: too few problems for a training and a test side; add more")
    return {"train": train, "test": read["test"]}


def key(text: str) -> str:
    """A problem's identity: its text without case, spacing and punctuation, hashed (hex)."""
    return hashlib.sha256(" ".join(re.findall(r"\w+", text.lower())).encode()).hexdigest()


def _side(problem: Problem) -> str:
    return "test" if int(key(problem.text)[:8], 16) / 16**8 < TEST_SHARE else "train"


def _files(given: Path, schema: Schema) -> dict[str, Path]:
    """The file of each split below the place that was given."""
    if given.is_file():
        return {"all": given}
    if not given.is_dir():
        raise ProblemError(f"no folder or file {given}: set {VARIABLE} to where your problems are")
    inner = given / schema.name
    folder = inner if inner.is_dir() else given
    found = {}
    for split in ("train", "test"):
        files = [f for suffix in SUFFIXES if (f := folder / (split + suffix)).is_file()]
        if len(files) > 1:
            raise ProblemError(f"{folder}: {' and '.join(f.name for f in files)} are both {split}; keep one")
        if files:
            found[split] = files[0]
    if not found:
        raise ProblemError(f"{folder}: no train or test file, such as test.jsonl ({', '.join(SUFFIXES)})")
    return found


def _problem(path: Path, number: int, row: Any, schema: Schema, source: str) -> Problem:
    where = f"{path}, row {number}"
    if not isinstance(row, dict):
        raise ProblemError(f"{where}: expected columns and values, found {type(row).__name__}")
    for column in (schema.problem, schema.answer):
        if column not in row:
            raise ProblemError(f"{where}: no column {column!r}; found {', '.join(map(str, row)) or 'none'}")
    text = row[schema.problem]
    if not isinstance(text, str) or not text.strip():
        raise ProblemError(f"{where}, column {schema.problem!r}: expected a text, found {text!r:.40}")
    try:
        solution, gold = schema.read(row[schema.answer])
    except ValueError as error:
        raise ProblemError(f"{where}, column {schema.answer!r}: {error}") from error
    return Problem(f"{source}/{path.stem}/{number}", text.strip(), gold, solution, source)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(row number, row) of any supported file."""
    try:
        match path.suffix:
            case ".jsonl":
                yield from _json_lines(path)
            case ".json":
                rows = _json(path, None, path.read_text("utf-8-sig"))
                if not isinstance(rows, list):
                    raise ProblemError(f"{path}: expected a list of problems, found {type(rows).__name__}")
                yield from enumerate(rows, 1)
            case ".csv":
                table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
                yield from enumerate(table.to_dict("records"), 1)
            case ".parquet":
                yield from enumerate(pd.read_parquet(path).to_dict("records"), 1)
            case _:
                raise ProblemError(f"{path}: unknown kind of file; expected one of {', '.join(SUFFIXES)}")
    except pd.errors.EmptyDataError:
        return  # `load` reports it as it reports any file without rows
    except ProblemError:
        raise
    except (OSError, ValueError) as error:  # not found, not UTF-8, not csv, not parquet
        raise ProblemError(f"{path}: cannot be read: {error}") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _json(path, number, line)


def _json(path: Path, number: int | None, text: str) -> Any:
    if not text.strip():
        return []
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ProblemError(f"{path}{f', row {number}' if number else ''}: not valid JSON: {error}") from error
