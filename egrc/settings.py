"""The trainer's arguments: TRL's `GRPOConfig`, a recipe, and how much is recorded; and checks of what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from trl import GRPOConfig

from egrc.checks import ConfigError
from egrc.config import Config
from egrc.controller import Recipe
from egrc.entropy import TokenClasses

SET_ELSEWHERE = frozenset(Config.__dataclass_fields__) | {
    "temperature", "max_completion_length", "num_generations", "max_steps", "scale_rewards", "reward_weights",
}  # fmt: skip
"""Fields of TRL's that a recipe must not set."""


@dataclass
class EGRCConfig(GRPOConfig):
    """TRL's `GRPOConfig` and five fields of our own.

    Changed defaults: `loss_type='dr_grpo'` (no length preference of its own), and no bfloat16 where there is no GPU.
    `temperature` is the phase's, `max_completion_length` the largest budget allowed.  Raises ConfigError.
    """

    recipe: Recipe | None = field(
        default=None, metadata={"help": "What to train. None: `egrc.methods.egrc.default_recipe`."}
    )
    probe_every: int = field(default=10, metadata={"help": "Steps between readings on the probe prefixes."})
    record_rollouts_every: int = field(default=20, metadata={"help": "Steps between kept rollouts."})
    record_rollouts: int = field(default=16, metadata={"help": "How many rollouts are kept then."})
    record_dir: str | None = field(default=None, metadata={"help": "Folder of the records. None: no records."})
    loss_type: str = field(default="dr_grpo", metadata={"help": "TRL's loss aggregation."})

    def __post_init__(self) -> None:
        if self.bf16 is None and not torch.cuda.is_available():
            self.bf16 = False
        if self.max_completion_length is None:
            raise ConfigError("max_completion_length=None: set it to the largest budget, in tokens")
        if self.recipe is None:
            from egrc.methods.egrc import default_recipe  # the one arrow from the core to a method: the paper's

            self.recipe = default_recipe(self.max_completion_length)
        for name, value in trl_settings(self.recipe).items():
            setattr(self, name, value)
        super().__post_init__()
        self.temperature = self.recipe.phases[0].temperature
        for phase in self.recipe.phases:
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

    def to_dict(self) -> dict[str, Any]:
        """As transformers', with the recipe as plain values."""
        return {**super().to_dict(), "recipe": self.recipe.to_dict()}


def trl_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings of TRL's.  Raises ConfigError for names that TRL lacks or that are set elsewhere."""
    settings = recipe.trl_settings()
    known = {f.name for f in fields(GRPOConfig)} - SET_ELSEWHERE
    if unknown := sorted(settings.keys() - known):
        raise ConfigError(f"trl={unknown}: no field of TRL's GRPOConfig, or one that is set by the phases and Config")
    return settings


def check_classes(recipe: Recipe, classes: TokenClasses) -> None:
    """Raises ConfigError where an objective or the gate needs a class of tokens that is not there."""
    needed = {name for part in (*recipe.phases, recipe.gate) for name in part.needs}
    if missing := sorted(needed - set(classes.names)):
        raise ConfigError(f"the recipe needs the token classes {missing}, but there are only {classes.names}")


def check_dataset(dataset: Dataset | IterableDataset | None, args: EGRCConfig) -> None:
    """Raises ConfigError for a data set that cannot be trained on."""
    if dataset is None:
        raise ConfigError("train_dataset=None: give a datasets.Dataset with the columns 'prompt' and 'answer'")
    per_step = args.generation_batch_size // args.num_generations
    if isinstance(dataset, Dataset) and len(dataset) < per_step:
        raise ConfigError(
            f"{len(dataset)} training problems, but a step takes {per_step}: add problems, or lower "
            "per_device_train_batch_size x gradient_accumulation_steps"
        )
    names = dataset.column_names  # None for a stream that does not know them yet
    missing = [] if names is None else [c for c in ("prompt", "answer") if c not in names]
    if missing:
        raise ConfigError(
            f"the training data have no column {' and '.join(map(repr, missing))} (they have {names}): "
            "rename theirs with dataset.rename_column(old, new)"
        )
