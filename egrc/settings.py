"""The trainer's arguments: TRL's `GRPOConfig`, a recipe, and how much is recorded; and checks of what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig

from egrc.checks import require
from egrc.config import Config
from egrc.controller import Recipe

SET_ELSEWHERE = frozenset(Config.__dataclass_fields__) | {
    "temperature", "max_completion_length", "num_generations", "max_steps", "scale_rewards", "reward_weights",
}  # fmt: skip
"""Fields of TRL's that a recipe must not set."""
RESERVED = {
    "completion", "completions", "completion_ids", "prompts", "trainer_state", "log_extra", "log_metric",
    "environment", "environments", "image", "images", "tools",
}  # fmt: skip
"""Names of columns to which TRL gives a meaning of its own."""
PLAIN = {"top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0, "generation_kwargs": None}
"""TRL's settings of sampling where they leave the policy's distribution as it is."""


@dataclass
class EGRCConfig(GRPOConfig):
    """TRL's `GRPOConfig` and four fields of our own.

    Changed defaults: `loss_type='dr_grpo'` (no length preference of its own), and no bfloat16 where there is no GPU.
    `temperature` is the phase's, `max_completion_length` the largest budget allowed.  Raises ConfigError.
    """

    recipe: Recipe | None = None  # what to train; None: `egrc.methods.egrc.default_recipe`
    probe_every: int = 10  # steps between readings on the probe prefixes
    record_rollouts_every: int = 20  # steps between kept rollouts
    record_dir: str | None = None  # folder of the records; None: no records
    loss_type: str = "dr_grpo"

    def __post_init__(self) -> None:
        if self.bf16 is None and not torch.cuda.is_available():
            self.bf16 = False
        most = self.max_completion_length
        require(most is not None, "max_completion_length=None: set it to the largest budget")
        if self.recipe is None:
            from egrc.methods.egrc import default_recipe  # the one arrow from the core to a method: the paper's

            self.recipe = default_recipe(most)
        require(isinstance(self.recipe, Recipe), f"recipe={self.recipe!r}: give an egrc.controller.Recipe")
        trl = self.recipe.trl_settings()
        unknown = sorted(trl.keys() - (GRPOConfig.__dataclass_fields__.keys() - SET_ELSEWHERE))
        require(not unknown, f"trl={unknown}: no field of GRPOConfig, or one that is set by the phases and Config")
        vars(self).update(trl)
        first, given = self.recipe.phases[0].temperature, self.temperature
        require(given in (1.0, first), f"temperature={given}: each phase has its own (first: {first}); set it there")
        self.temperature = first
        super().__post_init__()
        for phase in self.recipe.phases:
            above = f"phase {phase.name!r}: budget {phase.budget} above max_completion_length={most}; raise the latter"
            require(phase.budget <= most, above)
        on_policy = self.num_iterations == 1 and self.steps_per_generation == self.gradient_accumulation_steps
        require(on_policy, "training is on-policy: num_iterations=1, steps_per_generation=gradient_accumulation_steps")
        require(self.save_total_limit != 1, "save_total_limit=1: a kill while saving would leave no checkpoint; set 2")
        require(min(self.probe_every, self.record_rollouts_every) >= 1, "probe_every, record_rollouts_every: from 1 on")

    def to_dict(self) -> dict[str, Any]:
        """As transformers', with the recipe as plain values."""
        return {**super().to_dict(), "recipe": self.recipe.to_dict()}


def training_data(dataset: Any, args: EGRCConfig) -> Dataset:
    """The training data, of a list of rows a data set.  Raises ConfigError for what cannot be trained on."""
    if isinstance(dataset, list):
        dataset = Dataset.from_list(dataset)
    known = isinstance(dataset, Dataset)
    require(known, f"train_dataset is a {type(dataset).__name__}: give a datasets.Dataset (of a DatasetDict, one of "
                   "its splits) or a list of rows, with the columns 'prompt' and 'answer'")  # fmt: skip
    per_step, names = args.generation_batch_size // args.num_generations, set(dataset.column_names)
    require(len(dataset) >= per_step, f"{len(dataset)} training problems, but a step takes {per_step}: add problems, "
                                      "or lower per_device_train_batch_size x gradient_accumulation_steps")  # fmt: skip
    missing, taken = sorted({"prompt", "answer"} - names), sorted(RESERVED & names)
    require(not missing, f"the training data have no column {missing} (they have {sorted(names)}): rename theirs with "
                         "dataset.rename_column(old, new)")  # fmt: skip
    require(not taken, f"the training data have columns {taken}, names that TRL keeps to itself: rename them")
    for i, row in enumerate(dataset.select_columns(["prompt", "answer"])):
        prompt, answer = row["prompt"], row["answer"]
        require(isinstance(prompt, (str, list)) and bool(prompt), f"row {i}: the prompt is {prompt!r}")
        require(answer not in (None, "", []), f"row {i}: the answer is {answer!r}")
    return dataset
