"""Every evaluated number in one tidy table: of the runs, and of the benchmarks that were asked by themselves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egrc.evaluation.evaluate import summarise
from egrc.experiments import evaluations, records, scales

RUN = [
    *("scale", "arm", "seed", "benchmark", "temperature", "problems", "samples"),
    *("accuracy", "mean_tokens", "truncated", "floor_tokens", "stale"),
]
MORE = ["source", "top_p", "cap", "accuracy_low", "accuracy_high", "majority", "thinking_tokens", "answer_tokens"]
COLUMNS = RUN + MORE
"""Those of `MORE` came later: of a run they are empty but for `source`, `top_p` and `cap`."""


def results(scale: str | None = None, data: Path | None = None) -> pd.DataFrame:
    """One row per scale, arm, seed, benchmark and temperature; no means over benchmarks.

    Columns: `source` ('run', or 'evaluation': then `arm` is who answered and `seed` the sampling's), problems, samples
    (per problem), temperature, top_p, cap, accuracy (pass@1) and truncated (shares), mean_tokens and floor_tokens
    (completion tokens, end of sequence included; no floor where none is known), stale (why, or None); of an evaluation
    also the accuracy's 95% interval, the majority vote, and tokens of thinking and answer apart.
    Raises RecordError for a damaged record.
    """
    parts = [_run(record) for record in records.load_all(scale, data)]
    parts += [_evaluation(found) for found in evaluations.load_all(scale, data)]
    return pd.concat([p.reindex(columns=COLUMNS) for p in parts], ignore_index=True) if parts else _none()


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=COLUMNS)


def _run(record: records.Record) -> pd.DataFrame:
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
        source="run",
        top_p=1.0,
        cap=record.meta["config"]["cap"],
    )


def _evaluation(found: evaluations.Evaluation) -> pd.DataFrame:
    table = evaluations.table([found]).rename(columns={"who": "arm"})
    floor = scales.world(found.settings["scale"]).floor_tokens(found.settings["benchmark"])
    known = float("nan") if floor is None else floor
    return table.assign(floor_tokens=known, stale=None, source="evaluation")
