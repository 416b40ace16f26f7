"""`make bench`: what a step costs beside plain TRL, and the memory that it takes.

Both trainers take steps on the same model, adapters, problems and batch, in turns, because a shared machine drifts.
Two loads: completions of one `fixed` length, so that both do the same work; and completions as long as they are
`written`, where EGRC leaves out rows that have ended and TRL goes as far as the longest.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import pandas as pd
import torch
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


def seconds(config: Config, steps: int, load: str, name: str) -> float:
    """Seconds a step, as the trainer `name` ('egrc' or 'trl') reports it."""
    world, fixed = scales.world(config.scale), load == "fixed"
    model, tokenizer = world.policy()
    most = config.recipe.phases[0].budget if fixed else config.cap

    def accuracy(completions: list[str], answer: list[str], **_: object) -> list[float]:
        return [float(world.correct(c, a)) for c, a in zip(completions, answer, strict=True)]

    with tempfile.TemporaryDirectory() as out:
        settings = {
            "output_dir": out, "max_steps": steps, "learning_rate": config.learning_rate, "save_strategy": "no",
            "per_device_train_batch_size": config.prompts_per_step * config.group_size, "report_to": "none",
            "num_generations": config.group_size, "max_completion_length": most, "loss_type": config.loss_type,
            "generation_kwargs": {"min_new_tokens": most} if fixed else {}, "gradient_checkpointing": False,
            "disable_tqdm": True, "use_cpu": not torch.cuda.is_available(), "bf16": False,
        }  # fmt: skip
        given = {"model": model, "train_dataset": world.train_problems(0), "processing_class": tokenizer,
                 "peft_config": lora(config, world)}  # fmt: skip
        if name == "trl":
            trainer = GRPOTrainer(reward_funcs=accuracy, args=GRPOConfig(**settings), **given)
        else:
            args = EGRCConfig(recipe=Recipe((Compress("compress", most, r=0.1),)), record_dir=out, **settings)
            given |= {"token_classes": world.token_classes(tokenizer), "probe_prefixes": world.probe_prefixes()}
            trainer = EGRCTrainer(args=args, correct=world.correct, **given)
        return trainer.train().metrics["train_runtime"] / steps


def bench(scale: str, repeats: int = 5, steps: int = 4, out: Path | None = None) -> pd.DataFrame:
    """Measure `repeats` turns of `steps` steps, and write data/bench/<scale>.json: by load, the seconds a step of both
    and their ratio, median and extremes over turns."""
    set_up()
    config = scales.config(scale, "egrc")
    turns = [{"load": load} | {name: seconds(config, steps, load, name) for name in ("egrc", "trl")}
             for load in ("fixed", "written") for _ in range(repeats)]  # fmt: skip
    table = pd.DataFrame(turns).eval("ratio = egrc / trl").groupby("load").agg(["median", "min", "max"]).round(3)
    table.columns = [" ".join(column) for column in table.columns]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    facts = {"problems": config.prompts_per_step, "group": config.group_size, "turns": repeats, "steps": steps}
    facts |= {"fixed": config.recipe.phases[0].budget, "at most": config.cap, "peak memory (GB)": round(peak, 2)}
    write_json(out or paths.DATA / "bench" / f"{scale}.json",
               {"facts": facts | versions(), "steps": table.reset_index().to_dict("records")})  # fmt: skip
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="measure steps beside plain TRL")
    parser.add_argument("--scale", default="pocket", choices=scales.SCALES)
    print(bench(parser.parse_args().scale).T.to_markdown())
