"""Every evaluated number in one tidy table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egrc import records, scales
from egrc.evaluate import summarise

COLUMNS = [
    *("scale", "arm", "seed", "benchmark", "temperature", "problems", "samples"),
    *("accuracy", "mean_tokens", "truncated", "floor_tokens", "stale"),
]


def results(scale: str | None = None, data: Path | None = None) -> pd.DataFrame:
    """One row per scale, arm, seed, benchmark and temperature; no means over benchmarks.

    Columns: problems, samples (per problem), accuracy and truncated (shares), mean_tokens and floor_tokens
    (completion tokens, end of sequence included; no floor where none is known), stale (why, or None).
    Raises RecordError for a damaged record.
    """
    parts = [_rows(record) for record in records.load_all(scale, data)]
    return pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _rows(record: records.Record) -> pd.DataFrame:
    world = scales.world(record.scale)
    table = summarise(record.evaluation)
    table = table[table["benchmark"] != "mean"]
    floors = {name: world.floor_tokens(name) for name in table["benchmark"].unique()}
    return table.assign(
        scale=record.scale,
        arm=record.arm,
        seed=record.seed,
        floor_tokens=table["benchmark"].map(floors),
        stale=records.stale(record),
    )
