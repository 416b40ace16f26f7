"""Recorded evaluations of benchmarks: where they are, how they are read, whether they are stale, and their numbers.

    data/evaluations/<scale>/<who>/<benchmark>.parquet    one row for each problem and sample (`egrc.ask.COLUMNS`)
    data/evaluations/<scale>/<who>/<benchmark>.json       all that decided them (`egrc.examine`)

`who` is 'base', or an adapter: 'egrc-seed-0'.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import fingerprint, paths
from egrc.ask import COLUMNS
from egrc.records import RecordError

KEYS = (
    *("scale", "who", "benchmark", "samples", "temperature", "top_p", "cap", "problems", "dtype", "seed", "backend"),
    *("batch", "model", "weights", "adapter", "template", "asked", "prompts", "code", "versions", "seconds", "status"),
)
"""Of the settings: `model` and its `weights` (a hub's commit, or a hash), the `adapter`'s hash, `template` of the
prompt, `asked` (`egrc.benchmarks.digest`), hash of the `prompts`, hashes of the `code`."""


@dataclass(frozen=True)
class Evaluation:
    """One benchmark asked of one model."""

    path: Path
    """Of the rows."""
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return "/".join(self.settings[k] for k in ("scale", "who", "benchmark"))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """See `egrc.ask.COLUMNS`.  Raises RecordError where the file is damaged."""
        try:
            table = pd.read_parquet(self.path)
        except (ValueError, OSError) as error:
            raise RecordError(f"{paths.shown(self.path)}: damaged ({error}); restore it or evaluate again") from error
        missing = [c for c in COLUMNS if c not in table]
        if missing or table.empty:
            lacking = ", ".join(missing) or "rows"
            raise RecordError(f"{paths.shown(self.path)}: no {lacking}; restore it or evaluate again")
        return table


def file(scale: str, who: str, benchmark: str, data: Path | None = None) -> Path:
    """Where an evaluation's rows are."""
    return (data or paths.DATA) / "evaluations" / scale / who / f"{benchmark}.parquet"


def load(path: Path) -> Evaluation:
    """One evaluation by its rows' path.  Raises RecordError where settings or rows are missing or damaged."""
    beside = path.with_suffix(".json")
    for needed in (path, beside):
        if not needed.is_file():
            raise RecordError(f"no {paths.shown(needed)}: make it with `python -m egrc evaluate`")
    try:
        settings = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{paths.shown(beside)}: not JSON ({error}); restore it or evaluate again") from error
    missing = [key for key in KEYS if key not in settings]
    if missing:
        raise RecordError(f"{paths.shown(beside)}: no {', '.join(missing)}; restore it or evaluate again")
    return Evaluation(path, settings)


def load_all(scale: str | None = None, data: Path | None = None) -> list[Evaluation]:
    """All evaluations (of a scale), by scale, who and benchmark.  Raises RecordError."""
    folder = (data or paths.DATA) / "evaluations"
    return [load(path) for path in sorted(folder.glob(f"{scale or '*'}/*/*.parquet"))]


# --- what it depends on -------------------------------------------------------------------------------------------


def code(scale: str) -> dict[str, str]:
    """Module name to hash of what makes answers and verdicts.

    What chooses, reads and writes out the problems is not among them: its outcome is hashed itself.
    """
    entries = ["egrc.ask", "egrc.pool", *(["egrc.pocket"] if scale == "pocket" else [])]
    found: dict[str, Path] = {}
    for entry in entries:
        found |= fingerprint.reachable(entry, leave_out=fingerprint.NOT_HASHED)
    return {name: fingerprint.source_hash(f.read_text(encoding="utf-8")) for name, f in sorted(found.items())}


def model(scale: str) -> str:
    """The base model's name: a hub id, or the name of its folder."""
    from egrc import scales
    from egrc.run import _portable

    return _portable(scales.world(scale).policy_path())


def stale(evaluation: Evaluation) -> str | None:
    """Which code changed since, so that today's may not give these rows; or None.

    Weights, problems and prompts are compared where they are at hand: when `evaluate` is run again.
    """
    now, then = code(evaluation.settings["scale"]), evaluation.settings["code"]
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    return f"changed since: {', '.join(changed)}" if changed else None


def require_same(path: Path, settings: dict[str, Any]) -> None:
    """Stop where a finished evaluation is not what these settings would make.  Raises RecordError."""
    then = load(path).settings
    changed = [key for key in settings if then[key] != settings[key]]
    if changed:
        said = ", ".join(_changed(key, then[key], settings[key]) for key in changed)
        raise RecordError(
            f"{paths.shown(path)} was made otherwise ({said}): --fresh replaces it, --out FOLDER keeps both"
        )


def _changed(key: str, then: Any, now: Any) -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        return f"{key}: {' '.join(sorted(k for k in then.keys() | now.keys() if then.get(k) != now.get(k)))}"
    return f"{key}: {then} then, {now} now"
