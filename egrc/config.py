"""The settings of one run, frozen: a scale's, an arm's recipe and a seed; and what an arm must know of a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from egrc.checks import require
from egrc.controller import EntropyGate, Recipe


@dataclass(frozen=True)
class Lengths:
    """What an arm needs to know of a scale: its lengths, and the settings found by search on training problems."""

    cap: int  # completion tokens at which every arm is cut in evaluation, and the accuracy objective in training
    compress_budget: int  # L of the compression objective, in tokens
    explore_budget: int  # L of the enhancement phase, in tokens: room to explore, but inside the compact mode
    r: float  # reward of a correct answer of L tokens under exponent shaping
    gate: EntropyGate  # when the entropy moves the run between the phases
    beta: float = 1.0  # scale of the absolute advantage
    length_weight: float = 0.1  # weight of the length term in the enhancement phase's decomposition
    explore_temperature: float = 1.2  # sampling temperature of the enhancement phase; above 1 (paper)


@dataclass(frozen=True)
class Config:
    """One run.  A scale is a set of overrides of these defaults."""

    scale: str  # see `egrc.experiments.scales`
    arm: str  # see `egrc.methods`
    recipe: Recipe  # what the arm does: its phases and the gate between them
    seed: int = 0  # seeds everything: adapter, order of problems, rollouts, evaluation
    steps: int = 100  # optimiser steps; each is one batch of fresh rollouts and one update (on-policy)
    prompts_per_step: int = 16  # problems per step
    group_size: int = 8  # rollouts per problem (TRL: num_generations)
    learning_rate: float = 1e-3  # peak of a constant schedule with warm-up
    warmup_steps: int = 5  # linear warm-up, in steps
    lora_rank: int = 16  # rank of the adapters on every linear layer but the head
    cap: int = 256  # tokens at which evaluation cuts a completion: one for all arms, above the base's 99th percentile
    probe_every: int = 10  # steps between readings of the entropy on the fixed probe prefixes
    record_rollouts_every: int = 20  # steps between rollouts that are kept with their per-token entropies
    checkpoint_every: int = 25  # steps between checkpoints; a killed run loses at most this many
    eval_problems: int = 200  # held-out problems per benchmark
    eval_samples: int = 1  # samples per problem and temperature (greedy: one)
    eval_temperatures: tuple[float, ...] = (1.0, 0.6, 0.0)  # T=1, the base's own best temperature, and greedy (0)
    loss_type: str = "dr_grpo"  # of TRL's; this one divides by a constant, so it has no length preference of its own

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "prompts_per_step": 1, "group_size": 2}.items():
            require(getattr(self, name) >= least, f"{name}={getattr(self, name)}: at least {least}")
        require(self.learning_rate > 0, f"learning_rate={self.learning_rate}: must be positive")
        for p in self.recipe.phases:
            require(p.budget <= self.cap, f"phase {p.name!r}: budget {p.budget} above the cap {self.cap}")

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "recipe": self.recipe.to_dict(), "eval_temperatures": list(self.eval_temperatures)}
