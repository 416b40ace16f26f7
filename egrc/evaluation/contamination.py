r"""Training problems that also stand in a test set are found and dropped, with a count.  [ours]

Two problems are the same where their normalised texts are: without case, spacing, punctuation, dollar signs, braces
and the LaTeX commands that only lay out, with one spelling of operators.  Digits, operators and decimal points stay,
so that 2 + 3 is not 2 - 3.  A training problem with each sentence of a test problem is that problem, whatever stands
around them.  A paraphrase, a translation and other numbers in the same words are not found.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from egrc.evaluation.problems import Problem

_LAYOUT = (
    "left right big bigl bigr bigg biggl biggr limits displaystyle textstyle quad qquad hspace vspace enspace "
    "thinspace text textbf textit textrm mbox hbox emph operatorname mathrm mathbf mathit mathsf rm bf it dots ldots "
    "cdots"
)
"""LaTeX commands that only lay out; what stands in their braces stays."""
_COMMANDS = {
    **dict.fromkeys(("times", "cdot", "ast"), "*"),
    **dict.fromkeys(("leq", "le", "leqslant"), "<="),
    **dict.fromkeys(("geq", "ge", "geqslant"), ">="),
    **{"neq": "!=", "ne": "!=", "div": "/", "lt": "<", "gt": ">", "pm": "+-", "dfrac": " frac ", "tfrac": " frac "},
    **dict.fromkeys(_LAYOUT.split(), " "),
}
"""LaTeX commands that have another spelling, or none; all others are words."""
_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u00d7\u00b7\u22c5\u2217", "*"),
        **dict.fromkeys("\u00f7\u2215\u2044", "/"),
        **dict.fromkeys("\u2212\u2010\u2011\u2013\u2014", "-"),
        **dict.fromkeys("\u2264\u2a7d", "<="),
        **dict.fromkeys("\u2265\u2a7e", ">="),
        **{"\u2260": "!=", "\u00b1": "+-", "\u00b0": " degree ", "\u221a": " sqrt ", "\u03c0": " pi "},
    }
)
_POWERS = str.maketrans({"\u00b2": "^2", "\u00b3": "^3"})
_SPACE = re.compile(r"(?<!\\)\\(?:,|!\s*)")  # it stands inside numbers
_COMMAND = re.compile(r"\\(?:([a-z]+)|.)", re.DOTALL)
_DEGREES = re.compile(r"\^\s*\{?\s*\\(?:circ|degree)(?![a-z])\s*\}?")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[-+*/=<>^!|%]")

_MARKS = re.compile(
    r"<[|\uff5c][^<>|\uff5c]{1,40}[|\uff5c]>|\[/?INST\]|<</?SYS>>|</?s>|</?think>|<(?:start|end)_of_turn>"
    r"|[(\[]\d{1,3}[ \t]*(?:points?|pts|marks?)[)\]]",
    re.IGNORECASE,
)
_NAMES = (
    r"(?:(?:final|math|your|the)[ \t]+)?(?:problem|question|exercise|example|task|prompt|instructions?|input|system|"
    r"user|human|assistant|model|response|solution|answer|output|q|a)"
)
_LABEL = re.compile(
    rf"^[^\w$\\(+-]*(?:{_NAMES}[ \t*_]*(?:no\.?|#)?[ \t]*\d*[ \t*_]*(?:[:.)\]][*_]*(?=\s|$)|$)"
    r"|(?:\#[ \t]*)?[(\[]?\d{1,4}[.):\]]+(?=\s))",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?<=[.!?:])[$)\]}\"\u2019\u201d\\]*\s+|\n+")


def words(text: str) -> list[str]:
    """Numbers, words and operators of a text in order, each in one spelling."""
    plain = unicodedata.normalize("NFKC", text.translate(_POWERS)).casefold().translate(_CHARACTERS)
    plain = _DEGREES.sub(" degree ", _SPACE.sub("", plain))
    plain = _COMMAND.sub(lambda m: _COMMANDS.get(m[1], f" {m[1] or ''} "), plain)
    return _TOKEN.findall(_THOUSANDS.sub("", plain))


def normalise(text: str) -> str:
    r"""What all spellings of one problem share: '$x \le 1{,}000$' and 'X <= 1000' are both 'x<=1000'.

    Words run together, since spacing is no difference, but two numbers in a row stay two: '1;2'.
    """
    return _joined(words(text))


def _joined(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += ";" * (text[-1:].isdecimal() and part[0].isdecimal()) + part
    return text


def sentences(text: str) -> list[str]:
    """Normalised sentences and lines, without chat marks, labels and numbering."""
    bare, before = _MARKS.sub("\n", text), None
    while bare != before:  # '3. Problem: ...'
        bare, before = _LABEL.sub("", bare), bare
    return [part for sentence in _SENTENCE.split(bare) if (part := normalise(sentence))]


@dataclass(frozen=True)
class Contamination:
    """Training problems that stand in no test set, in their order, and (id, id of the test problem) of the others."""

    kept: tuple[Problem, ...]
    dropped: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        total = len(self.kept) + len(self.dropped)
        counted = f"{len(self.dropped)} of {total} training problems stand in a test set and are dropped"
        return counted + "".join(f"\n  {train} is {test}" for train, test in self.dropped)


def decontaminate(train: Iterable[Problem], tests: Iterable[Problem]) -> Contamination:
    """Drop training problems that stand in a test set: their text is a test problem's, or holds each of its sentences.
    A text of which nothing is left, only punctuation, is nobody's."""
    known: dict[str, str] = {}
    by_sentence = defaultdict(list)
    for problem in tests:
        if lines := sentences(problem.text):
            known.setdefault(_joined(lines), problem.id)
            by_sentence[max(lines, key=len)].append((set(lines), problem.id))
    kept, dropped = [], []
    for problem in train:
        lines = sentences(problem.text)
        same = [known[text]] if (text := _joined(lines)) in known else []
        same += [id for line in lines for needed, id in by_sentence.get(line, ()) if needed <= set(lines)]
        if same:
            dropped.append((problem.id, same[0]))
        else:
            kept.append(problem)
    return Contamination(tuple(kept), tuple(dropped))
