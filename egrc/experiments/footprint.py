"""Measured memory of a few training steps, each time in a process of its own, to hold the estimates against.

    python -m egrc.experiments.footprint SCALE [ARM ...] [--steps N]

writes data/bench/memory.json.  Two peaks are read (largest resident set):

    default    as a run has it.  The C library keeps much of what is freed, so this is more than was ever in use
    returned   with an environment that makes glibc give freed blocks back at once: nearly what was in use

An estimate counts what is in use, so `returned` is what it is compared with; `default` is what a machine must have.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_json
from egrc.config import Config
from egrc.experiments import memory, scales
from egrc.experiments.records import RecordError

STEPS = 2
ALLOCATORS = {"default": {}, "returned": {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}}
"""Environments of a measurement.  The second one is glibc's; another C library ignores it."""


def file(data: Path | None = None) -> Path:
    """Where measurements are kept."""
    return (data or paths.DATA) / "bench" / "memory.json"


# --- measuring ----------------------------------------------------------------------------------------------------


def measure(scale: str, arm: str, steps: int = STEPS) -> dict[str, Any]:
    """Peaks of some steps by allocator, GB, with what was there before the first step.  Raises OSError."""
    found = {name: _child(scale, arm, steps, env) for name, env in ALLOCATORS.items()}
    facts = {k: found["default"][k] for k in ("shape", "prompt", "steps", "versions")}
    return facts | {name: {k: child[k] for k in ("before", "peak")} for name, child in found.items()}


def _child(scale: str, arm: str, steps: int, env: dict[str, str]) -> dict[str, Any]:
    asked = f"run_and_say({scale!r}, {arm!r}, {steps})"
    command = [sys.executable, "-c", f"from egrc.experiments.footprint import run_and_say; {asked}"]
    ours = {"PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env={**os.environ, **ours, **env}, capture_output=True, text=True)
    if done.returncode:
        why = "killed, perhaps for want of memory" if done.returncode < 0 else f"exit code {done.returncode}"
        raise OSError(f"measuring {scale}/{arm} failed ({why}):\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_and_say(scale: str, arm: str, steps: int) -> None:
    """Train some steps in this process and print its memory as JSON."""
    from egrc.experiments.run import set_up, train, versions

    set_up()
    config, world = scales.config(scale, arm, steps=steps), scales.world(scale)
    before: list[float] = []

    def note(step: int, model: Any) -> None:
        if step == 0:
            for weight in model.parameters():  # those of a mapped file are resident only once they were read
                weight.sum()
            before.append(_resident_peak())

    with tempfile.TemporaryDirectory() as work:
        train(config, world, Path(work), stop_after=steps, observe=note)
    facts = {"before": before[0], "peak": _resident_peak(), "steps": steps, "versions": versions()}
    model = world.policy()[0].config
    facts |= {"prompt": longest_prompt(config, world), "shape": asdict(memory.Shape.of(model))}
    print(json.dumps(facts))


def longest_prompt(config: Config, world: Any) -> int:
    """Tokens of the longest prompt among the problems of the first steps."""
    _, tokenizer = world.policy()
    drawn = list(world.train_problems(config.seed)["prompt"])
    return max(map(len, tokenizer(drawn)["input_ids"]))


def _resident_peak() -> float:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / memory.GB, 3)


def write(scale: str, arms: Sequence[str], steps: int = STEPS, out: Path | None = None) -> Path:
    """Measure some arms and keep the result beside what is there.  Raises OSError."""
    path = out or file()
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept.setdefault(scale, {})
    for arm in arms:
        kept[scale][arm] = measure(scale, arm, steps) | {"machine": platform.machine()}
        write_json(path, kept)
    return path


# --- comparing ----------------------------------------------------------------------------------------------------


def comparison(data: Path | None = None) -> pd.DataFrame:
    """Estimated and measured growth (GB) from before the first step to the peak, and the estimate's error.

    One row per measured run, 'scale/arm'; columns estimated, measured, error (share of the measured), before and peak
    (measured, freed blocks returned), default (peak as a run has it), kept (share of that which was no longer in use),
    bench (peak of a whole command with its evaluation, where `make bench` measured it).
    Raises RecordError where nothing was measured.
    """
    path = file(data)
    if not path.exists():
        raise RecordError(f"no {paths.shown(path)}: `python -m egrc.experiments.footprint pocket egrc accuracy` measures it")  # noqa: E501
    kept = json.loads(path.read_text(encoding="utf-8"))
    found = {(scale, arm): facts for scale, arms in kept.items() for arm, facts in arms.items()}
    names = ["/".join(run) for run in found]
    returned = pd.DataFrame([facts["returned"] for facts in found.values()], index=names)
    estimated = [
        growth(scales.config(*run), memory.Shape(**facts["shape"]), facts["prompt"]) for run, facts in found.items()
    ]
    measured = (returned["peak"] - returned["before"]).to_dict()
    table = memory.compare(dict(zip(names, estimated, strict=True)), measured).join(returned[["before", "peak"]])
    table["default"] = [facts["default"]["peak"] for facts in found.values()]
    bench = [_benched(path.parent, *run) for run in found]
    return table.assign(kept=1 - table["peak"] / table["default"], bench=bench)


def _benched(folder: Path, scale: str, arm: str) -> float:
    report = folder / f"{scale}.json"
    if arm != "egrc" or not report.exists():  # `make bench` runs that arm
        return math.nan
    return float(json.loads(report.read_text(encoding="utf-8"))["peak_memory_gb"])


def growth(config: Config, shape: memory.Shape, prompt: int) -> float:
    """Estimated GB that training adds to what is loaded before the first step (weights and adapter)."""
    load = memory.Load.of(config, scales.hardware(config.scale), prompt)
    parts = memory.memory(shape, load)
    return (parts["total"] - parts["weights"] - parts["adapter"]) / memory.GB


if __name__ == "__main__":
    asked = argparse.ArgumentParser(prog="python -m egrc.experiments.footprint")
    asked.add_argument("scale", choices=list(scales.SCALES))
    asked.add_argument("arms", nargs="*", default=["egrc"])
    asked.add_argument("--steps", type=int, default=STEPS)
    given = asked.parse_args()
    print(f"egrc: {paths.shown(write(given.scale, given.arms, given.steps))}")
