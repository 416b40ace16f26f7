"""TokenSqueeze (Zhang et al., 2511.13223) as an arm: offline preference for one's own short correct traces.

The base samples the whole rollout budget at once, as many as the other arms take in all their steps;
`egrc.methods.tokensqueeze` makes pairs (w, l) of them; TRL's `DPOTrainer` trains a LoRA adapter on

    eta DPO-L + (1 - eta) SFT,   eta = 0.5 (source)
    DPO-L = -log sigmoid(beta [ratio(w) - ratio(l)] + lambda log(len_l / len_w))
    SFT = -log pi(w|x), mean over tokens;   ratio(y) = log pi(y|x) - log pi_base(y|x);   lengths in tokens, end included

TRL supplies both losses and their weights, the reference (the base: its adapter switched off) and the loop.  Added
here: lambda's term, put into the reference's score of l, so that no loss of TRL's is changed; pairs as token ids;
exact resume; records.

What differs from the source, or is not known of it: see `methods.tokensqueeze`; beta and lambda are [ours]; LoRA,
the rate and its schedule are those of all arms.  As the formula is written, lambda makes the loss of a pair that
saves much length smaller; a margin that it must reach would take the other sign.

A run leaves the files of every run.  Its steps.csv describes the step's pairs, not fresh rollouts: `accuracy` of
their problems' samples, `tokens_mean` of the chosen traces, `entropy` of the policy on both, `reward` and
`truncated` empty. All `generated_tokens` are there from the first step on; scoring rewritings and references adds
seconds, not tokens. Trains in one process, and not on a GPU.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import DPOConfig, DPOTrainer

from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.config import Config
from egrc.controller import Reading
from egrc.evaluation import sampling
from egrc.methods.tokensqueeze import Grammar, Trace, pairs, rewrite, split
from egrc.recorder import Recorder
from egrc.trainer import STATE_FILE, last_checkpoint

ETA = 0.5
"""Weight of DPO-L; the rest is SFT's."""
AT_ONCE = 256
"""Rollouts in a file of samples: what a killed run loses at most."""
RECORDED = 16
"""Rollouts whose tokens and entropies are kept."""


class SqueezeTrainer(DPOTrainer):
    """DPO-L and SFT on token ids: columns prompt_ids, chosen_ids, rejected_ids, in the order they are trained on.

    `length_weight` is lambda.  `args` need `precompute_ref_log_probs`, since only that reads the changed reference.
    """

    def __init__(self, *args: Any, length_weight: float, **kwargs: Any) -> None:
        self.length_weight = length_weight  # first: the reference is scored while the trainer is made
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset, *args):
        return dataset  # tokens already, so that a cut trace is not given an end

    def compute_ref_log_probs(self, model, inputs):
        """As TRL's; the rejected one's is raised by lambda/beta log(len_l / len_w), so beta (ratio(w) - ratio(l)) gains
        lambda times the logarithm."""
        chosen, rejected = super().compute_ref_log_probs(model, inputs)
        w, l = inputs["completion_mask"].sum(1).chunk(2)  # noqa: E741
        return chosen, rejected + self.length_weight / self.beta * (l / w).log()


# --- the data -----------------------------------------------------------------------------------------------------


