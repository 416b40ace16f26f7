"""The runs that a scale's figures and tables need, side by side on a CPU, resuming what was begun."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from egrc import paths
from egrc.config import Config
from egrc.experiments import records, scales
from egrc.experiments.jobs import Job, run_jobs
from egrc.worlds import launch

Runs = Collection[tuple[str, int]]
"""Arm and seed of each."""


def needed(scale: str, runs: Runs | None = None) -> list[Config]:
    """The configs of all runs (the main ones), the long ones first, so that two processes end at about the same time.

    Raises ConfigError for unknown names.
    """
    configs = [scales.config(scale, arm, seed) for arm, seed in (main(scale) if runs is None else runs)]
    return sorted(configs, key=_rough_length, reverse=True)


def main(scale: str) -> list[tuple[str, int]]:
    """Arm and seed of the main runs: those of the first figures."""
    arms, seeds = scales.runs(scale)
    return [(arm, seed) for arm in arms for seed in seeds]


def _rough_length(config: Config) -> float:
    """Grows with the time a run takes: steps times the tokens it may generate in the first phase."""
    return 0 if config.arm == "base" else config.steps * config.recipe.phases[0].budget


def sweep(scale: str, data: Path | None = None, trust: bool = True, runs: Runs | None = None) -> None:
    """Make every record of a scale (the main ones, or of `runs`) that is missing or stale: two at a time, on a GPU one.

    Each run is a process of its own with one torch thread; its log is in build/logs.  Where `data` is not this
    process's own data folder it has another base model, so this process cannot judge what is stale: with
    `trust=False` each run's process finds out for itself.
    Raises ConfigError before any of them if this machine cannot make them; JobsError if any run failed, after all
    others have ended.
    """
    from egrc.experiments.run import is_done

    data = data or paths.DATA
    wanted = needed(scale, runs)
    if trust:
        wanted = [c for c in wanted if not is_done(paths.run_folder(data, scale, c.arm, c.seed), c)]
    hardware = scales.hardware(scale)
    if wanted:  # once, instead of once in the log of every run
        launch.check(wanted[0], hardware, scales.world(scale))
    try:
        run_jobs([_job(config, data) for config in wanted], at_once=2 if hardware.dtype == "float32" else 1)
    finally:
        for config in wanted:
            folder = paths.run_folder(data, scale, config.arm, config.seed)
            if folder.exists() and not scales.keeps_all(scale, config.arm, config.seed):
                records.make_slim(folder, scales.keeps_weights(scale, config.arm, config.seed))


def _job(config: Config, data: Path) -> Job:
    name = f"{config.arm}/seed-{config.seed}"
    command = [sys.executable, "-m", "egrc", "train"]
    command += ["--scale", config.scale, "--arm", config.arm, "--seed", str(config.seed)]
    log = paths.BUILD / "logs" / config.scale / f"{config.arm}-seed-{config.seed}.log"
    return Job(name, command, log, {"EGRC_DATA": str(data)})
