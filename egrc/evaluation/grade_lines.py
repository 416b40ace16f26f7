"""`python -m egrc grade`: lines with `gold` and `completion` in, verdicts out, in order and in bounded memory."""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path

from egrc.checks import ConfigError
from egrc.evaluation.pool import Gold, Pool, reference

LONGEST_LINE = 1 << 26
"""Bytes; a longer line is refused, because it may be no text at all."""


class LineError(ConfigError):
    """A line cannot be graded; the message names file and line, and what is wrong."""


def grade_lines(file: str, pool: Pool) -> Iterator[dict[str, bool | str | None]]:
    """The verdict on each line of a jsonl file ('-': standard input): correct, extracted (text or None), reason.

    Each line is an object with a text `completion` and `gold`, a text or a list of texts of which any will do;
    other keys are ignored, empty lines skipped.  A writer who pauses gets the verdicts on all lines so far.

    Raises LineError for a line that is anything else, after the verdicts on those before it; OSError for a file
    that cannot be read.
    """
    name = "standard input" if file == "-" else file
    with open(0 if file == "-" else Path(file), "rb", buffering=0, closefd=file != "-") as stream:
        for grade in pool.stream(_pairs(stream.fileno(), name)):
            yield {"correct": grade.correct, "extracted": grade.extracted, "reason": grade.reason}


def _pairs(fd: int, name: str) -> Iterator[tuple[str, Gold] | None]:
    number = 0
    for line in _lines(fd):
        if line is None:
            yield None
            continue
        number += 1
        try:
            if not line.strip():
                continue
            pair = _pair(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
        except ValueError as error:
            yield None  # what came before is handed over first
            raise LineError(f"{name}, line {number}: {error}") from error
        yield pair


def _pair(line: bytes) -> tuple[str, Gold]:
    """One line as (completion, gold).  Raises ValueError that says what is wrong with it."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"longer than {LONGEST_LINE >> 20} MB: is it a file of JSON lines?")
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {line[error.start]:#04x} is not UTF-8: save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected an object with 'gold' and 'completion', found {type(row).__name__}")
    for key in ("gold", "completion"):
        if key not in row:
            raise ValueError(f"no {key!r}; found {', '.join(map(repr, row)) or 'nothing'}")
    gold, completion = row["gold"], row["completion"]
    if not isinstance(completion, str):
        raise ValueError(f"'completion': expected a text, found {_brief(completion)}")
    golds = gold if isinstance(gold, list) else [gold]
    if not golds or not all(isinstance(g, str) and g.strip() for g in golds):
        raise ValueError(f"'gold': expected a text or a list of texts, none of them empty, found {_brief(gold)}")
    return completion, [reference(g) for g in golds]


def _brief(value: object) -> str:
    return f"{type(value).__name__} {json.dumps(value)[:40]}"


def _lines(fd: int, size: int = 1 << 16) -> Iterator[bytes | None]:
    """The lines of an open file without their ends, of `LONGEST_LINE` + `size` bytes at most; None before each wait."""
    parts: list[bytes] = []
    held = 0
    while True:
        if not select.select([fd], [], [], 0)[0]:
            yield None
        chunk = os.read(fd, size)
        if not chunk:
            if parts:
                yield b"".join(parts)
            return
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            yield b"".join([*parts, line])
            parts, held = [], 0
        parts, held = [*parts, rest] if rest else parts, held + len(rest)
        if held > LONGEST_LINE:
            yield b"".join(parts)
            return


def summary(pool: Pool) -> str:
    """How many were graded, and why they got their verdicts, as one line."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in pool.counts.most_common())
    return f"{pool.counts.total()} graded{f' ({reasons})' if reasons else ''}, {pool.replaced} workers replaced"


def main(file: str, workers: int | None, limit: float) -> None:
    """Print a JSON object for each line as soon as it is its turn, then a summary on standard error."""
    with Pool(workers, limit) as pool:
        for verdict in grade_lines(file, pool):
            print(json.dumps(verdict), flush=True)
        print(f"egrc: {summary(pool)}", file=sys.stderr)
