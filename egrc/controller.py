"""The entropy gate: policy entropy in, phase out.  A pure state machine; it sees no reward and no accuracy.

Paper: while entropy descends, compress; while it rises, explore.  The gate itself is [ours]; the paper's two-stage
schedule is `max_switches=1`.  Its signal is the rollouts' mean entropy per token at temperature 1, in nats:
* smoothed = mean of the last `window` readings; start = its value at the first full window;
* a phase named 'compress' is left when smoothed < low * start or, with flat > 0, its slope > -flat ('stopped falling');
* any other phase when smoothed > high * start or slope < flat ('stopped rising');
* no phase is left before `dwell` steps, nor more often than `max_switches` in all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

from egrc.checks import Stateful, require, require_finite
from egrc.objective import Objective

AT_DWELL_LIMIT = "dwell limit"


@dataclass(frozen=True)
class Decision:
    """What the gate made of a step; its numbers are None where no token counted."""

    step: int
    entropy: float | None  # the gate's signal: the entropy, unless it is a control that reads something else
    smoothed: float | None
    slope: float | None  # per step; None until a window is full
    phase: str  # the phase that drove this step
    next_phase: str  # the phase that drives the next one
    weights: tuple[float, ...]  # each phase's share in the next step's advantages; one-hot unless the gate is soft
    cause: str  # why the phase changed, in words; empty where it did not


@dataclass
class EntropyGate(Stateful):
    """Settings, and where it stands.  `Recipe.new_gate` gives one to run; then one `update` a step."""

    low: float = 0.5  # compression ends when the smoothed entropy is below this fraction of its start
    high: float = 0.9  # exploration ends when the smoothed entropy is above this fraction of its start
    flat: float = 0.0  # nats per step: a slope that is no steeper counts as 'has stopped moving'; 0: never
    window: int = 8  # steps of the moving average, and of the slope
    dwell: int = 20  # a phase lasts at least this many steps
    max_switches: int = 1  # 1 is the paper's two-stage schedule; 0 never leaves the first phase

    phases: list[str] = field(default_factory=list, init=False)  # names of the one or two phases
    index: int = field(default=0, init=False)  # of the phase that drives the next step
    steps_in_phase: int = field(default=0, init=False)
    switches: int = field(default=0, init=False)
    readings: list[float] = field(default_factory=list, init=False)  # the last `window`
    start: float | None = field(default=None, init=False)
    waiting: bool = field(default=False, init=False)  # the condition to leave held already: only the dwell kept it

    signal_name: ClassVar[str] = "entropy"

    def __post_init__(self) -> None:
        require(0 < self.low < self.high, f"low={self.low}, high={self.high}: hysteresis needs 0 < low < high")
        require(1 <= self.window <= self.dwell, f"window={self.window}, dwell={self.dwell}: 1 <= window <= dwell")
        require(min(self.flat, self.max_switches) >= 0, f"flat={self.flat}, max_switches={self.max_switches}: negative")

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(float(i == self.index) for i in range(len(self.phases)))

    def objective(self, phases: Sequence[Objective]) -> Objective:
        """What drives the next step."""
        return phases[self.index]

    def read(self, step: int, entropy: float, length: float) -> tuple[float, float]:
        """The number that the gate goes by, and what is smoothed of it."""
        return entropy, entropy

    def update(self, step: int, entropy: float | None, length: float = math.nan) -> Decision:
        """Take a finished step's entropy (nats per token; None where no token counted) and mean length (tokens) over
        all ranks, and decide about the next step.  Raises FloatingPointError unless what the gate reads is finite."""
        before = self.phases[self.index]
        if entropy is None:
            return Decision(step, None, None, None, before, before, self.weights, "")
        value, signal = self.read(step, entropy, length)
        require_finite(step, f"the {self.signal_name}", value)
        self.readings = [*self.readings, signal][-self.window :]
        smoothed, slope, cause = math.fsum(self.readings) / len(self.readings), None, ""
        self.steps_in_phase += 1
        if len(self.readings) == self.window:
            self.start = smoothed if self.start is None else self.start
            slope = _slope(self.readings)
            cause = self.decide(smoothed, slope) if len(self.phases) > 1 else ""
        return Decision(step, value, smoothed, slope, before, self.phases[self.index], self.weights, cause)

    def decide(self, smoothed: float, slope: float) -> str:
        """Leave the phase or stay; returns the cause, '' for staying."""
        cause = self.reason_to_leave(smoothed, slope) if self.switches < self.max_switches else ""
        if not cause or self.steps_in_phase < self.dwell:
            self.waiting = bool(cause)
            return ""
        # waiting can only be true when the dwell ends with this very step
        return self.leave(f"{AT_DWELL_LIMIT}: {cause}" if self.waiting else cause)

    def reason_to_leave(self, smoothed: float, slope: float) -> str:
        name, flat = self.signal_name, self.flat or -math.inf
        if self.phases[self.index] == "compress":
            if smoothed < self.low * self.start:
                return f"{name} fell below {self.low:g} of its start"
            return f"{name} stopped falling" if slope > -flat else ""
        if smoothed > self.high * self.start:
            return f"{name} rose above {self.high:g} of its start"
        return f"{name} stopped rising" if slope < flat else ""

    def leave(self, cause: str) -> str:
        self.index, self.steps_in_phase, self.waiting = 1 - self.index, 0, False
        self.switches += 1
        return cause


def _slope(y: Sequence[float]) -> float:
    """Least-squares slope of equally spaced readings; 0 for a single one."""
    centre = (len(y) - 1) / 2
    spread = math.fsum((i - centre) ** 2 for i in range(len(y)))
    return math.fsum((i - centre) * v for i, v in enumerate(y)) / spread if spread else 0.0


@dataclass(frozen=True)
class Recipe:
    """An arm: one phase that lasts, or a compressing and an exploring one with a gate between them."""

    phases: tuple[Objective, ...]  # the first one drives the first step
    gate: EntropyGate = field(default_factory=lambda: EntropyGate(max_switches=0))  # ignored with a single phase
    trl: dict[str, Any] = field(default_factory=dict)  # settings of TRL's `GRPOConfig` beyond those of the phases

    def __post_init__(self) -> None:
        require(len(self.phases) in (1, 2), f"{len(self.phases)} phases: a recipe has one or two")

    def new_gate(self) -> EntropyGate:
        """A gate before its first step."""
        gate = deepcopy(self.gate)
        gate.phases = [phase.name for phase in self.phases]
        return gate

    def trl_settings(self) -> dict[str, Any]:
        """The phases' and its own."""
        return {name: value for phase in self.phases for name, value in phase.trl.items()} | self.trl

    def to_dict(self) -> dict[str, Any]:
        phases = [phase.settings() for phase in self.phases]
        return {"phases": phases, "gate": self.gate.settings(), "trl": self.trl_settings()}


def replay(recipe: Recipe, readings: Iterable[float | None]) -> list[Decision]:
    """The decisions a fresh gate takes on a run's readings, whatever its gate goes by, as in its log."""
    gate = recipe.new_gate()
    return [gate.update(step, x, math.nan if x is None else x) for step, x in enumerate(readings, 1)]


def report(decisions: Sequence[Decision]) -> str:
    """The run's switches in words, and a plain warning where the entropy did not set the schedule."""
    switches = [d for d in decisions if d.phase != d.next_phase]
    if not switches:
        return f"the gate never switched: all {len(decisions)} steps in phase '{decisions[0].phase}'"
    lines = [f"step {d.step}: '{d.phase}' -> '{d.next_phase}' ({d.cause})" for d in switches]
    if all(d.cause.startswith(AT_DWELL_LIMIT) for d in switches):
        lines.append("every switch came at the dwell limit: the dwell, not the entropy, set the schedule")
    return "\n".join(lines)
