"""What a run writes while it trains: steps.csv, decisions.jsonl and rollouts.parquet.

Rows gather in memory and reach the disk at checkpoints and at the end, each file whole or not at all.  A
resumed run reads them back up to its checkpoint's step, so that whatever a killed run wrote later is
forgotten.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from egrc import atomic
from egrc.controller import Decision

STEPS, DECISIONS, ROLLOUTS = "steps.csv", "decisions.jsonl", "rollouts.parquet"

ROLLOUT_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("token_ids", pa.list_(pa.int32())),
        ("entropies", pa.list_(pa.float32())),
        ("classes", pa.list_(pa.int8())),
        ("correct", pa.bool_()),
        ("length", pa.int32()),
        ("phase", pa.string()),
        ("temperature", pa.float32()),
    ]
)
"""One row per kept rollout; entropies in nats at temperature 1, classes by number."""


class Recorder:
    """The rows of one run.  `folder=None` keeps nothing and writes nothing."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.steps: list[dict[str, Any]] = []
        self.decisions: list[dict[str, Any]] = []
        self.rollouts: list[dict[str, Any]] = []

    def step(self, row: dict[str, Any], decision: Decision) -> None:
        """Add one step's plain numbers and what the gate made of it."""
        if self.folder is not None:
            self.steps.append(row)
            self.decisions.append(decision.row())

    def rollout(self, **row: Any) -> None:
        """Add one rollout; fields as in `ROLLOUT_SCHEMA`."""
        if self.folder is not None:
            self.rollouts.append(row)

    def flush(self) -> None:
        """Write all three files, each atomically.  Raises OSError; what was there before then stays."""
        if self.folder is None or not self.steps:
            return
        rollouts, steps = io.BytesIO(), io.StringIO(newline="")
        pq.write_table(pa.Table.from_pylist(self.rollouts, ROLLOUT_SCHEMA), rollouts, compression="zstd")
        writer = csv.DictWriter(steps, list(self.steps[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.steps)  # floats by repr: they survive to the bit
        atomic.write_bytes(self.folder / ROLLOUTS, rollouts.getvalue())
        atomic.write_text(self.folder / DECISIONS, "".join(json.dumps(d) + "\n" for d in self.decisions))
        atomic.write_text(self.folder / STEPS, steps.getvalue())

    def resume(self, last_step: int) -> None:
        """Keep what the files hold up to `last_step`.  Raises FileNotFoundError or ValueError where steps lack."""
        self.steps, self.decisions, self.rollouts = [], [], []
        if self.folder is None or last_step == 0:
            return
        with open(self.folder / STEPS, newline="") as file:
            self.steps = [row for row in csv.DictReader(file) if int(row["step"]) <= last_step]
        with open(self.folder / DECISIONS) as file:
            self.decisions = [d for d in map(json.loads, file) if d["step"] <= last_step]
        table = pq.read_table(self.folder / ROLLOUTS)
        self.rollouts = [row for row in table.to_pylist() if row["step"] <= last_step]
        if len(self.steps) != last_step or len(self.decisions) != last_step:
            raise ValueError(
                f"{self.folder} holds {len(self.steps)} steps and {len(self.decisions)} decisions up to the "
                f"checkpoint's step {last_step}: start the run afresh"
            )
