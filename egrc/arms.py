"""The arms: every way of training that is compared, as data.

An arm is a function from a scale's lengths (`Lengths`) to a `Recipe`; nothing else tells one arm from another, so all
share one trainer, base model, rollout budget and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from egrc.config import ConfigError, Gate, Phase, Recipe


@dataclass(frozen=True)
class Lengths:
    """What an arm needs to know of a scale: its lengths, and the settings found by search on training problems."""

    cap: int
    """Completion tokens at which every arm is cut in evaluation, and the accuracy objective in training."""
    compress_budget: int
    """L of the compression objective, in tokens."""
    explore_budget: int
    """L of the enhancement phase, in tokens: room to explore, but inside the compact mode."""
    r: float
    """Reward of a correct answer of L tokens under exponent shaping."""
    beta: float = 1.0
    """Scale of the absolute advantage."""
    length_weight: float = 0.1
    """Weight of the length term in the enhancement phase's decomposition."""
    explore_temperature: float = 1.2
    """Sampling temperature of the enhancement phase; above 1 (paper)."""
    gate: Gate = Gate()
    """When the entropy moves the run between the phases."""


def accuracy_phase(s: Lengths) -> Phase:
    """Plain GRPO on correctness."""
    return Phase("accuracy", "group", s.cap)


def compress_phase(s: Lengths) -> Phase:
    """Phase 1 (paper): clipping at L, exponent shaping, positive-only absolute advantage."""
    return Phase("compress", "absolute", s.compress_budget, "exponential", s.r, s.beta)


def joint_phase(s: Lengths) -> Phase:
    """Both objectives in one reward: correctness x shaping, group-relative (the paper's point of departure)."""
    return Phase("joint", "group", s.compress_budget, "exponential", s.r)


def truncation_phase(s: Lengths) -> Phase:
    """Plain GRPO, completions cut at L: the simplest way to be brief (after ThinkPrune and DLER)."""
    return Phase("truncate", "group", s.compress_budget)


def explore_phase(s: Lengths) -> Phase:
    """Phase 2: GRPO, hotter, rewards decomposed.  The paper's formula is not public; the decomposition is [ours]:
    correctness normalised in the group, length only inside the group's correct set."""
    return Phase(
        "explore",
        "within_correct",
        s.explore_budget,
        length_weight=s.length_weight,
        temperature=s.explore_temperature,
    )


ARMS: dict[str, Callable[[Lengths], Recipe]] = {
    "base": lambda s: Recipe((accuracy_phase(s),)),  # never trained, only evaluated
    "accuracy": lambda s: Recipe((accuracy_phase(s),)),
    "compression": lambda s: Recipe((compress_phase(s),)),
    "joint": lambda s: Recipe((joint_phase(s),)),
    "egrc": lambda s: Recipe((compress_phase(s), explore_phase(s)), s.gate),
    "egrc-reversed": lambda s: Recipe((explore_phase(s), compress_phase(s)), s.gate),
    "truncation": lambda s: Recipe((truncation_phase(s),)),
}
MAIN = ("base", "accuracy", "compression", "joint", "egrc", "egrc-reversed")
"""The arms of the first figures and of table 1; the others belong to a study (`egrc.scales`)."""


def recipe(arm: str, lengths: Lengths) -> Recipe:
    """The recipe of a named arm.  Raises `ConfigError`, which lists the valid names."""
    if arm not in ARMS:
        raise ConfigError(f"no arm {arm!r}: choose one of {', '.join(ARMS)}")
    return ARMS[arm](lengths)
