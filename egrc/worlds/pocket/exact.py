"""The teacher as a known process: the exact distribution of its next token, given only what can be SEEN.  [ours]

`teacher` draws styles, connectors, candidates, whether to re-check; a reader of its trace sees words.  Here its own
code is run on every choice that agrees with the words read so far, and the probabilities of what it says next are added
up.  So nothing is sampled, nothing fitted: no model can have a smaller expected loss on the teacher's traces than this
distribution has, and that is its entropy, the *floor*.

What stays hidden for a while: after a forward problem's last step, whether a turner opens a re-check or all anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from egrc.worlds.pocket import teacher
from egrc.worlds.pocket.world import P_COMPACT, P_KEEP_STYLE, VOCABULARY, Problem

INDEX = {word: i for i, word in enumerate(VOCABULARY)}


class Impossible(ValueError):
    """The teacher could never have written this; the message names the position and what it could have said there."""


class _LeftTrace(Exception):
    """This choice leaves the trace, or has reached its end."""


class _Coin:
    """A number drawn from [0, 1) whose comparison with p is a choice."""

    def __init__(self, paths: _Paths) -> None:
        self.paths = paths

    def __lt__(self, p: float) -> bool:
        return self.paths.choose({True: p, False: 1 - p})

    def __ge__(self, p: float) -> bool:
        return not self < p


class _Deck:
    """Items in an unknown order, taken one by one."""

    def __init__(self, paths: _Paths, items: Sequence[int]) -> None:
        self.paths, self.items = paths, list(items)

    def pop(self) -> int:
        item = self.paths.choice(self.items)
        self.items.remove(item)
        return item


class _Writer(teacher._Writer):
    """Keeping a style, and drawing the same one again, are one choice: nobody could tell them apart."""

    rng: _Paths

    def _next_style(self) -> None:
        drawn = {True: self.p_compact, False: 1 - self.p_compact}
        kept = {style: P_KEEP_STYLE * (style == self.compact) + (1 - P_KEEP_STYLE) * p for style, p in drawn.items()}
        self.compact = self.rng.choose(kept)


class _Paths:
    """Stands for the teacher's random numbers: all of its paths along `tokens`, and what each says at each place.

    A path is a list of options taken; whatever else could have been chosen waits, to be taken later from the start.
    `said[i]`: probability, jointly with tokens[:i], of each word at place i, one place beyond the last token included.
    """

    def __init__(self, problem: Problem, tokens: Sequence[str], p_compact: float) -> None:
        self.tokens, self.said = tokens, [Counter[str]() for _ in range(len(tokens) + 1)]
        self.waiting: list[tuple[list[Any], float, int]] = [([], 1.0, 0)]  # options, probability, words counted
        while self.waiting:
            self.options, self.p, self.counted = self.waiting.pop()
            self.taken = 0
            self.out: list[str] = []
            try:
                writer = _Writer.__new__(_Writer)
                writer.out = self.out  # its first choice comes before it has said anything
                writer.__init__(self, p_compact, False)  # type: ignore[misc, arg-type]
                self.out = writer.out
                _ = writer.forward(problem) if problem.start is not None else writer.hole(problem)
                self._count()
            except _LeftTrace:
                pass

    def _count(self) -> None:
        """Add the words said since the last choice.  Raises `_LeftTrace`."""
        for i in range(self.counted, min(len(self.out), len(self.said))):
            self.said[i][self.out[i]] += self.p
            if i == len(self.tokens) or self.out[i] != self.tokens[i]:
                raise _LeftTrace
            self.counted = i + 1

    def choose(self, weights: dict[Any, float]) -> Any:
        """One option by its probability; the others of this place wait."""
        if self.taken == len(self.options):
            self._count()
            first, *others = (option for option, p in weights.items() if p > 0)
            for option in others:
                self.waiting.append(([*self.options, option], self.p * weights[option], self.counted))
            self.options, self.p = [*self.options, first], self.p * weights[first]
        self.taken += 1
        return self.options[self.taken - 1]

    # what the teacher asks of its random numbers

    def random(self) -> _Coin:
        return _Coin(self)

    def choices(self, words: Sequence[str], weights: Sequence[float]) -> list[str]:
        """A connector, which the teacher says at once: the trace's own, if it has one here."""
        at = len(self.out)
        if at >= self.counted:  # else this path has been here before
            self._count()
            here, before = self.tokens[at] if at < len(self.tokens) else None, self.p
            self.p = 0.0
            for word, weight in zip(words, weights, strict=True):
                if word == here:
                    self.p = before * weight / sum(weights)
                else:
                    self.said[at][word] += before * weight / sum(weights)
            if not self.p:
                raise _LeftTrace
        return [self.tokens[at]]

    def choice(self, items: Sequence[int]) -> int:
        return self.choose({item: n / len(items) for item, n in Counter(items).items()})

    def sample(self, items: Sequence[int], n: int) -> _Deck:
        return _Deck(self, items)


def _distributions(problem: Problem, tokens: Sequence[str], p_compact: float) -> list[dict[str, float]]:
    """Of the next word, at each place that follows a possible prefix and is not after ``<eos>``."""
    said = [each for each in _Paths(problem, tokens, p_compact).said if each]
    return [{word: p / each.total() for word, p in each.items()} for each in said]


def next_token(problem: Problem, prefix: Iterable[str], p_compact: float = P_COMPACT) -> dict[str, float]:
    """The teacher's next word after a prefix of a completion, exactly: word to probability.

    Raises `Impossible` for a prefix that the teacher could never have written; after ``<eos>`` it is empty.
    """
    words = list(prefix)
    known = _distributions(problem, words, p_compact)
    for i, word in enumerate(words):
        could = known[i] if i < len(known) else {}
        if word not in could:
            raise Impossible(
                f"word {i + 1}: {word!r}, where the teacher of this problem can say: {', '.join(could) or 'nothing'}"
            )
    return known[len(words)] if len(words) < len(known) else {}


def score(problem: Problem, tokens: Sequence[str], p_compact: float = P_COMPACT) -> np.ndarray:
    """Distributions of the next word before each token that follows a possible prefix: float64 [n, V].

    V is the vocabulary in its order.  n is len(tokens) for a trace of the teacher, and less where a token was one that
    the teacher could not have said: the rows end with that token's own.
    """
    known = _distributions(problem, tokens, p_compact)[: len(tokens)]
    rows = np.zeros((len(known), len(VOCABULARY)))
    for row, distribution in zip(rows, known, strict=True):
        row[[INDEX[word] for word in distribution]] = list(distribution.values())
    return rows


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy in nats of distributions [..., V] -> [...]."""
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(-1)


def read_problem(text: str) -> Problem:
    """A problem from its own text, such as ``3 +4 *6 -1 ?``.  Raises ValueError for any other text."""
    left, _, right = text.removesuffix(" ?").partition(" = ")
    (start, *steps), side = left.split(), right.split()
    kind = f"hole-{len(steps)}{'r' * (len(side) > 1)}" if side else f"forward-{len(steps)}"
    target = (int(side[0]), tuple(side[1:])) if side else None
    problem = Problem(kind, None if start == "_" else int(start), tuple(steps), target)
    if problem.text != text or (problem.start is None) != bool(side):
        raise ValueError(f"not a problem of this world: {text!r}; expected '3 +4 *6 -1 ?' or '_ *4 -2 = 5 ?'")
    return problem
