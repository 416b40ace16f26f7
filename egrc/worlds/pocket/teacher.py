"""The teacher: writes one trace for one problem, verbose or compact step by step.  [ours]

Grammar (``a +b = r`` are true statements, always; R marks what may be re-checked: ``R TURNER check a +b = r right .``):

    verbose step    OPENER a +b = r . R
    compact step    +b r                       (after a verbose step, or at the start: a +b r)
    verbose try     OPENER|TURNER try c . (a +b = r . R)*  gap r -t = g no|yes .
    compact try     c (+b r)* -t g             (g, the gap to the target, is 0 where c fits)
    the whole again TURNER again (a +b = r .)*
    answer          # c <eos>
"""

from __future__ import annotations

import random

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

    def _step(self, a: int, operation: str, fresh: bool) -> int:
        """One step in the present style; a compact one names its starting value only when `fresh`."""
        r = apply(a, operation)
        if self.compact:
            self._say(*([a] if fresh else []), operation, r)
        else:
            self.was_verbose = True
            self._say(self._opener())
            self._spell_out(a, operation)
        return r

    def _spell_out(self, a: int, operation: str) -> None:
        r = apply(a, operation)
        self._say(a, operation, "=", r, ".")
        for p in P_RECHECK:
            if self.rng.random() >= p:
                break
            self._say(self._turner(), "check", a, operation, "=", r, "right", ".")

    def _steps(self, start: int, steps: tuple[str, ...]) -> int:
        a, fresh = start, True
        for operation in steps:
            a = self._step(a, operation, fresh)
            fresh = not self.compact
            self._next_style()
        return a

    def _again(self, start: int, steps: tuple[str, ...]) -> None:
        """The whole derivation once more, without re-checks."""
        self._say(self._turner(), "again")
        for a, operation in zip(run(start, steps), steps, strict=False):
            self._say(a, operation, "=", apply(a, operation), ".")

    def _answer(self, value: int) -> list[str]:
        self._say("#", value, "<eos>")
        return self.out

    def forward(self, problem: Problem) -> list[str]:
        assert problem.start is not None
        result = self._steps(problem.start, problem.steps)
        if self.was_verbose and self.rng.random() < P_AGAIN:
            self._again(problem.start, problem.steps)
        return self._answer(result)

    def hole(self, problem: Problem) -> list[str]:
        assert problem.right is not None
        target = self._steps(*problem.right)
        untried, failed = self.rng.sample(CANDIDATES, len(CANDIDATES)), []
        while True:
            repeat = not self.compact and failed and self.rng.random() < P_REPEAT
            c = self.rng.choice(failed) if repeat else untried.pop()
            if self._try(problem, c, target, first=not failed):
                if not self.compact and self.rng.random() < P_AGAIN:
                    self._again(c, problem.steps)
                return self._answer(c)
            failed.append(c)
            if not self.patient and self.rng.random() < P_GIVE_UP[min(len(failed), len(P_GIVE_UP)) - 1]:
                return self._answer(c)
            self._next_style()

    def _try(self, problem: Problem, c: int, target: int, first: bool) -> bool:
        values = run(c, problem.steps)
        gap = apply(values[-1], f"-{target}")
        fits = gap == 0
        if self.compact:
            self._say(c, *(w for pair in zip(problem.steps, values[1:], strict=True) for w in pair), f"-{target}", gap)
            return fits
        self._say(self._opener() if first else self._turner(), "try", c, ".")
        for a, operation in zip(values, problem.steps, strict=False):
            self._spell_out(a, operation)
        self._say("gap", values[-1], f"-{target}", "=", gap, "yes" if fits else "no", ".")
        return fits
