"""`make bench`: what a step costs beside plain TRL, and the memory that it takes.

Both trainers take steps on the same model, adapters, problems and batch, under two loads: completions of one fixed
length, so that both do the same work; and completions as long as the policy writes them, where EGRC leaves out rows
that have ended (`egrc.scoring`) and TRL goes as far as the longest.  They take turns, because a shared machine drifts.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from egrc import paths
from egrc.atomic import write_json
from egrc.config import Config
from egrc.controller import Recipe
from egrc.experiments import scales
from egrc.experiments.fingerprint import versions
from egrc.experiments.run import lora, set_up
from egrc.methods.egrc import Compress
from egrc.trainer import EGRCConfig, EGRCTrainer


class Clock(TrainerCallback):
    """The times at which steps ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def take_steps(config: Config, steps: int, load: str, name: str) -> list[float]:
    """Seconds of each step but the first, which warms up; `name`: 'egrc' or 'trl'."""
    world, fixed = scales.world(config.scale), load == "fixed"
    model, tokenizer = world.policy()
    most = config.recipe.phases[0].budget if fixed else config.cap

    def accuracy(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [float(world.correct(c, a)) for c, a in zip(completions, answer, strict=True)]

    with tempfile.TemporaryDirectory() as out:
        settings = {
            "output_dir": out,
            "max_steps": steps,
            "per_device_train_batch_size": config.prompts_per_step * config.group_size,
            "num_generations": config.group_size,
            "max_completion_length": most,
            "generation_kwargs": {"min_new_tokens": most} if fixed else {},
            "learning_rate": config.learning_rate,
            "loss_type": config.loss_type,
            "save_strategy": "no",
            "logging_steps": 1,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            "bf16": False,
            "gradient_checkpointing": False,
        }
        given = {"model": model, "train_dataset": world.train_problems(0), "processing_class": tokenizer}
        given["peft_config"] = lora(config)
        if name == "trl":
            trainer = GRPOTrainer(reward_funcs=accuracy, args=GRPOConfig(**settings), **given)
        else:
            args = EGRCConfig(recipe=Recipe((Compress("compress", most, r=0.1),)), record_dir=out, **settings)
            given |= {"token_classes": world.token_classes(tokenizer), "probe_prefixes": world.probe_prefixes()}
            trainer = EGRCTrainer(args=args, correct=world.correct, **given)
        clock = Clock()
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)  # the last callback: its step contains the others' work
        trainer.train()
    return [after - before for before, after in zip(clock.ends, clock.ends[1:], strict=False)]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Median, low, high by load: a step's milliseconds (quartiles); egrc / trl, the turns' medians (extremes).

    `rows`: columns load, turn, trainer, seconds.
    """
    columns = ["median", "low", "high"]
    ms = (1000 * rows.groupby(["load", "trainer"])["seconds"].quantile([0.5, 0.25, 0.75])).unstack().round(1)
    by_turn = rows.groupby(["load", "turn", "trainer"])["seconds"].median().unstack()
    ratio = (by_turn["egrc"] / by_turn["trl"]).groupby("load").agg(["median", "min", "max"]).round(3)
    ratio = ratio.set_axis(columns, axis=1).assign(trainer="egrc / trl").reset_index()
    return pd.concat([ms.set_axis(columns, axis=1).reset_index(), ratio])[["load", "trainer", *columns]]


def bench(scale: str, repeats: int = 5, steps: int = 4, out: Path | None = None) -> str:
    """Measure and write data/bench/<scale>.json; returns it as Markdown.

    `repeats` turns of each trainer, `steps` counted steps a turn (one more, uncounted, warms up).
    """
    set_up()
    config = scales.config(scale, "egrc")
    turns = [(load, turn, name) for load in ("fixed", "written") for turn in range(repeats) for name in ("egrc", "trl")]
    rows = [(*turn, s) for turn in turns for s in take_steps(config, steps + 1, turn[0], turn[2])]
    table = summary(pd.DataFrame(rows, columns=["load", "turn", "trainer", "seconds"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    facts = {"problems": config.prompts_per_step, "group": config.group_size, "turns": repeats, "steps": steps}
    facts |= {"fixed": config.recipe.phases[0].budget, "at most": config.cap, "peak memory (GB)": round(peak, 2)}
    facts |= {"cpus": os.cpu_count(), **versions()}
    write_json(out or paths.DATA / "bench" / f"{scale}.json", {"facts": facts, "steps": table.to_dict("records")})
    return "\n".join([table.to_markdown(index=False), "", *(f"* {name}: {value}" for name, value in facts.items())])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="measure steps beside plain TRL")
    parser.add_argument("--scale", default="pocket", choices=scales.SCALES)
    print(bench(parser.parse_args().scale))
