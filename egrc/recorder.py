"""What a run writes while it trains (steps.csv, decisions.jsonl, rollouts.parquet), and the numbers of a step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from egrc.atomic import write_csv, write_parquet, write_text
from egrc.controller import AT_DWELL_LIMIT, Decision
from egrc.entropy import TokenClasses, class_sums
from egrc.objective import Rollouts
from egrc.scoring import TokenScores

ROLLOUT_SCHEMA = pa.schema({
    "step": pa.int32(), "prompt": pa.string(), "answer": pa.string(), "text": pa.string(),
    "tokens": pa.list_(pa.string()), "token_ids": pa.list_(pa.int32()), "entropies": pa.list_(pa.float32()),
    "classes": pa.list_(pa.int8()), "correct": pa.bool_(), "length": pa.int32(), "phase": pa.string(),
    "temperature": pa.float32(),
})  # fmt: skip
"""One row per kept rollout; entropies in nats at temperature 1, classes by number."""
FIRST_STEPS = 3  # in which it is said where nothing was rewarded


class Recorder:
    """The rows of one run, in memory until they are flushed.  `folder=None` writes nothing."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = Path(folder) if folder else None
        self.steps: list[dict[str, Any]] = []
        self.decisions: list[Decision] = []
        self.rollouts: list[dict[str, Any]] = []

    def flush(self) -> None:
        """Write all three files.  Raises WriteError."""
        if self.folder and self.steps:
            rollouts = pd.DataFrame(self.rollouts, columns=ROLLOUT_SCHEMA.names)
            write_parquet(self.folder / "rollouts.parquet", rollouts, schema=ROLLOUT_SCHEMA)
            lines = [json.dumps(asdict(decision)) + "\n" for decision in self.decisions]
            write_text(self.folder / "decisions.jsonl", "".join(lines))
            write_csv(self.folder / "steps.csv", pd.DataFrame(self.steps))

    def read_rollouts(self) -> None:
        """Those up to the last step: whatever a killed run wrote later is forgotten."""
        if self.folder:
            table = pd.read_parquet(self.folder / "rollouts.parquet")
            self.rollouts = table[table["step"] <= len(self.steps)].to_dict("records")


class StepSums:
    """Of a step: tokens and entropies class by class, the loss, and each rollout's entropies."""

    def __init__(self, classes: TokenClasses, device: torch.device) -> None:
        self.classes, self.loss, self.entropies = classes, 0.0, dict[int, Tensor]()
        self.sums = torch.zeros((3, len(classes.names)), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, scores: TokenScores, inputs: dict[str, Tensor], loss: float) -> None:
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        values = torch.stack([torch.ones_like(scores.entropy), scores.entropy, scores.entropy_sampling])
        self.sums += class_sums(values, inputs["completion_ids"], mask, self.classes)
        self.entropies |= dict(zip(inputs["rollout"].tolist(), scores.entropy.cpu(), strict=True))
        self.loss += loss

    def numbers(self, r: Rollouts, rewards: Tensor, ended: Tensor) -> dict[str, float]:
        """The step's numbers over all ranks; NaN where no token counts."""
        sums, n = r.gather(self.sums.unsqueeze(0)).sum(0), len(r.length)
        count, *totals = sums.sum(1)
        entropy, entropy_sampling = ((total / count).item() for total in totals)
        per_rollout, means = (dict(zip(self.classes.names, x.tolist(), strict=True))
                              for x in (sums[0] / n, sums[1] / sums[0]))  # fmt: skip
        return {
            "accuracy": mean(r.correct),
            "reward": mean(rewards),
            "tokens_mean": mean(r.length),
            "truncated": mean(~ended),
            "entropy": entropy,
            "entropy_sampling": entropy_sampling,
            "entropy_total": entropy * count.item() / n,
            "connectors_mean": per_rollout.get("connector", math.nan),
            **{f"entropy_{name}": mean for name, mean in means.items()},
            "loss": r.gather(self.sums.new_tensor([self.loss])).mean().item(),
        }


def mean(x: Tensor) -> float:
    return x.double().mean().item()


def step_warnings(decision: Decision, row: dict[str, Any], r: Rollouts, rewards: Tensor) -> Iterator[str]:
    """What is odd about a step: silent zero rewards are what users of such trainers ask about most."""
    step, share = decision.step, f"{row['truncated']:.0%} of the completions were cut at {row['budget']} tokens"
    if decision.entropy is None:
        yield f"step {step} teaches nothing: every token is masked; {share}"
    elif step <= FIRST_STEPS and not rewards.any():
        yield f"step {step}: nothing was rewarded; {share}, the median length is {int(r.length.median())}"
    if decision.cause.startswith(AT_DWELL_LIMIT):
        yield f"step {step}: the gate left {decision.phase!r} at the dwell limit: the clock decided, not the entropy"


def text(message: Any) -> str:
    """The text of a prompt or completion: itself, or the last message's content."""
    return message if isinstance(message, str) else str(message[-1]["content"])
