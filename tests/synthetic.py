"""Made-up records for the tests of figures and tables: random, small, and never written outside a test's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import stub_records

from egrc.atomic import write_csv, write_json, write_parquet, write_text

BENCHMARKS = ("forward-2", "forward-3", "forward-4", "hole-2", "hole-3", "hole-4")
FLOORS = dict(zip(BENCHMARKS, (13.0, 17.0, 21.0, 22.0, 26.0, 30.0), strict=True))
BEST = 0.6
TEMPERATURES = (1.0, BEST, 0.0)
STEPS = 120
PROBLEMS = 15
ARMS = ("base", "accuracy", "compression", "joint", "egrc", "egrc-reversed")
LENGTH = dict(zip(ARMS, (1.0, 1.3, 0.25, 0.5, 0.28, 0.45), strict=True))
SKILL = dict(zip(ARMS, (0.72, 0.82, 0.6, 0.66, 0.8, 0.63), strict=True))
STUDIES = {
    "dler": (0.24, 0.76), "deepcompress": (0.8, 0.85), "kl-cov": (0.3, 0.72), "egrc-fixed": (0.27, 0.79),
    "joint-r0.5": (0.6, 0.7), "joint-r0.8": (0.75, 0.86), "joint-r0.95": (0.9, 0.65),
    "joint-r0.01": (0.42, 0.62), "joint-r0.1": (0.52, 0.68), "joint-r0.2": (0.56, 0.72),
    "egrc-r0.01": (0.22, 0.7), "egrc-r0.1": (0.33, 0.8), "egrc-r0.2": (0.36, 0.78),
    "egrc-r0.5": (0.4, 0.82), "egrc-r0.8": (0.7, 0.85), "egrc-r0.95": (0.85, 0.8),
}  # fmt: skip
"""Length and skill of some arms that only studies name, all of the study `dilemma` among them."""


def switch_step(arm: str, seed: int) -> int:
    """First step of the second phase; beyond the last step for an arm with one phase."""
    return 45 + 4 * seed if arm.startswith("egrc") else STEPS + 1


def steps(arm: str, seed: int) -> pd.DataFrame:
    """A run's steps: entropy and length go where the arm's name would suggest, with noise."""
    rng = np.random.default_rng([ARMS.index(arm), seed])
    step = np.arange(1, STEPS + 1)
    first, second = ("explore", "compress") if arm == "egrc-reversed" else ("compress", "explore")
    only = {"accuracy": "accuracy", "joint": "joint"}.get(arm, first)
    phase = np.where(step < switch_step(arm, seed), only, second)
    slope = np.where(phase == "explore", 0.001, np.where(phase == "accuracy", 0.0005, -0.003))
    entropy = (0.4 + np.cumsum(slope) + rng.normal(0, 0.01, STEPS)).clip(0.05)
    length = 90 * (LENGTH[arm] + (1 - LENGTH[arm]) * np.exp(-step / 30)) + rng.normal(0, 3, STEPS)
    columns = {
        "step": step, "phase": phase, "temperature": np.where(phase == "explore", 1.2, 1.0), "budget": 90,
        "accuracy": SKILL[arm] - 0.2 * np.exp(-step / 30) + rng.normal(0, 0.03, STEPS), "reward": 0.5,
        "tokens_mean": length, "truncated": 0.0, "entropy": entropy, "entropy_smoothed": entropy,
        "entropy_total": entropy * length, "connectors_mean": length / 9, "loss": 0.0,
        "probe_entropy": np.where(step % 10 == 1, 0.8 * entropy, np.nan),
        "generated_tokens": np.cumsum(length).round().astype(int), "seconds": rng.random(STEPS).cumsum(),
    }  # fmt: skip
    return pd.DataFrame(columns)


def decisions(arm: str, seed: int) -> list[dict[str, Any]]:
    """The gate's decisions that go with `steps`: the step before a switch says why."""
    table = steps(arm, seed)
    after = table["phase"].shift(-1).fillna(table["phase"].iloc[-1])
    return [
        {"step": step, "entropy": 0.3, "smoothed": 0.3, "phase": phase, "next_phase": then,
         "cause": "entropy fell below 0.5 of its start" if phase != then else ""}
        for step, phase, then in zip(table["step"].tolist(), table["phase"], after, strict=True)
    ]  # fmt: skip


