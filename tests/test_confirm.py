"""The confirmation: what is asked, of which policies, and which arms keep the bounds."""

import pandas as pd
import pytest
import stub_records

from egrc import paths
from egrc.analysis import confirm
from egrc.analysis.bounds import bounds
from egrc.experiments import scales


def test_problems_come_after_those_of_the_records(monkeypatch):
    monkeypatch.setattr(confirm, "PROBLEMS", 5)
    old = scales.world("pocket").benchmarks(scales.config("pocket", "base").eval_problems)
    new = confirm.unseen("pocket")
    assert {b: len(p) for b, p in new.items()} == dict.fromkeys(old, 5)
    assert all(not set(new[b]["id"]) & set(old[b]["id"]) for b in old)


def test_the_deciding_arms_are_asked_at_every_seed_that_a_study_gives_them_and_was_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    runs = [("base", 0), ("egrc", 4), ("egrc-plus", 4), ("dler", 2), ("dler", 3), ("egrc-linear", 0), ("accuracy", 0)]
    for arm, seed in runs:
        stub_records.write(tmp_path, arm, seed)
    assert confirm.parts("pocket") == ["base/seed-0", "egrc/seed-4", "egrc-plus/seed-4", "dler/seed-2"]


def test_the_worst_benchmark_the_bounds_and_who_stands_above():
    def line(arm: str, benchmark: str, gain: float, removed: float, by: float = 0.01) -> dict[str, object]:
        both = {"gain_best": gain, "removed": removed}
        ends = {f"{k}{part}": v + d for k, v in both.items() for part, d in (("_low", -by), ("_high", by))}
        return {"arm": arm, "benchmark": benchmark, **both, **ends}

    nan = float("nan")
    lines = pd.DataFrame(
        [
            line("lossy", "mean", 0.0, 0.96), line("lossy", "a", 0.1, 1.0), line("lossy", "b", -0.1, 0.92),
            line("sound", "mean", 0.02, 0.95), line("sound", "a", 0.06, 1.0), line("sound", "b", -0.02, 0.9),
            line("twin", "mean", 0.02, 0.95), line("twin", "a", 0.06, 1.0), line("twin", "b", -0.02, 0.9),
            line("long", "mean", -0.02, -0.1), line("long", "a", 0.01, -0.1), line("long", "b", -0.05, -0.1),
            line("vague", "mean", 0.0, 0.95, 0.03), line("vague", "a", 0.0, 0.95), line("vague", "b", 0.0, 0.95),
            line("base", "mean", nan, nan), line("base", "a", nan, nan),
        ]
    )  # fmt: skip
    table = bounds(lines).set_index("arm")
    assert table["worst"].to_dict() == {"lossy": "b", "sound": "b", "twin": "b", "long": "b", "vague": "a"}
    assert table.loc["lossy", ["change", "low", "high"]].tolist() == pytest.approx([-0.1, -0.11, -0.09])
    assert table["collapsed"].str.len().to_dict() == {"lossy": 1, "sound": 0, "twin": 0, "long": 0, "vague": 0}
    # a loss at the bound is no collapse; of an interval that reaches below the bound the lower end decides
    assert table["within"].to_dict() == {"lossy": False, "sound": True, "twin": True, "long": False, "vague": False}
    assert table["above"].to_dict() == {
        "lossy": (), "sound": ("twin",), "twin": ("sound",), "long": ("lossy", "sound", "twin", "vague"),
        "vague": ("lossy", "sound", "twin"),
    }  # fmt: skip
