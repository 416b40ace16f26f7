r"""Training problems that also stand in a test set are found and dropped, with a count.  [ours]

Two problems are the same where their normalised texts are: without case, spacing, punctuation, dollar signs, braces
and the LaTeX commands that only lay out, with one spelling of operators.  Digits, operators and decimal points stay,
so that 2 + 3 is not 2 - 3.  A second, looser measure is reported and drops nothing: sharing a run of 13 words.

A paraphrase, a translation and other numbers in the same words are not found by either.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from egrc.evaluation.problems import Problem

NGRAM = 13
"""Words in a run, as in the overlap analysis of GPT-3's authors (Brown et al. 2020, appendix C)."""

_COMMANDS = {
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    **dict.fromkeys(("leq", "le", "leqslant"), "<="),
    **dict.fromkeys(("geq", "ge", "geqslant"), ">="),
    **dict.fromkeys(("neq", "ne"), "!="),
    **dict.fromkeys(("dfrac", "tfrac"), " frac "),
    **{"div": "/", "lt": "<", "gt": ">", "pm": "+-"},
    # these only lay out; what stands in their braces stays
    **dict.fromkeys(("left", "right", "big", "bigl", "bigr", "bigg", "biggl", "biggr", "limits"), " "),
    **dict.fromkeys(("displaystyle", "textstyle", "quad", "qquad", "hspace", "vspace", "enspace", "thinspace"), " "),
    **dict.fromkeys(("text", "textbf", "textit", "textrm", "mbox", "hbox", "emph", "operatorname"), " "),
    **dict.fromkeys(("mathrm", "mathbf", "mathit", "mathsf", "rm", "bf", "it", "dots", "ldots", "cdots"), " "),
}
"""LaTeX commands that have another spelling, or none; all others are words."""
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u00d7\u00b7\u22c5\u2217", "*"),
        **dict.fromkeys("\u00f7\u2215\u2044", "/"),
        **dict.fromkeys("\u2212\u2010\u2011\u2013\u2014", "-"),
        **dict.fromkeys("\u2264\u2a7d", "<="),
        **dict.fromkeys("\u2265\u2a7e", ">="),
        **{"\u2260": "!=", "\u00b1": "+-", "\u00b0": " degree ", "\u221a": " sqrt ", "\u221e": " infty "},
        **{chr(c): f" {unicodedata.name(chr(c)).split()[-1].lower()} " for c in range(0x3B1, 0x3CA) if c != 0x3C2},
    }
)
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_POWERS = str.maketrans({c: f"^{digit}" for digit, c in enumerate(_SUPERSCRIPTS)})
_COMMAND = re.compile(r"\\(?:([a-z]+)|(,|!\s*)|.)", re.DOTALL)
_DEGREES = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)(?![a-z])\s*\}?")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^!|%]")


def words(text: str) -> list[str]:
    """Numbers, words and operators of a text in order, each in one spelling."""
    plain = text.casefold()
    if not plain.isascii():
        plain = unicodedata.normalize("NFKC", text.translate(_POWERS)).casefold().translate(_CHARACTERS)
    plain = _COMMAND.sub(_spoken, _DEGREES.sub(" degree ", plain))
    return _TOKEN.findall(_THOUSANDS.sub("", plain))


def normalise(text: str) -> str:
    r"""What all spellings of one problem share: '$x \le 1{,}000$' and 'X <= 1000' are both 'x<=1000'.

    Words run together, since spacing is no difference, but two numbers in a row stay two: '1;2'.
    """
    joined, before = [], ""
    for word in words(text):
        if before[-1:].isdecimal() and word[0].isdecimal():
            joined.append(";")
        joined.append(word)
        before = word
    return "".join(joined)


def _spoken(command: re.Match[str]) -> str:
    r"""A LaTeX command as a word or an operator; \, and \! as nothing, since they stand inside numbers."""
    name = command[1]
    if name is None:
        return " " if command[2] is None else ""
    return _COMMANDS.get(name, f" {name} ")


@dataclass(frozen=True)
class Contamination:
    """What a comparison of training problems with test problems found."""

    kept: tuple[Problem, ...]
    """Training problems that stand in no test set, in their order."""
    dropped: tuple[tuple[str, str], ...]
    """(id of a training problem, id of the test problem that it is)."""
    overlapping: tuple[str, ...] | None
    """Ids of kept problems that share a run of words with a test problem; None where that was not asked."""

    def __str__(self) -> str:
        total = len(self.kept) + len(self.dropped)
        said = f"{len(self.dropped)} of {total} training problems stand in a test set and are dropped"
        named = "".join(f"\n  {train} is {test}" for train, test in self.dropped)
        if self.overlapping is None:
            return said + named
        return f"{said}; {len(self.overlapping)} more share {NGRAM} words in a row with one and are kept{named}"


def decontaminate(train: Iterable[Problem], tests: Iterable[Problem], ngram: int | None = None) -> Contamination:
    """Drop training problems whose normalised text stands in a test set; `ngram` (`NGRAM`) counts overlaps, too.

    A text of which nothing is left (only punctuation) is nobody's.  Raises ValueError for an `ngram` below 1.
    """
    if ngram is not None and ngram < 1:
        raise ValueError(f"ngram={ngram}: at least 1")
    known: dict[str, str] = {}
    runs: set[int] = set()
    for problem in tests:
        known.setdefault(normalise(problem.text), problem.id)
        runs.update(_runs(problem.text, ngram))
    known.pop("", None)
    kept, dropped, overlapping = [], [], []
    for problem in train:
        found = known.get(normalise(problem.text))
        if found is not None:
            dropped.append((problem.id, found))
            continue
        kept.append(problem)
        if not runs.isdisjoint(_runs(problem.text, ngram)):
            overlapping.append(problem.id)
    return Contamination(tuple(kept), tuple(dropped), tuple(overlapping) if ngram else None)


def _runs(text: str, length: int | None) -> Iterator[int]:
    """Hashes of all runs of that many words; none of a shorter text."""
    if length is None:
        return
    found = words(text)
    yield from map(hash, zip(*(found[start:] for start in range(length)), strict=False))
