"""What the rest stands on: the error that names a bad setting, state that goes to JSON, one way to ask a grader."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import fields
from typing import Any


class ConfigError(ValueError):
    """What a user gave cannot be used; the message names it, and what is allowed."""


def require(ok: bool, message: str) -> None:
    """Raises ConfigError with this message unless `ok`."""
    if not ok:
        raise ConfigError(message)


def require_finite(step: int, what: str, value: float) -> None:
    """Stop before a number that is none reaches weights or records.  Raises FloatingPointError."""
    if not math.isfinite(value):
        remedy = "lower learning_rate or max_grad_norm, check the extra reward functions, resume from a checkpoint"
        raise FloatingPointError(f"step {step}: {what} is {value}: the policy has diverged: {remedy}")


class Stateful:
    """For a dataclass whose `init` fields are settings and whose other fields are state; both are plain JSON values."""

    def settings(self) -> dict[str, Any]:
        return {"kind": type(self).__name__, **{f.name: getattr(self, f.name) for f in fields(self) if f.init}}

    def state_dict(self) -> dict[str, Any]:
        return {f.name: deepcopy(getattr(self, f.name)) for f in fields(self) if not f.init}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` stood."""
        vars(self).update(deepcopy(state))


def grade(correct: Callable[[str, Any], bool], completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
    """Verdicts of a grader on each completion; side by side where it has a method `batch`."""
    if batch := getattr(correct, "batch", None):
        return batch(completions, answers)
    return [bool(correct(c, a)) for c, a in zip(completions, answers, strict=True)]
