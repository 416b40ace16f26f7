"""The clock world's policies: a base model from scratch, and the start of every arm, which accuracy training gives.

`python -m egrc train --base --scale clock` makes both for the seeds asked; what is there already stays.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.atomic import publish_folder, write_json
from egrc.experiments import run, scales
from egrc.experiments.run import OnProgress
from egrc.worlds.clock import BASES, ClockWorld, criteria
from egrc.worlds.clock.base import train_base
from egrc.worlds.clock.language import WORLD_VERSION
from egrc.worlds.pocket import criteria as pocket_criteria

SEED = 200
"""Plus the base model's number: of the accuracy training, which no run shares."""


def make(scale: str, number: int, fresh: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Base model and start policy of this number, as `data/<scale>/base-<n>` and `start-<n>`; returns the latter."""
    raw, start = (made_world(scale, number, raw) for raw in (True, False))
    work = paths.BUILD / "work" / scale / f"start-{number}"
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    base, target = (paths.DATA / scale / f"{kind}-{number}" for kind in ("base", "start"))
    if fresh or not base.is_dir():
        publish_folder(train_base(raw.clock, work / "base", seed=number), base)
    if fresh or not target.is_dir():
        config = scales.config(scale, "accuracy", SEED + number, **scales.SCALES[scale].start)
        if not (work / "adapter").is_dir():
            run.train(config, raw, work, on_progress)
        model, tokenizer = raw.policy()
        model = run.adapted(model, work / "adapter").half()
        model.save_pretrained(work / "start")
        tokenizer.save_pretrained(work / "start")
        shutil.copy(work / "steps.csv", work / "start")
        publish_folder(work / "start", target)
        shutil.rmtree(work)
    return Path(start.policy_path())


def measure(scale: str) -> dict[str, Any]:
    """The criteria of a synthetic world, kept as `data/<scale>/world.json`."""
    if scale == "pocket":
        return pocket_criteria.measure()
    worlds = [made_world(scale, number, raw=True) for number in range(BASES)]
    found = {"version": WORLD_VERSION, "modulus": worlds[0].modulus, "bases": [criteria.measure(w) for w in worlds]}
    write_json(paths.DATA / scale / "world.json", found)
    return found


def made_world(scale: str, number: int, raw: bool) -> ClockWorld:
    """The world of a scale on one of its base models."""
    world = scales.world(scale, seed=number)
    world.raw = raw
    return world
