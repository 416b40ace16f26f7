"""`make paper`: figures, tables and executed notebooks from records, or, fresh, from runs made anew.

Fresh runs gather in build/fresh/<scale> and replace the records in data/ only when all of them are there, so
that it can be stopped and started again at any time, and the old records stand until then.  Studies and measurements
follow where the fresh runs have made them stale (the same machine and versions give the same bits, so nothing is), or
all of them on demand.  A study that was not trained yet, or not wholly, is named; all else is made.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from egrc import paths
from egrc.atomic import publish_folder, write_json
from egrc.checks import ConfigError
from egrc.experiments import measure, records, scales
from egrc.experiments.jobs import Job, run_jobs
from egrc.experiments.sweep import main, needed, sweep
from egrc.paper import products

Say = Callable[[str], None]
Fresh = Literal["main", "all"] | None
RUNS, FOLLOWING = "runs", "what follows from them"
"""Parts of a `make paper` that trains, as their times are kept."""


def paper(
    scale: str, fresh: Fresh = None, say: Say = print, arms: Sequence[str] | None = None
) -> dict[str, float]:
    """Make everything of a scale; returns the seconds of each part, which `spent` finds again.

    `fresh`: 'main' makes the base model and the main arms anew, 'all' the studies and measurements, too.  `arms`: only
    these anew, at each of their seeds, from the base model that is there.

    Raises
    ------
    RecordError
        A needed record is missing or stale: named, with the remedy.
    JobsError
        A notebook, the figures or (fresh) a run failed, with the end of its log.
    """
    times: dict[str, float] = {}
    command = _command(fresh, arms)
    began = time.monotonic()
    if fresh or arms:
        with _timed(times, RUNS):
            make_fresh(scale, say, everything=fresh == "all", arms=arms)
        _keep(scale, command, times)  # what follows may take longer, and be stopped
        with _timed(times, FOLLOWING):
            follow(scale, say, everything=fresh == "all")
    for name in measure.missing(scale):
        say(f"egrc: not measured yet: {name} (`python -m egrc measure {name} --scale {scale}`)")
    for name, (there, all_) in untrained(scale).items():
        say(f"egrc: study {name}: {there} of {all_} runs (`python -m egrc sweep --study {name} --scale {scale}`)")
    run = products.notebooks(scale, say)
    say("egrc: checking the records, drawing the figures, running the notebooks")
    times |= products.make(scale, list(products.drawings(scale)), run, check=lambda: _check(scale, times))
    times["total"] = time.monotonic() - began
    _keep(scale, command, times)
    for part, seconds in times.items():
        say(f"  {part:<28} {seconds:7.1f} s")
    say(f"egrc: figures and tables are in {paths.shown(paths.figures(scale))}, notebooks in build/notebooks")
    return times


def spent(scale: str) -> dict[str, dict[str, float]]:
    """Seconds of each part, by the command that took them: of the last call of each kind on this machine.

    A call that was stopped has the parts that had ended, and no `total`.
    """
    file = _times_file(scale)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _keep(scale: str, command: str, times: dict[str, float]) -> None:
    rounded = {part: round(seconds, 1) for part, seconds in times.items()}
    write_json(_times_file(scale), spent(scale) | {command: rounded})


def _times_file(scale: str) -> Path:
    return paths.BUILD / "times" / f"{scale}.json"


def _command(fresh: Fresh, arms: Sequence[str] | None) -> str:
    settings = [f"FRESH={'all' if fresh == 'all' else 1}"] if fresh else []
    return " ".join(["make paper", *settings, *([f'ARMS="{" ".join(arms)}"'] if arms else [])])


def _check(scale: str, times: dict[str, float]) -> None:
    with _timed(times, "records"):
        check(scale)


@contextmanager
def _timed(times: dict[str, float], part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    times[part] = time.monotonic() - began


def check(scale: str, data: Path | None = None) -> None:
    """Stop by name if a needed record is missing, or a record or measurement of the scale is stale.

    A measurement, or a study's run, that was not made yet is no reason to stop: what needs it says so.
    Raises RecordError.
    """
    data = data or paths.DATA
    lacking = [c for c in needed(scale) if not paths.run_folder(data, scale, c.arm, c.seed).exists()]
    if lacking:
        names = "\n".join(f"  {c.scale}/{c.arm}/seed-{c.seed}" for c in lacking)
        raise records.RecordError(
            f"no records of:\n{names}\nTrain them, e.g. `make train SCALE={scale} ARM={lacking[0].arm} "
            f"SEEDS={lacking[0].seed}`, or all with `make paper SCALE={scale} FRESH=1`."
        )
    records.require_fresh(records.load_all(scale, data, studies=True))
    measure.require_fresh(scale)


def untrained(scale: str) -> dict[str, tuple[int, int]]:
    """Of each study with runs that are missing: how many are there, of how many."""
    wanted = {name: scales.study_runs(scale, name) for name in scales.SCALES[scale].studies}
    there = {name: sum(_recorded(scale, *run) for run in runs) for name, runs in wanted.items()}
    return {name: (there[name], len(runs)) for name, runs in wanted.items() if there[name] < len(runs)}


def _recorded(scale: str, arm: str, seed: int) -> bool:
    return paths.run_folder(paths.DATA, scale, arm, seed).exists()


# --- fresh ----------------------------------------------------------------------------------------


def make_fresh(
    scale: str, say: Say = print, everything: bool = False, arms: Sequence[str] | None = None
) -> None:
    """Train the base model (where a scale has its own) and the runs, and replace the records.

    With `arms`, only these, on the base model that is there.  Raises ConfigError for unknown names.
    """
    runs = _fresh_runs(scale, everything, arms)
    fresh = paths.BUILD / "fresh" / scale
    own_base = has_own_base(scale) and not arms
    # what is given (problem files, say), but nothing that is about to be made
    made = shutil.ignore_patterns("runs", *(["base"] if own_base else []), "measurements", "*.tmp")
    shutil.copytree(paths.DATA, fresh, ignore=made, dirs_exist_ok=True)
    base = Path(scale) / "base"
    if own_base and not (fresh / base).exists():
        say("egrc: training the base model, about 15 minutes")
        command = [sys.executable, "-m", "egrc", "base", "--scale", scale]
        run_jobs([Job("base model", command, paths.BUILD / "logs" / scale / "base.log", {"EGRC_DATA": str(fresh)})])
    say(f"egrc: training the runs of scale {scale}, two side by side; logs are in build/logs/{scale}")
    sweep(scale, fresh, trust=False, runs=runs)
    if own_base:
        publish_folder(fresh / base, paths.DATA / base)
    for config in needed(scale, runs):
        publish_folder(*(paths.run_folder(d, scale, config.arm, config.seed) for d in (fresh, paths.DATA)))
    shutil.rmtree(fresh)


def _fresh_runs(scale: str, everything: bool, arms: Sequence[str] | None) -> list[tuple[str, int]]:
    known = [*main(scale), *scales.extras(scale)]
    if arms is None:
        return known if everything else main(scale)
    if unknown := sorted(set(arms) - {arm for arm, _ in known}):
        raise ConfigError(f"no runs of {', '.join(unknown)} at scale {scale!r}: choose from {sorted(dict(known))}")
    return [run for run in known if run[0] in arms]


def follow(scale: str, say: Say = print, everything: bool = False) -> None:
    """Make what depends on the main runs and is stale (or all): the studies' runs, then the measurements."""
    runs = [run for run in scales.extras(scale) if everything or _recorded(scale, *run)]
    if runs:
        say("egrc: the studies' runs that are stale")
        sweep(scale, runs=runs)
    for name in measure.names(scale):
        say(f"egrc: measurement {name}")
        measure.make(name, scale, fresh=everything)


def has_own_base(scale: str) -> bool:
    """Does the scale train its base model itself?  (The others start from a pretrained one.)"""
    return scale == "pocket"
