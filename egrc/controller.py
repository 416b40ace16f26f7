"""The entropy gate: policy entropy in, phase out.  A pure state machine; it sees no reward and no accuracy.

Paper: while entropy descends, compress; while it rises, explore.  The gate itself is [ours]; the paper's
two-stage schedule is `max_switches=1`.  The signal is the rollouts' mean entropy per token at temperature 1,
in nats.

* smoothed = mean of the last `window` readings; start = its value at the first full window;
* slope = least-squares slope of those readings, nats per step;
* a phase named 'compress' is left when smoothed < low * start or, with flat > 0, slope > -flat ('stopped
  falling'); any other phase when smoothed > high * start or slope < flat ('stopped rising');
* no phase is left before `dwell` steps, nor more often than `max_switches` in all.

Beyond the paper [ours]: a guard, which reads the connectors' share of tokens; and, as controls, other signals in place
of the entropy (`Gate.signal`) and a fixed schedule (`Gate.every`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any

from egrc.config import Phase, Recipe

AT_DWELL_LIMIT = "dwell limit"
SIGNALS = {None: "entropy", "length": "length", "shuffled": "shuffled entropy"}
"""What the gate reads, in words."""


@dataclass(frozen=True)
class Decision:
    """What the gate made of one reading.  All it needs to be replayed are `entropy` and `mass`."""

    step: int
    entropy: float
    """The reading: nats per token at temperature 1 (tokens, where the gate's signal is the length)."""
    smoothed: float
    slope: float | None
    """Nats per step; None until a window is full."""
    phase: str
    """The phase that drove this step."""
    next_phase: str
    """The phase that drives the next one."""
    weights: tuple[float, ...]
    """Each phase's share in the next step's advantages; one-hot unless the gate is soft."""
    cause: str
    """Why the phase changed, in words; empty where it did not."""
    mass: float | None = None
    """The guard's reading, the connectors' share of tokens; None without a guard."""

    def row(self) -> dict[str, Any]:
        """Its fields by name; the guard's reading only where there is a guard."""
        return {name: value for name, value in asdict(self).items() if name != "mass" or value is not None}


class EntropyGate:
    """Give `update` one reading a step; read `phase` and `weights` before the next step's rollouts."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.gate = recipe.gate
        self.index = 0
        """Of the phase that drives the next step."""
        self.steps_in_phase = 0
        self.switches = 0
        self.start: float | None = None
        self.readings: list[float] = []
        """The last `window` readings."""
        self.seen: list[float] = []
        """All readings, where they are shuffled."""
        self.masses: list[float] = []
        """The guard's last `window` readings."""
        self.start_mass: float | None = None
        self.waiting = False
        """Whether the condition to leave held at the last reading already: only the dwell kept the phase."""
        self.weights: tuple[float, ...] = self._one_hot(0)

    @property
    def phase(self) -> Phase:
        """The phase whose temperature and budget the next rollouts use (the heavier one of a soft gate)."""
        return self.recipe.phases[self.index]

    def update(self, step: int, entropy: float, mass: float | None = None) -> Decision:
        """Take a finished step's reading (and the guard's), decide about the next.  Raises ValueError unless finite."""
        if not math.isfinite(entropy):
            raise ValueError(
                f"step {step}: policy entropy is {entropy}; the policy has diverged, or no token was scored: "
                "lower the learning rate, or resume from an earlier checkpoint"
            )
        self.readings = [*self.readings, self._signal(step, entropy)][-self.gate.window :]
        smoothed = math.fsum(self.readings) / len(self.readings)
        full = len(self.readings) == self.gate.window
        slope = _slope(self.readings) if full else None
        if self.gate.guard is None:
            mass = None
        else:
            self.masses = [*self.masses, mass or 0.0][-self.gate.window :]
        if full and self.start is None:
            self.start = smoothed
            self.start_mass = self._mass()
        self.steps_in_phase += 1
        before = self.phase.name
        cause = self._blend(smoothed) if self.gate.soft else self._switch(smoothed, slope)
        return Decision(step, entropy, smoothed, slope, before, self.phase.name, self.weights, cause, mass)

    def _signal(self, step: int, reading: float) -> float:
        if self.gate.signal != "shuffled":
            return reading
        self.seen = [*self.seen, reading]
        return random.Random(step).choice(self.seen)

    def _mass(self) -> float:
        return math.fsum(self.masses) / max(1, len(self.masses))

    def _switch(self, smoothed: float, slope: float | None) -> str:
        if len(self.recipe.phases) == 1 or self.switches >= self.gate.max_switches or self.start is None:
            return ""
        if self.gate.every is not None:
            due = self.steps_in_phase >= self.gate.every
            return self._leave(f"{self.gate.every} steps have passed") if due else ""
        if self._exhausted():
            compressing = self.phase.name == "compress"
            return self._leave(f"connectors fell below {self.gate.guard:g} of their start") if compressing else ""
        cause = self._reason_to_leave(smoothed, slope)
        if not cause or self.steps_in_phase < self.gate.dwell:
            self.waiting = bool(cause)
            return ""
        if self.waiting:  # can only be so when the dwell ends with this very step
            cause = f"{AT_DWELL_LIMIT}: {cause}"
        return self._leave(cause)

    def _exhausted(self) -> bool:
        """Does the guard find too few connectors?"""
        return self.gate.guard is not None and self._mass() < self.gate.guard * (self.start_mass or 0.0)

    def _leave(self, cause: str) -> str:
        self.index, self.steps_in_phase, self.waiting = 1 - self.index, 0, False
        self.switches += 1
        self.weights = self._one_hot(self.index)
        return cause

    def _reason_to_leave(self, smoothed: float, slope: float | None) -> str:
        gate, start = self.gate, self.start
        assert start is not None
        what = SIGNALS[gate.signal]
        slope_counts = gate.flat > 0 and slope is not None
        if self.phase.name == "compress":
            if smoothed < gate.low * start:
                return f"{what} fell below {gate.low:g} of its start"
            if slope_counts and slope > -gate.flat:  # type: ignore[operator]
                return f"{what} stopped falling"
        else:
            if smoothed > gate.high * start:
                return f"{what} rose above {gate.high:g} of its start"
            if slope_counts and slope < gate.flat:  # type: ignore[operator]
                return f"{what} stopped rising"
        return ""

    def _blend(self, smoothed: float) -> str:
        """Soft gate: 'compress' weighs clip((smoothed - low*start)/((high - low)*start), 0, 1)."""
        if len(self.recipe.phases) == 1 or self.start is None:
            return ""
        low, high = self.gate.low * self.start, self.gate.high * self.start
        share = min(max((smoothed - low) / (high - low), 0.0), 1.0) if high > low else 0.0
        compress = 1 if self.recipe.phases[1].name == "compress" else 0
        self.weights = (share, 1 - share) if compress == 0 else (1 - share, share)
        index = 0 if self.weights[0] >= self.weights[1] else 1
        if index == self.index:
            return ""
        self.index, self.steps_in_phase = index, 0
        self.switches += 1
        return f"entropy at {smoothed:.3g} of {self.start:.3g} nats: the other phase weighs more"

    def _one_hot(self, index: int) -> tuple[float, ...]:
        return tuple(float(i == index) for i in range(len(self.recipe.phases)))

    def state_dict(self) -> dict[str, Any]:
        """All of the state as JSON values; floats survive JSON to the bit."""
        return {
            "index": self.index,
            "steps_in_phase": self.steps_in_phase,
            "switches": self.switches,
            "start": self.start,
            "readings": list(self.readings),
            "seen": list(self.seen),
            "masses": list(self.masses),
            "start_mass": self.start_mass,
            "waiting": self.waiting,
            "weights": list(self.weights),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the gate of `state_dict` stood.  Raises ValueError for other keys."""
        expected = self.state_dict().keys()
        if state.keys() != expected:
            raise ValueError(f"gate state has keys {sorted(state)}, not {sorted(expected)}: start afresh")
        for name, value in state.items():
            setattr(self, name, tuple(value) if name == "weights" else value)


def _slope(y: Sequence[float]) -> float:
    """Least-squares slope of equally spaced readings; 0 for a single one."""
    centre = (len(y) - 1) / 2
    spread = math.fsum((i - centre) ** 2 for i in range(len(y)))
    return math.fsum((i - centre) * v for i, v in enumerate(y)) / spread if spread else 0.0


def replay(
    recipe: Recipe, entropies: Iterable[float], masses: Iterable[float | None] = repeat(None), first_step: int = 1
) -> list[Decision]:
    """The decisions a fresh gate takes on a run's readings; equal to those in its log."""
    gate = EntropyGate(recipe)
    return [gate.update(step, *read) for step, read in enumerate(zip(entropies, masses, strict=False), first_step)]


def report(decisions: Sequence[Decision]) -> str:
    """The run's switches in words, and a plain warning where the entropy did not set the schedule."""
    if not decisions:
        return "no decisions were taken"
    switches = [d for d in decisions if d.phase != d.next_phase]
    if not switches:
        only = f"the gate never switched: all {len(decisions)} steps in phase '{decisions[0].phase}'"
        shares = [d.weights[0] for d in decisions]
        blended = any(0 < s < 1 for s in shares)
        return f"{only}, its weight from {min(shares):.2f} to {max(shares):.2f}" if blended else only
    lines = [f"step {d.step}: '{d.phase}' -> '{d.next_phase}' ({d.cause})" for d in switches]
    if all(d.cause.startswith(AT_DWELL_LIMIT) for d in switches):
        lines.append("every switch came at the dwell limit: the dwell, not the entropy, set the schedule")
    return "\n".join(lines)
