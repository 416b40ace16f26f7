"""TokenSqueeze (Zhang et al., 2511.13223) as an arm: offline preference for one's own short correct traces.

The base samples the whole rollout budget at once, as many as the other arms take in all their steps; `tokensqueeze`
makes pairs (w, l) of them; TRL's `DPOTrainer` trains a LoRA adapter on

    eta DPO-L + (1 - eta) SFT,   eta = 0.5 (source)
    DPO-L = -log sigmoid(beta [ratio(w) - ratio(l)] + lambda log(len_l / len_w))
    SFT = -log pi(w|x), mean over tokens;   ratio(y) = log pi(y|x) - log pi_base(y|x);   lengths in tokens, end included

beta and lambda are [ours]; LoRA and its rate are those of all arms.  As the formula is written, lambda makes the loss
of a pair that saves much length smaller; a margin that it must reach would take the other sign.
Trains in one process, and not on a GPU.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers.trainer_callback import PrinterCallback
from trl import DPOConfig, DPOTrainer

from egrc.atomic import write_json, write_parquet
from egrc.checks import grade, require, require_finite
from egrc.config import Config
from egrc.evaluation import sampling
from egrc.methods.tokensqueeze import Grammar, Trace, pairs, rewrite, split
from egrc.recorder import Recorder
from egrc.resume import STATE_FILE, finished, last_checkpoint

ETA = 0.5  # weight of DPO-L; the rest is SFT's
AT_ONCE = 256  # rollouts that are sampled side by side
COLUMNS = ["prompt_ids", "chosen_ids", "rejected_ids"]


class SqueezeTrainer(DPOTrainer):
    """DPO-L and SFT on the token ids in COLUMNS; `length_weight` is lambda, `seconds` what was spent before.

    `args` need `precompute_ref_log_probs`: lambda's term stands in the reference's score of l, and is read only there.
    """

    def __init__(self, *args: Any, length_weight: float, seconds: float = 0.0, **kwargs: Any) -> None:
        self.length_weight = length_weight  # first: the reference is scored while the trainer is made
        self._seconds, self._clock = seconds, time.perf_counter()
        super().__init__(*args, **kwargs)

    def _prepare_dataset(self, dataset, *args):
        return dataset  # tokens already, so that a cut trace is not given an end

    def compute_ref_log_probs(self, model, inputs):
        chosen, rejected = super().compute_ref_log_probs(model, inputs)
        w, l = inputs["completion_mask"].sum(1).chunk(2)  # noqa: E741
        return chosen, rejected + self.length_weight / self.beta * (l / w).log()

    def log(self, logs, *args, **kwargs):
        """A step's numbers and the seconds until then; transformers keeps them in its checkpoints."""
        require_finite(self.state.global_step, "the loss", logs.get("loss", 0.0))
        history, now = self.state.log_history, time.perf_counter()
        seconds, self._clock = (history[-1]["seconds"] if history else self._seconds) + now - self._clock, now
        super().log({**logs, "seconds": seconds}, *args, **kwargs)

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)  # one that was cut short lacks the file below, and is passed over
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        write_json(folder / STATE_FILE, {"step": self.state.global_step})


