"""Is this text a correct answer?  We find its final answer; math-verify compares it with the gold one.

An answer that is missing, cut off, or too costly to compare is wrong; it is not an error.
"""

from __future__ import annotations

import ctypes
import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from math_verify import parse, verify
from math_verify.errors import TimeoutException

LIMIT = 5.0
"""Seconds for one answer: a thousand times what one takes, so that a busy machine does not change a verdict."""
LONGEST = 300
"""Characters; a longer final answer is not compared."""

# math-verify's own time limit is a signal, which only the main thread may set.  Ours is not, so theirs is
# switched off, and their warning about that is void.
for _name in ("math_verify.parser", "math_verify.grader"):
    logging.getLogger(_name).setLevel(logging.ERROR)

_DIGITS = r"\$?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(?:/\d+)?"
_NUMBER = re.compile(rf"(?<![\w)])[-+]?{_DIGITS}|(?<![\w.]){_DIGITS}")  # the 3 of '5-3' has no sign
# What follows a mark is looked at, not consumed: the next mark may stand on the same line.
_REST = rf"[ \t]*(?=([^\n]{{0,{LONGEST + 1}}}))"
_STATED = re.compile(rf"answer(?:\s+is\s*:?|\s*:){_REST}", re.IGNORECASE)
_MARKED = re.compile(rf"####{_REST}")
# '18 dollars' is 18, but '5 million', '5 pi' and '5 x' are not 5.
_PROSE = re.compile(
    rf"([-+]?{_DIGITS})(?!\s+(?:pi|dozen|hundred|thousand|million|billion)\b)(?:\s+[a-z]{{2,}})*",
    re.IGNORECASE,
)
# 9^9^9 is evaluated inside one call that no thread can interrupt.
_TOWER = re.compile(r"\d[\s)}]*(?:\^|\*\*)[\s({]*(?:\d+[\s)}]*(?:\^|\*\*|!)|\d{6,})")


@dataclass(frozen=True)
class Grade:
    """The verdict on one completion."""

    correct: bool
    extracted: str | None
    """The final answer as it was found; None where there is none."""
    reason: str
    """In words: 'equal', 'not equal', 'no answer', 'truncated', 'too long', 'too costly' or 'time limit'."""


def extract(text: str) -> str | None:
    r"""The final answer stated in a completion, or None.

    Only text after the last '</think>' counts, and a '<think>' that never ends states nothing.  The last
    complete `\boxed{...}` or `#### ...` wins, then the last 'the answer is ...', then the last number.
    """
    if "</think>" in text:
        text = text.rpartition("</think>")[2]
    elif "<think>" in text:
        return None
    marked = _boxed(text) + [(m.start(), m[1]) for m in _MARKED.finditer(text)]
    stated = [(m.start(), re.split(r"\.\s", m[1], maxsplit=1)[0]) for m in _STATED.finditer(text)]
    numbers = [(m.start(), m[0]) for m in _NUMBER.finditer(text)]
    for kind in (marked, stated, numbers):
        for _, found in sorted(kind, reverse=True):
            if answer := _tidy(found):
                return answer
    return None


def grade(
    completion: str, gold: str | tuple[str, ...], truncated: bool = False, limit: float = LIMIT
) -> Grade:
    """Grade one completion against its gold answer, or against several of which any will do.

    Safe in any thread.  A comparison of more than `limit` seconds is abandoned: the answer is wrong.
    """
    if truncated:
        return Grade(False, None, "truncated")
    answer = extract(completion)
    if answer is None:
        return Grade(False, None, "no answer")
    if len(answer) > LONGEST:
        return Grade(False, answer[:LONGEST], "too long")
    if _TOWER.search(answer):
        return Grade(False, answer, "too costly")
    golds = (gold,) if isinstance(gold, str) else gold
    equal = _within(limit, lambda: any(_equal(g, answer) for g in golds))
    if equal is None:
        return Grade(False, answer, "time limit")
    return Grade(equal, answer, "equal" if equal else "not equal")


def correct(completion: str, gold: str) -> bool:
    """Is the completion's final answer equal to the gold one?"""
    return grade(completion, gold).correct


def _boxed(text: str) -> list[tuple[int, str]]:
    r"""(position, content) of every `\boxed{...}` whose braces close, an inner box after its outer one."""
    found: list[tuple[int, str]] = []
    open_boxes: list[tuple[int, int]] = []
    depth = 0
    for m in re.finditer(r"\\boxed\s*\{|\\.|[{}]", text, re.DOTALL):
        if m[0] == "}":
            depth -= 1
            if open_boxes and open_boxes[-1][0] == depth:
                start = open_boxes.pop()[1]
                found.append((start, text[start : m.start()]))
        elif m[0].endswith("{") and m[0] != r"\{":
            if m[0] != "{":
                open_boxes.append((depth, m.end()))
            depth += 1
    return found


def _tidy(answer: str) -> str:
    """Without bold marks, spaces, a closing full stop and dollar signs around it; cut where too long."""
    bare = re.sub(r"(?<!\w)\*\*(.+?)\*\*", r"\1", answer.strip()[: LONGEST + 1]).replace("\u2212", "-")
    return bare.strip().rstrip(".").strip().strip("$").strip()


def _equal(gold: str, answer: str) -> bool:
    return verify(_parsed(gold), _parsed(answer), timeout_seconds=None)


def _parsed(answer: str) -> list:
    """As LaTeX, so that sets, intervals and fractions are read; of '18 dollars' only the number."""
    prose = _PROSE.fullmatch(answer)
    return parse(f"${prose[1].replace('$', '') if prose else answer}$", parsing_timeout=None)


def _within(limit: float, work: Callable[[], bool]) -> bool | None:
    """The result of `work`, or None after `limit` seconds; what it raises is raised here.

    Runs in a thread of its own, which is told to stop; it does at its next Python instruction.
    """
    results: list[bool] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except TimeoutException:
            pass  # told to stop: leaves no result
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        stop = ctypes.pythonapi.PyThreadState_SetAsyncExc
        stop(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(TimeoutException))
        return None
    if errors:
        raise errors[0]
    return results[0] if results else None
