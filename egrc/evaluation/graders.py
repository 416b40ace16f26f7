"""`evaluation.grading` for many answers in one process: what was read once is kept, and plain answers need no algebra.

The verdicts are those of `egrc.evaluation.grading.grade`; tests compare them.  Two things make them cheaper:

    `decide`   equal texts and two plain numbers are settled before anything is parsed
    memory     a gold answer meets every sample of its problem, so what was parsed and compared is kept

There is no time limit here: whoever calls this must be able to end the process (`egrc.evaluation.pool`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from latex2sympy2_extended.math_normalization import normalize_latex
from math_verify import LatexExtractionConfig, verify

from egrc.evaluation import grading
from egrc.evaluation.grading import LONGEST, Grade, extract

NORMAL = LatexExtractionConfig().normalization_config
# No grouped number begins with 0: math-verify reads '01,000' as a pair.
_NUMBER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3}){1,3}|\d{1,12})(\.\d{1,6})?", re.ASCII)
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d{1,12})\}\{([1-9]\d{0,11})\}", re.ASCII)
# What math-verify would not read whole, as one piece of LaTeX.
_ODD = re.compile(r"[$\n]|\\\Z|boxed|answer", re.IGNORECASE)

WARM_UP = (
    *(("12", "1.5"), (r"\frac{3}{4}", "3/4"), (r"2\sqrt{3}", r"\sqrt{12}"), ("x^2-1", "(x-1)(x+1)")),
    *(("(1,2)", r"\left(1,\frac{4}{2}\right)"), ("[1,2)", r"[1,\infty)"), (r"\{1,2\}", "2,1"), ("5", r"5\%")),
    *((r"\begin{pmatrix}1\\2\end{pmatrix}", "x=3"), (r"\text{even}", "odd"), (r"(0,1)\cup(2,3)", r"30^\circ")),
)
"""Answers of every form: reading the first of a form builds tables of the parser's, which later ones use."""


def judge(completion: str, golds: Sequence[str], found: Callable[[str | None], None] = lambda answer: None) -> Grade:
    """The verdict of `egrc.evaluation.grading.grade`, in this thread and without a time limit.

    `found` is told the final answer before it is compared, which may take for ever.
    """
    answer = extract(completion)
    shown = answer and answer[:LONGEST]
    found(shown)
    if answer is None:
        return Grade(False, None, "no answer")
    if len(answer) > LONGEST:
        return Grade(False, shown, "too long")
    if grading._TOWER.search(answer):
        return Grade(False, answer, "too costly")
    right = any(equal(gold, answer) for gold in golds)
    return Grade(right, answer, "equal" if right else "not equal")


@lru_cache(maxsize=4096)
def equal(gold: str, answer: str) -> bool:
    """Is a final answer equal to a gold one?  By `decide` where that can tell, else by math-verify."""
    decided = decide(gold, answer)
    return verify(_parsed(gold), _parsed(answer), timeout_seconds=None) if decided is None else decided


def decide(gold: str, answer: str) -> bool | None:
    """What math-verify would say, where the texts tell it without being parsed; else None.

    Equal texts, in math-verify's own normal form, are equal: beside its expression it keeps each text, and
    compares the two as well.  Unequal ones are decided where both are numbers of at most 12 + 6 digits or
    fractions of whole numbers; but not a fraction and a decimal, which it rounds to six places.
    """
    left, right = _normal(gold), _normal(answer)
    if left and left == right:
        return True
    (a, kind), (b, other) = _value(left), _value(right)
    return None if a is None or b is None or {kind, other} == {"decimal", "fraction"} else a == b


def warm_up() -> None:
    """Do what only the first answers of a process wait for."""
    for gold, answer in WARM_UP:
        judge(rf"\boxed{{{answer}}}", (gold,))


@lru_cache(maxsize=4096)
def _normal(text: str) -> str:
    """The text that math-verify would parse; empty where it would read only parts of it, or none."""
    prose = grading._PROSE.fullmatch(text)
    plain = prose[1].replace("$", "") if prose else text  # as in grading: '18 dollars' is 18
    return "" if _ODD.search(plain) else normalize_latex(plain, NORMAL)


def _value(normal: str) -> tuple[Fraction | None, str]:
    """The exact value of a plain number in normal form, else None, and 'whole', 'decimal' or 'fraction'."""
    if number := _NUMBER.fullmatch(normal):
        return Fraction(normal.replace(",", "")), "decimal" if number[1] else "whole"
    if fraction := _FRACTION.fullmatch(normal):
        value = Fraction(int(fraction[2]), int(fraction[3]))
        return -value if fraction[1] else value, "fraction"
    return None, ""


@lru_cache(maxsize=1024)
def _parsed(text: str) -> list:
    return grading._parsed(text)
