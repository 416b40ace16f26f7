"""A model and problems of one's own: from a file of problems to an adapter with a model card.

`python -m egrc train --model ID_OR_FOLDER --data problems.jsonl --out DIR`, or `train(model, data, out)`.  The gate's
thresholds come from the entropy's own course in the first steps: fixed ones fire at the dwell limit on most models,
which makes the gate a clock.  [ours]
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import linear_regression
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, load_dataset

from egrc.atomic import write_json, write_text
from egrc.checks import ConfigError, require
from egrc.controller import Decision, EntropyGate, Reading, report
from egrc.experiments.run import observer, save_adapter
from egrc.methods.egrc import default_recipe

GATE_FILE = "gate.json"
NAMES = {"prompt": ("prompt", "problem", "question"), "answer": ("answer", "gold", "solution")}  # of columns
DEFAULTS = {
    "max_completion_length": 1024, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4,
    "num_generations": 8, "max_steps": 100, "learning_rate": 2e-5, "save_steps": 25, "save_total_limit": 2,
    "logging_steps": 1, "report_to": "none", "disable_tqdm": True,
}  # fmt: skip
TELL = 2.0  # standard errors by which a threshold stands off from what chance would cross


def proposal(gate: EntropyGate, entropies: Sequence[float]) -> tuple[EntropyGate, str]:
    """A gate whose thresholds suit the course of these first readings (nats), and the reasoning in words.

    A line through the readings gives the course, what scatters about it the noise.  `low` lies below what that course
    reaches when the dwell ends, or the switch would come at the dwell limit, and below what noise reaches by itself;
    `flat` is a quarter of the descent, or off where a slope of this size cannot be told from noise.
    """
    n, start = len(entropies), math.fsum(entropies[: gate.window]) / gate.window
    slope, level = linear_regression(range(n), entropies)
    noise = math.sqrt(math.fsum((e - level - slope * i) ** 2 for i, e in enumerate(entropies)) / max(1, n - 2))
    smoothed, of_slope = noise / math.sqrt(gate.window), noise / math.sqrt(max(1, gate.window**3 - gate.window) / 12)
    at_dwell = start + min(slope, 0.0) * gate.dwell
    low = min(max((at_dwell - TELL * smoothed) / start, 0.2), 0.98) if start > 0 else gate.low
    flat = -slope / 4 if -slope > TELL * of_slope else 0.0
    made = replace(gate, low=round(low, 3), high=round(max(gate.high, low + 0.05), 3), flat=round(flat, 6))
    stops = f"a slope above {-made.flat:g} counts as stopped" if made.flat else "no slope counts as stopped (noise)"
    return made, (
        f"gate: over the first {n} steps the entropy starts at {start:.3f} nats, changes by {slope:+.4f} a step and "
        f"scatters by {noise:.3f} ({smoothed:.3f} once smoothed over {gate.window}); at this course it is at "
        f"{at_dwell:.3f} when the dwell of {gate.dwell} steps ends. So compression ends below {made.low:g} of the "
        f"start, {made.low * start:.3f} nats, and {stops}"
    )


def problems(path: Path, tokenizer: Any) -> Dataset:
    """Prompt and answer of each row; the prompt a user's message where the tokenizer has a chat template."""
    kind = {".jsonl": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}.get(path.suffix)
    if kind is None or not path.is_file():
        raise ConfigError(f"{path}: no file of problems; give a .jsonl, .json, .csv or .parquet with prompt and answer")
    try:
        rows = load_dataset(kind, data_files=str(path), split="train")
    except Exception as error:  # datasets raises what its readers raise
        raise ConfigError(f"{path}: cannot be read as {kind}: {error.__cause__ or error}") from error
    columns = {to: next((n for n in names if n in rows.column_names), None) for to, names in NAMES.items()}
    for to, name in columns.items():
        require(name is not None, f"{path}: no column {' or '.join(map(repr, NAMES[to]))}; found {rows.column_names}")
    prompts = list(rows[columns["prompt"]])
    if tokenizer.chat_template:
        prompts = [[{"role": "user", "content": p}] if p and isinstance(p, str) else p for p in prompts]
    return Dataset.from_dict({"prompt": prompts, "answer": list(rows[columns["answer"]])})


