"""Ranks: the same decisions everywhere, the same update however rollouts are split, and what a rank's death leaves."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import tiny
import torch
from accelerate.state import AcceleratorState, GradientState
from test_resume import Killer

from egrc.controller import Recipe
from egrc.methods.ceeh import Ceeh
from egrc.methods.deepcompress import DeepCompress
from egrc.methods.dler import Cut
from egrc.trainer import EGRCTrainer, last_checkpoint
from egrc.worlds import launch

GROUP = 16
"""Rollouts of the one problem of a step: two ranks, and two micro-batches, share the group."""
STEPS = 4


@dataclass
class OfGroups(DeepCompress, Ceeh, Cut):
    """Rewards and advantages that look at the whole group, at each token, and at earlier steps."""

    length_weight: float = 0.5
    entropy_weight: float = 0.1

    def budgets(self, r):
        return torch.full_like(r.length, 8)


class Given(EGRCTrainer):
    """Rollouts are given, not sampled: 1 to 11 words, every fourth cut, never the same twice in a group."""

    def _generate_single_turn(self, prompt_ids, *args: Any, **kwargs: Any):
        first, step = self.accelerator.process_index * len(prompt_ids), self.state.global_step
        return [self.completion(step, first + i) for i in range(len(prompt_ids))], None

    @staticmethod
    def completion(step: int, row: int) -> list[int]:
        words = [3 + (7 * row + 5 * step + 3 * k * k) % 28 for k in range(1 + (3 * row + step) % 11)]
        return words + [2] if row % 4 else (words + [5] * 12)[:12]


def given(folder: Path, micro_batches: int = 1) -> dict[str, Any]:
    """Plain gradient descent, so that a difference of the gradients is a difference of the weights."""
    settings = {
        "per_device_train_batch_size": GROUP // launch.ranks() // micro_batches,
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
    trainer.train()
    return report(trainer, folder)


def sampled(folder: Path, kill_at: int | None = None) -> None:
    """Six steps on rollouts of its own, resuming where a checkpoint is; after step `kill_at` the last rank dies."""
    saving = {"max_steps": 6, "save_strategy": "steps", "save_steps": 2}
    trainer = tiny.trainer(folder, tiny.recipe(dwell=3), gradient_accumulation_steps=1, **saving)
    if kill_at and launch.rank() == launch.ranks() - 1:
        trainer.add_callback(Killer(kill_at))
    with launch.as_one(folder / "out"):
        trainer.train(resume_from_checkpoint=last_checkpoint(folder / "out"))
    report(trainer, folder)


def report(trainer: EGRCTrainer, folder: Path) -> dict[str, Any]:
    """Trained weights, and what the rank's own gate decided; also written down."""
    trained = {n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad}
    weights = {n: p.double().flatten().tolist() for n, p in trained.items()}
    told = {"weights": weights, "decisions": [asdict(d) for d in trainer.recorder.decisions]}
    (folder / f"rank-{launch.rank()}.json").write_text(json.dumps(told))
    return told


def two_ranks(work: Callable[..., Any], folder: Path, *args: Any) -> list[int | None]:
    """Run it in two processes, told by their environment what they are, as torchrun does; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [forked.start(as_rank, work, folder, *args, RANK=r, LOCAL_RANK=r, **both) for r in "01"]
    return [forked.exit_code(process) for process in started]


def as_rank(work: Callable[..., Any], *args: Any) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # the test's own process was alone
    GradientState._reset_state()
    work(*args)


def reports(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """One process, all rollouts at once."""
    torch.set_num_threads(1)
    return given(tmp_path_factory.mktemp("alone"))


def same(one: dict, two: dict, exact: bool = False) -> None:
    """Weights and entropies alike, to the bit or within float32; phases and causes alike."""
    assert one["weights"].keys() == two["weights"].keys() and len(one["decisions"]) == len(two["decisions"]) == STEPS
    for name, weight in one["weights"].items():
        exactly = {"rtol": 0, "atol": 0}
        np.testing.assert_allclose(two["weights"][name], weight, **exactly if exact else {"rtol": 1e-4, "atol": 1e-6})
    for a, b in zip(one["decisions"], two["decisions"], strict=True):
        assert (a["phase"], a["next_phase"], a["cause"]) == (b["phase"], b["next_phase"], b["cause"])
        assert a["entropy"] == pytest.approx(b["entropy"], rel=0 if exact else 1e-5, abs=0)


def test_rollouts_split_over_ranks_give_the_update_of_one_process(alone: dict, tmp_path: Path) -> None:
    moved = max(np.abs(weight).max() for name, weight in alone["weights"].items() if "lora_B" in name)
    assert moved > 1e-3, "B starts at 0, and the given rollouts are worth learning from"
    assert {d["phase"] for d in alone["decisions"]} == {"compress", "explore"}
    assert two_ranks(given, tmp_path) == [0, 0]
    split = reports(tmp_path)
    same(*split, exact=True)
    same(alone, split[0])


def test_rollouts_split_into_micro_batches_give_the_same_update(alone: dict, tmp_path: Path) -> None:
    same(alone, given(tmp_path, micro_batches=2))


def test_a_killed_rank_ends_the_run_clearly_and_it_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert two_ranks(sampled, whole) == [0, 0]
    assert two_ranks(sampled, killed, 5) == [1, -signal.SIGKILL]
    told = capfd.readouterr().err
    assert "rank 0 of 2 stops, because another rank has ended" in told
    assert "checkpoint-4 is whole: the same command goes on from there" in told
    assert not (killed / "out" / "checkpoint-6").exists()
    assert two_ranks(sampled, killed) == [0, 0]
    assert reports(killed)[0]["weights"] == reports(whole)[0]["weights"]
    one, two = (folder / "out/checkpoint-6/adapter_model.safetensors" for folder in (whole, killed))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        ("[gloo] Connection closed by peer [127.0.0.1]:1", True),
        ("NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO): out of memory", False),
    ],
)
def test_a_fault_of_ones_own_is_not_blamed_on_another_rank(message, lost, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    kind, start = (launch.RankError, "another rank") if lost else (RuntimeError, message[:8])
    with pytest.raises(kind, match=start), launch.as_one(tmp_path):
        raise RuntimeError(message)
