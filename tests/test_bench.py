"""The benchmark: its arithmetic by hand, and that both trainers take steps."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from egrc.experiments import scales
from egrc.paper import bench


def test_summary_by_hand():
    seconds = {("egrc", 0): 2.0, ("trl", 0): 1.0, ("egrc", 1): 3.0, ("trl", 1): 3.0}
    rows = [("fixed", turn, name, s) for (name, turn), s in seconds.items()]
    table = bench.summary(pd.DataFrame(rows, columns=["load", "turn", "trainer", "seconds"])).set_index("trainer")
    assert table.loc["egrc"].tolist() == ["fixed", 2500, 2250, 2750]
    assert table.loc["egrc / trl"].tolist() == ["fixed", 1.5, 1, 2]


@pytest.mark.e2e
def test_a_tiny_benchmark_runs_and_keeps_its_report(tmp_path, monkeypatch):
    config = scales.config("pocket", "egrc")
    phase = replace(config.recipe.phases[0], budget=6)
    small = replace(config, recipe=replace(config.recipe, phases=(phase,)), cap=9, prompts_per_step=2, group_size=2)
    monkeypatch.setattr(bench.scales, "config", lambda *names: small)
    text = bench.bench("pocket", repeats=1, steps=1, out=tmp_path / "pocket.json")
    report = json.loads((tmp_path / "pocket.json").read_text())
    assert (report["facts"]["fixed"], report["facts"]["at most"]) == (6, 9) and report["facts"]["peak memory (GB)"] > 0
    assert sorted((row["load"], row["trainer"]) for row in report["steps"]) == [
        (load, trainer) for load in ("fixed", "written") for trainer in ("egrc", "egrc / trl", "trl")
    ]
    assert all(row["median"] > 0 for row in report["steps"]) and "* group: 2" in text
