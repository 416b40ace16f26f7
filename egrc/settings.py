"""The trainer's arguments: TRL's `GRPOConfig`, a recipe, and how much is recorded; and checks of what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import GenerationConfig
from trl import GRPOConfig

from egrc.checks import ConfigError, require
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
NOT_OF_SAMPLING = {
    "bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "do_sample", "temperature",
    "use_cache", "cache_implementation", "transformers_version", "_from_model_config",
}  # fmt: skip
"""A model's generation settings that bend nothing, or that are set here anyway."""


@dataclass
class EGRCConfig(GRPOConfig):
    """TRL's `GRPOConfig` and five fields of our own.

    Changed defaults: `loss_type='dr_grpo'` (no length preference of its own), and no bfloat16 where there is no GPU.
    `temperature` is the phase's, `max_completion_length` the largest budget allowed.  Raises ConfigError.
    """

    recipe: Recipe | None = None  # what to train; None: `egrc.methods.egrc.default_recipe`
    probe_every: int = 10  # steps between readings on the probe prefixes
    record_rollouts_every: int = 20  # steps between kept rollouts
    record_rollouts: int = 16  # how many are kept then
    record_dir: str | None = None  # folder of the records; None: no records
    loss_type: str = "dr_grpo"
    temperature: float | None = None  # the phases' own; set it there

    def __post_init__(self) -> None:
        if self.bf16 is None and not torch.cuda.is_available():
            self.bf16 = False
        most = self.max_completion_length
        require(most is not None, "max_completion_length=None: set it to the largest budget")
        if self.recipe is None:
            from egrc.methods.egrc import default_recipe  # the one arrow from the core to a method: the paper's

            self.recipe = default_recipe(most)
        require(isinstance(self.recipe, Recipe), f"recipe={self.recipe!r}: give an egrc.controller.Recipe")
        for name, value in trl_settings(self.recipe).items():
            setattr(self, name, value)
        first, given = self.recipe.phases[0].temperature, self.temperature
        require(given in (None, first), f"temperature={given}: each phase has its own (first: {first}); set it there")
        self.temperature = first
        super().__post_init__()
        for phase in self.recipe.phases:
            above = f"phase {phase.name!r}: budget {phase.budget} above max_completion_length={most}; raise the latter"
            require(phase.budget <= most, above)
        on_policy = self.num_iterations == 1 and self.steps_per_generation == self.gradient_accumulation_steps
        require(on_policy, "training is on-policy: num_iterations=1, steps_per_generation=gradient_accumulation_steps")
        require(self.save_total_limit != 1, "save_total_limit=1: a kill while saving would leave no checkpoint; set 2")
        counts = self.probe_every >= 1 and self.record_rollouts_every >= 1 and self.record_rollouts >= 0
        require(counts, "probe_every and record_rollouts_every start at 1, record_rollouts at 0")

    def to_dict(self) -> dict[str, Any]:
        """As transformers', with the recipe as plain values."""
        return {**super().to_dict(), "recipe": self.recipe.to_dict()}


def trl_settings(recipe: Recipe) -> dict[str, Any]:
    """The recipe's settings of TRL's.  Raises ConfigError for names that TRL lacks or that are set elsewhere."""
    settings = recipe.trl_settings()
    unknown = sorted(settings.keys() - ({f.name for f in fields(GRPOConfig)} - SET_ELSEWHERE))
    require(not unknown, f"trl={unknown}: no field of TRL's GRPOConfig, or one that is set by the phases and Config")
    return settings


def training_data(dataset: Any, args: EGRCConfig) -> Dataset | IterableDataset:
    """The training data, of a list of rows a data set.  Raises ConfigError for what cannot be trained on."""
    if isinstance(dataset, list):
        dataset = Dataset.from_list(dataset)
    known = isinstance(dataset, (Dataset, IterableDataset))
    require(known, f"train_dataset is a {type(dataset).__name__}: give a datasets.Dataset (of a DatasetDict, one of "
                   "its splits) or a list of rows, with the columns 'prompt' and 'answer'")  # fmt: skip
    per_step = args.generation_batch_size // args.num_generations
    rows = list(dataset.take(per_step)) if isinstance(dataset, IterableDataset) else dataset
    require(len(rows) >= per_step, f"{len(rows)} training problems, but a step takes {per_step}: add problems, or "
                                   "lower per_device_train_batch_size x gradient_accumulation_steps")  # fmt: skip
    names = set(rows[0])
    for name in {"prompt", "answer"} - names:
        raise ConfigError(f"the training data have no column {name!r} (they have {sorted(names)}): rename theirs with "
                          "dataset.rename_column(old, new)")  # fmt: skip
    taken = sorted(RESERVED & names)
    require(not taken, f"the training data have columns {taken}, names that TRL keeps to itself: rename them")
    check_rows(rows if isinstance(rows, list) else rows.select_columns(["prompt", "answer"]))
    return dataset


def check_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Raises ConfigError for the first row whose prompt is neither text nor messages, or which has no answer."""
    for i, row in enumerate(rows):
        prompt, answer = row["prompt"], row["answer"]
        require(isinstance(prompt, (str, list)) and bool(prompt), f"row {i}: the prompt is {prompt!r}")
        require(answer not in (None, "", []), f"row {i}: the answer is {answer!r}")


def sampling_warnings(args: EGRCConfig, model: GenerationConfig) -> Iterator[str]:
    """Rollouts should be sampled from what is scored: the model's own settings that are left out, and what bends."""
    settings = {n: v for n, v in model.to_diff_dict().items() if v and n not in NOT_OF_SAMPLING and PLAIN.get(n) != v}
    if settings:
        yield f"the model's own generation settings {settings} are left out, so that sampling is what is scored"
    if bent := {n: getattr(args, n) for n, plain in PLAIN.items() if getattr(args, n) != plain}:
        yield f"rollouts are sampled with {bent} but scored without: the update is that of another policy"