def evaluation(arm: str, seed: int, problems: int = PROBLEMS, samples: int = 2) -> pd.DataFrame:
    """A run's evaluation rows: harder benchmarks are longer and less often solved; cooler is a little shorter."""
    rng = np.random.default_rng([99, ARMS.index(arm), seed])
    return answers(rng, LENGTH[arm], SKILL[arm], problems, samples)


def answers(rng: np.random.Generator, length: float, skill: float, problems: int, samples: int) -> pd.DataFrame:
    """Evaluation rows of an arm of this length (1: the base's) and chance of success."""
    frames = []
    for b, benchmark in enumerate(BENCHMARKS):
        for temperature in TEMPERATURES:
            k = samples if temperature else 1
            n = problems * k
            full = FLOORS[benchmark] * 5 * length * (0.8 + 0.2 * temperature)
            columns = {
                "benchmark": benchmark, "id": np.repeat([f"{benchmark}/{i}" for i in range(problems)], k),
                "temperature": temperature, "sample": np.tile(range(k), problems),
                "correct": rng.random(n) < skill - 0.12 * b + 0.25,
                "tokens": rng.normal(full, full / 5, n).clip(FLOORS[benchmark]).round().astype(int),
                "truncated": False, "text": None,
            }  # fmt: skip
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def rollouts() -> pd.DataFrame:
    """A few recorded steps, three rollouts each, shorter from step to step."""
    rows = [
        (step, "compress", "3 +4 /6 -1 ?", 40 // n + i, i != 1, [c % 4 for c in range(40 // n + i)])
        for n, step in enumerate((1, 20, STEPS), 1) for i in range(3)
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["step", "phase", "prompt", "length", "correct", "classes"])
    return table.assign(tokens=table["classes"], entropies=table["classes"])


def write_run(
    data: Path, arm: str, seed: int, rows: pd.DataFrame | None = None, like: str | None = None, **meta: Any
) -> Path:
    """One record in the layout of `egrc.experiments.records`, with given evaluation rows or random ones.

    `like`: the arm whose steps (and random rows) it has, where it is none of `ARMS`; then it has no decisions, as a
    study's.  `meta`: entries of run.json.
    """
    of = like or arm
    folder = stub_records.write(data, arm, seed, **meta)
    write_parquet(folder / "evaluation.parquet", evaluation(of, seed) if rows is None else rows)
    if arm != "base":
        write_csv(folder / "steps.csv", steps(of, seed))
        (folder / "decisions.jsonl").unlink()
    if of == arm != "base":
        write_parquet(folder / "rollouts.parquet", rollouts())
        write_text(folder / "decisions.jsonl", "".join(json.dumps(d) + "\n" for d in decisions(arm, seed)))
    return folder


def write_runs(data: Path, arms: Iterable[str] = ARMS, seeds: int = 3) -> Path:
    """Records of several arms, and the base's best temperature.  Returns the data folder."""
    for arm in arms:
        for seed in range(seeds):
            write_run(data, arm, seed)
    write_json(data / "pocket" / "world.json", {"base_best_temperature": BEST})
    return data


def write_studies(data: Path, arms: Iterable[str] = STUDIES, seeds: int = 3) -> Path:
    """Records of some of `STUDIES`, 30,000 tokens more with each seed; the gate of egrc-r0.8 never fired."""
    for arm in arms:
        for seed in range(seeds):
            rows = answers(np.random.default_rng([len(arm), seed]), *STUDIES[arm], PROBLEMS, 1)
            like = "egrc" if arm.startswith("egrc") and arm != "egrc-r0.8" else "compression"
            meta = {"seconds": 60.0, "training_seconds": 50.0, "generated_tokens": 30_000 * (seed + 1)}
            write_run(data, arm, seed, rows, like, **meta)
    return data
