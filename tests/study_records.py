"""Made-up slim records of studies' arms and variants: run.json and evaluation rows, nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import stub_records
import synthetic

from egrc.atomic import write_json, write_parquet

SOME = {
    "truncation": (0.5, 0.78), "truncation-L50": (0.35, 0.7), "dler": (0.24, 0.76), "deepcompress": (0.8, 0.85),
    "tokensqueeze": (0.45, 0.8), "kl-cov": (0.3, 0.72), "egrc-cycles": (0.22, 0.74), "egrc-fixed": (0.27, 0.79),
}  # fmt: skip
"""Length and skill by arm; the base's are 1 and 0.72."""


def write(data: Path, arm: str, seed: int, length: float, skill: float, problems: int = 20) -> Path:
    """One slim record; 30,000 tokens more generated with each seed."""
    tokens = 30_000 * (seed + 1)
    folder = stub_records.write(data, arm, seed, seconds=60.0, training_seconds=50.0, generated_tokens=tokens)
    rng = np.random.default_rng([len(arm), seed, int(1000 * length)])
    write_parquet(folder / "evaluation.parquet", synthetic.answers(rng, length, skill, problems, 1))
    for name in ("steps.csv", "decisions.jsonl"):
        (folder / name).unlink(missing_ok=True)
    return folder


def write_all(data: Path, arms: Iterable[str] = tuple(SOME), seeds: int = 2) -> Path:
    """The base, the main arms and some of the studies.  Returns the data folder."""
    for arm in synthetic.ARMS:
        for seed in range(seeds):
            write(data, arm, seed, synthetic.LENGTH[arm], synthetic.SKILL[arm])
    for arm in arms:
        for seed in range(seeds):
            write(data, arm, seed, *SOME[arm])
    write_json(data / "pocket" / "world.json", {"base_best_temperature": synthetic.BEST})
    return data
