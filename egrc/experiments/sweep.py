"""The runs that a scale's figures and tables need, side by side, resuming what was begun."""

from __future__ import annotations

import os
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


def main(scale: str) -> list[tuple[str, int]]:
    """Arm and seed of the main runs: those of the first figures."""
    arms, seeds = scales.runs(scale)
    return [(arm, seed) for arm in arms for seed in seeds]


def needed(scale: str, runs: Runs | None = None) -> list[Config]:
    """The configs of all runs (the main ones), the long ones first, so that all processes end at about the same time.

    Raises ConfigError for unknown names.
    """
    configs = [scales.config(scale, arm, seed) for arm, seed in (main(scale) if runs is None else runs)]
    return sorted(configs, key=lambda c: 0 if c.arm == "base" else -c.steps * c.recipe.phases[0].budget)


def sweep(scale: str, data: Path | None = None, runs: Runs | None = None) -> None:
    """Make every record of a scale (the main ones, or of `runs`) that is missing or stale: one a core, on a GPU one.

    Each run is a process of its own with one torch thread; its log is in build/logs.  Raises ConfigError before any of
    them if this machine cannot make them; JobsError if any run failed, after all others have ended.
    """
    data = data or paths.DATA
    of_runs = [(config, paths.run_folder(data, scale, config.arm, config.seed)) for config in needed(scale, runs)]
    wanted = [(config, folder) for config, folder in of_runs if not records.is_done(folder, config)]
    hardware = scales.hardware(scale)
    if wanted:  # once, instead of once in the log of every run
        launch.check(wanted[0][0], hardware, scales.world(scale))
    try:
        run_jobs([_job(config, data) for config, _ in wanted], os.cpu_count() if hardware.dtype == "float32" else 1)
    finally:
        for config, folder in wanted:
            if folder.exists() and not scales.keeps_all(scale, config.arm, config.seed):
                records.make_slim(folder, scales.keeps_weights(scale, config.arm, config.seed))


def _job(config: Config, data: Path) -> Job:
    command = [sys.executable, "-m", "egrc", "train", "--scale", config.scale]
    command += ["--arm", config.arm, "--seed", str(config.seed)]
    log = paths.BUILD / "logs" / config.scale / f"{config.arm}-seed-{config.seed}.log"
    return Job(f"{config.arm}/seed-{config.seed}", command, log, {"EGRC_DATA": str(data)})