def sample(config: Config, world: Any, folder: Path, on_progress: Any = None) -> pd.DataFrame:
    """The base's rollouts, `config.group_size` of each of steps x prompts_per_step problems, file by file.

    Columns problem (its number), prompt_ids, ids, correct, answer, seconds (its share); what is there already stays.
    """
    model, tokenizer = world.policy()
    rows = world.train_problems(config.seed)
    first, budget = config.recipe.phases[0], config.steps * config.prompts_per_step
    numbers, at_once = [n % len(rows) for n in range(budget)], max(1, AT_ONCE // config.group_size)
    parts = []
    for start in range(0, budget, at_once):
        file = folder / f"{start:06d}.parquet"
        if not file.is_file():
            began = time.perf_counter()
            asked = [n for n in numbers[start : start + at_once] for _ in range(config.group_size)]
            prompts = [tokenizer(rows[n]["prompt"])["input_ids"] for n in asked]
            seed = (config.seed, f"squeeze/{start}")
            found = sampling.sample(model, tokenizer, prompts, first.budget, seed, first.temperature)
            texts = tokenizer.batch_decode(found, skip_special_tokens=True)
            table = pd.DataFrame({"problem": asked, "prompt_ids": prompts, "ids": found})
            table["answer"] = [rows[n]["answer"] for n in asked]
            ended = [ids[-1] == tokenizer.eos_token_id for ids in found]
            graded = zip(ended, texts, table["answer"], strict=True)
            table["correct"] = [e and bool(world.correct(text, answer)) for e, text, answer in graded]
            write_parquet(file, table.assign(seconds=(time.perf_counter() - began) / len(table)))
        parts.append(pd.read_parquet(file))
        if on_progress:
            on_progress("sampling", min(start + at_once, budget), budget)
    return pd.concat(parts, ignore_index=True)


def make_pairs(config: Config, world: Any, samples: pd.DataFrame) -> pd.DataFrame:
    """As many pairs as training takes, in order: half a step's rollouts each step, all pairs before any comes again.

    Columns prompt_ids, chosen_ids, rejected_ids, accuracy (of the problem's samples).
    Raises ConfigError if no problem gives a pair.
    """
    model, tokenizer = world.policy()
    grammar = Grammar.of(tokenizer, world.token_classes(tokenizer))
    rng = random.Random(f"squeeze/{config.seed}")
    problems = []
    for _, rows in samples.groupby("problem", sort=True):
        traces = [Trace(tuple(ids), ok) for ids, ok in zip(rows["ids"], rows["correct"], strict=True)]
        positives, others = split(traces)
        problems.append((tuple(rows["prompt_ids"].iloc[0]), positives, others, rows["correct"].mean()))
    whole = [(prompt, t.ids) for prompt, positives, _, _ in problems for t in positives]
    short = iter(rewrite(model, [p for p, _ in whole], [t for _, t in whole], grammar))
    found = [
        (prompt, w, l, accuracy)
        for prompt, positives, others, accuracy in problems
        for w, l in pairs([next(short) for _ in positives], others, rng)  # noqa: E741
    ]
    if not found:
        raise ConfigError("no sampled problem has a correct trace and one that is longer or wrong: sample more of each")
    wanted, ordered = config.steps * per_step(config), []
    while len(ordered) < wanted:
        ordered += rng.sample(found, len(found))
    return pd.DataFrame(ordered[:wanted], columns=["prompt_ids", "chosen_ids", "rejected_ids", "accuracy"])


def per_step(config: Config) -> int:
    """Pairs in an update: as many completions as a step of the other arms has rollouts."""
    return max(1, config.prompts_per_step * config.group_size // 2)


# --- the run ------------------------------------------------------------------------------------------------------


def train(
    config: Config,
    world: Any,
    work: Path,
    arguments: dict[str, Any],
    peft_config: Any,
    callbacks: list[TrainerCallback],
    resume: bool = True,
    on_progress: Any = None,
) -> Any:
    """To the end, from the last whole checkpoint if `resume`; returns the model.  Samples and pairs are kept in `work`.

    `arguments`: transformers' and TRL's.  Raises ConfigError for several ranks, or where no pair can be made.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("this arm trains in one process: start it without accelerate launch")
    samples = sample(config, world, work / "samples", on_progress)
    table = _kept(work / "pairs.parquet", lambda: make_pairs(config, world, samples))
    checkpoint = last_checkpoint(work / "checkpoints") if resume else None
    records = _Records(config, world, samples, table, work, checkpoint)  # its clock runs from here on
    trainer = _trainer(config, world, table, arguments, peft_config)
    trainer.remove_callback(PrinterCallback)
    for callback in (callbacks[0], records, *callbacks[1:]):
        trainer.add_callback(callback)
    if checkpoint and records.step >= config.steps:  # transformers would take one step too many
        trainer._load_from_checkpoint(checkpoint)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
    records.recorder.flush()
    return trainer.accelerator.unwrap_model(trainer.model)


def _kept(file: Path, make: Any) -> pd.DataFrame:
    """A table that is made once, with the seconds it took."""
    if not file.is_file():
        began = time.perf_counter()
        table = make()
        write_parquet(file, table.assign(seconds=(time.perf_counter() - began) / len(table)))
    return pd.read_parquet(file)


def _trainer(
    config: Config, world: Any, table: pd.DataFrame, arguments: dict[str, Any], peft_config: Any
) -> SqueezeTrainer:
    model, tokenizer = world.policy()
    first = config.recipe.phases[0]
    pairs_at_once = math.gcd(per_step(config), max(1, arguments["per_device_train_batch_size"] // 2))
    args = DPOConfig(
        loss_type=["sigmoid", "sft"],
        loss_weights=[ETA, 1 - ETA],
        beta=first.beta,
        precompute_ref_log_probs=True,
        max_length=None,
        train_sampling_strategy="sequential",  # one pass in the order of the table: an exact resume only skips
        **{
            **{name: value for name, value in arguments.items() if "vllm" not in name},
            "per_device_train_batch_size": pairs_at_once,
            "gradient_accumulation_steps": per_step(config) // pairs_at_once,
        },
    )
    columns = ["prompt_ids", "chosen_ids", "rejected_ids"]
    with _no_bars():
        return SqueezeTrainer(
            model=model,
            args=args,
            train_dataset=Dataset.from_pandas(table[columns], preserve_index=False),
            processing_class=tokenizer,
            peft_config=peft_config,
            length_weight=first.length_weight,
        )


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the progress bars of TRL's and datasets' preparations."""
    import datasets

    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


class _Records(TrainerCallback):
    """steps.csv, decisions.jsonl and rollouts.parquet, and what a checkpoint needs beside TRL's files."""

    def __init__(
        self,
        config: Config,
        world: Any,
        samples: pd.DataFrame,
        table: pd.DataFrame,
        work: Path,
        checkpoint: str | None,
    ) -> None:
        self.config, self.phase, self.table = config, config.recipe.phases[0], table
        self.tokens = int(samples["ids"].map(len).sum())
        state = json.loads((Path(checkpoint) / STATE_FILE).read_text()) if checkpoint else {}
        self.step = state.get("step", 0)
        self.gate = config.recipe.new_gate()  # of one phase, so it only smooths
        if state:
            self.gate.load_state_dict(state["gate"])
        spent = state.get("seconds", samples["seconds"].sum() + table["seconds"].sum())
        self.began = time.perf_counter() - spent
        self.recorder = Recorder(work)
        self.recorder.resume(self.step)
        _, self.tokenizer = world.policy()
        self.classes = world.token_classes(self.tokenizer)
        if not self.recorder.rollouts:
            self._rollouts(world, samples)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not logs or "loss" not in logs:
            return  # the summary at the end
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"step {state.global_step}: the loss is {logs['loss']}. Lower learning_rate")
        step, n = state.global_step, per_step(self.config)
        mine = self.table.iloc[(step - 1) * n : step * n]
        chosen, rejected = (mine[f"{side}_ids"].map(len).mean() for side in ("chosen", "rejected"))
        decision = self.gate.update(step, Reading(logs["entropy"]))
        row = {
            "step": step,
            "phase": self.phase.name,
            "temperature": self.phase.temperature,
            "budget": self.phase.budget,
            "accuracy": mine["accuracy"].mean(),
            "reward": math.nan,
            "tokens_mean": chosen,
            "tokens_rejected_mean": rejected,
            "truncated": math.nan,
            "entropy": logs["entropy"],
            "entropy_smoothed": decision.smoothed,
            "entropy_total": logs["entropy"] * (chosen + rejected) / 2,
            "connectors_mean": mine["chosen_ids"].map(self._connectors).mean(),
            "margin": logs["rewards/margins"],
            "margin_positive": logs["rewards/accuracies"],
            "loss": logs["loss"],
            "grad_norm": logs["grad_norm"],
            "learning_rate": logs["learning_rate"],
            "generated_tokens": self.tokens,
            "seconds": time.perf_counter() - self.began,
        }
        self.recorder.step(row, decision)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After TRL's files: a checkpoint without ours was cut short, and is passed over."""
        self.recorder.flush()
        kept = {"step": state.global_step, "gate": self.gate.state_dict(), "seconds": time.perf_counter() - self.began}
        write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE_FILE, kept)

    def _connectors(self, ids: Any) -> int:
        kinds = self.classes.ids[torch.as_tensor(list(ids))]
        return int((kinds == self.classes.names.index("connector")).sum())

    def _rollouts(self, world: Any, samples: pd.DataFrame) -> None:
        """Some of the samples, evenly spread, with the base's entropies."""
        model, tokenizer = world.policy()
        some = samples.iloc[:: max(1, len(samples) // RECORDED)].head(RECORDED)
        batch = sampling.batch(some["prompt_ids"].map(list), some["ids"].map(list), tokenizer.pad_token_id)
        entropies = sampling.score(model, batch).entropy.tolist()
        for line, each in zip(some.itertuples(), entropies, strict=True):
            ids = list(line.ids)
            self.recorder.rollout(
                step=1,
                prompt=tokenizer.decode(list(line.prompt_ids), skip_special_tokens=True),
                answer=str(line.answer),
                text=tokenizer.decode(ids, skip_special_tokens=True),
                tokens=tokenizer.convert_ids_to_tokens(ids),
                token_ids=ids,
                entropies=each[: len(ids)],
                classes=self.classes.ids[torch.tensor(ids)].tolist(),
                correct=bool(line.correct),
                length=len(ids),
                phase=self.phase.name,
                temperature=self.phase.temperature,
            )
