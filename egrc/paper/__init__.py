"""`make paper`: figures, tables and executed notebooks from records, or, fresh, from runs made anew.

Fresh runs gather in build/fresh/<scale> and replace the records in data/ only when all of them are there: it can be
stopped and started again at any time.  Studies and measurements follow where the fresh runs have made them stale.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence

from egrc import paths
from egrc.analysis import measure
from egrc.atomic import publish_folder
from egrc.checks import ConfigError
from egrc.experiments import records, scales
from egrc.experiments.jobs import Job, run_jobs
from egrc.experiments.sweep import main, sweep
from egrc.paper import products
from egrc.worlds.pocket import BASES


def paper(
    scale: str, fresh: str | None = None, arms: Sequence[str] | None = None, only: Sequence[str] | None = None
) -> None:
    """Make everything of a scale, or `only` some figures, tables and notebooks.

    `fresh`: 'main' makes the main arms anew, 'all' base models, studies and measurements, too.  `arms`: only these
    anew.  Raises RecordError as `check` does; JobsError, with the end of its log, if something failed.
    """
    began = time.monotonic()
    if fresh or arms:
        make_fresh(scale, everything=fresh == "all", arms=arms)
        follow(scale, everything=fresh == "all")
    check(scale)
    products.make(scale, only)
    figures = paths.shown(paths.figures(scale))
    print(f"egrc: {time.monotonic() - began:.0f} s; figures and tables are in {figures}, notebooks in build/notebooks")


def check(scale: str) -> None:
    """Stop by name if a needed record is missing, or a record or measurement of the scale is stale; say which
    measurements and studies' runs were not made yet.  Raises RecordError."""
    if lacking := [run for run in main(scale) if not _recorded(scale, *run)]:
        listing = "\n".join(f"  {scale}/{arm}/seed-{seed}" for arm, seed in lacking)
        train = "`make train SCALE={} ARM={} SEEDS={}`".format(scale, *lacking[0])
        remedy = f"Train them, e.g. {train}, or all with `make paper SCALE={scale} FRESH=1`."
        raise records.RecordError(f"no records of:\n{listing}\n{remedy}")
    records.require_fresh(records.load_all(scale, studies=True))
    measure.require_fresh(scale)
    for name in measure.missing(scale):
        print(f"egrc: not measured yet: {name} (`python -m egrc measure {name} --scale {scale}`)")
    for name in scales.SCALES[scale].studies:
        there = [_recorded(scale, *run) for run in scales.study_runs(scale, name)]
        if not all(there):
            command = f"python -m egrc sweep --study {name} --scale {scale}"
            print(f"egrc: study {name}: {sum(there)} of {len(there)} runs (`{command}`)")


def _recorded(scale: str, arm: str, seed: int) -> bool:
    return paths.run_folder(paths.DATA, scale, arm, seed).exists()


def make_fresh(scale: str, everything: bool = False, arms: Sequence[str] | None = None) -> None:
    """Train the runs (with `arms`, only these; with `everything`, the base models before), and replace the records.
    Raises ConfigError for unknown names."""
    known = [*main(scale), *scales.extras(scale)]
    if unknown := sorted(set(arms or ()) - {arm for arm, _ in known}):
        raise ConfigError(f"no runs of {', '.join(unknown)} at scale {scale!r}: choose from {sorted(dict(known))}")
    runs = [run for run in known if run[0] in arms] if arms else known if everything else main(scale)
    fresh, models = paths.BUILD / "fresh" / scale, []
    if everything and scales.world(scale).synthetic:
        models = [f"{kind}-{n}" for n in range(BASES) for kind in ("base", "start")]
    # what is given (models, problem files), but nothing that is about to be made
    made = shutil.ignore_patterns("runs", "measurements", "*.tmp", *models)
    shutil.copytree(paths.DATA, fresh, ignore=made, dirs_exist_ok=True)
    if models:
        print("egrc: training the base models and their starts, about 20 minutes each")
        logs = paths.BUILD / "logs" / scale
        train = [sys.executable, "-m", "egrc", "train", "--base", "--scale", scale, "--seed"]
        run_jobs([Job(f"base {n}", [*train, str(n)], logs / f"base-{n}.log", {"EGRC_DATA": str(fresh)})
                  for n in range(BASES)])  # fmt: skip
    print(f"egrc: training the runs of scale {scale}; logs are in build/logs/{scale}")
    sweep(scale, fresh, runs)
    for model in models:
        publish_folder(fresh / scale / model, paths.DATA / scale / model)
    for run in runs:
        publish_folder(*(paths.run_folder(data, scale, *run) for data in (fresh, paths.DATA)))
    shutil.rmtree(fresh)


def follow(scale: str, everything: bool = False) -> None:
    """Make what depends on the main runs and is stale (or all): the studies' runs, then the measurements."""
    if runs := [run for run in scales.extras(scale) if everything or _recorded(scale, *run)]:
        print("egrc: the studies' runs that are stale")
        sweep(scale, runs=runs)
    for name in measure.names(scale):
        print(f"egrc: measurement {name}")
        measure.make(name, scale, fresh=everything)
