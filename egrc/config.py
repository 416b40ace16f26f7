"""The settings of one run, frozen: `Phase` and `Gate` make a `Recipe`; a recipe and its scale make a `Config`.

A setting that is None is off and does not count in a config's hash, so a younger one leaves older records as they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Shaping = Literal["none", "exponential", "linear", "relative", "sigmoid", "step", "longest", "dual"]
Advantage = Literal[
    "absolute", "group", "separate", "within_correct", "steps",
    "batch_centred", "batch_scaled", "centred", "leave_one_out", "preference",
]  # fmt: skip
Cut = Literal["solved", "outlier"]
Tokens = Literal["entropy_floor", "kl_cov"]
Signal = Literal["length", "shuffled"]


class ConfigError(ValueError):
    """A setting is out of range; the message names the field, the value and what is allowed."""


def _require(ok: bool, what: str) -> None:
    if not ok:
        raise ConfigError(what)


@dataclass(frozen=True)
class Phase:
    """What drives the update while the gate is in this phase: reward, advantage, temperature, length budget."""

    name: str
    """Shown in figures and logs: 'compress', 'explore', ..."""
    advantage: Advantage
    """How rewards become advantages; see `egrc.advantage`."""
    budget: int
    """L: completions are cut at this many tokens, and a cut one earns 0."""
    shaping: Shaping = "none"
    """What a correct answer earns by its length; see `egrc.reward` (the paper's: 'exponential') and `methods.peers`."""
    r: float = 1.0
    """Reward of a correct answer of exactly L tokens under exponential or linear shaping, in (0, 1]."""
    beta: float = 1.0
    """Scale of the absolute advantage beta * R (paper); not a KL coefficient."""
    length_weight: float = 0.0
    """Weight of the length term beside correctness: in the decomposed advantages [ours], and in the peers' rewards."""
    temperature: float = 1.0
    """Sampling temperature of the rollouts, used in scoring them too."""
    scale: int | None = None
    """L of the shaping, where it is not the budget."""
    reliable: float | None = None
    """Share of a group's rollouts that must be correct before length counts in it; the others are trained on
    correctness alone, group-relative [ours]."""
    cut: Cut | None = None
    """Cut the rollouts of some groups shorter than the budget; see `egrc.methods.peers`."""
    cut_at: float | None = None
    """'solved': the shorter budget as a fraction of the budget; 'outlier': standard deviations above the mean."""
    tokens: Tokens | None = None
    """Which tokens are left out of the update; see `egrc.methods.peers`."""
    tokens_at: float | None = None
    """'entropy_floor': the floor as a fraction of the base model's entropy; 'kl_cov': the share left out."""

    def __post_init__(self) -> None:
        _require(self.advantage in get_args(Advantage), f"advantage={self.advantage!r}: choose {get_args(Advantage)}")
        _require(self.shaping in get_args(Shaping), f"shaping={self.shaping!r}: choose {get_args(Shaping)}")
        _require(self.budget >= 1, f"budget L={self.budget}: a completion needs at least 1 token")
        _require(0 < self.r <= 1, f"r={self.r}: the reward at L tokens lies in (0, 1]")
        _require(self.beta > 0, f"beta={self.beta}: must be positive")
        _require(self.length_weight >= 0, f"length_weight={self.length_weight}: must not be negative")
        _require(self.temperature > 0, f"temperature={self.temperature}: sampling needs a positive temperature")
        _require(self.scale is None or self.scale >= 1, f"scale={self.scale}: at least 1 token")
        _require(self.reliable is None or 0 < self.reliable <= 1, f"reliable={self.reliable}: a share in (0, 1]")
        for name, kinds in (("cut", Cut), ("tokens", Tokens)):
            kind, at = getattr(self, name), getattr(self, f"{name}_at")
            _require(kind is None or kind in get_args(kinds), f"{name}={kind!r}: choose {get_args(kinds)}")
            _require((kind is None) == (at is None), f"{name}={kind!r}, {name}_at={at}: give both or neither")
            _require(at is None or at > 0, f"{name}_at={at}: must be positive")


@dataclass(frozen=True)
class Gate:
    """When the policy entropy moves the run from one phase to the other; see `egrc.controller`."""

    low: float = 0.5
    """Compression ends when the smoothed entropy is below this fraction of its start."""
    high: float = 0.9
    """Exploration ends when the smoothed entropy is above this fraction of its start."""
    flat: float = 0.0
    """Nats per step: a smoothed slope that is no steeper counts as 'has stopped moving'.  0 turns this cause off."""
    window: int = 8
    """Steps of the moving average, and of the slope."""
    dwell: int = 20
    """A phase lasts at least this many steps."""
    max_switches: int = 1
    """1 is the paper's two-stage schedule; 0 never leaves the first phase."""
    soft: bool = False
    """Blend the two phases' advantages by where the entropy stands between low and high, instead of switching."""
    signal: Signal | None = None
    """What is read in place of the entropy: 'length' (mean tokens of a completion), or 'shuffled' (each reading is
    replaced by one drawn from all so far, by a rule that is the same for every seed: their course is lost, and their
    level lags behind, so `low` has to be set for it).  A control [ours]."""
    every: int | None = None
    """A phase lasts exactly so many steps, whatever the signal says.  A control [ours]."""
    guard: float | None = None
    """Compression ends at once when the connectors' share of tokens is below this fraction of its start, and does not
    begin again before it has recovered [ours]."""

    def __post_init__(self) -> None:
        _require(0 < self.low < self.high, f"low={self.low}, high={self.high}: hysteresis needs 0 < low < high")
        _require(self.flat >= 0, f"flat={self.flat}: a slope's size, not negative")
        _require(self.window >= 1, f"window={self.window}: at least 1 step")
        _require(self.dwell >= self.window, f"dwell={self.dwell}: at least the window ({self.window})")
        _require(self.max_switches >= 0, f"max_switches={self.max_switches}: not negative")
        _require(self.signal is None or self.signal in get_args(Signal), f"signal={self.signal!r}: {get_args(Signal)}")
        _require(self.every is None or self.every >= 1, f"every={self.every}: at least 1 step")
        _require(self.guard is None or 0 < self.guard < 1, f"guard={self.guard}: a fraction between 0 and 1")


@dataclass(frozen=True)
class Recipe:
    """An arm as data: one phase that lasts, or a compressing and an exploring one with a gate between them."""

    phases: tuple[Phase, ...]
    """The first phase drives the first step.  With two, a phase named 'compress' is left when entropy has fallen,
    any other when it has risen."""
    gate: Gate = Gate(max_switches=0)
    """Ignored with a single phase."""
    trl: dict[str, Any] | None = None
    """Further fields of TRL's `GRPOConfig`, by name: what TRL itself offers against the loss of entropy."""

    def __post_init__(self) -> None:
        _require(len(self.phases) in (1, 2), f"{len(self.phases)} phases: a recipe has one or two")

    def changed(self, trl: dict[str, Any] | None = None, **phases: dict[str, Any]) -> Recipe:
        """With other fields in phases, by the phase's name, and other settings of TRL's.  Raises ConfigError."""
        known = {phase.name for phase in self.phases}
        _require(phases.keys() <= known, f"no phase {sorted(phases.keys() - known)}: this arm has {sorted(known)}")
        try:
            made = tuple(replace(phase, **phases.get(phase.name, {})) for phase in self.phases)
        except TypeError as error:
            raise ConfigError(f"no such field of a phase ({error})") from error
        return replace(self, phases=made, trl={**(self.trl or {}), **trl} if trl else self.trl)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Recipe:
        return cls(tuple(Phase(**p) for p in d["phases"]), Gate(**d["gate"]), d.get("trl"))


@dataclass(frozen=True)
class Config:
    """One run: a scale's settings, an arm's recipe and a seed.  A scale is a set of overrides of these defaults."""

    scale: str
    """'pocket', 'smol' or 'gpu'; see `egrc.experiments.scales`."""
    arm: str
    """Name of the arm; see `egrc.methods.arms`."""
    recipe: Recipe
    """What the arm does."""
    seed: int = 0
    """Seeds everything: adapter, order of problems, rollouts, evaluation."""
    steps: int = 100
    """Optimiser steps; each is one batch of fresh rollouts and one update (on-policy)."""
    prompts_per_step: int = 16
    """Problems per step."""
    group_size: int = 8
    """Rollouts per problem (TRL: num_generations)."""
    learning_rate: float = 1e-3
    """Peak of a constant schedule with warm-up."""
    warmup_steps: int = 5
    """Linear warm-up, in steps."""
    lora_rank: int = 16
    """Rank of the adapters on every linear layer but the head."""
    cap: int = 256
    """Tokens after which a completion is cut in evaluation: one cap for all arms, above the base's 99th percentile."""
    probe_every: int = 10
    """Steps between readings of the entropy on the fixed probe prefixes."""
    record_rollouts_every: int = 20
    """Steps between rollouts that are kept with their per-token entropies."""
    checkpoint_every: int = 25
    """Steps between checkpoints; a killed run loses at most this many."""
    eval_problems: int = 200
    """Held-out problems per benchmark."""
    eval_samples: int = 1
    """Samples per problem and temperature (greedy: one)."""
    eval_temperatures: tuple[float, ...] = (1.0, 0.6, 0.0)
    """T=1, the base's own best temperature, and greedy (0)."""
    loss_type: str = "dr_grpo"
    """TRL's loss aggregation; 'dr_grpo' divides by a constant, so it has no length preference of its own."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1, f"steps={self.steps}: at least 1")
        _require(self.group_size >= 2, f"group_size={self.group_size}: a group needs 2 rollouts or more")
        _require(self.prompts_per_step >= 1, f"prompts_per_step={self.prompts_per_step}: at least 1")
        _require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be positive")
        _require(self.cap >= 1, f"cap={self.cap}: at least 1 token")
        for phase in self.recipe.phases:
            _require(phase.budget <= self.cap, f"phase {phase.name!r}: budget {phase.budget} above the cap {self.cap}")
