"""Verdicts on answers of this world in the form that evaluations keep: right or not, and the final answer."""

from __future__ import annotations

from collections.abc import Sequence

from egrc.evaluation.answers import Grade
from egrc.worlds.pocket import Pocket


def grade(pairs: Sequence[tuple[str, tuple[str, ...]]]) -> list[Grade]:
    """Grades of (completion, accepted answers) pairs, in order; the final answer is what follows the last '#'."""
    grades = []
    for text, gold in pairs:
        _, mark, answer = text.rpartition("# ")
        right = Pocket().correct(text, gold)
        reason = "equal" if right else "not equal" if mark else "no answer"
        grades.append(Grade(right, answer if mark else None, reason))
    return grades
