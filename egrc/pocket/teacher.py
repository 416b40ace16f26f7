"""The teacher: writes one trace for one problem, verbose or compact step by step.  [ours]

Grammar (tokens; ``a op b = r`` are true statements, always):

    verbose step    OPENER a op b = r .        then, perhaps,   TURNER check a op b = r right .
    compact step    = r
    verbose try     OPENER|TURNER try c .  (a op b = r .)*  gap r - t = g no|yes .
    compact try     c r1 .. rn no|yes
    the whole again TURNER again (a op b = r .)*
    answer          # c <eos>
"""

from __future__ import annotations

import random

from egrc.pocket.world import (
    CANDIDATES,
    OPENER_WEIGHTS,
    OPENERS,
    P_AGAIN,
    P_COMPACT,
    P_GIVE_UP,
    P_KEEP_STYLE,
    P_RECHECK,
    P_RECHECK_GAP,
    P_REPEAT,
    TURNER_WEIGHTS,
    TURNERS,
    Problem,
    apply,
    run,
)


def trace(problem: Problem, rng: random.Random, p_compact: float = P_COMPACT, patient: bool = False) -> list[str]:
    """One trace as tokens, ``<eos>`` included.

    ``p_compact=1`` gives a compact trace and, with ``patient=True`` (never gives up), the shortest correct procedure
    that this grammar can write: the compact floor.
    """
    writer = _Writer(rng, p_compact, patient)
    return writer.forward(problem) if problem.start is not None else writer.hole(problem)


class _Writer:
    def __init__(self, rng: random.Random, p_compact: float, patient: bool) -> None:
        self.rng, self.p_compact, self.patient = rng, p_compact, patient
        self.out: list[str] = []
        self.compact = self._draw_style()
        self.was_verbose = False

    def _draw_style(self) -> bool:
        return self.rng.random() < self.p_compact

    def _next_style(self) -> None:
        if self.rng.random() >= P_KEEP_STYLE:
            self.compact = self._draw_style()

    def _say(self, *words: object) -> None:
        self.out += [str(w) for w in words]

    def _opener(self) -> str:
        return self.rng.choices(OPENERS, OPENER_WEIGHTS)[0]

    def _turner(self) -> str:
        return self.rng.choices(TURNERS, TURNER_WEIGHTS)[0]

    def _step(self, a: int, op: str, b: int) -> int:
        r = apply(a, op, b)
        if self.compact:
            self._say("=", r)
        else:
            self.was_verbose = True
            self._say(self._opener(), a, op, b, "=", r, ".")
            for p in P_RECHECK:
                if self.rng.random() >= p:
                    break
                self._say(self._turner(), "check", a, op, b, "=", r, "right", ".")
        self._next_style()
        return r

    def _spell_out(self, start: int, steps: tuple[tuple[str, int], ...]) -> int:
        a = start
        for op, b in steps:
            r = apply(a, op, b)
            self._say(a, op, b, "=", r, ".")
            a = r
        return a

    def _answer(self, value: int) -> list[str]:
        self._say("#", value, "<eos>")
        return self.out

    def forward(self, problem: Problem) -> list[str]:
        assert problem.start is not None
        a = problem.start
        for op, b in problem.steps:
            a = self._step(a, op, b)
        if self.was_verbose and not self.compact and self.rng.random() < P_AGAIN:
            self._say(self._turner(), "again")
            self._spell_out(problem.start, problem.steps)
        return self._answer(a)

    def hole(self, problem: Problem) -> list[str]:
        assert problem.right is not None
        target = problem.right[0]
        for op, b in problem.right[1]:
            target = self._step(target, op, b)
        untried, failed = self.rng.sample(CANDIDATES, len(CANDIDATES)), 0
        tried: list[int] = []
        while True:
            if self.compact or not tried or self.rng.random() >= P_REPEAT:
                c = untried.pop()
            else:
                c = self.rng.choice(tried)
            verbose = not self.compact
            if self._try(problem, c, target, first=not tried):
                if verbose and self.rng.random() < P_AGAIN:
                    self._say(self._turner(), "again")
                    self._spell_out(c, problem.steps)
                return self._answer(c)
            tried.append(c)
            failed += 1
            if not self.patient and self.rng.random() < P_GIVE_UP[min(failed, len(P_GIVE_UP)) - 1]:
                return self._answer(c)
            self._next_style()

    def _try(self, problem: Problem, c: int, target: int, first: bool) -> bool:
        r = run(c, problem.steps)[-1]
        verdict = "yes" if r == target else "no"
        if self.compact:
            self._say(*run(c, problem.steps), verdict)
            return r == target
        self._say(self._opener() if first else self._turner(), "try", c, ".")
        self._spell_out(c, problem.steps)
        gap = (r, "-", target, "=", apply(r, "-", target))
        self._say("gap", *gap, verdict, ".")
        if r != target and self.rng.random() < P_RECHECK_GAP:
            self._say(self._turner(), "check", *gap, "right", ".")
        return r == target
