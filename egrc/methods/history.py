"""What a run remembers of its earlier rollouts, beside the gate: what two of the peers' rewards ask for.

It goes with the checkpoint, so a resumed run goes on exactly; all of it is plain JSON values.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

MOMENTUM = 0.99
"""Of the pass rate's moving average (DeepCompress)."""
WINDOW = 8
"""Steps whose rollouts set the target lengths [ours: it stands for LASER-D's monitoring set]."""
BUCKETS = (2 / 3, 1 / 3, 0.0)
"""Pass rates at which a group counts as easy, medium, hard (LASER-D)."""


class History:
    """Give `update` each step's rollouts once, before its rewards are asked for."""

    def __init__(self) -> None:
        self.pass_rate = 1.0
        """Moving average of the batch's pass rate; starts at 1 (DeepCompress)."""
        self.lengths: list[list[list[int]]] = []
        """Of the last `WINDOW` steps: lengths of the correct rollouts, bucket by bucket."""

    def update(self, correct: Tensor, length: Tensor, group_size: int) -> None:
        """Take in a step: `correct` bool [N], `length` int [N], groups of `group_size` neighbours."""
        self.pass_rate = MOMENTUM * self.pass_rate + (1 - MOMENTUM) * correct.double().mean().item()
        found: list[list[int]] = [[] for _ in BUCKETS]
        for good, tokens in zip(correct.view(-1, group_size), length.view(-1, group_size), strict=True):
            found[bucket(good.double().mean().item())] += tokens[good].tolist()
        self.lengths = [*self.lengths, found][-WINDOW:]

    def targets(self, group_size: int) -> list[float]:
        """L_T of each bucket, in tokens; infinity where the window holds no correct rollout.

        The shortest length within which a group at the bucket's lower bound may expect one correct rollout: the share
        of the window's correct ones within L_T, times the group's correct ones, is at least 1.
        """
        return [
            _quantile([x for step in self.lengths for x in step[b]], 1 / max(1, math.ceil(low * group_size)))
            for b, low in enumerate(BUCKETS)
        ]

    def state_dict(self) -> dict[str, Any]:
        """All of it as JSON values; floats survive JSON to the bit."""
        return {"pass_rate": self.pass_rate, "lengths": self.lengths}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the history of `state_dict` stood."""
        self.pass_rate, self.lengths = state["pass_rate"], [[list(b) for b in step] for step in state["lengths"]]


def bucket(pass_rate: float) -> int:
    """0 easy, 1 medium, 2 hard."""
    return next(b for b, low in enumerate(BUCKETS) if pass_rate >= low - 1e-9)


def _quantile(values: list[int], share: float) -> float:
    """The smallest value such that at least this share of all is no larger."""
    return float(sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]) if values else math.inf
