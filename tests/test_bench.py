"""The benchmark: both trainers take steps, in turns, and the report is kept."""

import json
from dataclasses import replace

import pytest

from egrc.experiments import scales
from egrc.paper import bench


@pytest.mark.e2e
def test_a_tiny_benchmark_runs_and_keeps_its_report(tmp_path, monkeypatch):
    config = scales.config("pocket", "egrc")
    phase = replace(config.recipe.phases[0], budget=6)
    small = replace(config, recipe=replace(config.recipe, phases=(phase,)), cap=9, prompts_per_step=2, group_size=2)
    monkeypatch.setattr(bench.scales, "config", lambda *names: small)
    table = bench.bench("pocket", repeats=1, steps=1, out=tmp_path / "pocket.json")
    report = json.loads((tmp_path / "pocket.json").read_text())
    assert (report["facts"]["fixed"], report["facts"]["at most"]) == (6, 9) and report["facts"]["peak memory (GB)"] > 0
    assert list(table.index) == ["fixed", "written"] and (table > 0).all(axis=None)
    by_hand = table["egrc median"] / table["trl median"]  # of one turn
    assert table["ratio median"].to_list() == pytest.approx(by_hand.to_list(), rel=0.05)
    assert [line["load"] for line in report["steps"]] == ["fixed", "written"]
