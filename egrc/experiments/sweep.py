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
    """The main runs: those of the first figures."""
    arms, seeds = scales.runs(scale)
    return [(arm, seed) for arm in arms for seed in seeds]


def needed(scale: str, runs: Runs | None = None) -> list[Config]:
    """Their configs (of the main ones), the long ones first, so that all processes end at about one time."""
    configs = [scales.config(scale, arm, seed) for arm, seed in (main(scale) if runs is None else runs)]
    return sorted(configs, key=lambda c: 0 if c.arm == "base" else -c.steps * c.recipe.phases[0].budget)


def sweep(scale: str, data: Path | None = None, runs: Runs | None = None) -> None:
    """Make every record of a scale (the main ones, or of `runs`) that is missing or stale: one a core, on a GPU one.

    Each run is a process of its own with one torch thread; its log is in build/logs.  Raises ConfigError for unknown
    names, and before any run if this machine cannot make them; JobsError if any run failed, after all others.
    """
    data, hardware, logs = data or paths.DATA, scales.hardware(scale), paths.BUILD / "logs" / scale
    wanted: dict[Job, Config] = {}
    for config in needed(scale, runs):
        if not records.is_done(paths.run_folder(data, scale, config.arm, config.seed), config):
            command = [sys.executable, "-m", "egrc", "train", "--scale", scale, "--arm", config.arm]
            name, log = f"{config.arm}/seed-{config.seed}", logs / f"{config.arm}-seed-{config.seed}.log"
            wanted[Job(name, [*command, "--seed", str(config.seed)], log, {"EGRC_DATA": str(data)})] = config
    for config in list(wanted.values())[:1]:  # once, instead of once in the log of every run
        launch.check(config, hardware, scales.world(scale))
    try:
        run_jobs(list(wanted), os.cpu_count() if hardware.dtype == "float32" else 1)
    finally:
        for config in wanted.values():
            folder = paths.run_folder(data, scale, config.arm, config.seed)
            if folder.exists() and not scales.keeps_all(scale, config.arm, config.seed):
                records.make_slim(folder, scales.keeps_weights(scale, config.arm, config.seed))
