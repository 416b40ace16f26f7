"""What a run leaves behind, how it is read back, and whether it is still what today's code would produce.

A record is a folder ``data/runs/<scale>/<arm>/seed-<k>/`` with

    run.json            config and its hash, commit, versions, seconds, tokens generated
    evaluation.parquet  one row per sampled answer
    steps.csv           one row per optimiser step            (these four not for the arm `base`,
    decisions.jsonl     one line per decision of the gate      which is never trained)
    rollouts.parquet    some rollouts with per-token entropies
    adapter/            the LoRA weights, as safetensors

A study's run may be slim (`experiments.scales.keeps_all`): it keeps `SLIM`, and its weights if they are asked again.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_csv
from egrc.checks import ConfigError
from egrc.config import Config
from egrc.experiments.fingerprint import config_hash

WHOLE = {
    "run.json": ("config", "config_hash", "versions", "seconds", "generated_tokens"),
    "evaluation.parquet": ("benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated"),
    "steps.csv": ("step", "phase", "entropy", "tokens_mean", "generated_tokens", "seconds"),
    "decisions.jsonl": ("step", "entropy", "smoothed", "phase", "next_phase", "cause"),
    "rollouts.parquet": ("step", "prompt", "tokens", "entropies", "classes", "correct", "length", "phase"),
}
"""Keys, or columns, that every record has; more is written."""
BASE_SETTINGS = ("scale", "arm", "seed", "cap", "eval_problems", "eval_samples", "eval_temperatures")
"""An arm that is not trained does not depend on how the others train."""
SLIM = ("run.json", "evaluation.parquet", "steps.csv")
WEIGHTS = "adapter"
RESTORE = "restore it or train the run again"


class RecordError(RuntimeError):
    """A record is missing, damaged or stale; the message names the file and the remedy."""


def read(file: Path, needed: Iterable[str] = (), remedy: str = RESTORE) -> Any:
    """The content of a JSON, JSON lines (a list), csv or parquet file.  Raises RecordError: it is missing, damaged, or
    lacks some of the keys or columns `needed`."""
    where = paths.shown(file)
    try:
        if file.suffix == ".jsonl":
            content = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        elif file.suffix == ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
        else:
            content = pd.read_csv(file) if file.suffix == ".csv" else pd.read_parquet(file)
    except FileNotFoundError:
        raise RecordError(f"no {where}: {remedy}") from None
    except (ValueError, OSError) as error:  # pyarrow's errors are of these two kinds
        raise RecordError(f"{where}: damaged ({error}); {remedy}") from error
    for row in content if isinstance(content, list) else [content]:
        if lacking := sorted(set(needed) - set(row)):
            raise RecordError(f"{where}: no {', '.join(lacking)}; {remedy}")
    return content


@dataclass(frozen=True)
class Record:
    """One finished run: its folder and its run.json.  Tables are read when first asked for; RecordError if damaged."""

    path: Path
    meta: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record's run.json.  Raises RecordError if it is missing or damaged."""
        remedy = "train it with `python -m egrc train`, or restore it"
        return cls(path, read(path / "run.json", WHOLE["run.json"], remedy))

    scale = property(lambda self: self.meta["config"]["scale"])
    arm = property(lambda self: self.meta["config"]["arm"])
    seed = property(lambda self: self.meta["config"]["seed"])
    name = property(lambda self: f"{self.scale}/{self.arm}/seed-{self.seed}")
    has_weights = property(lambda self: (self.path / WEIGHTS).is_dir())  # can its policy be asked again?

    @property
    def config(self) -> Config:
        """Today's settings of this run (`stale` says whether it was made with them).  Raises ConfigError."""
        from egrc.experiments import scales  # loads transformers

        return scales.config(self.scale, self.arm, self.seed)

    evaluation = cached_property(lambda self: self._read("evaluation.parquet"))
    steps = cached_property(lambda self: self._read("steps.csv"))
    decisions = cached_property(lambda self: self._read("decisions.jsonl"))
    rollouts = cached_property(lambda self: self._read("rollouts.parquet"))

    def _read(self, name: str) -> Any:
        remedy = "the arm 'base' is not trained" if self.arm == "base" else RESTORE
        if self.arm != "base" and name not in SLIM and not (self.path / "decisions.jsonl").is_file():
            remedy = "this study's runs keep only steps and answers; `train --out FOLDER` makes a whole one elsewhere"
        return read(self.path / name, WHOLE[name], remedy)


def load(scale: str, arm: str, seed: int, data: Path | None = None) -> Record:
    """One record by name.  Raises RecordError."""
    return Record.load(paths.run_folder(data or paths.DATA, scale, arm, seed))


def load_all(scale: str | None = None, data: Path | None = None, studies: bool = False) -> list[Record]:
    """All records (of a scale), also those of `studies` if asked for: arms in the order of `egrc.methods`, then seeds.
    Raises RecordError."""
    from egrc.experiments import scales
    from egrc.methods import ARMS

    order = {arm: i for i, arm in enumerate(ARMS)}
    files = ((data or paths.DATA) / "runs").glob(f"{scale or '*'}/*/seed-*/run.json")
    runs = [Record.load(file.parent) for file in files]
    if not studies:
        runs = [r for r in runs if r.scale not in scales.SCALES or (r.arm, r.seed) not in scales.extras(r.scale)]
    return sorted(runs, key=lambda r: (r.scale, order.get(r.arm, len(order)), r.arm, r.seed))


def load_study(scale: str, study: str, data: Path | None = None) -> list[Record]:
    """The records of one study, in its own order of arms, then seeds.  Raises RecordError."""
    from egrc.experiments import scales

    return [load(scale, arm, seed, data) for arm, seed in scales.study_runs(scale, study)]


def is_done(folder: Path, config: Config) -> bool:
    """Is there a complete record of this very config?"""
    return (folder / "run.json").is_file() and Record.load(folder).meta["config_hash"] == config_hash(config)


def stale(record: Record) -> str | None:
    """Which settings differ from today's, so that today's code would make another record; or None."""
    then = record.meta["config"]
    try:
        now = record.config.to_dict()
    except ConfigError as error:
        return f"config: {error}"
    matters = BASE_SETTINGS if record.arm == "base" else now.keys() | then.keys()
    changed = sorted(name for name in matters if now.get(name) != then.get(name))
    return f"config changed: {', '.join(changed)}" if changed else None


def require_fresh(runs: Iterable[Record]) -> None:
    """Stop by name if any record is stale.  Raises RecordError."""
    if reasons := [f"  {record.name}: {reason}" for record in runs if (reason := stale(record))]:
        remedy = "Train them again (`make train ARM=... SEEDS=...`, or `make paper FRESH=1`)."
        raise RecordError("\n".join(["stale records:", *reasons, remedy]))


def make_slim(folder: Path, weights: bool = False) -> None:
    """Leave of a record what `SLIM` names, in four digits, and its weights if they are to stay."""
    for item in [item for item in folder.iterdir() if item.name not in (*SLIM, *[WEIGHTS] * weights)]:
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    steps = pd.read_csv(folder / "steps.csv")
    write_csv(folder / "steps.csv", steps.map(lambda x: float(f"{x:.4g}") if isinstance(x, float) else x))


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold a work folder's lock, which the system frees when a process dies.  Raises RecordError if another has it."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another process is at work in {paths.shown(work)}: wait for it, or end it, and try again"
            raise RecordError(message) from None
        yield
