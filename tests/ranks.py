"""Run by test_ranks.py, alone or under torchrun: the tiny model trained on given rollouts, and on rollouts of its own.

usage: ranks.py FOLDER (both | whole | killed K)     both: on given rollouts, then on its own
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tiny
import torch
from transformers import TrainerCallback

from egrc.controller import Reading, Recipe
from egrc.methods.deepcompress import DeepCompress
from egrc.methods.ours import BriefSteps
from egrc.trainer import EGRCTrainer, last_checkpoint
from egrc.worlds import launch

GROUP = 16
"""Rollouts of the one problem of a step: two ranks, and two micro-batches, share the group."""
STEPS = 4


@dataclass
class OfGroups(DeepCompress, BriefSteps):
    """Rewards and advantages that look at the whole group, at each token, and at earlier steps."""

    length_weight: float = 0.5


def completion(step: int, row: int) -> list[int]:
    """The given rollout of a row (of all ranks): 1 to 11 words, every fourth cut, never the same twice in a group."""
    words = [3 + (7 * row + 5 * step + 3 * k * k) % 28 for k in range(1 + (3 * row + step) % 11)]
    return words + [2] if row % 4 else (words + [5] * 12)[:12]


class Given(EGRCTrainer):
    """Rollouts are given, not sampled."""

    def _generate_single_turn(self, prompt_ids, *args: Any, **kwargs: Any):
        first = self.accelerator.process_index * len(prompt_ids)
        step = self.state.global_step
        return [completion(step, first + i) for i in range(len(prompt_ids))], None


def fixed(folder: Path, world: int, micro_batches: int = 1) -> EGRCTrainer:
    """Plain gradient descent, so that a difference of the gradients is a difference of the weights."""
    settings = {
        "per_device_train_batch_size": GROUP // world // micro_batches,
        "gradient_accumulation_steps": micro_batches,
        "num_generations": GROUP,
        "max_steps": STEPS,
        "optim": "sgd",
        "learning_rate": 1.0,
        "max_grad_norm": 0.0,  # no clipping, which would hide a factor
    }
    two = tiny.recipe(dwell=2)
    trainer = tiny.trainer(folder, Recipe((OfGroups("compress", 12), two.phases[1]), two.gate), **settings)
    trainer.__class__ = Given
    listened(trainer).train()
    return trainer


class Killer(TrainerCallback):
    """Kills the last rank when step `step` has been taken."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step and launch.rank() == launch.ranks() - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def whole(folder: Path, kill_at: int | None) -> EGRCTrainer:
    """Six steps with checkpoints, resuming where one is."""
    trainer = tiny.trainer(
        folder, tiny.recipe(dwell=3), gradient_accumulation_steps=1, max_steps=6, save_strategy="steps", save_steps=2
    )
    if kill_at is not None:
        trainer.add_callback(Killer(kill_at))
    checkpoints = Path(trainer.args.output_dir)
    with launch.as_one(checkpoints):
        listened(trainer).train(resume_from_checkpoint=last_checkpoint(checkpoints))
    return trainer


def listened(trainer: EGRCTrainer) -> EGRCTrainer:
    """Every rank keeps what its own gate decides (only the first one writes records)."""
    trainer.own_decisions, begin = [], trainer._begin

    def listening(checkpoint: Path | None) -> int:
        step = begin(checkpoint)
        update = trainer.gate.update

        def kept(step: int, reading: Reading):
            trainer.own_decisions.append(update(step, reading))
            return trainer.own_decisions[-1]

        trainer.gate.update = kept
        return step

    trainer._begin = listening
    return trainer


def report(trainer: EGRCTrainer) -> dict[str, Any]:
    """Trained weights, and what the rank's own gate decided."""
    trained = {n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad}
    weights = {n: p.double().flatten().tolist() for n, p in trained.items()}
    return {"weights": weights, "decisions": [asdict(d) for d in trainer.own_decisions]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, what = Path(sys.argv[1]), sys.argv[2]
    kill_at = int(sys.argv[3]) if what == "killed" else None
    if what == "both":
        given = report(fixed(folder / "given", launch.ranks()))
        (folder / f"given-{launch.rank()}.json").write_text(json.dumps(given))
    (folder / f"rank-{launch.rank()}.json").write_text(json.dumps(report(whole(folder, kill_at))))
