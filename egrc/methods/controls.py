"""What the entropy gate is held against: gates that read something else, or nothing, or blend.  All [ours]."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from egrc.controller import EntropyGate
from egrc.objective import Objective, Rollouts, Tokens


@dataclass
class ByLength(EntropyGate):
    """Reads the mean tokens of a completion in place of the entropy."""

    signal_name: ClassVar[str] = "length"

    def read(self, step: int, entropy: float, length: float) -> tuple[float, float]:
        return length, length


@dataclass
class Shuffled(EntropyGate):
    """Each reading is replaced by one drawn from all so far, by a rule that is the same for every seed: their course is
    lost, and their level lags behind, so `low` has to be set for it."""

    seen: list[float] = field(default_factory=list, init=False)
    signal_name: ClassVar[str] = "shuffled entropy"

    def read(self, step: int, entropy: float, length: float) -> tuple[float, float]:
        self.seen = [*self.seen, entropy]
        return entropy, random.Random(step).choice(self.seen)


@dataclass
class Fixed(EntropyGate):
    """A phase lasts `every` steps, at least its dwell, whatever the entropy does."""

    every: int = 50

    def reason_to_leave(self, smoothed: float, slope: float) -> str:
        return f"{self.every} steps have passed" if self.steps_in_phase >= self.every else ""


@dataclass
class Soft(EntropyGate):
    """Blends the phases' rewards, advantages, token masks and bonuses: 'compress' weighs
    clip((smoothed - low start)/((high - low) start), 0, 1).  Temperature and budget are those of the heavier phase."""

    shares: list[float] | None = field(default=None, init=False)

    @property
    def weights(self) -> tuple[float, ...]:
        return super().weights if self.shares is None else tuple(self.shares)

    def objective(self, phases: Sequence[Objective]) -> Objective:
        heavier = phases[self.index]
        parts = [(w, p) for w, p in zip(self.weights, phases, strict=True) if w]
        return Blend(heavier.name, heavier.budget, heavier.temperature, parts)

    def decide(self, smoothed: float, slope: float) -> str:
        low, high = self.low * self.start, self.high * self.start
        share = min(max((smoothed - low) / (high - low), 0.0), 1.0) if high > low else 0.0
        self.shares = [1 - share, share] if self.phases[1] == "compress" else [share, 1 - share]
        if (0 if self.shares[0] >= self.shares[1] else 1) == self.index:
            return ""
        return self.leave(f"entropy at {smoothed:.3g} of {self.start:.3g} nats: the other phase weighs more")


@dataclass
class Blend(Objective):
    """The phases' rewards, advantages, token masks and bonuses, each with its share."""

    parts: Sequence[tuple[float, Objective]] = ()

    def rewards(self, r: Rollouts) -> Tensor:
        return sum(w * p.rewards(r) for w, p in self.parts)

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return sum(w * p.advantages(r, p.rewards(r)) for w, p in self.parts)

    def token_advantages(self, r: Rollouts, advantages: Tensor) -> Tensor:
        return sum(w * p.token_advantages(r, p.advantages(r, p.rewards(r))) for w, p in self.parts)

    def keep(self, t: Tokens) -> Tensor | None:
        kept = [(w, p.keep(t)) for w, p in self.parts]
        if all(keep is None for _, keep in kept):
            return None
        return sum(w * (1.0 if keep is None else keep.float()) for w, keep in kept)

    def bonus(self, t: Tokens) -> Tensor | None:
        given = [w * bonus for w, p in self.parts if (bonus := p.bonus(t)) is not None]
        return sum(given) if given else None
