"""Measurements: tables that an analysis makes from models, too slow for `make paper`, recorded as runs are.

A measurement is a module of `egrc.analysis` that has

    SCALES                             the scales it can be made at
    COLUMNS                            of its table
    parts(scale)                       names of its independent parts, such as 'joint/seed-0', the long ones first
    measure(scale, part, work, say)    one part's table; `work` is a folder that outlives a kill, for parts that resume;
                                       `say(done, total)` shows progress
    inputs(scale)                      what is measured: name to hash (see `adapters`)

`python -m egrc measure NAME` makes the parts that are missing, two processes side by side, and joins them into
``data/measurements/<scale>/<name>.parquet``; ``<name>.json`` holds the hashes by which a stale one is found.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.experiments import fingerprint
from egrc.experiments.jobs import Job, run_jobs
from egrc.experiments.records import Record, RecordError


class NotMade(RecordError):
    """A measurement is not there; the message names the command that makes it."""


MEASUREMENTS: dict[str, tuple[str, str]] = {
    "policies": ("pocket", "completions of every main arm: length, correctness, entropy by class of token"),
    "tug": ("pocket", "gradients of the accuracy and the compression objective on the adapter, along training"),
    "words": ("smol", "rollouts of a real pretrained model, with the class and the entropy of every word"),
    "tug_words": ("smol", "gradients of both objectives on a fresh adapter of that model, by class of word"),
    "interventions": ("pocket", "decoding with connectors suppressed, raised or forced, against matched controls"),
    "copying": ("pocket", "the right answer's probability after a teacher's trace: what can be read off a compact one"),
    "confirm": ("pocket", "answers of the deciding arms to test problems that no choice has seen"),
    "floor": ("pocket", "loss and entropy beside the exact teacher's: to the floor, beyond it, and arm by arm"),
}
"""Names, in the order in which they are made: the scale of each, and what it is.  Modules say the scale, too; who only
reads a table should not have to load torch and transformers with its module."""
Say = Callable[[str], None]
TOLERANCE = 1e-4
"""Of a column's largest number: inner products of float32 gradients through thirty layers differ by a tenth of it from
one machine to the next; what would change a figure is far above."""


def module(name: str) -> ModuleType:
    """The module of a measurement.  Raises ConfigError, which lists the valid names."""
    made_at(name)  # is there such a one?
    return import_module(f"egrc.analysis.{name}")


def made_at(name: str) -> str:
    """The scale of a measurement.  Raises ConfigError, which lists the valid names."""
    if name not in MEASUREMENTS:
        raise ConfigError(f"no measurement {name!r}: choose one of {', '.join(MEASUREMENTS)}")
    return MEASUREMENTS[name][0]


def names(scale: str) -> list[str]:
    """The measurements that can be made at a scale."""
    return [name for name in MEASUREMENTS if made_at(name) == scale]


def file(name: str, scale: str, data: Path | None = None) -> Path:
    """Where a measurement's table is."""
    return (data or paths.DATA) / "measurements" / scale / f"{name}.parquet"


def adapters(found: Sequence[Record]) -> dict[str, str]:
    """Name to hash of the weights that runs ended with: inputs that no re-stamping of the runs touches."""
    return {r.name: fingerprint.folder_hash(str(r.path / "adapter")) for r in found if r.arm != "base"}


# --- reading --------------------------------------------------------------------------------------


def load(name: str, scale: str, data: Path | None = None) -> pd.DataFrame:
    """A measurement's table.  Raises NotMade if it is missing, RecordError if it is damaged or lacks a column."""
    path = file(name, scale, data)
    if not path.is_file():
        raise NotMade(f"no {paths.shown(path)}: make it with `python -m egrc measure {name} --scale {scale}`")
    try:
        table = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise RecordError(f"{paths.shown(path)}: damaged ({error}); restore it or measure again") from error
    if missing := [c for c in _columns(name, path.with_suffix(".json")) if c not in table]:
        raise RecordError(f"{paths.shown(path)}: no {', '.join(missing)}; restore it or measure again")
    return table


