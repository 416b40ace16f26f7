"""Every evaluated number in one tidy table: of the runs, and of the benchmarks that were asked by themselves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egrc.evaluation.evaluate import summarise
from egrc.experiments import evaluations, records, scales

COLUMNS = [
    *("scale", "arm", "seed", "benchmark", "temperature", "problems", "samples", "accuracy", "mean_tokens"),
    *("truncated", "floor_tokens", "stale", "source", "top_p", "cap"),
    *("accuracy_low", "accuracy_high", "majority", "thinking_tokens", "answer_tokens"),  # of an evaluation
]


def results(scale: str | None = None, data: Path | None = None) -> pd.DataFrame:
    """One row per scale, arm, seed, benchmark and temperature; no means over benchmarks.  Raises RecordError.

    `source` is 'run', or 'evaluation': then `arm` is who answered and `seed` the sampling's.  accuracy (pass@1) and
    truncated are shares; tokens are completion tokens, end included; `stale` says why, or is None.
    """
    parts = []
    for run in records.load_all(scale, data):
        facts = {"scale": run.scale, "arm": run.arm, "seed": run.seed, "stale": records.stale(run), "source": "run"}
        facts |= {"top_p": 1.0, "cap": run.meta["config"]["cap"]}
        parts.append(summarise(run.evaluation).query("benchmark != 'mean'").assign(**facts))
    for evaluation in evaluations.load_all(scale, data):
        table = evaluations.table([evaluation]).rename(columns={"who": "arm"})
        parts.append(table.assign(stale=None, source="evaluation"))
    for part in parts:
        floor = scales.world(part["scale"].iloc[0]).floor_tokens
        part["floor_tokens"] = part["benchmark"].map(floor).astype(float)
    return pd.concat([p.reindex(columns=COLUMNS) for p in parts] or [pd.DataFrame(columns=COLUMNS)], ignore_index=True)
