"""The confirmation: what is asked, what makes it stale, and which arms were asked."""

import pytest

from egrc.analysis import confirm, measure
from egrc.checks import ConfigError
from egrc.experiments import scales


def test_problems_come_after_those_of_the_records(monkeypatch):
    monkeypatch.setattr(confirm, "PROBLEMS", 5)
    old = scales.world("pocket").benchmarks(scales.config("pocket", "base").eval_problems)
    new = confirm.unseen("pocket")
    assert {b: len(p) for b, p in new.items()} == dict.fromkeys(old, 5)
    assert all(not set(new[b]["id"]) & set(old[b]["id"]) for b in old)
    monkeypatch.setattr(scales, "world", lambda scale: type("Few", (), {"benchmarks": lambda self, n: old})())
    with pytest.raises(ConfigError, match="forward-3, .*: fewer than 5 problems"):
        confirm.unseen("pocket")


def test_deciding_arms_were_asked_at_every_seed_with_the_recorded_weights():
    parts, deciding = confirm.parts("pocket"), scales.SCALES["pocket"].deciding
    asked = {arm: [part for part in parts if part.startswith(f"{arm}/")] for arm in deciding}
    assert all(len(asked[arm]) == 5 for arm in ("egrc", "egrc-plus", *scales.RIVALS)) and all(asked.values())
    assert measure.stale("confirm", "pocket") is None
    assert "problems" in confirm.inputs("pocket") and "pocket/egrc/seed-4" in confirm.inputs("pocket")
    assert set(measure.load("confirm", "pocket")["arm"]) == {"base", *asked}
