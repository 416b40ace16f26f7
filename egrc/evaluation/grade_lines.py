"""`python -m egrc grade`: lines with `gold` and `completion` in, verdicts out, in order and in bounded memory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator

from egrc.checks import ConfigError
from egrc.evaluation.answers import Gold
from egrc.evaluation.pool import Pool, references


def pairs(lines: Iterable[bytes], name: str) -> Iterator[tuple[str, Gold]]:
    """(completion, accepted answers) of JSON objects with a text `completion` and `gold`, a text or a list of texts of
    which any will do; other keys are ignored, empty lines skipped.  Raises ConfigError, which names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "gold" not in row or not isinstance(row.get("completion"), str):
                found = line.decode().strip()[:50]
                raise ValueError(f"expected an object with 'gold' and a text 'completion', found {found}")
            golds = row["gold"] if isinstance(row["gold"], list) else [row["gold"]]
            if not golds or not all(isinstance(text, str) and text.strip() for text in golds):
                raise ValueError(f"'gold': expected a text or texts, none empty, found {json.dumps(row['gold'])[:40]}")
        except (ValueError, RecursionError) as error:  # not UTF-8, or no JSON, too
            raise ConfigError(f"{name}, line {number}: {error}") from error
        yield row["completion"], references(golds)


def main(file: str, workers: int | None, limit: float) -> None:
    """Print a JSON object for each line as soon as it is its turn, then a summary on standard error."""
    name = "standard input" if file == "-" else file
    with Pool(workers, limit) as pool:
        # never closed, which would wait for a reading thread that waits for a writer
        lines = os.fdopen(0 if file == "-" else os.open(file, os.O_RDONLY), "rb", closefd=False)
        for grade in pool.stream(pairs(lines, name)):
            print(json.dumps(vars(grade)), flush=True)
        reasons = ", ".join(f"{n} {reason}" for reason, n in pool.counts.most_common())
        said = f"{pool.counts.total()} graded{f' ({reasons})' if reasons else ''}, {pool.replaced} workers replaced"
        print(f"egrc: {said}", file=sys.stderr)
