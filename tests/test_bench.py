"""The benchmark: its arithmetic by hand, and that all three loops run and are timed part by part."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from egrc.experiments import scales
from egrc.paper import bench


def test_summary_by_hand():
    seconds = {("egrc", 0): 2.0, ("trl", 0): 1.0, ("hand", 0): 0.5, ("egrc", 1): 3.0, ("trl", 1): 3.0, ("hand", 1): 1.0}
    rows = [{"loop": loop, "turn": turn, "part": "step", "seconds": s} for (loop, turn), s in seconds.items()]
    found = bench.summary(pd.DataFrame(rows))
    assert found["milliseconds"]["egrc"]["step"] == {"median": 2500.0, "low": 2250.0, "high": 2750.0}
    assert found["ratios"]["egrc_over_trl"] == {"median": 1.5, "low": 1.0, "high": 2.0}
    assert found["ratios"]["egrc_over_hand"] == {"median": 3.5, "low": 3.0, "high": 4.0}


@pytest.mark.e2e
def test_a_tiny_benchmark_runs_and_keeps_its_report(tmp_path, monkeypatch):
    config = scales.config("pocket", "egrc")
    phase = replace(config.recipe.phases[0], budget=6)
    small = replace(config, recipe=replace(config.recipe, phases=(phase,)), cap=9, prompts_per_step=2, group_size=2)
    monkeypatch.setattr(bench.scales, "config", lambda *names: small)
    monkeypatch.setattr(bench, "peak_memory", lambda scale: 1.0)
    text = bench.bench("pocket", repeats=1, steps=1, out=tmp_path / "pocket.json")
    report = json.loads((tmp_path / "pocket.json").read_text())
    assert report["tokens"] == {"fixed": 6, "written": 9}
    for load, loop in product(bench.LOADS, ("egrc", "trl", "hand")):
        parts = report["loads"][load]["milliseconds"][loop]
        assert set(parts) == set(bench.PARTS)
        assert sum(parts[p]["median"] for p in ("generate", "score", "backward")) == pytest.approx(
            parts["step"]["median"], abs=1
        )
    assert text.count("egrc over trl") == len(bench.LOADS)


def test_a_paper_that_trains_says_what_training_took():
    report = {"loads": {}, "peak_memory_gb": 1.0, "scale": "pocket"}
    trained = {"total": 200.0, bench.RUNS: 100.2, bench.FOLLOWING: 20.0}
    stopped = {bench.RUNS: 100.2}
    paper = {"make paper": {"total": 80.4}, "make paper FRESH=1": trained, "make paper FRESH=all": stopped}
    lines = bench.table(report | {"paper": paper}).splitlines()
    assert lines[1:] == [
        "* `make paper`: 80 s",
        "* `make paper FRESH=1`: 200 s, of which 100 s runs, 20 s what follows from them",
        "* `make paper FRESH=all`: 100 s runs (then stopped)",
    ]
    assert bench.table(report | {"paper": {}}).endswith("not measured (run `make paper SCALE=pocket` first)")


@pytest.mark.parametrize("fixed", [True, False])
def test_the_hand_written_loop_counts_a_row_up_to_its_end(fixed):
    ended = Scripted([[5, 2, 7, 2], [5, 5, 5, 2]])  # 2 is the end token
    ids, mask = bench._sample(ended, {"input_ids": torch.tensor([[1], [1]]), "attention_mask": ONES}, 4, 2, fixed)
    assert ids.shape == (2, 5)
    assert mask.tolist() == ([[1, 1, 1, 1, 1]] * 2 if fixed else [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert (2 in ids) == (not fixed)


ONES = torch.ones(2, 1, dtype=torch.long)


class Scripted:
    """A model that is sure of each next token, and of token 9 where that one is forbidden."""

    def __init__(self, tokens):
        self.tokens, self.step = torch.tensor(tokens), 0

    def __call__(self, input_ids, **_):
        logits = torch.full((2, 1, 10), -1e9)
        logits[:, :, 9] = 0.0
        logits[:, 0].scatter_(1, self.tokens[:, self.step, None], 1e3)
        self.step += 1
        return SimpleNamespace(logits=logits, past_key_values=None)
