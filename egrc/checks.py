"""What the rest stands on: the error that names a bad setting, state that goes to JSON, one way to ask a grader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import fields
from typing import Any


class ConfigError(ValueError):
    """A setting is out of range; the message names the field, the value and what is allowed."""


def require(ok: bool, message: str) -> None:
    """Raises ConfigError with this message unless `ok`."""
    if not ok:
        raise ConfigError(message)


class Stateful:
    """For a dataclass whose `init` fields are settings and whose other fields are state; both are plain JSON values."""

    def settings(self) -> dict[str, Any]:
        """Its class and its settings by name."""
        return {"kind": type(self).__name__, **{f.name: getattr(self, f.name) for f in fields(self) if f.init}}

    def state_dict(self) -> dict[str, Any]:
        """Its state; floats survive JSON to the bit."""
        return {f.name: deepcopy(getattr(self, f.name)) for f in fields(self) if not f.init}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` stood."""
        vars(self).update(deepcopy(state))


def grade(correct: Callable[[str, Any], bool], completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
    """Verdicts of a grader on each completion; side by side where it has a method `batch`."""
    if batch := getattr(correct, "batch", None):
        return batch(completions, answers)
    return [bool(correct(c, a)) for c, a in zip(completions, answers, strict=True)]
