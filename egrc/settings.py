"""The trainer's arguments: TRL's, a recipe, and how much is recorded."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from trl import GRPOConfig

from egrc.config import Config, ConfigError, Gate, Phase, Recipe

SET_ELSEWHERE = frozenset(Config.__dataclass_fields__) | {
    "temperature", "max_completion_length", "num_generations", "max_steps", "scale_rewards", "reward_weights",
}  # fmt: skip
"""Fields of TRL's that a recipe must not set."""


def default_recipe(max_completion_length: int) -> Recipe:
    """Compress under the full length, then explore under half of it at a higher temperature.  [ours]"""
    return Recipe(
        phases=(
            Phase("compress", "absolute", max_completion_length, "exponential", r=0.1),
            Phase(
                "explore",
                "within_correct",
                -(-max_completion_length // 2),
                length_weight=0.1,
                temperature=1.2,
            ),
        ),
        gate=Gate(low=0.7, high=0.95, flat=1e-3, window=8, dwell=20, max_switches=1),
    )


@dataclass
class EGRCConfig(GRPOConfig):
    """TRL's `GRPOConfig` and five fields of our own.

    Changed defaults: `loss_type='dr_grpo'` (no length preference of its own), and no bfloat16 where there is
    no GPU. `temperature` is the phase's, `max_completion_length` the largest budget allowed.  Raises
    ConfigError.
    """

    recipe: Recipe | dict | None = field(
        default=None, metadata={"help": "What to train, as `egrc.config.Recipe`. None: `default_recipe`."}
    )
    probe_every: int = field(default=10, metadata={"help": "Steps between readings on the probe prefixes."})
    record_rollouts_every: int = field(default=20, metadata={"help": "Steps between kept rollouts."})
    record_rollouts: int = field(default=16, metadata={"help": "How many rollouts are kept then."})
    record_dir: str | None = field(default=None, metadata={"help": "Folder of the records. None: no records."})
    loss_type: str = field(default="dr_grpo", metadata={"help": "TRL's loss aggregation."})

    def __post_init__(self) -> None:
        if self.bf16 is None and not torch.cuda.is_available():
            self.bf16 = False
        for name, value in _trl_settings(self.recipe).items():
            setattr(self, name, value)
        super().__post_init__()
        if self.max_completion_length is None:
            raise ConfigError("max_completion_length=None: set it to the largest budget, in tokens")
        if self.recipe is None:
            self.recipe = default_recipe(self.max_completion_length)
        if isinstance(self.recipe, Recipe):
            self.recipe = self.recipe.to_dict()  # plain values, so that the arguments still go to JSON
        recipe = Recipe.from_dict(self.recipe)
        self.temperature = recipe.phases[0].temperature
        for phase in recipe.phases:
            if phase.budget > self.max_completion_length:
                raise ConfigError(
                    f"phase {phase.name!r}: budget {phase.budget} above max_completion_length="
                    f"{self.max_completion_length}; raise the latter"
                )
        if self.num_iterations != 1 or self.steps_per_generation != self.gradient_accumulation_steps:
            raise ConfigError(
                f"num_iterations={self.num_iterations}, steps_per_generation={self.steps_per_generation}: "
                "training is on-policy; set num_iterations=1 and steps_per_generation="
                f"gradient_accumulation_steps={self.gradient_accumulation_steps}"
            )
        if self.save_total_limit == 1:
            raise ConfigError("save_total_limit=1: a kill while saving would leave no checkpoint; set 2 or more")
        if self.probe_every < 1 or self.record_rollouts_every < 1 or self.record_rollouts < 0:
            raise ConfigError("probe_every and record_rollouts_every start at 1, record_rollouts at 0")


def _trl_settings(recipe: Recipe | dict | None) -> dict[str, Any]:
    """The recipe's settings of TRL's.  Raises ConfigError for names that TRL lacks or that are set elsewhere."""
    settings = (recipe.trl if isinstance(recipe, Recipe) else (recipe or {}).get("trl")) or {}
    known = {f.name for f in fields(GRPOConfig)} - SET_ELSEWHERE
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(f"trl={unknown}: no field of TRL's GRPOConfig, or one that is set by the phases and Config")
    return settings
