"""What makes a resumed run equal an uninterrupted one to the bit: whole checkpoints, the order of problems, seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl.trainer.utils import RepeatSampler

STATE_FILE = "egrc_state.json"
"""Written last into a checkpoint, when every rank has written its part: one without it was cut short by a kill."""


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest complete checkpoint in a trainer's output folder."""
    folders = [file.parent for file in Path(output_dir).glob(f"checkpoint-*/{STATE_FILE}")]
    steps = {int(number): folder for folder in folders if (number := folder.name[11:]).isdecimal()}  # not '-best'
    return str(steps[max(steps)]) if steps else None


def finished(trainer: Trainer, checkpoint: str | None) -> bool:
    """Is nothing left to do after this checkpoint?  Then it is loaded: transformers would take one step too many."""
    state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME)) if checkpoint else TrainerState()
    if not 0 < trainer.args.max_steps <= state.global_step:
        return False
    trainer._load_from_checkpoint(checkpoint)
    trainer.state = state
    return True


def step_seed(*parts: Any) -> int:
    """A 63-bit seed that mixes its parts: neighbouring steps and ranks share nothing."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8]) >> 1


class EpochSampler(RepeatSampler):
    """TRL's sampler, its order drawn from (seed, epoch) alone: a resumed run sees the same problems."""

    def __init__(self, like: RepeatSampler, epoch: Callable[[], int]) -> None:
        vars(self).update(vars(like), epoch=epoch)

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(step_seed(self.seed, "epoch", self.epoch()))
        yield from super().__iter__()
