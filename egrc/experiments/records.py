"""What a run leaves behind, how it is read back, and whether it is still what today's code would produce.

A record is a folder ``data/runs/<scale>/<arm>/seed-<k>/`` with

    run.json            config, hashes, versions, seconds, tokens generated, log of re-stamps
    evaluation.parquet  one row per sampled answer
    steps.csv           one row per optimiser step            (these four not for the arm `base`,
    decisions.jsonl     one line per decision of the gate      which is never trained)
    rollouts.parquet    some rollouts with per-token entropies
    adapter/            the LoRA weights, as safetensors

A study's run may be slim (`experiments.scales.keeps_all`): of these it keeps `SLIM`, and its weights if they are
asked again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_csv
from egrc.checks import ConfigError
from egrc.config import Config
from egrc.experiments import agree

RUN_KEYS = ("config", "config_hash", "versions", "seconds", "generated_tokens", "status")
EVALUATION_COLUMNS = ("benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated", "text")
STEPS_COLUMNS = (
    *("step", "phase", "temperature", "budget", "accuracy", "reward", "tokens_mean", "truncated"),
    *(
        "entropy",
        "entropy_smoothed",
        "entropy_total",
        "connectors_mean",
        "loss",
        "generated_tokens",
        "seconds",
    ),
)
"""Those that other modules rely on; the trainer writes more."""
DECISION_KEYS = ("step", "entropy", "smoothed", "phase", "next_phase", "cause")
ROLLOUT_COLUMNS = (
    "step",
    "prompt",
    "answer",
    "text",
    "tokens",
    "entropies",
    "classes",
    "correct",
    "length",
    "phase",
)


SLIM = ("run.json", "evaluation.parquet", "steps.csv")
"""What a slim record holds: what figures and tables of a study need."""
WEIGHTS = "adapter"
DIGITS = 4
"""Significant digits of the numbers in a slim record's steps.csv, after the steps that a replay is compared to."""


class RecordError(RuntimeError):
    """A record is missing, damaged or stale; the message names the file and the remedy."""


def _require(present: Iterable[str], wanted: Iterable[str], file: Path) -> None:
    missing = sorted(set(wanted) - set(present))
    if missing:
        raise RecordError(
            f"{paths.shown(file)}: no {', '.join(missing)}; restore the file or train the run again"
        )


def _no_holes(table: pd.DataFrame, columns: Iterable[str], file: Path) -> pd.DataFrame:
    for column in columns:
        empty = table[column].isna()
        if empty.any():
            raise RecordError(
                f"{paths.shown(file)}, row {int(empty.to_numpy().argmax()) + 1}: {column} is empty"
            )
    return table


def read_steps(file: Path) -> pd.DataFrame:
    """A run's steps.csv, steps counted from 1 without a gap.  Raises RecordError by file and row."""
    try:
        table = pd.read_csv(file)
    except ValueError as error:
        raise RecordError(f"{paths.shown(file)}: not a table ({error}); restore it or train again") from error
    _require(table, STEPS_COLUMNS, file)
    _no_holes(table, ("step", "phase", "entropy", "tokens_mean"), file)
    for row, step in enumerate(table["step"], 1):
        if step != row:
            raise RecordError(
                f"{paths.shown(file)}, row {row}: step {step}, expected {row}; train the run again"
            )
    return table


