"""A small, complete record on disk, for tests that read records; its numbers mean nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from egrc.atomic import write_csv, write_json, write_parquet, write_text
from egrc.experiments import fingerprint, scales
from egrc.paths import run_folder

STEPS = 3


def evaluation() -> pd.DataFrame:
    """Two benchmarks, two problems each, two samples at T=1 and one greedy."""
    rows = [
        (benchmark, f"{benchmark} {problem}", temperature, sample, problem == 0, 10 + sample, False, None)
        for benchmark in ("forward-3", "hole-2")
        for temperature, samples in ((1.0, 2), (0.0, 1))
        for problem in range(2)
        for sample in range(samples)
    ]
    columns = ["benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated", "text"]
    return pd.DataFrame(rows, columns=columns)


def steps() -> pd.DataFrame:
    """As many steps as `STEPS`, with the columns that readers rely on."""
    table = pd.DataFrame({"step": range(1, STEPS + 1), "phase": "compress", "loss": 0.1 + 0.2})
    numbers = ["temperature", "budget", "accuracy", "reward", "tokens_mean", "truncated", "entropy"]
    numbers += ["entropy_smoothed", "entropy_total", "connectors_mean", "generated_tokens", "seconds"]
    return table.assign(**dict.fromkeys(numbers, 1.0))


def write(data: Path, arm: str = "egrc", seed: int = 0, stale: bool = False, **meta: Any) -> Path:
    """Write a record under a data folder; `meta` replaces entries of run.json, a stale one took one step less.

    Returns its folder.
    """
    config = scales.config("pocket", arm, seed)
    folder = run_folder(data, "pocket", arm, seed)
    write_json(
        folder / "run.json",
        {
            "config": config.to_dict() | ({"steps": config.steps - 1, "cap": 1} if stale else {}),
            "config_hash": "stale" if stale else fingerprint.config_hash(config),
            "versions": {},
            "seconds": 1.0,
            "generated_tokens": 5,
            **meta,
        },
    )
    write_parquet(folder / "evaluation.parquet", evaluation())
    if arm != "base":
        write_csv(folder / "steps.csv", steps())
        keys = '"entropy": 1.0, "smoothed": 1.0, "phase": "compress", "next_phase": "compress", "cause": ""'
        write_text(folder / "decisions.jsonl", "".join(f'{{"step": {i}, {keys}}}\n' for i in range(1, STEPS + 1)))
    return folder
