"""Problems from files, checked as they are read, in one typed record.  [ours]

A `Format` says in which columns a set has the problem and its answer, and how the answer is read.  Files may be json,
jsonl, csv or parquet, with the set's native columns or our own: problem, gold (a list of accepted answers), id, source.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from egrc.checks import ConfigError
from egrc.evaluation import gold
from egrc.paths import ROOT, shown

VARIABLE = "EGRC_PROBLEMS"
"""Environment variable that names a folder (or a file) of problems."""
HANDMADE = ROOT / "data" / "problems" / "handmade.jsonl"
"""Grade-school problems written for this project: what is used where nobody names a folder."""
TEST_SHARE = 0.5
"""Of a single file, the share of problems that the hash keeps for testing."""
SIDES = ("train", "test")
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
GOLD = "gold"
_OTHER = re.compile(rb"\s*(?:version https://git-lfs|(?i:<!doctype|<html|<head))|\x1f\x8b|PK\x03\x04|\x28\xb5\x2f\xfd")

log = logging.getLogger(__name__)


class ProblemError(ConfigError):
    """Problems cannot be used; the message says where the fault is, and what is expected."""


@dataclass(frozen=True)
class Problem:
    """One problem, whatever file it came from: what is asked, the accepted final answers, the worked steps before
    '####' (or nothing), and the name of the benchmark."""

    id: str
    text: str
    gold: tuple[str, ...]
    solution: str
    source: str


@dataclass(frozen=True)
class Format:
    """How a set writes its problems: columns of the problem and of its answer (the first that a row has counts), how
    the answer is read, and columns of the row's own name and of text that goes before the problem."""

    problem: tuple[str, ...]
    answer: tuple[str, ...]
    read: gold.Reader
    id: str | None = None
    context: str | None = None


GSM8K = Format(("question",), ("answer",), gold.after_hashes)
OURS = Format(("problem",), (GOLD,), gold.latex, "id")
"""What a row with the column `GOLD` is read by."""


def load(path: Path, source: str = "gsm8k") -> list[Problem]:
    """All problems of one file with GSM8K's columns or our own, in its order.

    Raises `ProblemError` for a missing, unreadable or empty file, a missing column, and any row without a problem or a
    gold answer.  Rows count from 1: the line in jsonl, else the record (a csv's header is none).
    """
    problems = read(rows(path), GSM8K, source, f"{source}/{path.stem}", shown(path))
    if not problems:
        raise ProblemError(f"{shown(path)}: no rows; expected columns question and answer")
    return problems


def read(table: Iterable[tuple[int, Any]], how: Format, source: str, prefix: str, where: str) -> list[Problem]:
    """Numbered rows as problems.  Raises `ProblemError`, which names place, row and column, at the first fault."""
    row_of: dict[str, int] = {}
    problems = []
    for number, row in table:
        try:
            problem = _problem(row, number, how, source, prefix)
            if row_of.setdefault(problem.id, number) != number:
                raise ValueError(f"its name {problem.id!r} stands in row {row_of[problem.id]}, too")
        except ValueError as error:
            raise ProblemError(f"{where}, row {number}: {error}") from error
        problems.append(problem)
    return problems


def _problem(row: Any, number: int, how: Format, source: str, prefix: str) -> Problem:
    if not isinstance(row, Mapping):
        raise ValueError(f"expected columns and values, found {type(row).__name__}")
    if GOLD in row:
        how = OURS
    cells = []
    for names in (how.problem, how.answer):
        if not (there := [name for name in names if name in row]):
            raise ValueError(f"no column {' or '.join(map(repr, names))}; found {', '.join(map(str, row)) or 'none'}")
        cells.append((there[0], row[there[0]]))
    (column, text), (answer, cell) = cells
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"column {column!r}: expected a text, found {gold.brief(text)}")
    try:
        golds = how.read(cell, row)
    except ValueError as error:
        raise ValueError(f"column {answer!r}: {error}") from error
    before = row.get(how.context)
    asked = f"{before}\n\n{text}" if isinstance(before, str) and before.strip() else text
    steps = cell.rpartition("####")[0] if isinstance(cell, str) else ""
    steps = re.sub(r"<<.*?>>", "", steps).strip()  # GSM8K's calculator notes
    name = number if row.get(how.id) is None else row[how.id]
    if not isinstance(name, (str, Real)) or not str(name).strip():
        raise ValueError(f"column {how.id!r}: expected the row's name, found {gold.brief(name)}")
    name = name.strip() if isinstance(name, str) else gold.numeral(name)
    return Problem(f"{prefix}/{name}", asked.strip(" \n\r"), golds, steps, source)


def rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(row number, row) of a file.  Raises `ProblemError` for one that cannot be read."""
    where = shown(path)
    try:
        content = path.read_bytes()
        if path.suffix not in SUFFIXES:
            raise ValueError(f"unknown kind of file; expected one of {', '.join(SUFFIXES)}")
        if _OTHER.match(content):
            raise ValueError("it is a Git LFS pointer, a web page or compressed: fetch the file itself")
        if path.suffix == ".parquet":
            table = pd.read_parquet(io.BytesIO(content)).to_dict("records")
        elif not (text := content.decode("utf-8-sig")).strip():
            table = []
        elif path.suffix == ".csv":
            table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).to_dict("records")
        elif text.lstrip().startswith("["):  # one array, in .json and .jsonl
            table = json.loads(text)
        else:  # a row in each line; not splitlines: a problem may hold U+2028
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    where = f"{shown(path)}, row {number}"
                    yield number, json.loads(line)
            return
    except UnicodeDecodeError as error:
        line, byte = content.count(b"\n", 0, error.start) + 1, f"byte {content[error.start]:#04x}"
        raise ProblemError(f"{where}: line {line}: {byte} is not UTF-8: save it as UTF-8") from error
    except (OSError, ValueError, RecursionError) as error:  # missing, cut, damaged, or not what its name says
        raise ProblemError(f"{where}: cannot be read: {line_of(error)}") from error
    yield from enumerate(table, 1)


def line_of(error: BaseException) -> str:
    """An error of others on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def splits(folder: Path | str | None = None) -> dict[str, list[Problem]]:
    """Training and test problems, disjoint: {'train': [...], 'test': [...]}, neither of them empty.

    `folder` (default: the variable EGRC_PROBLEMS, else the problems that ship) is a file, or a folder that holds
    `train.*` and `test.*`, itself or under gsm8k/.  One file alone is divided by a hash of each problem's text, so that
    a repeated problem cannot stand on both sides; training problems that also stand in the test file are dropped.
    Raises `ProblemError`.
    """
    given = Path(folder or os.environ.get(VARIABLE) or HANDMADE)
    inner = given / "gsm8k" if (given / "gsm8k").is_dir() else given
    files = [given] if given.is_file() else [file for side in SIDES if (file := the_file(inner, [side]))]
    if not files:
        where = f"no {given}, or no train or test file ({', '.join(SUFFIXES)}) in it"
        raise ProblemError(f"{where}: set {VARIABLE} to a folder or file of problems")
    sides = [load(file, HANDMADE.stem if file == HANDMADE else "gsm8k") for file in files]
    if len(sides) == 1:
        if given.is_dir():
            told = "what is then measured must not be compared with published results"
            log.warning("%s: no other file beside it, so its rows are divided; %s", files[0], told)
        tested = [int(key(p.text)[:8], 16) / 16**8 < TEST_SHARE for p in sides[0]]
        sides = [[p for p, t in zip(sides[0], tested, strict=True) if t == side] for side in (False, True)]
    known = {key(p.text) for p in sides[1]}
    train = [p for p in sides[0] if key(p.text) not in known]
    if dropped := len(sides[0]) - len(train):
        log.warning("%d training problems stand in the test file too: dropped", dropped)
    if not train or not known:
        raise ProblemError(f"{given}: too few problems for a training and a test side; add more")
    return {"train": train, "test": sides[1]}


def key(text: str) -> str:
    """A problem's identity: its text without case, spacing and punctuation, hashed (hex)."""
    return hashlib.sha256(" ".join(re.findall(r"\w+", text.lower())).encode()).hexdigest()


def the_file(folder: Path, stems: Iterable[str]) -> Path | None:
    """The one file of a split, or None.  Raises `ProblemError` where two could be meant."""
    files = [f for stem in stems for suffix in SUFFIXES if (f := folder / (stem + suffix)).is_file()]
    if len(files) > 1:
        raise ProblemError(f"{folder}: {' and '.join(f.name for f in files)} could both be meant; keep one")
    return files[0] if files else None