Progress = Callable[[str, int, int], None] | None


def train(model: str, data: Any, out: Any, on_progress: Progress = None, say: Any = print, **settings: Any) -> Path:
    """Train an adapter of any causal language model, resuming where `out` has checkpoints; returns its folder.

    `settings` are `EGRCConfig`'s.  Raises ConfigError for data or settings that cannot be trained with.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

    from egrc.trainer import EGRCConfig, EGRCTrainer, last_checkpoint

    out, cuda = Path(out), torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16 if cuda else torch.float32)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--model {model}: {str(error).splitlines()[0]}") from error
    rows = problems(Path(data), tokenizer)
    unknown = sorted(settings.keys() - EGRCConfig.__dataclass_fields__.keys())
    require(not unknown, f"no settings {unknown}: those of EGRCConfig, and so of TRL's GRPOConfig, may be set")
    settings = {**DEFAULTS, "use_cpu": not cuda, "gradient_checkpointing": cuda, **settings}
    recipe = settings.pop("recipe", None) or default_recipe(settings["max_completion_length"])
    proposed = out / GATE_FILE
    if has_thresholds := proposed.is_file():  # of a run that goes on
        recipe = replace(recipe, gate=replace(recipe.gate, **json.loads(proposed.read_text())))
    args = EGRCConfig(str(out / "checkpoints"), recipe=recipe, record_dir=str(out), **settings)
    trainer = EGRCTrainer(base, args=args, train_dataset=rows, processing_class=tokenizer)

    seen: list[float] = []  # on every rank the same

    def after_step(step: int, _: Any) -> None:
        if step and on_progress and trainer.accelerator.is_main_process:
            on_progress("training", step, args.max_steps)
        seen.extend(trainer.gate.readings[-1:])
        if 0 < step == len(seen) == recipe.gate.dwell - 1 and len(recipe.phases) > 1 and not has_thresholds:
            made, why = proposal(recipe.gate, seen)
            trainer.recipe = replace(trainer.recipe, gate=made)
            trainer.gate = trainer.recipe.new_gate()
            for taken, entropy in enumerate(seen, 1):
                trainer.gate.update(taken, Reading(entropy))
            if trainer.accelerator.is_main_process:
                say(why)
                write_json(proposed, {"low": made.low, "high": made.high, "flat": made.flat})

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(observer(after_step))
    trainer.train(resume_from_checkpoint=last_checkpoint(args.output_dir))
    adapter, name = out / "adapter", Path(model).name if Path(model).is_dir() else model  # no path of this machine
    if trainer.accelerator.is_main_process:
        gate = report([Decision(**d) for d in trainer.recorder.decisions]).replace("\n", "; ")
        say(f"gate: {gate}")
        if not adapter.exists():
            save_adapter(trainer.model, name, adapter)
        write_text(adapter / "README.md", card(name, Path(data).name, args, trainer.recorder.steps, gate))
    return adapter


def card(base: str, data: str, args: Any, steps: list[dict[str, Any]], gate: str) -> str:
    """The adapter's model card: what was run, on what, what came out, and what does not follow."""
    table = pd.DataFrame(steps)[["accuracy", "tokens_mean", "truncated", "entropy"]].astype(float)
    course = pd.DataFrame({"first 10 steps": table.head(10).mean(), "last 10 steps": table.tail(10).mean()})
    phases = "\n".join(f"* {p.settings()}" for p in args.recipe.phases)
    return f"""---
library_name: peft
tags: [egrc, grpo, lora, reasoning-compression]
---
A LoRA adapter of `{base}`, trained on `{data}` by `egrc`, an independent companion to *Entropy-Guided Reasoning
Compression* (arXiv 2511.14258): {len(steps)} steps, {args.num_generations} rollouts a problem, learning rate
{args.learning_rate:g}, seed {args.seed}. Its phases, and what the gate did ({gate}):

{phases}

{course.round(3).to_markdown()}

These are numbers of training rollouts; nothing was measured on held-out problems. Brevity was rewarded: other skills,
other languages and safety behaviour may have changed.
"""
