"""Run by test_resume.py: train the tiny model, resuming where a checkpoint is, and die by SIGKILL where told.

usage: killed_run.py FOLDER (step K | save K | never)
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import tiny
import torch
from transformers import TrainerCallback

from egrc.trainer import EGRCTrainer, last_checkpoint

STEPS = 8


def settings() -> dict:
    """8 steps, 3 to an epoch: checkpoints inside epochs and between them; one switch, after step 5."""
    return {
        "recipe": tiny.recipe(dwell=5, window=2),
        "max_steps": STEPS,
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 2,
    }


class Killer(TrainerCallback):
    """Kills the process when step `step` has been taken."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_while_saving(trainer: EGRCTrainer, step: int) -> None:
    """Kill the process half-way through the checkpoint of `step`: adapter written, optimiser not."""
    save = trainer._save_optimizer_and_scheduler

    def cut_short(output_dir):
        if trainer.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        save(output_dir)

    trainer._save_optimizer_and_scheduler = cut_short


def main(folder: str, where: str, step: int = 0) -> None:
    torch.set_num_threads(1)
    trainer = tiny.trainer(Path(folder), **settings())
    if where == "step":
        trainer.add_callback(Killer(step))
    elif where == "save":
        kill_while_saving(trainer, step)
    checkpoint = last_checkpoint(trainer.args.output_dir)
    print("resumes from", checkpoint and Path(checkpoint).name, flush=True)
    trainer.train(resume_from_checkpoint=checkpoint)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
