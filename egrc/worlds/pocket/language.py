"""The pocket world: arithmetic modulo a prime, whose divisions a reasoner can only guess and then check.  [ours]

`3 +4 /6 ?` is read from left to right; `_ *4 -2 = 5 ?` asks what stood in the gap, and is solved from its end by the
inverse operations.  An operation with its operand is one token.  Adding, subtracting and multiplying are easy; division
is hard: it takes one fact for each pair of numbers.

In the world BY CONSTRUCTION: the teacher guesses a quotient from a fixed intuition that ranks the right one first for
60% of the facts only; a check (multiply back) is sure; after a failed check the next guess leaves the failed ones out;
a verbose trace restates the problem, opens every step with a connector drawn at random, checks some steps, hard and
easy ones, and often says all again; a compact step is the operation and one guess.  Restating, checks of easy steps,
second checks and 'again' are of no use; checks of hard steps are.
NOT by construction: what a model learns of it, where its slips are, and what reinforcement learning does with it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

WORLD_VERSION = 2  # raised when anything below changes; then every run is trained anew

OPENERS = ("so", "then", "thus", "therefore", "hence", "next")  # open a step
TURNERS = ("wait", "hmm", "but", "alternatively", "maybe")  # turn back: check, guess again, say all again
CONNECTORS = OPENERS + TURNERS
OPENER_WEIGHTS = (0.50, 0.18, 0.12, 0.08, 0.07, 0.05)
TURNER_WEIGHTS = (0.50, 0.20, 0.12, 0.10, 0.08)

RANK_WEIGHTS = (0.60, 0.25, 0.10, 0.05)  # how often the teacher guesses its first, second, ... candidate for a quotient
RIGHT_AT = (0.60, 0.30, 0.10)  # share of the facts whose right quotient is the first, second, third candidate
P_COMPACT = 0.12  # the first step's style, and every fresh draw of it
P_KEEP_STYLE = 0.8  # else the next step draws its style afresh: compression can be gradual
P_CHECK, P_SECOND_CHECK = 0.45, 0.2  # of a verbose step's result; of a result that passed
P_AGAIN = 0.9  # the whole derivation once more, before the answer of a trace with a verbose step

BENCHMARKS = {f"{kind}-{n}": (n, 2 if n == 4 else 1) for kind in ("forward", "hole") for n in (2, 3, 4)}
"""Steps of the solution, and how many of them are divisions."""
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


@dataclass(frozen=True)
class Problem:
    """What is computed: `steps` on `start`; a hole problem shows their inverses, last one first."""

    benchmark: str
    start: int
    steps: tuple[str, ...]
    answer: int

    @property
    def text(self) -> str:
        if self.benchmark.startswith("forward"):
            return " ".join([str(self.start), *self.steps, "?"])
        shown = [INVERSE[step[0]] + step[1:] for step in reversed(self.steps)]
        return " ".join(["_", *shown, "=", str(self.start), "?"])

    @property
    def held_out(self) -> bool:
        """Half of the space, chosen by a hash of the text, is never trained on."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


@dataclass(frozen=True)
class Clock:
    """The world of one size: a clock of a prime number of hours."""

    modulus: int = 17

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        operations = (f"{o}{b}" for o in "+-*/" for b in range(1, self.modulus))
        marks = ("-0", "=", "?", "_", "#", ".", "check", "again", "yes", "no")
        return ("<pad>", "<bos>", "<eos>", *map(str, range(self.modulus)), *operations, *marks, *CONNECTORS)

    def apply(self, a: int, step: str) -> int:
        """One operation, such as ``/4``, on the clock."""
        b = int(step[1:])
        if step[0] == "/":
            return a * pow(b, -1, self.modulus) % self.modulus
        return {"+": a + b, "-": a - b, "*": a * b}[step[0]] % self.modulus

    def is_hard(self, a: int, step: str) -> bool:
        """Must this step be guessed?"""
        return step[0] == "/" and a != 0

    @cached_property
    def intuition(self) -> dict[tuple[int, int], list[int]]:
        """The teacher's candidates for a / b, its favourite first; the same in every run."""
        rng, table = random.Random(f"intuition/{self.modulus}"), {}
        for b in range(1, self.modulus):
            for a in range(1, self.modulus):
                right = self.apply(a, f"/{b}")
                wrong = rng.sample([c for c in range(1, self.modulus) if c != right], len(RANK_WEIGHTS) - 1)
                at = rng.choices(range(len(RIGHT_AT)), RIGHT_AT)[0]
                table[a, b] = [*wrong[:at], right, *wrong[at:]]
        return table

    def guess(self, a: int, step: str, rng: random.Random, failed: tuple[int, ...] = ()) -> int:
        """The teacher's result of a step: exact if it is easy, else a candidate that has not failed yet."""
        if not self.is_hard(a, step):
            return self.apply(a, step)
        ranked = zip(self.intuition[a, int(step[1:])], RANK_WEIGHTS, strict=True)
        left = [(c, w) for c, w in ranked if c not in failed]
        return rng.choices([c for c, _ in left], [w for _, w in left])[0]

    def draw(self, benchmark: str, rng: random.Random) -> Problem:
        """A problem of one benchmark, from either half of the split."""
        n, divisions = BENCHMARKS[benchmark]
        while True:
            hard = set(rng.sample(range(n), divisions))
            if problem := self._drawn(benchmark, [i in hard for i in range(n)], self.modulus, rng):
                return problem

    def draw_chain(self, below: int, rng: random.Random) -> Problem:
        """A forward or hole problem of 2 to 8 steps with operands less than `below`: what drills the facts."""
        while True:
            hard = [rng.random() < 0.4 for _ in range(rng.randrange(2, 9))]
            if problem := self._drawn(rng.choice(("forward", "hole")), hard, below, rng):
                return problem

    def _drawn(self, name: str, hard: list[bool], below: int, rng: random.Random) -> Problem | None:
        """None where a step would have nothing to work out."""
        a, steps = rng.randrange(self.modulus), list[str]()
        start = a
        for is_hard in hard:
            step = f"/{rng.randrange(2, below)}" if is_hard else f"{rng.choice('+-*')}{rng.randrange(1, below)}"
            if (is_hard and a == 0) or step == "*1":
                return None
            steps.append(step)
            a = self.apply(a, step)
        return Problem(name, start, tuple(steps), a)

    def problems(self, benchmark: str, held_out: bool, seed: int) -> Iterator[Problem]:
        """Distinct problems of one half of the split, in an order fixed by the seed; never ends."""
        rng, seen = random.Random(f"{self.modulus}/{benchmark}/{held_out}/{seed}"), set[Problem]()
        while True:
            problem = self.draw(benchmark, rng)
            if problem.held_out == held_out and problem not in seen:
                seen.add(problem)
                yield problem

    def trace(
        self, problem: Problem, rng: random.Random, p_compact: float = P_COMPACT, sure: bool = False
    ) -> list[str]:
        """One of the teacher's traces as tokens, ``<eos>`` included; `sure`: it knows every quotient.

        ``p_compact=1`` with ``sure=True`` is the compact floor: the shortest correct trace the grammar can write.
        """
        return _Writer(self, rng, sure).write(problem, p_compact)