def _columns(name: str, stamped: Path) -> list[str]:
    """What its table has, as stamped; its module is asked only where no stamp is there, because that loads torch."""
    found = json.loads(stamped.read_text(encoding="utf-8")) if stamped.is_file() else {}
    return found.get("columns") or list(module(name).COLUMNS)


def stale(name: str, scale: str, data: Path | None = None) -> str | None:
    """What a recorded measurement depends on and has changed since; None if nothing."""
    path = file(name, scale, data).with_suffix(".json")
    then = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    now = stamp(name, scale)
    old, new = then.get("inputs", {}), now["inputs"]
    changed = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    return f"inputs changed: {', '.join(changed)}" if changed else None


def stamp(name: str, scale: str) -> dict[str, Any]:
    """Hashes of the code that a measurement reaches, and of what it measures; and the columns it has."""
    made = module(name)
    return {"inputs": made.inputs(scale), "columns": list(made.COLUMNS)}


def missing(scale: str) -> list[str]:
    """The measurements of a scale that were not made yet."""
    return [name for name in names(scale) if not file(name, scale).is_file()]


def require_fresh(scale: str) -> None:
    """Stop by name if a measurement of the scale is stale.  Raises RecordError."""
    lacking = missing(scale)
    reasons = {name: r for name in names(scale) if name not in lacking and (r := stale(name, scale))}
    if reasons:
        listing = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
        raise RecordError(
            f"stale measurements of scale {scale}:\n{listing}\nMake them again: `python -m egrc measure --scale {scale}`."  # noqa: E501
        )


# --- making ---------------------------------------------------------------------------------------


def _work(name: str, scale: str) -> Path:
    return paths.BUILD / "work" / "measurements" / scale / name


def _part_file(name: str, scale: str, part: str) -> Path:
    return _work(name, scale) / f"{part.replace('/', '--')}.parquet"


def make_part(name: str, scale: str, part: str, say: Callable[[int, int], None]) -> pd.DataFrame:
    """Measure one part, in this process, and keep it in the work folder.  Raises ConfigError for an unknown part."""
    from egrc.experiments.run import set_up

    if part not in module(name).parts(scale):
        raise ConfigError(f"no part {part!r} of {name}: choose one of {', '.join(module(name).parts(scale))}")
    set_up()
    target = _part_file(name, scale, part)
    scratch = target.with_suffix("")
    scratch.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    table = module(name).measure(scale, part, scratch, say).assign(part=part)
    write_json(target.with_suffix(".json"), {"seconds": round(time.monotonic() - began, 1)})
    write_parquet(target, table)
    shutil.rmtree(scratch)
    return table


def make(name: str, scale: str, fresh: bool = False) -> Path:
    """Make a measurement: what is there and not stale stays, parts that a killed call left are taken up.

    Raises ConfigError for a scale it is not for, JobsError if a part failed (the others are kept).
    """
    from egrc.experiments.run import versions

    if scale != made_at(name):
        raise ConfigError(f"{name} is not made at scale {scale!r}: choose one of {made_at(name)}")
    target, now = file(name, scale), stamp(name, scale)
    if target.is_file() and not stale(name, scale) and not fresh:
        return target
    work = _work(name, scale)
    kept = work / "stamp.json"
    if not kept.is_file() or json.loads(kept.read_text(encoding="utf-8")) != now:
        shutil.rmtree(work, ignore_errors=True)
        write_json(kept, now)
    wanted = module(name).parts(scale)
    command = [sys.executable, "-m", "egrc", "measure", name, "--scale", scale, "--part"]
    log = paths.BUILD / "logs" / "measurements" / scale
    run_jobs(
        [
            Job(f"{name} {part}", [*command, part], log / f"{name}-{part.replace('/', '--')}.log")
            for part in wanted
            if not _part_file(name, scale, part).is_file()
        ]
    )
    files = [_part_file(name, scale, part) for part in wanted]
    seconds = {p: json.loads(f.with_suffix(".json").read_text())["seconds"] for p, f in zip(wanted, files, strict=True)}
    write_parquet(target, pd.concat([pd.read_parquet(f) for f in files], ignore_index=True))
    write_json(target.with_suffix(".json"), {**now, "versions": versions(), "seconds": seconds})
    shutil.rmtree(work)
    return target
