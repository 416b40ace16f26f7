"""The benchmark: its arithmetic by hand, and that all three loops run and are timed part by part."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from egrc import bench, scales


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
    small = replace(config, recipe=replace(config.recipe, phases=(phase,)), prompts_per_step=2, group_size=2)
    monkeypatch.setattr(bench.scales, "config", lambda *names: small)
    monkeypatch.setattr(bench, "peak_memory", lambda scale: 1.0)
    text = bench.bench("pocket", repeats=1, steps=1, out=tmp_path / "pocket.json")
    report = json.loads((tmp_path / "pocket.json").read_text())
    assert report["tokens"] == 6
    for loop in ("egrc", "trl", "hand"):
        parts = report["milliseconds"][loop]
        assert set(parts) == set(bench.PARTS)
        assert sum(parts[p]["median"] for p in ("generate", "score", "backward")) == pytest.approx(
            parts["step"]["median"], abs=1
        )
    assert "egrc over trl" in text
