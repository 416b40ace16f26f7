"""The confirmation: what is asked, and of which policies."""

import pytest
import stub_records

from egrc import paths
from egrc.analysis import confirm
from egrc.checks import ConfigError
from egrc.experiments import scales


def test_problems_come_after_those_of_the_records(monkeypatch):
    monkeypatch.setattr(confirm, "PROBLEMS", 5)
    old = scales.world("pocket").benchmarks(scales.config("pocket", "base").eval_problems)
    new = confirm.unseen("pocket")
    assert {b: len(p) for b, p in new.items()} == dict.fromkeys(old, 5)
    assert all(not set(new[b]["id"]) & set(old[b]["id"]) for b in old)
    monkeypatch.setattr(scales, "world", lambda scale: type("Few", (), {"benchmarks": lambda self, n: old})())
    with pytest.raises(ConfigError, match="forward-2, .*: fewer than 5 problems"):
        confirm.unseen("pocket")


def test_the_deciding_arms_are_asked_at_every_seed_that_a_study_gives_them_and_was_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    runs = [("base", 0), ("egrc", 4), ("egrc-plus", 4), ("dler", 2), ("dler", 3), ("egrc-linear", 0), ("accuracy", 0)]
    for arm, seed in runs:
        stub_records.write(tmp_path, arm, seed)
    assert confirm.parts("pocket") == ["base/seed-0", "egrc/seed-4", "egrc-plus/seed-4", "dler/seed-2"]
