r"""Training problems that overlap with a test set are found and dropped, with a count.

Two problems overlap where they share `N` words in a row, which is the rule of GPT-3 (2005.14165, appendix C), or, of
fewer words, where their words are the same.  A word is a number, a run of letters or an operator, in one spelling:
without case, punctuation, dollar signs, braces and the LaTeX commands that only lay out [ours].

A paraphrase, a translation, other numbers in the same words, and a short problem inside a longer text are not found; a
common opening of 13 words costs a training problem.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from egrc.evaluation.problems import Problem

N = 13
_LAYOUT = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|limits|displaystyle|q?quad|text(?:bf|it|rm)?|mbox|emph|operatorname|math[a-z]+)"
    r"(?![a-z])|\\[,;:! ]"
)
_SPELLING = (
    (r"(?<=\d)(?:,|\{,\}|\\!,|,\\!)\s*(?=\d{3}(?!\d))", ""),
    (r"\\[dt]frac", r"\\frac"),
    (r"\\leq?(?:slant)?(?![a-z])|\u2264", "<="),
    (r"\\geq?(?:slant)?(?![a-z])|\u2265", ">="),
    (r"\\neq?(?![a-z])|\u2260", "!="),
    (r"\\(?:times|cdot)(?![a-z])|[\u00d7\u00b7\u22c5]", "*"),
    (r"\\div(?![a-z])|\u00f7", "/"),
    (r"[\u2212\u2013\u2014]", "-"),
    (r"\^\s*\{?\s*\\circ\s*\}?|\u00b0", " degree "),
)
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^!|%]")


def words(text: str) -> list[str]:
    """Numbers, words and operators of a text in order, each in one spelling."""
    for pattern, by in _SPELLING:
        text = re.sub(pattern, by, text)
    return _WORD.findall(unicodedata.normalize("NFKC", _LAYOUT.sub(" ", text)).casefold())


@dataclass(frozen=True)
class Contamination:
    """Training problems that stand in no test set, in their order, and (id, id of the test problem) of the others."""

    kept: tuple[Problem, ...]
    dropped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        total = len(self.kept) + len(self.dropped)
        return f"{len(self.dropped)} of {total} training problems stand in a test set and are dropped"


def decontaminate(train: Iterable[Problem], tests: Iterable[Problem]) -> Contamination:
    """Drop training problems that overlap with a test problem.  A text without words is nobody's."""
    known = {part: problem.id for problem in tests for part in _parts(problem)}
    kept, dropped = [], []
    for problem in train:
        if same := next((known[part] for part in _parts(problem) if part in known), None):
            dropped.append((problem.id, same))
        else:
            kept.append(problem)
    return Contamination(tuple(kept), tuple(dropped))


def _parts(problem: Problem) -> Iterator[tuple[str, ...]]:
    found = words(problem.text)
    return (tuple(found[i : i + N]) for i in range(max(len(found) - N + 1, min(len(found), 1))))
