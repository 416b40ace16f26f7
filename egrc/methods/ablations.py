"""`egrc` with one thing changed: other advantages, shapes, readings of phase 2, gates.  All [ours].

`ABLATIONS` names them for the pocket world: an arm, and the settings in which the variant differs from it (fields of
`Lengths` or `Config`, or a phase's name with other fields, or an objective of another class).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from egrc.checks import require
from egrc.controller import EntropyGate, Recipe
from egrc.methods.controls import ByLength, Fixed, Shuffled, Soft
from egrc.methods.egrc import Compress, Explore
from egrc.objective import Objective, Rollouts, group_relative


@dataclass
class NotPositiveOnly(Compress):
    """beta (R - batch mean): absolute, but not positive only."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return self.beta * (rewards.float() - rewards.float().mean())


@dataclass
class GroupRelative(Compress):
    """The shaped reward compared with its group."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return group_relative(rewards, r.group_size)


@dataclass
class Linear(Compress):
    """The straight line with the same ends, 1 at 0 and r at L, and 0 where it would be negative."""

    def value(self, r: Rollouts) -> Tensor:
        return (1 - (1 - self.r) * r.length.float() / (self.scale or self.budget)).clamp(min=0)


@dataclass
class Unshaped(Compress):
    """A correct answer earns 1 at any length within the budget."""

    def value(self, r: Rollouts) -> Tensor:
        return torch.ones(r.length.shape, device=r.length.device)


@dataclass
class Separate(Explore):
    """Another reading of phase 2: brevity normalised in the whole group, so a short WRONG answer gains from it."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        brevity = group_relative(-r.length.float(), r.group_size)
        return group_relative(rewards, r.group_size) + self.length_weight * brevity


@dataclass
class CorrectnessOnly(Explore):
    """A third reading of phase 2: correctness alone, under the compact budget."""

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        return group_relative(rewards, r.group_size)


SWITCH_STEP, SWITCH_LENGTH = 51, 0.33
"""Where the recorded `egrc` runs switched, on average: the step, and the smoothed length as a fraction of its start.
A signal that is set to switch there differs from the entropy in WHEN each run does (a test compares both)."""

SWITCH_SHUFFLED = 0.99
"""Fraction of its start below which the shuffled entropy is to fall, which lags behind: of 0.90, 0.91, ... the one at
which it would have switched nearest to `SWITCH_STEP` in the recorded runs of `compression` (a test computes it)."""

BACK = EntropyGate(low=0.9, high=1.2, flat=1e-4, dwell=12)
"""A gate that also finds its way back to compression (entropy has stopped rising); more switches need one."""

MORE_UPDATES: dict[str, Any] = {"prompts_per_step": 8, "steps": 200}
"""Twice as many updates on the same number of rollouts, at scale pocket."""

ABLATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    # phase 1, one part at a time
    "egrc-no-clipping": ("egrc", {"compress": {"budget": 320, "scale": 160}}),
    "egrc-not-positive-only": ("egrc", {"compress": NotPositiveOnly}),
    "egrc-group-relative": ("egrc", {"compress": GroupRelative}),
    "egrc-linear": ("egrc", {"compress": Linear}),
    "egrc-no-shaping": ("egrc", {"compress": Unshaped}),
    # phase 2: the other two readings of its decomposition, and its temperature
    "egrc-separate": ("egrc", {"explore": Separate}),
    "egrc-correctness-only": ("egrc", {"explore": CorrectnessOnly}),
    "egrc-temperature-1": ("egrc", {"explore": {"temperature": 1.0}}),
    # the gate
    "egrc-one-switch": ("egrc", {"gate": replace(BACK, max_switches=1)}),  # what the next two are to be held against
    "egrc-two-switches": ("egrc", {"gate": replace(BACK, max_switches=2)}),
    "egrc-many-switches": ("egrc", {"gate": replace(BACK, max_switches=100)}),
    "egrc-soft": ("egrc", {"gate": Soft(low=0.8, high=1.0)}),
    "egrc-fixed": ("egrc", {"gate": Fixed(low=0.9, high=1.2, every=SWITCH_STEP)}),
    "egrc-by-length": ("egrc", {"gate": ByLength(low=SWITCH_LENGTH, high=1.2)}),
    "egrc-shuffled": ("egrc", {"gate": Shuffled(low=SWITCH_SHUFFLED, high=1.2)}),
    # settings
    "egrc-r0.02": ("egrc", {"r": 0.02}),
    "egrc-L120": ("egrc", {"compress_budget": 120}),
    "egrc-L240": ("egrc", {"compress_budget": 240}),
    "egrc-dapo": ("egrc", {"loss_type": "dapo"}),
    "egrc-more-updates": ("egrc", MORE_UPDATES),
}


def changed(recipe: Recipe, trl: dict[str, Any] | None = None, **phases: dict[str, Any] | type[Objective]) -> Recipe:
    """A recipe with other fields in phases, or an objective of another class with the same fields, by the phase's name.

    Raises ConfigError for an unknown phase or field.
    """
    known = {phase.name for phase in recipe.phases}
    require(phases.keys() <= known, f"no phase {sorted(phases.keys() - known)}: this arm has {sorted(known)}")
    made = []
    for phase in recipe.phases:
        change, names = phases.get(phase.name, {}), {f.name for f in fields(phase) if f.init}
        if isinstance(change, type):
            made.append(change(**{name: getattr(phase, name) for name in names}))
        else:
            require(change.keys() <= names, f"no such field of phase {phase.name!r} ({sorted(change.keys() - names)})")
            made.append(replace(phase, **change))
    return replace(recipe, phases=tuple(made), trl={**recipe.trl, **(trl or {})})
