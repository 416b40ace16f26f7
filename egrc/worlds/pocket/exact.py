"""The teacher as a known process: the exact distribution of its next token, given only what can be SEEN.  [ours]

`teacher` draws a style, connectors, an order of candidates, whether to re-check; a reader of its trace sees words.
Here the same grammar is written as hidden states (`Plan`: words that are decided, and what is decided after them) with
the teacher's own constants, and a belief over them is updated word by word.  What the belief gives the next word is
then exact: nothing is sampled, nothing fitted.  No model can have a smaller expected loss on the teacher's traces than
this distribution has, and that is its entropy: the *floor*.

Almost everything the teacher decides shows in the word it says next.  What stays hidden for a while: after the last
step of a forward problem, whether a turner opens a re-check or the whole derivation again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from egrc.worlds.pocket.world import (
    CANDIDATES,
    OPENER_WEIGHTS,
    OPENERS,
    P_AGAIN,
    P_COMPACT,
    P_GIVE_UP,
    P_KEEP_STYLE,
    P_RECHECK,
    P_REPEAT,
    TURNER_WEIGHTS,
    TURNERS,
    VOCABULARY,
    Problem,
    apply,
    run,
)

Words = tuple[str, ...]
Decision = tuple
"""A method of `Process` and its arguments: something to be decided; () after the end."""
Branch = tuple[float, Words, Decision]
"""A choice: its probability, the words it says (perhaps none), and what is decided after them."""

INDEX = {word: i for i, word in enumerate(VOCABULARY)}
END: Decision = ()


class Impossible(ValueError):
    """The teacher could never have written this; the message names the position and what it could have said there."""


class Plan(NamedTuple):
    """A hidden state: the words that are decided, at least one, and the decision after them."""

    words: Words
    then: Decision


Belief = dict[Plan, float]


def _shares(words: Sequence[str], weights: Sequence[float]) -> list[tuple[str, float]]:
    return [(word, weight / sum(weights)) for word, weight in zip(words, weights, strict=True)]


_OPENERS, _TURNERS = _shares(OPENERS, OPENER_WEIGHTS), _shares(TURNERS, TURNER_WEIGHTS)


def _statement(a: int, operation: str) -> Words:
    return str(a), operation, "=", str(apply(a, operation))


class Process:
    """The teacher on one problem: each method is one of its decisions, and yields the branches."""

    def __init__(self, problem: Problem, p_compact: float = P_COMPACT) -> None:
        self.problem, self.p_compact = problem, p_compact
        self.start, self.steps = problem.right or (problem.start, problem.steps)  # what is worked out first
        self._known: dict[Decision, Belief] = {}

    def begin(self) -> Belief:
        """What the teacher may say first."""
        return self.plans((Process._style, None, (Process._step, self.start, 0, True, False)))

    def plans(self, decision: Decision) -> Belief:
        """What it may say next, with probabilities; choices that say nothing are summed out."""
        if decision not in self._known:
            found: Belief = {}
            choose, *arguments = decision
            for p, words, then in choose(self, *arguments):
                if p > 0:
                    for plan, q in ({Plan(words, then): 1.0} if words else self.plans(then)).items():
                        found[plan] = found.get(plan, 0.0) + p * q
            self._known[decision] = found
        return self._known[decision]

    def _style(self, before: bool | None, then: Decision) -> Iterator[Branch]:
        """Compact or not: drawn at first, later mostly kept; becomes the last argument of what is decided next."""
        keep = 0.0 if before is None else P_KEEP_STYLE
        for compact in (True, False):
            drawn = self.p_compact if compact else 1 - self.p_compact
            yield keep * (compact == before) + (1 - keep) * drawn, (), (*then, compact)

    def _step(self, a: int, i: int, fresh: bool, was_verbose: bool, compact: bool) -> Iterator[Branch]:
        """Step i from value a; `fresh`: a compact one names a."""
        if i == len(self.steps):
            hole = (Process._try, (), compact)
            yield 1.0, (), (Process._conclude, self.start, a, was_verbose) if self.problem.right is None else hole
            return
        operation, said = self.steps[i], _statement(a, self.steps[i])
        then = (Process._style, compact, (Process._step, int(said[-1]), i + 1, not compact, was_verbose or not compact))
        if compact:
            yield 1.0, (*said[: int(fresh)], operation, said[-1]), then
        else:
            for opener, p in _OPENERS:
                yield p, (opener, *said, "."), (Process._recheck, said, 0, then)

    def _recheck(self, said: Words, times: int, then: Decision) -> Iterator[Branch]:
        """Is the statement checked once more?"""
        p = P_RECHECK[times] if times < len(P_RECHECK) else 0.0
        yield 1 - p, (), then
        for turner, q in _TURNERS:
            yield p * q, (turner, "check", *said, "right", "."), (Process._recheck, said, times + 1, then)

    def _conclude(self, start: int, answer: int, may_repeat: bool) -> Iterator[Branch]:
        """The answer, perhaps after the whole derivation once more."""
        p, last = P_AGAIN if may_repeat else 0.0, ("#", str(answer), "<eos>")
        yield 1 - p, last, END
        values = run(start, self.problem.steps)
        again = [w for a, step in zip(values, self.problem.steps, strict=False) for w in (*_statement(a, step), ".")]
        for turner, q in _TURNERS:
            yield p * q, (turner, "again", *again, *last), END

    def _try(self, failed: tuple[int, ...], compact: bool) -> Iterator[Branch]:
        """Which candidate, and how it is announced."""
        untried = [c for c in CANDIDATES if c not in failed]
        repeat = P_REPEAT if failed and not compact else 0.0
        chances = {c: (1 - repeat) / len(untried) for c in untried}
        chances |= {c: repeat * times / len(failed) for c, times in Counter(failed).items()}
        for c, p in chances.items():
            if compact:
                results = map(str, run(c, self.problem.steps)[1:])
                worked = [w for pair in zip(self.problem.steps, results, strict=True) for w in pair]
                yield p, (str(c), *worked, *self._gap(c)[1::2]), (Process._judge, c, failed, True)
            else:
                for word, q in _TURNERS if failed else _OPENERS:
                    yield p * q, (word, "try", str(c), "."), (Process._spell_out, c, c, 0, failed)

    def _gap(self, c: int) -> Words:
        """``r -t = g`` of a candidate: g is 0 where it fits."""
        return _statement(run(c, self.problem.steps)[-1], f"-{self.problem.target}")

    def _spell_out(self, c: int, a: int, i: int, failed: tuple[int, ...]) -> Iterator[Branch]:
        """Step i of a verbose try of c, from value a; at the end the gap."""
        if i < len(self.problem.steps):
            said = _statement(a, self.problem.steps[i])
            then = (Process._spell_out, c, int(said[-1]), i + 1, failed)
            yield 1.0, (*said, "."), (Process._recheck, said, 0, then)
        else:
            gap = self._gap(c)
            verdict = "yes" if gap[-1] == "0" else "no"
            yield 1.0, ("gap", *gap, verdict, "."), (Process._judge, c, failed, False)

    def _judge(self, c: int, failed: tuple[int, ...], compact: bool) -> Iterator[Branch]:
        """After a try: conclude, give up, or go on."""
        if self._gap(c)[-1] == "0":
            yield 1.0, (), (Process._conclude, c, c, not compact)
            return
        failed = tuple(sorted((*failed, c)))
        p = P_GIVE_UP[min(len(failed), len(P_GIVE_UP)) - 1]
        yield p, ("#", str(c), "<eos>"), END
        yield 1 - p, (), (Process._style, compact, (Process._try, failed))


class Filter:
    """What a reader who knows the teacher believes while reading one trace."""

    def __init__(self, problem: Problem, p_compact: float = P_COMPACT) -> None:
        self.process = Process(problem, p_compact)
        self.belief = self.process.begin()
        self.read = 0

    def distribution(self) -> dict[str, float]:
        """Probability of each possible next word; empty after ``<eos>``."""
        found: dict[str, float] = {}
        for plan, p in self.belief.items():
            found[plan.words[0]] = found.get(plan.words[0], 0.0) + p
        return found

    def observe(self, word: str) -> None:
        """Read one word.  Raises `Impossible` where the teacher cannot say it."""
        heard = {plan: p for plan, p in self.belief.items() if plan.words[0] == word}
        if not heard:
            could = ", ".join(self.distribution()) or "nothing"
            raise Impossible(f"word {self.read + 1}: {word!r}, where the teacher of this problem can say: {could}")
        total, after = sum(heard.values()), Belief()
        for plan, p in heard.items():
            rest = plan.words[1:]
            following = {Plan(rest, plan.then): 1.0} if rest else self.process.plans(plan.then) if plan.then else {}
            for state, q in following.items():
                after[state] = after.get(state, 0.0) + p / total * q
        self.belief, self.read = after, self.read + 1


def next_token(problem: Problem, prefix: Iterable[str], p_compact: float = P_COMPACT) -> dict[str, float]:
    """The teacher's next word after a prefix of a completion, exactly: word to probability.

    Raises `Impossible` for a prefix that the teacher could never have written; after ``<eos>`` it is empty.
    """
    reader = Filter(problem, p_compact)
    for word in prefix:
        reader.observe(word)
    return reader.distribution()


def score(problem: Problem, tokens: Sequence[str], p_compact: float = P_COMPACT) -> np.ndarray:
    """Distributions of the next word before each token that follows a possible prefix: float64 [n, V].

    V is the vocabulary in its order.  n is len(tokens) for a trace of the teacher, and less where a token was one that
    the teacher could not have said: the rows end with that token's own.
    """
    reader, rows = Filter(problem, p_compact), np.zeros((len(tokens), len(VOCABULARY)))
    for i, token in enumerate(tokens):
        distribution = reader.distribution()
        for word, p in distribution.items():
            rows[i, INDEX[word]] = p
        if token not in distribution:
            return rows[: i + 1 if distribution else i]  # nothing can be said of what follows <eos>
        reader.observe(token)
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
