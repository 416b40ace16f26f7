"""What a step told: sums over its tokens by class, and the row of numbers that they and the rollouts make."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from egrc.controller import Reading
from egrc.entropy import TokenClasses, class_sums
from egrc.objective import Objective, Rollouts
from egrc.scoring import TokenScores


@dataclass
class Batch:
    """One step's rollouts: texts of this rank, numbers of all ranks."""

    prompts: list[Any]
    texts: list[str]
    answers: list[Any]
    token_ids: list[list[int]]
    terminated: Tensor
    rollouts: Rollouts
    rewards: Tensor = field(init=False)
    advantages: Tensor = field(init=False)


def grade(correct: Callable[[str, Any], bool], completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
    """Verdicts of a grader on each completion; side by side where it has a method `batch`."""
    batch = getattr(correct, "batch", None)
    if batch is not None:
        return batch(completions, answers)
    return [bool(correct(c, a)) for c, a in zip(completions, answers, strict=True)]


class StepSums:
    """Tokens, entropies and pulls of a step's micro-batches, class by class, and its loss."""

    def __init__(self, classes: TokenClasses, device: torch.device) -> None:
        self.classes = classes
        self.sums = torch.zeros((4, len(classes.names)), dtype=torch.float64, device=device)
        self.loss = 0.0

    @torch.no_grad()
    def add(self, scores: TokenScores, tokens: Tensor, mask: Tensor, advantages: Tensor) -> None:
        """Add one micro-batch; all [B, T].  A token's pull is |advantage| times the gradient of its log-probability."""
        pull = advantages.abs() * scores.gradient
        values = torch.stack([torch.ones_like(scores.entropy), scores.entropy, scores.entropy_sampling, pull])
        self.sums += class_sums(values, tokens, mask, self.classes)

    def row(self, batch: Batch, gather: Callable[[Tensor], Tensor]) -> tuple[Reading, dict[str, Any]]:
        """The gate's reading and the step's numbers, over all ranks: the same on each, summed in one order."""
        local = torch.cat([self.sums.flatten(), self.sums.new_tensor([self.loss])])
        ranks = gather(local).view(-1, len(local))
        sums, loss = ranks[:, :-1].sum(0).view_as(self.sums), ranks[:, -1].mean().item()
        _, entropy, entropy_sampling, _ = (sums.sum(1) / sums[0].sum()).tolist()
        r, names, count, n = batch.rollouts, self.classes.names, sums[0].sum().item(), len(batch.rollouts.length)
        by_class, shares, per_rollout = (sums / sums[0]).tolist(), (sums[0] / count).tolist(), (sums[0] / n).tolist()
        share = dict(zip(names, shares, strict=True))
        return Reading(entropy, mean(r.length), share.get("connector")), {
            "accuracy": mean(r.correct),
            "reward": mean(batch.rewards),
            "advantage_positive_share": mean(batch.advantages > 0),
            "tokens_mean": mean(r.length),
            "tokens_correct_mean": mean(r.length[r.correct]),
            "truncated": mean(~batch.terminated),
            "entropy": entropy,
            "entropy_smoothed": math.nan,  # the gate's, once it has read this
            "entropy_sampling": entropy_sampling,
            "entropy_total": entropy * count / n,
            "connectors_mean": dict(zip(names, per_rollout, strict=True)).get("connector", math.nan),
            **{f"entropy_{c}": v for c, v in zip(names, by_class[1], strict=True)},
            **{f"share_{c}": v for c, v in share.items()},
            **{f"gradient_{c}": v for c, v in zip(names, by_class[3], strict=True)},
            "loss": loss,
        }


def kept_rollouts(
    batch: Batch, entropies: dict[int, list[float]], most: int, classes: TokenClasses, tokenizer: Any, phase: Objective
) -> list[dict[str, Any]]:
    """Up to `most` rollouts of this rank, evenly spread over the problems, as rows of `recorder.ROLLOUT_SCHEMA`.

    `entropies`: nats of each token, by the rollout's row.
    """
    rows = []
    for row in sorted(entropies)[:: max(1, len(batch.texts) // max(1, most))][:most]:
        ids = batch.token_ids[row]
        rows.append(
            {
                "prompt": text(batch.prompts[row]),
                "answer": str(batch.answers[row]),
                "text": batch.texts[row],
                "tokens": tokenizer.convert_ids_to_tokens(ids),
                "token_ids": ids,
                "entropies": entropies[row][: len(ids)],
                "classes": classes.ids[torch.tensor(ids)].tolist(),
                "correct": bool(batch.rollouts.correct[row]),
                "length": len(ids),
                "phase": phase.name,
                "temperature": phase.temperature,
            }
        )
    return rows


def text(message: Any) -> str:
    """The text of a prompt or completion: itself, or the last message's content."""
    return message if isinstance(message, str) else str(message[-1]["content"])


def mean(x: Tensor) -> float:
    """NaN for no elements."""
    return x.double().mean().item()