def sample(config: Config, world: Any, model: Any, tokenizer: Any, on_progress: Any = None) -> pd.DataFrame:
    """The base's rollouts, `config.group_size` of each of steps x prompts_per_step problems.

    Columns problem (its number), prompt_ids, ids, correct.
    """
    ends, rows = sampling.end_tokens(model.generation_config, tokenizer), world.train_problems(config.seed)
    first, budget = config.recipe.phases[0], config.steps * config.prompts_per_step
    at_once, parts = max(1, AT_ONCE // config.group_size), []
    for start in range(0, budget, at_once):
        stop = min(start + at_once, budget)
        numbers = [n % len(rows) for n in range(start, stop) for _ in range(config.group_size)]
        prompts = [tokenizer(rows[n]["prompt"])["input_ids"] for n in numbers]
        seed = (config.seed, f"squeeze/{start}")
        ids = sampling.sample(model, tokenizer, prompts, first.budget, seed, first.temperature)
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        right = grade(world.correct, texts, [rows[n]["answer"] for n in numbers])
        correct = [ok and y[-1] in ends for ok, y in zip(right, ids, strict=True)]
        parts.append(pd.DataFrame({"problem": numbers, "prompt_ids": prompts, "ids": ids, "correct": correct}))
        if on_progress:
            on_progress("sampling", stop, budget)
    return pd.concat(parts, ignore_index=True)


def make_pairs(config: Config, model: Any, grammar: Grammar, samples: pd.DataFrame) -> pd.DataFrame:
    """As many pairs as training takes, in order: half a step's rollouts each step, all pairs before any comes again.

    COLUMNS and accuracy (of the problem's samples).  Raises ConfigError if no problem gives a pair.
    """
    rng, problems = random.Random(f"squeeze/{config.seed}"), []
    for _, rows in samples.groupby("problem", sort=True):
        traces = [Trace(tuple(ids), ok) for ids, ok in zip(rows["ids"], rows["correct"], strict=True)]
        problems.append((tuple(rows["prompt_ids"].iloc[0]), *split(traces), rows["correct"].mean()))
    whole = [(prompt, t.ids) for prompt, best, *_ in problems for t in best]
    epsilon = config.recipe.phases[0].epsilon
    shorter = iter(rewrite(model, [x for x, _ in whole], [y for _, y in whole], grammar, epsilon))
    every = [
        (prompt, *pair, accuracy)
        for prompt, best, others, accuracy in problems
        for pair in pairs([next(shorter) for _ in best], others, rng)
    ]
    require(bool(every), "no sampled problem has a correct trace and one that is longer or wrong: sample more of each")
    wanted, ordered = config.steps * per_step(config), []
    while len(ordered) < wanted:
        ordered += rng.sample(every, len(every))
    return pd.DataFrame(ordered[:wanted], columns=[*COLUMNS, "accuracy"])


def per_step(config: Config) -> int:
    """Pairs in an update: as many completions as a step of the other arms has rollouts."""
    return max(1, config.prompts_per_step * config.group_size // 2)


def _kept(file: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table that is made once, with each row's share of the seconds it took."""
    if not file.is_file():
        began = time.perf_counter()
        table = make()
        write_parquet(file, table.assign(seconds=(time.perf_counter() - began) / len(table)))
    return pd.read_parquet(file)


def train(
    config: Config, world: Any, work: Path, arguments: dict[str, Any], peft_config: Any, callbacks: list[Any],
    on_progress: Any = None,
) -> Any:  # fmt: skip
    """To the end, from the last whole checkpoint; returns the model.  Samples and pairs are kept in `work`.

    `arguments`: transformers' and TRL's.  Raises ConfigError for several ranks, or where no pair can be made.
    """
    require(os.environ.get("WORLD_SIZE", "1") == "1", "this arm trains in one process: start it without a launcher")
    model, tokenizer = world.policy()
    classes = world.token_classes(tokenizer)
    samples = _kept(work / "samples.parquet", lambda: sample(config, world, model, tokenizer, on_progress))
    grammar = Grammar.of(tokenizer, classes)
    table = _kept(work / "pairs.parquet", lambda: make_pairs(config, model, grammar, samples))
    first, n = config.recipe.phases[0], per_step(config)
    at_once = math.gcd(n, max(1, arguments["per_device_train_batch_size"] // 2))
    arguments = {name: value for name, value in arguments.items() if "vllm" not in name}
    arguments |= {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": n // at_once}
    trainer = SqueezeTrainer(
        model=model,
        args=DPOConfig(
            loss_type=["sigmoid", "sft"],
            loss_weights=[ETA, 1 - ETA],
            beta=first.beta,
            precompute_ref_log_probs=True,
            max_length=None,
            train_sampling_strategy="sequential",  # one pass in the order of the table: an exact resume only skips
            **arguments,
        ),
        train_dataset=Dataset.from_pandas(table[COLUMNS], preserve_index=False),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=callbacks,
        length_weight=first.length_weight,
        seconds=float(samples["seconds"].sum() + table["seconds"].sum()),
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint = last_checkpoint(work / "checkpoints")
    if not finished(trainer, checkpoint):
        trainer.train(resume_from_checkpoint=checkpoint)
    _record(config, classes, int(samples["ids"].map(len).sum()), table, trainer.state.log_history, work)
    return trainer.accelerator.unwrap_model(trainer.model)


def _record(config: Config, classes: Any, generated: int, table: pd.DataFrame, history: list[dict], work: Path) -> None:
    """steps.csv of each step's pairs, not of fresh rollouts: `accuracy` is that of their problems' samples,
    `tokens_mean` of the chosen traces, `entropy` the policy's on both, `reward` and `truncated` are empty.
    All `generated` tokens are there from the first step on.  The gate has one phase, so it only smooths."""
    connectors = set((classes.ids == classes.names.index("connector")).nonzero().flatten().tolist())
    columns = {
        "accuracy": table["accuracy"],
        "tokens_mean": table["chosen_ids"].map(len),
        "tokens_rejected_mean": table["rejected_ids"].map(len),
        "connectors_mean": table["chosen_ids"].map(lambda ids: sum(i in connectors for i in ids)),
    }
    means = pd.DataFrame(columns).groupby(table.index // per_step(config)).mean().to_dict("records")
    recorder, gate, phase = Recorder(work), config.recipe.new_gate(), config.recipe.phases[0]
    always = {"phase": phase.name, "temperature": phase.temperature, "budget": phase.budget, "reward": math.nan}
    always |= {"truncated": math.nan, "generated_tokens": generated}
    for of_step, logs in zip(means, (each for each in history if "loss" in each), strict=False):
        decision = gate.update(logs["step"], logs["entropy"])
        row = always | of_step | {"entropy_smoothed": decision.smoothed}
        row |= {name: logs[name] for name in ("step", "entropy", "loss", "grad_norm", "learning_rate", "seconds")}
        row |= {"margin": logs["rewards/margins"], "margin_positive": logs["rewards/accuracies"]}
        row["entropy_total"] = row["entropy"] * (row["tokens_mean"] + row["tokens_rejected_mean"]) / 2
        recorder.steps.append(row)
        recorder.decisions.append(decision)
    recorder.flush()
