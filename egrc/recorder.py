"""What a run writes while it trains: steps.csv, decisions.jsonl and rollouts.parquet; and the numbers of a step.

Rows gather in memory and reach the disk at checkpoints and at the end, each file whole or not at all.  A resumed run
reads them back up to its checkpoint's step, so that whatever a killed run wrote later is forgotten.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from egrc import atomic
from egrc.controller import Decision, Reading
from egrc.entropy import TokenClasses, class_sums
from egrc.objective import Rollouts
from egrc.scoring import TokenScores

STEPS, DECISIONS, ROLLOUTS = "steps.csv", "decisions.jsonl", "rollouts.parquet"
ROLLOUT_SCHEMA = pa.schema({
    "step": pa.int32(), "prompt": pa.string(), "answer": pa.string(), "text": pa.string(),
    "tokens": pa.list_(pa.string()), "token_ids": pa.list_(pa.int32()), "entropies": pa.list_(pa.float32()),
    "classes": pa.list_(pa.int8()), "correct": pa.bool_(), "length": pa.int32(), "phase": pa.string(),
    "temperature": pa.float32(),
})  # fmt: skip
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


class StepSums:
    """Tokens, entropies and pulls of a step's micro-batches, class by class, its loss, and each rollout's entropies."""

    def __init__(self, classes: TokenClasses, device: torch.device) -> None:
        self.classes = classes
        self.sums = torch.zeros((4, len(classes.names)), dtype=torch.float64, device=device)
        self.loss = 0.0
        self.entropies: dict[int, Tensor] = {}

    @torch.no_grad()
    def add(self, scores: TokenScores, inputs: dict[str, Tensor], loss: float) -> None:
        """Add one micro-batch.  A token's pull is |advantage| times the gradient of its log-probability."""
        pull = inputs["advantages"].abs() * scores.gradient
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        values = torch.stack([torch.ones_like(scores.entropy), scores.entropy, scores.entropy_sampling, pull])
        self.sums += class_sums(values, inputs["completion_ids"], mask, self.classes)
        self.entropies |= dict(zip(inputs["rollout"].tolist(), scores.entropy.cpu(), strict=True))
        self.loss += loss

    def row(
        self, r: Rollouts, rewards: Tensor, advantages: Tensor, ended: Tensor
    ) -> tuple[Reading | None, dict[str, float], float]:
        """The gate's reading (None where no token counts), the step's numbers and its loss; the same on every rank."""
        local = torch.cat([self.sums.flatten(), self.sums.new_tensor([self.loss])])
        ranks = r.gather(local).view(-1, len(local))
        sums, loss = ranks[:, :-1].sum(0).view_as(self.sums), ranks[:, -1].mean().item()
        (count, *totals), n, names = sums.sum(1).tolist(), len(r.length), self.classes.names
        entropy, entropy_sampling, _ = (total / count if count else math.nan for total in totals)
        by_class, share = (sums / sums[0]).tolist(), dict(zip(names, (sums[0] / count).tolist(), strict=True))
        per_rollout = dict(zip(names, (sums[0] / n).tolist(), strict=True))
        def mean(x: Tensor) -> float:
            return x.double().mean().item()  # NaN for no elements

        reading = Reading(entropy, mean(r.length), share.get("connector")) if count else None
        return reading, {
            "accuracy": mean(r.correct),
            "reward": mean(rewards),
            "advantage_positive_share": mean(advantages > 0),
            "tokens_mean": mean(r.length),
            "tokens_correct_mean": mean(r.length[r.correct]),
            "truncated": mean(~ended),
            "entropy": entropy,
            "entropy_smoothed": math.nan,  # the gate's, once it has read this
            "entropy_sampling": entropy_sampling,
            "entropy_total": entropy * count / n,
            "connectors_mean": per_rollout.get("connector", math.nan),
            **{f"entropy_{c}": v for c, v in zip(names, by_class[1], strict=True)},
            **{f"share_{c}": v for c, v in share.items()},
            **{f"gradient_{c}": v for c, v in zip(names, by_class[3], strict=True)},
        }, loss


def text(message: Any) -> str:
    """The text of a prompt or completion: itself, or the last message's content."""
    return message if isinstance(message, str) else str(message[-1]["content"])
