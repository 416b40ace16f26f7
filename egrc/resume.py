"""What makes a resumed run equal an uninterrupted one to the bit: the order of problems, seeds, and a state file.

The state file is written last into a checkpoint's folder, when every rank has written its part, so a checkpoint
without it was cut short by a kill and is passed over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl.trainer.utils import RepeatSampler

from egrc.atomic import write_json
from egrc.controller import EntropyGate, Recipe

STATE_FILE = "egrc_state.json"


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest complete checkpoint in a trainer's output folder; None without one."""
    steps = [p.parent.name.removeprefix("checkpoint-") for p in Path(output_dir).glob(f"checkpoint-*/{STATE_FILE}")]
    newest = max((int(step) for step in steps if step.isdecimal()), default=None)  # not 'checkpoint-best'
    return None if newest is None else str(Path(output_dir) / f"checkpoint-{newest}")


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
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class EpochSampler(RepeatSampler):
    """TRL's sampler, its order drawn from (seed, epoch) alone: a resumed run sees the same problems."""

    def __init__(self, *args: Any, epoch: Callable[[], int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(step_seed(self.seed, "epoch", self.epoch()))
        yield from super().__iter__()


def save(path: Path, recipe: Recipe, gate: EntropyGate, **counters: float) -> None:
    """Write what a checkpoint keeps beside TRL's files: the step, counters, and the state of gate and phases."""
    phases = [phase.state_dict() for phase in recipe.phases]
    write_json(path, {"recipe": recipe.to_dict(), "gate": gate.state_dict(), "phases": phases, **counters})


def load(checkpoint: Path | None, recipe: Recipe, gate: EntropyGate) -> dict[str, Any]:
    """Set gate and phases to where the checkpoint stands; returns its counters, or a fresh run's.

    Raises ValueError for a checkpoint that is incomplete or of another recipe.
    """
    if checkpoint is None:
        return {"step": 0, "generated_tokens": 0, "seconds": 0.0}
    path = checkpoint / STATE_FILE
    if not path.exists():
        raise ValueError(f"{checkpoint} is incomplete or not a checkpoint of this trainer: it has no {STATE_FILE}")
    kept = json.loads(path.read_text())
    if kept.pop("recipe") != json.loads(json.dumps(recipe.to_dict())):
        raise ValueError(f"{checkpoint} was trained with another recipe: use that one, or start afresh")
    gate.load_state_dict(kept.pop("gate"))
    for phase, of_phase in zip(recipe.phases, kept.pop("phases"), strict=True):
        phase.load_state_dict(of_phase)
    return kept
