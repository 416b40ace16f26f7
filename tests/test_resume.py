"""A run that is killed, again and again, and resumed equals the uninterrupted one to the bit."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from egrc.controller import Recipe
from egrc.methods.ceeh import Ceeh
from egrc.methods.controls import Shuffled
from egrc.methods.deepcompress import DeepCompress
from egrc.methods.dler import DaDler
from egrc.methods.entropy_floor import EntropyFloor
from egrc.methods.laser_d import LaserD
from egrc.trainer import EGRCTrainer, last_checkpoint

ADAPTER = "adapter_model.safetensors"
STEPS = 8


def new(folder: Path, **settings: Any) -> EGRCTrainer:
    """8 steps, 3 to an epoch: checkpoints inside epochs and between them; one switch, after step 5."""
    saving = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2}
    return tiny.trainer(folder, **{"recipe": tiny.recipe(dwell=5, window=2), **saving, **settings})


class Killer(TrainerCallback):
    """Kills the process when step `step` has been taken."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def go_on(folder: Path, where: str = "", step: int = 0) -> None:
    """Train from the last checkpoint on; die after a step, or in its checkpoint: adapter written, optimiser not."""
    trainer = new(folder)
    if where == "step":
        trainer.add_callback(Killer(step))
    if where == "save":
        save = trainer._save_optimizer_and_scheduler
        trainer._save_optimizer_and_scheduler = lambda out: (
            os.kill(os.getpid(), signal.SIGKILL) if trainer.state.global_step == step else save(out)
        )
    trainer.train(resume_from_checkpoint=last_checkpoint(trainer.args.output_dir))


def steps(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "records" / "steps.csv").drop(columns="seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    new(folder).train()
    return folder


def test_records_and_adapter_are_the_same(whole: Path, tmp_path: Path) -> None:
    story = [
        (None, "step", 5),  # between checkpoints; the gate's switch is lost with the step that took it
        ("checkpoint-4", "save", 6),  # inside the second epoch, before the switch; then half-way through a save
        ("checkpoint-4", "step", 7),  # the half-written checkpoint-6 is passed over
        ("checkpoint-6",),  # where two epochs meet, after the switch
    ]
    for start, *where in story:
        newest = last_checkpoint(tmp_path / "out")
        assert (newest and Path(newest).name) == start
        assert forked.exit_code(forked.start(go_on, tmp_path, *where)) == (-signal.SIGKILL if where else 0)
    expected = steps(whole)
    assert list(expected["step"]) == list(range(1, STEPS + 1))
    assert len(set(expected["phase"])) == 2, "the run must cross a phase switch"
    pd.testing.assert_frame_equal(steps(tmp_path), expected, check_exact=True)
    for name in ("decisions.jsonl", "rollouts.parquet"):
        assert (tmp_path / "records" / name).read_bytes() == (whole / "records" / name).read_bytes()
    before, after = (load_file(folder / "out" / "checkpoint-8" / ADAPTER) for folder in (whole, tmp_path))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert any(weight.any() for name, weight in before.items() if "lora_B" in name), "B starts at 0"


def test_training_again_without_resuming_is_a_new_run(tmp_path: Path) -> None:
    trainer = new(tmp_path, max_steps=2)
    trainer.train()
    trainer.train()
    assert list(steps(tmp_path)["step"]) == [1, 2]
    assert trainer.gate.steps_in_phase == 2


def test_a_finished_run_takes_no_step_and_incomplete_or_other_checkpoints_are_refused(
    whole: Path, tmp_path: Path
) -> None:
    trainer, out = new(tmp_path), tmp_path / "out"
    with pytest.raises(ValueError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    assert trainer.train(resume_from_checkpoint=True).global_step == STEPS == trainer.state.global_step
    assert (tmp_path / "records" / "steps.csv").read_bytes() == (whole / "records" / "steps.csv").read_bytes()
    trainer.save_model(str(tmp_path / "again"))
    assert (tmp_path / "again" / ADAPTER).read_bytes() == (whole / "out" / "checkpoint-8" / ADAPTER).read_bytes()
    shutil.copytree(out / "checkpoint-8", out / "checkpoint-best")
    assert last_checkpoint(out) == str(out / "checkpoint-8")
    with pytest.raises(ValueError, match="another recipe"):
        new(tmp_path, recipe=tiny.recipe(dwell=6, window=2)).train(resume_from_checkpoint=True)
    (out / "checkpoint-8" / "egrc_state.json").unlink()
    assert last_checkpoint(out) == str(out / "checkpoint-6")
    with pytest.raises(ValueError, match="incomplete"):
        trainer.train(resume_from_checkpoint=str(out / "checkpoint-8"))


@dataclass
class First(DeepCompress, Ceeh, EntropyFloor):
    """Remembers pass rates and hard groups; adds to advantages; leaves tokens out."""


@dataclass
class Second(LaserD, DaDler):
    """Remembers lengths; cuts groups."""


def test_what_the_peers_remember_is_resumed_too(tmp_path: Path) -> None:
    """Pass rates, target lengths, both kinds of entropy bonus, shuffled readings; advantages by token, too."""
    recipe = Recipe(
        (First("compress", 12, length_weight=0.5, tokens_at=0.9), Second("explore", 12, length_weight=0.5)),
        Shuffled(window=1, dwell=1, low=0.999, high=1.0, max_switches=9),
        {"use_adaptive_entropy": True, "entropy_target": 4.0, "entropy_coef_delta": 0.1},
    )
    settings = {"recipe": recipe, "max_steps": 6, "save_steps": 3, "save_total_limit": 3}
    whole = new(tmp_path / "whole", **settings)
    whole.train()
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "out" / "checkpoint-6")
    again = new(tmp_path / "again", **settings)
    again.train(resume_from_checkpoint=True)
    assert steps(tmp_path / "whole")["phase"].nunique() == 2
    pd.testing.assert_frame_equal(steps(tmp_path / "again"), steps(tmp_path / "whole"), check_exact=True)
    remembered = [[phase.state_dict() for phase in trainer.recipe.phases] for trainer in (again, whole)]
    assert remembered[0] == remembered[1] and all(remembered[0])
    assert again.gate.state_dict() == whole.gate.state_dict()
    assert again.entropy_coef == whole.entropy_coef > 0.3
