"""Parts of a measurement that are runs, 'arm/seed-k', and the hashes of what they are measured on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from egrc.experiments import fingerprint, records, scales


def named(arms: Iterable[str], seeds: Iterable[int]) -> list[str]:
    """'arm/seed-k' for every arm and seed, each once, in the order given."""
    seeds = list(seeds)
    return [f"{arm}/seed-{seed}" for arm in dict.fromkeys(arms) for seed in seeds]


def split(part: str) -> tuple[str, int]:
    """Arm and seed of a part's name."""
    arm, seed = part.rsplit("/seed-", 1)
    return arm, int(seed)


def inputs(scale: str, names: Iterable[str]) -> dict[str, str]:
    """Hashes of the adapters of these parts' runs (the base has none), and of the models under them.  Raises
    RecordError if a trained run is missing."""
    parts = [split(name) for name in names]
    runs = [records.load(scale, arm, seed) for arm, seed in parts if arm != "base"]
    weights = {run.name: fingerprint.folder_hash(str(run.path / records.WEIGHTS)) for run in runs}
    under = {scales.world(scale, seed=seed).policy_path() for _, seed in parts}
    return weights | {f"model {Path(path).name}": fingerprint.folder_hash(path) for path in sorted(under)}
