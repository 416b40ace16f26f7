"""Measurements: tables that an analysis makes from models, too slow for `make paper`, recorded as runs are.

A measurement is a module beside this one that has

    COLUMNS                            of its table
    parts(scale)                       names of its independent parts, such as 'joint/seed-0', the long ones first
    measure(scale, part, work, say)    one part's table; `work` is a folder that outlives a kill; `say(done, total)`
    inputs(scale)                      what is measured: name to hash (`parts.inputs`)

`python -m egrc measure NAME` makes the parts that are missing, one process a core, and joins them into
``data/measurements/<scale>/<name>.parquet``; ``<name>.json`` holds the hashes by which a stale one is found.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.experiments.fingerprint import versions
from egrc.experiments.jobs import Job, run_jobs
from egrc.experiments.records import RecordError, read


class NotMade(RecordError):
    """A measurement is not there; the message names the command that makes it."""


MEASUREMENTS = {
    "policies": ("pocket",),
    "tug": ("pocket",),
    "words": ("real",),
    "tug_words": ("real",),
    "interventions": ("pocket", "real"),
    "confirm": ("pocket",),
    "strip": ("pocket",),
}
"""The scales of each, in the order in which they are made.  It stands here and not in the modules, as who only reads a
table should not have to load torch and transformers."""


def module(name: str) -> ModuleType:
    """The module of a measurement.  Raises ConfigError as `made_at` does."""
    made_at(name)
    return import_module(f"egrc.analysis.{name}")


def made_at(name: str) -> tuple[str, ...]:
    """The scales of a measurement.  Raises ConfigError, which lists the valid names."""
    if name not in MEASUREMENTS:
        raise ConfigError(f"no measurement {name!r}: choose one of {', '.join(MEASUREMENTS)}")
    return MEASUREMENTS[name]


def names(scale: str) -> list[str]:
    """The measurements that can be made at a scale."""
    return [name for name in MEASUREMENTS if scale in made_at(name)]


def file(name: str, scale: str, data: Path | None = None) -> Path:
    """Where a measurement's table is."""
    return (data or paths.DATA) / "measurements" / scale / f"{name}.parquet"


def load(name: str, scale: str, data: Path | None = None) -> pd.DataFrame:
    """A measurement's table.  Raises NotMade if it is missing, RecordError if it is damaged or lacks a column."""
    path = file(name, scale, data)
    if not path.is_file() and scale not in made_at(name):
        raise NotMade(f"{name} is not measured at scale {scale!r}, only at {', '.join(made_at(name))}")
    if not path.is_file():
        raise NotMade(f"no {paths.shown(path)}: make it with `python -m egrc measure {name} --scale {scale}`")
    columns = _stamped(path).get("columns") or module(name).COLUMNS  # its module loads torch
    return read(path, columns, "restore it or measure again")


def _stamped(path: Path) -> dict[str, Any]:
    stamp = path.with_suffix(".json")
    return json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else {}


def stale(name: str, scale: str, data: Path | None = None) -> str | None:
    """What a recorded measurement was made from and has changed since; None if nothing."""
    then, now = _stamped(file(name, scale, data)).get("inputs", {}), module(name).inputs(scale)
    changed = sorted(k for k in then.keys() | now.keys() if then.get(k) != now.get(k))
    return f"inputs changed: {', '.join(changed)}" if changed else None


def missing(scale: str) -> list[str]:
    """The measurements of a scale that were not made yet."""
    return [name for name in names(scale) if not file(name, scale).is_file()]


def require_fresh(scale: str) -> None:
    """Stop by name if a measurement of the scale is stale.  Raises RecordError."""
    there = [name for name in names(scale) if file(name, scale).is_file()]
    if reasons := [f"  {name}: {reason}" for name in there if (reason := stale(name, scale))]:
        remedy = f"Make them again: `python -m egrc measure --scale {scale}`."
        raise RecordError("\n".join([f"stale measurements of scale {scale}:", *reasons, remedy]))


def _part_file(name: str, scale: str, part: str) -> Path:
    return paths.BUILD / "work" / "measurements" / scale / name / f"{part.replace('/', '--')}.parquet"


def make_part(name: str, scale: str, part: str, say: Callable[[int, int], None]) -> None:
    """Measure one part, in this process, and keep it in the work folder.  Raises ConfigError for an unknown part."""
    from egrc.experiments.run import set_up  # loads torch

    if part not in (parts := module(name).parts(scale)):
        raise ConfigError(f"no part {part!r} of {name}: choose one of {', '.join(parts)}")
    set_up()
    target = _part_file(name, scale, part)
    scratch = target.with_suffix("")
    scratch.mkdir(parents=True, exist_ok=True)
    write_parquet(target, module(name).measure(scale, part, scratch, say).assign(part=part))
    shutil.rmtree(scratch)


def make(name: str, scale: str, fresh: bool = False) -> Path:
    """Make a measurement: what is there and not stale stays, parts that a killed call left are taken up.

    Raises ConfigError for a scale it is not for, JobsError if a part failed (the others are kept).
    """
    if scale not in made_at(name):
        raise ConfigError(f"{name} is not made at scale {scale!r}: choose one of {', '.join(made_at(name))}")
    target = file(name, scale)
    if target.is_file() and not stale(name, scale) and not fresh:
        return target
    now = {"inputs": module(name).inputs(scale), "columns": list(module(name).COLUMNS)}
    parts = {part: _part_file(name, scale, part) for part in module(name).parts(scale)}
    work = paths.BUILD / "work" / "measurements" / scale / name
    if _stamped(work / "stamp") != now:
        shutil.rmtree(work, ignore_errors=True)
        write_json(work / "stamp.json", now)
    command = [sys.executable, "-m", "egrc", "measure", name, "--scale", scale, "--part"]
    logs = paths.BUILD / "logs" / "measurements" / scale / name
    rest = {part: made for part, made in parts.items() if not made.is_file()}
    run_jobs([Job(f"{name} {p}", [*command, p], logs / f"{made.stem}.log") for p, made in rest.items()])
    write_parquet(target, pd.concat([pd.read_parquet(made) for made in parts.values()], ignore_index=True))
    write_json(target.with_suffix(".json"), {**now, "versions": versions()})
    shutil.rmtree(work)
    return target
