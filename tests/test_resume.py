"""A run that is killed, again and again, and resumed equals the uninterrupted one to the bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import killed_run
import pandas as pd
import pytest
import tiny
import torch
from safetensors.torch import load_file

from egrc.controller import Recipe
from egrc.methods.controls import Shuffled
from egrc.methods.deepcompress import DeepCompress
from egrc.methods.dler import DaDler
from egrc.methods.entropy_floor import EntropyFloor
from egrc.methods.laser_d import LaserD
from egrc.methods.ours import BriefSteps, Guard
from egrc.trainer import last_checkpoint

HERE = Path(__file__).parent
ADAPTER = "adapter_model.safetensors"


def run(folder: Path, *where: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(HERE / "killed_run.py"), str(folder), *where],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def steps(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "records" / "steps.csv").drop(columns="seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    done = run(folder, "never")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    story = [
        (("step", "5"), None),  # between checkpoints; the gate's switch is lost with the step that took it
        (
            ("save", "6"),
            "checkpoint-4",
        ),  # inside the second epoch, before the switch; then half-way through a save
        (("step", "7"), "checkpoint-4"),  # the half-written checkpoint-6 is passed over
        (("never",), "checkpoint-6"),  # where two epochs meet, after the switch
    ]
    for where, start in story:
        done = run(folder, *where)
        assert f"resumes from {start}" in done.stdout, done.stderr
        assert done.returncode == (0 if where == ("never",) else -signal.SIGKILL), done.stderr
    return folder


def test_records_and_adapter_are_the_same(whole: Path, killed: Path) -> None:
    expected = steps(whole)
    assert list(expected["step"]) == list(range(1, killed_run.STEPS + 1))
    assert len(set(expected["phase"])) == 2, "the run must cross a phase switch"
    pd.testing.assert_frame_equal(steps(killed), expected, check_exact=True)
    for name in ("decisions.jsonl", "rollouts.parquet"):
        assert (killed / "records" / name).read_bytes() == (whole / "records" / name).read_bytes()
    before, after = (load_file(folder / "out" / "checkpoint-8" / ADAPTER) for folder in (whole, killed))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert any(weight.any() for name, weight in before.items() if "lora_B" in name), "B starts at 0"


def test_a_finished_run_takes_no_further_step(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    trainer = tiny.trainer(tmp_path, **killed_run.settings())
    assert trainer.train(resume_from_checkpoint=True).global_step == killed_run.STEPS == trainer.state.global_step
    assert (tmp_path / "records" / "steps.csv").read_bytes() == (whole / "records" / "steps.csv").read_bytes()
    trainer.save_model(str(tmp_path / "again"))
    expected, loaded = load_file(whole / "out" / "checkpoint-8" / ADAPTER), load_file(tmp_path / "again" / ADAPTER)
    assert all(torch.equal(expected[name], loaded[name]) for name in expected)


def test_training_again_without_resuming_is_a_new_run(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, **{**killed_run.settings(), "max_steps": 2})
    trainer.train()
    trainer.train()
    assert list(steps(tmp_path)["step"]) == [1, 2]
    assert trainer.gate.steps_in_phase == 2


def test_an_incomplete_checkpoint_is_passed_over_and_others_are_refused(whole: Path, tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, **killed_run.settings())
    with pytest.raises(ValueError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "out" / "checkpoint-8", tmp_path / "out" / "checkpoint-best")
    assert last_checkpoint(tmp_path / "out") == str(tmp_path / "out" / "checkpoint-8")
    other = tiny.trainer(tmp_path, **{**killed_run.settings(), "recipe": tiny.recipe(dwell=6, window=2)})
    with pytest.raises(ValueError, match="another recipe"):
        other.train(resume_from_checkpoint=True)
    (tmp_path / "out" / "checkpoint-8" / "egrc_state.json").unlink()
    assert last_checkpoint(tmp_path / "out") == str(tmp_path / "out" / "checkpoint-6")
    with pytest.raises(ValueError, match="incomplete"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-8"))


@dataclass
class First(DeepCompress, BriefSteps, EntropyFloor):
    """Remembers pass rates; advantages by token; leaves tokens out."""


@dataclass
class Second(LaserD, DaDler):
    """Remembers lengths; cuts groups."""


@dataclass
class Both(Guard, Shuffled):
    """Remembers all readings, and the connectors'."""


def test_what_the_peers_and_the_guard_remember_is_resumed_too(tmp_path: Path) -> None:
    """Pass rates, target lengths, the entropy bonus, shuffled readings, the guard; advantages by token, too."""
    recipe = Recipe(
        (First("compress", 12, length_weight=0.5, tokens_at=0.9), Second("explore", 12, length_weight=0.5)),
        Both(window=1, dwell=1, low=0.9, high=1.0, max_switches=9, fraction=0.9),
        {"use_adaptive_entropy": True, "entropy_target": 4.0, "entropy_coef_delta": 0.1},
    )
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3, "save_total_limit": 3}
    whole = tiny.trainer(tmp_path / "whole", recipe, **settings)
    whole.train()
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "out" / "checkpoint-6")
    again = tiny.trainer(tmp_path / "again", recipe, **settings)
    again.train(resume_from_checkpoint=True)
    assert steps(tmp_path / "whole")["phase"].nunique() == 2
    pd.testing.assert_frame_equal(steps(tmp_path / "again"), steps(tmp_path / "whole"), check_exact=True)
    remembered = [[phase.state_dict() for phase in trainer.recipe.phases] for trainer in (again, whole)]
    assert remembered[0] == remembered[1] and all(remembered[0])
    assert again.gate.state_dict() == whole.gate.state_dict()
    assert again.entropy_coef == whole.entropy_coef > 0.3
