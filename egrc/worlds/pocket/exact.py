"""The teacher as a known process: the exact distribution of its next word, given only what can be SEEN.  [ours]

The teacher's own code is run on every choice that agrees with the words read so far, and the probabilities of what it
says next are added up.  Nothing is sampled, nothing fitted: no model can have a smaller expected loss on the teacher's
traces than this distribution has, and that is its entropy, the *floor*.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import reduce
from typing import Any

import numpy as np

from egrc.worlds.pocket.language import INVERSE, P_COMPACT, P_KEEP_STYLE, Clock, Problem, _Writer

CLOCK = Clock()


class Impossible(ValueError):
    """The teacher could never have written this; the message names the position and what it could have said there."""


class _LeftTrace(Exception):
    """This path says another word than the trace, or is at its end."""


class _Path(_Writer):
    """The teacher, whose random numbers are `options` taken before; where these end, the first one, and others wait.

    `said[i]`: probability, jointly with tokens[:i], of each word at place i; to it goes what this path says from place
    `counted` on.  `waiting`: (options, probability, words counted) of paths to be run later, each from the start.
    """

    def __init__(self, clock: Clock, tokens: Sequence[str], said: list[Counter[str]], waiting: list[Any]) -> None:
        super().__init__(clock, self, sure=False)  # type: ignore[arg-type]  # it asks itself for random numbers
        self.tokens, self.said, self.waiting = tokens, said, waiting
        self.options, self.p, self.counted = waiting.pop()
        self.taken = 0

    def say(self, *words: object) -> None:
        for i, word in enumerate(map(str, words), len(self.out)):
            if i >= self.counted:  # else the path from which this one branched off has counted it
                self.said[i][word] += self.p
            if i == len(self.tokens) or word != self.tokens[i]:
                raise _LeftTrace
            self.out.append(word)

    def choices(self, items: Sequence[Any], weights: Sequence[float]) -> list[Any]:
        """One item by its weight; the others of this place wait."""
        if self.taken == len(self.options):
            first, *others = [(item, self.p * w / sum(weights)) for item, w in zip(items, weights, strict=True) if w]
            self.waiting += [([*self.options, item], p, len(self.out)) for item, p in others]
            self.options, self.p = [*self.options, first[0]], first[1]
        self.taken += 1
        return [self.options[self.taken - 1]]

    def chance(self, p: float) -> bool:
        return self.choices((True, False), (p, 1 - p))[0]

    def next_style(self, compact: bool, p_compact: float) -> bool:
        """Keeping a style, and drawing the same one again, are one choice: nobody could tell them apart."""
        return self.chance(P_KEEP_STYLE * compact + (1 - P_KEEP_STYLE) * p_compact)


def _distributions(problem: Problem, tokens: Sequence[str], p_compact: float, clock: Clock) -> list[dict[str, float]]:
    """Of the next word, at each place that follows a possible prefix and is not after ``<eos>``."""
    said = [Counter[str]() for _ in range(len(tokens) + 1)]
    waiting: list[tuple[list[Any], float, int]] = [([], 1.0, 0)]
    while waiting:
        with suppress(_LeftTrace):
            _Path(clock, tokens, said, waiting).write(problem, p_compact)
    return [{word: p / each.total() for word, p in each.items()} for each in said if each]


def next_token(
    problem: Problem, prefix: Iterable[str], p_compact: float = P_COMPACT, clock: Clock = CLOCK
) -> dict[str, float]:
    """The teacher's next word after a prefix of a completion, exactly: word to probability.

    Raises `Impossible` for a prefix that the teacher could never have written; after ``<eos>`` it is empty.
    """
    words = list(prefix)
    known = _distributions(problem, words, p_compact, clock)
    for i, word in enumerate(words):
        could = known[i] if i < len(known) else {}
        if word not in could:
            raise Impossible(
                f"word {i + 1}: {word!r}, where the teacher of this problem can say: {', '.join(could) or 'nothing'}"
            )
    return known[len(words)] if len(words) < len(known) else {}


def score(problem: Problem, tokens: Sequence[str], p_compact: float = P_COMPACT, clock: Clock = CLOCK) -> np.ndarray:
    """Distributions of the next word before each token that follows a possible prefix: float64 [n, V].

    V is the vocabulary in its order.  n is len(tokens) for a trace of the teacher, and less where a token was one that
    the teacher could not have said: the rows end with that token's own.
    """
    known = _distributions(problem, tokens, p_compact, clock)[: len(tokens)]
    rows = [[each.get(word, 0.0) for word in clock.vocabulary] for each in known]
    return np.array(rows, dtype=float).reshape(-1, len(clock.vocabulary))


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in nats of distributions [..., V] -> [...]."""
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(-1)


def read_problem(text: str, clock: Clock = CLOCK) -> Problem:
    """A problem from its own text, such as ``3 +4 /6 ?``.  Raises ValueError for any other text."""
    match = re.fullmatch(r"(\d+|_)((?: [-+*/]\d+)+)(?: = (\d+))? \?", text)
    if not match or (match[1] == "_") != bool(match[3]) or not {*text.split()} <= {*clock.vocabulary}:
        raise ValueError(f"not a problem of this world: {text!r}; expected '3 +4 /6 ?' or '_ *4 -2 = 5 ?'")
    kind, start, steps = "forward", int(match[3] or match[1]), tuple(match[2].split())
    if match[3]:
        kind, steps = "hole", tuple(INVERSE[step[0]] + step[1:] for step in reversed(steps))
    return Problem(f"{kind}-{len(steps)}", start, steps, reduce(clock.apply, steps, start))
