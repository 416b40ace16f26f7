"""Ranks: the same decisions everywhere, the same update however rollouts are split, and what a rank's death leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import ranks
import torch
from safetensors.torch import load_file

from egrc.worlds import launch

HERE = Path(__file__).parent


def two_ranks(folder: Path, *what: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launcher, str(HERE / "ranks.py"), str(folder), *what],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def reports(folder: Path, name: str = "rank") -> list[dict]:
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks: half of the given rollouts each, then rollouts of their own, without an interruption."""
    folder = tmp_path_factory.mktemp("whole")
    done = two_ranks(folder, "both")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def split(whole: Path) -> list[dict]:
    return reports(whole, "given")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """One process, all of them at once."""
    torch.set_num_threads(1)
    return ranks.report(ranks.fixed(tmp_path_factory.mktemp("alone"), world=1))


def same_update(one: dict, two: dict) -> None:
    for name, weight in one["weights"].items():
        np.testing.assert_allclose(two["weights"][name], weight, rtol=1e-4, atol=1e-6, err_msg=name)


def same_decisions(one: dict, two: dict, exact: bool) -> None:
    """Phase and cause alike; entropies too, to the bit or within float32."""
    assert len(one["decisions"]) == len(two["decisions"]) == ranks.STEPS
    for a, b in zip(one["decisions"], two["decisions"], strict=True):
        assert (a["phase"], a["next_phase"], a["cause"]) == (b["phase"], b["next_phase"], b["cause"])
        assert a["entropy"] == pytest.approx(b["entropy"], rel=0 if exact else 1e-5)


def test_rollouts_split_over_ranks_give_the_update_of_one_process(
    split: list[dict], alone: dict, tmp_path: Path
) -> None:
    start = ranks.report(ranks.listened(ranks.tiny.trainer(tmp_path, ranks.tiny.recipe())))
    moved = max(np.abs(np.subtract(w, start["weights"][n])).max() for n, w in alone["weights"].items())
    assert moved > 1e-3, "the given rollouts are worth learning from"
    assert {d["phase"] for d in alone["decisions"]} == {"compress", "explore"}
    same_decisions(*split, exact=True)
    assert split[0]["weights"] == split[1]["weights"]
    same_update(alone, split[0])
    same_decisions(alone, split[0], exact=False)


def test_rollouts_split_into_micro_batches_give_the_same_update(alone: dict, tmp_path: Path) -> None:
    parts = ranks.report(ranks.fixed(tmp_path, world=1, micro_batches=2))
    same_update(alone, parts)
    same_decisions(alone, parts, exact=False)


def test_a_killed_rank_ends_the_run_clearly_and_it_goes_on(whole: Path, tmp_path: Path) -> None:
    killed = tmp_path
    done = two_ranks(killed, "killed", "5")
    assert done.returncode != 0
    # torchrun may end the other rank before it has said so; it then names the killed one itself
    told = "rank 0 of 2 stops, because another rank has ended" in done.stderr
    assert told or "Signal 9 (SIGKILL) received" in done.stderr, done.stderr
    assert not told or "checkpoint-4 is whole: the same command goes on from there" in done.stderr
    assert not (killed / "out" / "checkpoint-6").exists()
    done = two_ranks(killed, "whole")
    assert done.returncode == 0, done.stderr
    assert reports(killed)[0]["weights"] == reports(whole)[0]["weights"]
    one, two = (load_file(f / "out" / "checkpoint-6" / "adapter_model.safetensors") for f in (whole, killed))
    assert one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[gloo] Connection closed by peer [127.0.0.1]:1", True),
        ("NCCL error: remote process exited or there was a network error", True),
        ("NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO): out of memory", False),
        ("CUDA error: device-side assert triggered", False),
    ],
)
def test_a_fault_of_ones_own_is_not_blamed_on_another_rank(said, lost, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)
    try:
        kind, message = (launch.RankError, "another rank") if lost else (RuntimeError, said[:8])
        with pytest.raises(kind, match=message), launch.as_one(tmp_path):
            raise RuntimeError(said)
        # the launcher's SIGTERM may follow: it must not add a second message to ours
        assert (signal.getsignal(signal.SIGTERM) is signal.SIG_IGN) == lost
    finally:
        signal.signal(signal.SIGTERM, before)
