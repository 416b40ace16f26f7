"""The pocket world: clock arithmetic modulo 7, and a reasoner that talks too much.  [ours]

Two kinds of problem, three benchmarks each, all read strictly from left to right:

* forward, ``3 +4 *6 -1 ?`` - the value must be worked out step by step (``forward-3``, ``-4``, ``-5`` operations);
* hole, ``_ *4 -2 = 5 ?`` - a digit 1..6 that fits must be found; trying is the only procedure the teacher knows
  (``hole-2``, ``hole-3`` operations; ``hole-2r``: the right-hand side has an operation of its own, ``= 3 +5 ?``).

An operation with its operand (``+4``) is one token, so a step needs only the two tokens before it.

In the world BY CONSTRUCTION (nothing below is a finding):

* every step of a trace is either verbose or compact; the first token of the step tells which;
* a verbose step opens with a logical connector drawn at random, so connectors carry entropy because we put it there;
* a verbose step is re-checked, a derivation repeated, a failed candidate tried again - all without any use:
  the teacher never makes an arithmetic mistake, so a re-check has nothing to find;
* the teacher gives up on holes as a habit that grows with failures, and then answers the last candidate, which is
  wrong: trying longer is what raises accuracy, and a cooler temperature does not cure the habit;
* the teacher is compact rarely, so a model trained on it does compact reasoning less reliably than verbose.

NOT by construction: how well a model learns any of this, where its errors are, and what reinforcement learning does.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

WORLD_VERSION = 1  # raised when anything below changes; then every run is trained anew

MODULUS = 7
OPERATIONS = tuple(f"{op}{b}" for op in "+-*" for b in range(1, MODULUS))  # one token each; no multiplying by 0
CANDIDATES = tuple(range(1, MODULUS))  # what a hole may hold; invertible, so that answers stay even

OPENERS = ("so", "then", "thus", "therefore", "hence", "next")  # open a step
TURNERS = ("wait", "hmm", "but", "alternatively", "maybe")  # turn back: re-check, or try another candidate
CONNECTORS = OPENERS + TURNERS
OPENER_WEIGHTS = (0.50, 0.18, 0.12, 0.08, 0.07, 0.05)
TURNER_WEIGHTS = (0.50, 0.20, 0.12, 0.10, 0.08)

P_COMPACT = 0.15  # the first step's style, and every fresh draw of it
P_KEEP_STYLE = 0.75  # else the next step draws its style afresh: compression can be gradual
P_RECHECK = (0.75, 0.30)  # of a verbose step, then of its re-check
P_AGAIN = 0.75  # the whole derivation once more, before the answer of a verbose trace
P_REPEAT = 0.25  # a verbose try takes a candidate that already failed
P_GIVE_UP = (0.03, 0.20, 0.45, 0.60, 0.75, 1.0)  # after 1, 2, 3, ... failed tries

WORDS = ("try", "check", "again", "gap", "no", "yes", "right")
VOCABULARY = (
    "<pad>", "<bos>", "<eos>",
    *map(str, range(MODULUS)), *OPERATIONS, "-0", "=", "?", "_", "#", ".",
    *CONNECTORS, *WORDS,
)  # fmt: skip

BENCHMARKS = ("forward-3", "forward-4", "forward-5", "hole-2", "hole-2r", "hole-3")


@dataclass(frozen=True)
class Problem:
    """One problem: ``start`` (None for a hole) and its operations; ``right`` is a hole's target side, likewise."""

    benchmark: str
    start: int | None
    steps: tuple[str, ...]
    right: tuple[int, tuple[str, ...]] | None = None

    @property
    def text(self) -> str:
        words = ["_" if self.start is None else str(self.start), *self.steps]
        if self.right is not None:
            words += ["=", str(self.right[0]), *self.right[1]]
        return " ".join([*words, "?"])

    @property
    def target(self) -> int | None:
        """The value a hole has to reach; None for a forward problem."""
        return None if self.right is None else run(self.right[0], self.right[1])[-1]

    @property
    def answers(self) -> tuple[int, ...]:
        """Every answer that is correct (a hole of this world has exactly one)."""
        if self.start is not None:
            return (run(self.start, self.steps)[-1],)
        return tuple(c for c in CANDIDATES if run(c, self.steps)[-1] == self.target)

    @property
    def held_out(self) -> bool:
        """Half of the space, chosen by a hash of the text, is never trained on."""
        return hashlib.sha256(self.text.encode()).digest()[0] % 2 == 1


def apply(a: int, operation: str) -> int:
    """One operation, such as ``*4``, on the clock."""
    b = int(operation[1:])
    return {"+": a + b, "-": a - b, "*": a * b}[operation[0]] % MODULUS


def run(start: int, steps: tuple[str, ...]) -> list[int]:
    """Values after 0, 1, ... len(steps) operations."""
    values = [start]
    for operation in steps:
        values.append(apply(values[-1], operation))
    return values


def draw_problem(benchmark: str, rng: random.Random) -> Problem:
    """A uniformly drawn solvable problem of one benchmark, from either half of the split."""
    kind, size = benchmark.split("-")
    n = int(size[0])
    while True:
        steps = tuple(rng.choices(OPERATIONS, k=n))
        if kind == "forward":
            return Problem(benchmark, rng.randint(1, MODULUS - 1), steps)
        if size.endswith("r"):
            right = (rng.randint(1, MODULUS - 1), (rng.choice(OPERATIONS),))
        else:
            right = (rng.randrange(MODULUS), ())
        problem = Problem(benchmark, None, steps, right)
        if problem.answers:
            return problem


def problems(benchmark: str, held_out: bool, seed: int) -> Iterator[Problem]:
    """Distinct problems of one half of the split, in an order fixed by the seed.  Ends when the space is used up."""
    rng, seen, misses = random.Random(f"{benchmark}/{held_out}/{seed}"), set(), 0
    while misses < 20_000:  # a space this often redrawn in vain is exhausted
        problem = draw_problem(benchmark, rng)
        if problem.held_out != held_out or problem in seen:
            misses += 1
            continue
        misses = 0
        seen.add(problem)
        yield problem