class _Writer:
    """verbose   [OPENER the problem .]  then a step:  OPENER a /b r . CHECK*
    CHECK     TURNER check r *b x -a d yes|no .   and after a no:  TURNER a /b r .
    compact   a /b r, and right after it  /b r
    again     TURNER again (a /b r .)*
    answer    # r <eos>
    """

    def __init__(self, clock: Clock, rng: random.Random, sure: bool) -> None:
        self.clock, self.rng, self.sure, self.out = clock, rng, sure, list[str]()

    def say(self, *words: object) -> None:
        self.out += map(str, words)

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def opener(self) -> str:
        return self.rng.choices(OPENERS, OPENER_WEIGHTS)[0]

    def turner(self) -> str:
        return self.rng.choices(TURNERS, TURNER_WEIGHTS)[0]

    def next_style(self, compact: bool, p_compact: float) -> bool:
        return compact if self.chance(P_KEEP_STYLE) else self.chance(p_compact)

    def write(self, problem: Problem, p_compact: float) -> list[str]:
        compact = self.chance(p_compact)
        if verbose := not compact:
            self.say(self.opener(), *problem.text.split()[:-1], ".")
        values, state = [problem.start], True  # state: the next compact step must name the value it starts from
        for step in problem.steps:
            a = values[-1]
            if compact:
                result = self.clock.apply(a, step) if self.sure else self.clock.guess(a, step, self.rng)
                self.say(*([a] if state else []), step, result)
            else:
                verbose, result = True, self.verbose_step(a, step)
            state = not compact
            values.append(result)
            compact = self.next_style(compact, p_compact)
        if verbose and self.chance(P_AGAIN):
            self.say(self.turner(), "again")
            for a, step, result in zip(values, problem.steps, values[1:], strict=False):
                self.say(a, step, result, ".")
        self.say("#", values[-1], "<eos>")
        return self.out

    def verbose_step(self, a: int, step: str) -> int:
        """Write a step with its checks; returns its result."""
        result, failed = self.clock.guess(a, step, self.rng), ()
        self.say(self.opener(), a, step, result, ".")
        if not self.clock.is_hard(a, step):
            if self.chance(P_CHECK):
                self.say(self.turner(), "check", a, step, result, f"-{result}", 0, "yes", ".")
            return result
        while self.chance(P_CHECK):
            if self.check(a, step, result):
                if self.chance(P_SECOND_CHECK):
                    self.check(a, step, result)
                break
            failed = (*failed, result)
            result = self.clock.guess(a, step, self.rng, failed)
            self.say(self.turner(), a, step, result, ".")
            if len(failed) == len(RANK_WEIGHTS) - 1:  # only one candidate was left
                break
        return result

    def check(self, a: int, step: str, result: int) -> bool:
        """Multiply back and compare; was it right?"""
        back = "*" + step[1:]
        x = self.clock.apply(result, back)
        gap = (x - a) % self.clock.modulus
        self.say(self.turner(), "check", result, back, x, f"-{a}", gap, "no" if gap else "yes", ".")
        return not gap