@dataclass(frozen=True)
class Record:
    """One finished run.  Tables are read when first asked for, and raise RecordError if damaged."""

    path: Path
    """The record's folder."""
    meta: dict[str, Any]
    """run.json."""

    @classmethod
    def load(cls, path: Path) -> Record:
        """Read a record's run.json.  Raises RecordError if it is missing, damaged or of an unfinished run."""
        file = path / "run.json"
        if not file.is_file():
            raise RecordError(f"no record in {paths.shown(path)}: train it with `python -m egrc train`")
        try:
            meta = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RecordError(
                f"{paths.shown(file)}: not JSON ({error}); restore it or train the run again"
            ) from error
        _require(meta, RUN_KEYS, file)
        if meta["status"] != "complete":
            raise RecordError(
                f"{paths.shown(file)}: status {meta['status']!r}, not 'complete'; train the run again"
            )
        return cls(path, meta)

    @property
    def scale(self) -> str:
        return self.meta["config"]["scale"]

    @property
    def arm(self) -> str:
        return self.meta["config"]["arm"]

    @property
    def seed(self) -> int:
        return self.meta["config"]["seed"]

    @property
    def name(self) -> str:
        return f"{self.scale}/{self.arm}/seed-{self.seed}"

    @property
    def config(self) -> Config:
        """Today's settings of this run (`stale` says whether it was made with them).  Raises ConfigError."""
        from egrc.experiments import scales

        return scales.config(self.scale, self.arm, self.seed)

    @cached_property
    def evaluation(self) -> pd.DataFrame:
        """One row per sampled answer; see `egrc.evaluation.evaluate`."""
        table = self._parquet("evaluation.parquet", EVALUATION_COLUMNS)
        return _no_holes(table, EVALUATION_COLUMNS[:-1], self.path / "evaluation.parquet")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row per optimiser step; see `egrc.trainer`."""
        return read_steps(self._file("steps.csv"))

    @cached_property
    def decisions(self) -> list[dict[str, Any]]:
        """The gate's decisions in order; see `egrc.controller.Decision`."""
        file = self._file("decisions.jsonl")
        out = []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                decision = json.loads(line)
            except ValueError as error:
                raise RecordError(f"{paths.shown(file)}, row {number}: not JSON ({error})") from error
            _require(decision, DECISION_KEYS, Path(f"{file}, row {number}"))
            out.append(decision)
        return out

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """Some rollouts, with tokens and entropies in nats as lists; see `egrc.trainer`."""
        return self._parquet("rollouts.parquet", ROLLOUT_COLUMNS)

    @property
    def is_slim(self) -> bool:
        """Does it hold only what `SLIM` names, and weights perhaps, though it was trained?"""
        return self.arm != "base" and not (self.path / "decisions.jsonl").is_file()

    @property
    def has_weights(self) -> bool:
        """Can its policy be asked again?"""
        return (self.path / WEIGHTS).is_dir()

    def _file(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            why = "restore it or train the run again"
            if self.arm == "base":
                why = "the arm 'base' is not trained"
            elif self.is_slim and name not in SLIM:
                why = "this study's runs keep only steps and answers; `train --out FOLDER` makes a whole one elsewhere"
            raise RecordError(f"no {paths.shown(file)}: {why}")
        return file

    def _parquet(self, name: str, columns: Iterable[str]) -> pd.DataFrame:
        file = self._file(name)
        try:
            table = pd.read_parquet(file)
        except (ValueError, OSError) as error:  # pyarrow's errors are of these two kinds
            raise RecordError(
                f"{paths.shown(file)}: damaged ({error}); restore it or train the run again"
            ) from error
        _require(table, columns, file)
        return table


def load(scale: str, arm: str, seed: int, data: Path | None = None) -> Record:
    """One record by name.  Raises RecordError."""
    return Record.load(paths.run_folder(data or paths.DATA, scale, arm, seed))


def load_all(scale: str | None = None, data: Path | None = None, studies: bool = False) -> list[Record]:
    """All records (of a scale): arms in the order of `egrc.methods`, then seeds; runs that only a study names only
    with `studies`.  Raises RecordError."""
    from egrc.experiments import scales
    from egrc.methods import ARMS

    order = {arm: i for i, arm in enumerate(ARMS)}
    files = ((data or paths.DATA) / "runs").glob(f"{scale or '*'}/*/seed-*/run.json")
    found = [Record.load(file.parent) for file in files]
    if not studies:
        found = [r for r in found if r.scale not in scales.SCALES or (r.arm, r.seed) not in scales.extras(r.scale)]
    return sorted(found, key=lambda r: (r.scale, order.get(r.arm, len(order)), r.arm, r.seed))


def load_study(scale: str, study: str, data: Path | None = None) -> list[Record]:
    """The records of one study, in its own order of arms, then seeds.  Raises RecordError if one is missing."""
    from egrc.experiments import scales

    return [load(scale, arm, seed, data) for arm, seed in scales.study_runs(scale, study)]


def make_slim(folder: Path, weights: bool = False) -> None:
    """Leave of a record what `SLIM` names, and its weights if they are to stay; later steps are rounded."""
    kept = {*SLIM, WEIGHTS} if weights else {*SLIM}
    for item in [item for item in folder.iterdir() if item.name not in kept]:
        shutil.rmtree(item) if item.is_dir() else item.unlink()
    steps = pd.read_csv(folder / "steps.csv")
    short = steps.map(lambda value: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value)
    write_csv(folder / "steps.csv", pd.concat([steps[: agree.STEPS], short[agree.STEPS :]]))


def stale(record: Record) -> str | None:
    """Which settings differ from today's, so that today's code would make another record; or None."""
    try:
        now = record.config.to_dict()
    except ConfigError as error:
        return f"config: {error}"
    # an arm that is not trained does not depend on how the others train
    matters = BASE_FIELDS if record.arm == "base" else now.keys() | record.meta["config"].keys()
    changed = [name for name in matters if now.get(name) != record.meta["config"].get(name)]
    return f"config changed: {', '.join(sorted(changed))}" if changed else None


BASE_FIELDS = ("scale", "arm", "seed", "cap", "eval_problems", "eval_samples", "eval_temperatures")


def require_fresh(found: Iterable[Record]) -> None:
    """Stop by name if any record is stale.  Raises RecordError."""
    reasons = {record.name: reason for record in found if (reason := stale(record))}
    if reasons:
        listing = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
        raise RecordError(
            f"stale records:\n{listing}\n"
            "Train them again (`make train ARM=... SEEDS=...`, or `make paper FRESH=1`)."
        )
