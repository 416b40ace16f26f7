"""The settings of one run, frozen: `Phase` and `Gate` make a `Recipe`; a recipe and its scale make a `Config`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Shaping = Literal["none", "exponential"]
Advantage = Literal["absolute", "group", "separate", "within_correct"]


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
    """'exponential' multiplies the reward of a correct answer by exp(-lambda x), lambda = -ln(r)/L."""
    r: float = 1.0
    """Reward of a correct answer of exactly L tokens under exponential shaping, in (0, 1]."""
    beta: float = 1.0
    """Scale of the absolute advantage beta * R (paper); not a KL coefficient."""
    length_weight: float = 0.0
    """Weight of the length term beside correctness in the decomposed advantages [ours]."""
    temperature: float = 1.0
    """Sampling temperature of the rollouts, used in scoring them too."""

    def __post_init__(self) -> None:
        _require(self.advantage in get_args(Advantage), f"advantage={self.advantage!r}: choose {get_args(Advantage)}")
        _require(self.shaping in get_args(Shaping), f"shaping={self.shaping!r}: choose {get_args(Shaping)}")
        _require(self.budget >= 1, f"budget L={self.budget}: a completion needs at least 1 token")
        _require(0 < self.r <= 1, f"r={self.r}: the reward at L tokens lies in (0, 1]")
        _require(self.beta > 0, f"beta={self.beta}: must be positive")
        _require(self.length_weight >= 0, f"length_weight={self.length_weight}: must not be negative")
        _require(self.temperature > 0, f"temperature={self.temperature}: sampling needs a positive temperature")


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

    def __post_init__(self) -> None:
        _require(0 < self.low < self.high, f"low={self.low}, high={self.high}: hysteresis needs 0 < low < high")
        _require(self.flat >= 0, f"flat={self.flat}: a slope's size, not negative")
        _require(self.window >= 1, f"window={self.window}: at least 1 step")
        _require(self.dwell >= self.window, f"dwell={self.dwell}: at least the window ({self.window})")
        _require(self.max_switches >= 0, f"max_switches={self.max_switches}: not negative")


@dataclass(frozen=True)
class Recipe:
    """An arm as data: one phase that lasts, or a compressing and an exploring one with a gate between them."""

    phases: tuple[Phase, ...]
    """The first phase drives the first step.  With two, a phase named 'compress' is left when entropy has fallen,
    any other when it has risen."""
    gate: Gate = Gate(max_switches=0)
    """Ignored with a single phase."""

    def __post_init__(self) -> None:
        _require(len(self.phases) in (1, 2), f"{len(self.phases)} phases: a recipe has one or two")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, d: dict[str, Any]) -> Recipe:
        return cls(tuple(Phase(**p) for p in d["phases"]), Gate(**d["gate"]))


@dataclass(frozen=True)
class Config:
    """One run: a scale's settings, an arm's recipe and a seed.  A scale is a set of overrides of these defaults."""

    scale: str
    """'pocket', 'smol' or 'gpu'; see `egrc.scales`."""
    arm: str
    """Name of the arm; see `egrc.arms`."""
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
