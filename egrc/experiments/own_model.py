"""A model and problems of one's own: from a file of problems to an adapter with a model card.

The gate's thresholds come from the entropy's own course in the first steps: fixed ones fire at the dwell limit on most
models, which makes the gate a clock.  [ours]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import linear_regression
from typing import Any

import pandas as pd
import torch
from datasets import Dataset

from egrc.atomic import write_json, write_text
from egrc.checks import ConfigError, require
from egrc.controller import EntropyGate, report
from egrc.evaluation.problems import rows as read_rows
from egrc.experiments.run import OnProgress, observer, save_adapter

GATE_FILE = "gate.json"
NAMES = ("prompt", "problem", "question"), ("answer", "gold", "solution")  # of columns
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
    rows, columns = [], []
    for number, row in read_rows(path):
        require(isinstance(row, dict), f"{path}, row {number}: expected columns and values, found {type(row).__name__}")
        rows.append(row)
    require(bool(rows), f"{path}: no rows")
    for names in NAMES:
        there = [name for name in names if name in rows[0]]
        require(bool(there), f"{path}: no column {' or '.join(map(repr, names))}; found {list(rows[0])}")
        columns.append(there[0])
    prompts, answers = ([row.get(name) for row in rows] for name in columns)
    if tokenizer.chat_template:
        prompts = [[{"role": "user", "content": p}] if p and isinstance(p, str) else p for p in prompts]
    return Dataset.from_dict({"prompt": prompts, "answer": answers})


def train(model: str, data: Any, out: Any, on_progress: OnProgress | None = None, **settings: Any) -> Path:
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
    args = EGRCConfig(str(out / "checkpoints"), record_dir=str(out), **settings)
    trainer = EGRCTrainer(base, args=args, train_dataset=rows, processing_class=tokenizer)
    gate, main = args.recipe.gate, trainer.accelerator.is_main_process
    proposed: list[EntropyGate] = []

    def after_step(step: int, _: Any) -> None:
        """At the first moment that there are enough readings; a resumed run comes to the same gate."""
        if step and on_progress and main:
            on_progress("training", step, args.max_steps)
        entropies = [row["entropy"] for row in trainer.recorder.steps if not math.isnan(row["entropy"])]
        if len(entropies) < gate.dwell - 1 or len(args.recipe.phases) < 2 or proposed:
            return
        made, why = proposal(gate, entropies[: gate.dwell - 1])
        proposed.append(made)
        trainer.set_gate(made)
        if main:
            print(why)
            write_json(out / GATE_FILE, {"low": made.low, "high": made.high, "flat": made.flat})

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(observer(after_step))
    trainer.train(resume_from_checkpoint=last_checkpoint(args.output_dir))
    adapter, name = out / "adapter", Path(model).name if Path(model).is_dir() else model  # no path of this machine
    if main:
        switches = report(trainer.recorder.decisions).replace("\n", "; ")
        print(f"gate: {switches}")
        if not adapter.exists():
            save_adapter(trainer.model, name, adapter)
        write_text(adapter / "README.md", card(name, Path(data).name, args, trainer.recorder.steps, switches))
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
