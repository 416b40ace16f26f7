"""`make paper`: figures, tables and executed notebooks from records, or, fresh, from runs made anew.

Fresh runs gather in build/fresh/<scale> and replace the records in data/ only when all of them are there: it can be
stopped and started again at any time, and the old records stand until then.  Studies and measurements follow where
the fresh runs have made them stale, or all of them on demand.  What was not made yet is named; all else is made.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from egrc import paths
from egrc.analysis import measure
from egrc.atomic import publish_folder
from egrc.checks import ConfigError
from egrc.experiments import records, scales
from egrc.experiments.jobs import Job, run_jobs
from egrc.experiments.sweep import main, sweep
from egrc.paper import products

Say = Callable[[str], None]


def paper(
    scale: str, fresh: str | None = None, arms: Sequence[str] | None = None, only: Sequence[str] | None = None,
    say: Say = print,
) -> None:  # fmt: skip
    """Make everything of a scale, or `only` some figures, tables and notebooks.

    `fresh`: 'main' makes the base model and the main arms anew, 'all' the studies and measurements, too.  `arms`: only
    these anew, at each of their seeds, from the base model that is there.  Raises RecordError as `check` does;
    JobsError if a notebook, a figure or (fresh) a run failed, with the end of its log.
    """
    began = time.monotonic()
    if fresh or arms:
        make_fresh(scale, say, everything=fresh == "all", arms=arms)
        follow(scale, say, everything=fresh == "all")
    check(scale, say)
    products.make(scale, only, say)
    figures = paths.shown(paths.figures(scale))
    say(f"egrc: {time.monotonic() - began:.0f} s; figures and tables are in {figures}, notebooks in build/notebooks")


def check(scale: str, say: Say) -> None:
    """Stop by name if a needed record is missing, or a record or measurement of the scale is stale; say which
    measurements and studies' runs were not made yet.  Raises RecordError."""
    if lacking := [run for run in main(scale) if not _recorded(scale, *run)]:
        listing = "\n".join(f"  {scale}/{arm}/seed-{seed}" for arm, seed in lacking)
        arm, seed = lacking[0]
        raise records.RecordError(
            f"no records of:\n{listing}\nTrain them, e.g. `make train SCALE={scale} ARM={arm} SEEDS={seed}`, "
            f"or all with `make paper SCALE={scale} FRESH=1`."
        )
    records.require_fresh(records.load_all(scale, studies=True))
    measure.require_fresh(scale)
    for name in measure.missing(scale):
        say(f"egrc: not measured yet: {name} (`python -m egrc measure {name} --scale {scale}`)")
    for name in scales.SCALES[scale].studies:
        there = [_recorded(scale, *run) for run in scales.study_runs(scale, name)]
        if not all(there):
            command = f"python -m egrc sweep --study {name} --scale {scale}"
            say(f"egrc: study {name}: {sum(there)} of {len(there)} runs (`{command}`)")


def _recorded(scale: str, arm: str, seed: int) -> bool:
    return paths.run_folder(paths.DATA, scale, arm, seed).exists()


def make_fresh(scale: str, say: Say = print, everything: bool = False, arms: Sequence[str] | None = None) -> None:
    """Train the base model (where a scale has its own) and the runs, and replace the records.  With `arms`, only
    these, on the base model that is there.  Raises ConfigError for unknown names."""
    known = [*main(scale), *scales.extras(scale)]
    if unknown := sorted(set(arms or ()) - {arm for arm, _ in known}):
        raise ConfigError(f"no runs of {', '.join(unknown)} at scale {scale!r}: choose from {sorted(dict(known))}")
    runs = [run for run in known if run[0] in arms] if arms else known if everything else main(scale)
    fresh, base = paths.BUILD / "fresh" / scale, Path(scale) / "base"
    own_base = scale == "pocket" and not arms  # the other scales start from a pretrained one
    # what is given (problem files, say), but nothing that is about to be made
    made = shutil.ignore_patterns("runs", *(["base"] if own_base else []), "measurements", "*.tmp")
    shutil.copytree(paths.DATA, fresh, ignore=made, dirs_exist_ok=True)
    if own_base and not (fresh / base).exists():
        say("egrc: training the base model, about 15 minutes")
        command = [sys.executable, "-m", "egrc", "train", "--base", "--scale", scale]
        run_jobs([Job("base model", command, paths.BUILD / "logs" / scale / "base.log", {"EGRC_DATA": str(fresh)})])
    say(f"egrc: training the runs of scale {scale}; logs are in build/logs/{scale}")
    sweep(scale, fresh, runs)
    if own_base:
        publish_folder(fresh / base, paths.DATA / base)
    for run in runs:
        publish_folder(*(paths.run_folder(data, scale, *run) for data in (fresh, paths.DATA)))
    shutil.rmtree(fresh)


def follow(scale: str, say: Say = print, everything: bool = False) -> None:
    """Make what depends on the main runs and is stale (or all): the studies' runs, then the measurements."""
    if runs := [run for run in scales.extras(scale) if everything or _recorded(scale, *run)]:
        say("egrc: the studies' runs that are stale")
        sweep(scale, runs=runs)
    for name in measure.names(scale):
        say(f"egrc: measurement {name}")
        measure.make(name, scale, fresh=everything)
