"""The confirmation: what is asked, what makes it stale, and its predicates on answers worked by hand."""

import pandas as pd
import pytest

from egrc.analysis import confirm
from egrc.checks import ConfigError
from egrc.experiments import measure, scales

FLOORS = {"a": 10.0, "b": 10.0}


def answers(arm, tokens, right):
    """Four problems of two benchmarks; `tokens` and the number of `right` ones by benchmark."""
    return pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "benchmark": b, "id": f"{b}{i}", "correct": i < right[b], "tokens": tokens[b]}
            for b in FLOORS for i in range(4)
        ]
    )  # fmt: skip


def table(*sides):
    base = answers("base", {"a": 110, "b": 110}, {"a": 2, "b": 3})
    return confirm.verdicts(confirm.compared(pd.concat([base, *sides]), FLOORS)).set_index(["arm", "predicate"])


def test_predicates_on_answers_worked_by_hand():
    """x removes (100 + 96) / 200 and wins one problem of eight; y removes 90% and loses three of b's four."""
    x = answers("x", {"a": 10, "b": 14}, {"a": 3, "b": 3})
    y = answers("y", {"a": 20, "b": 20}, {"a": 4, "b": 0})
    lines = table(x, y)
    assert lines["estimate"]["x", "removed"] == pytest.approx(0.98)
    assert lines["estimate"]["x", "accuracy"] == pytest.approx(1 / 8) and lines["estimate"]["x", "worst"] == 0
    assert lines["estimate"]["x", "left of base"] == pytest.approx((10 + 14) / 220)
    assert all(lines["holds"]["x", name] for name in ("removed", "accuracy", "worst", "front"))
    assert not any(lines["holds"]["y", name] for name in ("removed", "accuracy", "worst", "front"))
    assert lines["estimate"]["y", "worst"] == -0.75 and lines["note"]["y", "worst"] == "b"
    assert lines["note"]["y", "front"] == "x"


def test_an_equal_arm_stands_at_the_front_too():
    same = {"a": 10, "b": 10}, {"a": 3, "b": 3}
    lines = table(answers("x", *same), answers("y", *same))
    assert not lines["holds"]["x", "front"] and not lines["holds"]["y", "front"]


def test_the_lower_end_of_the_interval_decides():
    """As many lost as won: the estimate is 0, but resampling may lose more than the bound allows."""
    line = table(answers("x", {"a": 10, "b": 10}, {"a": 3, "b": 2})).loc["x", "accuracy"]
    assert line["estimate"] == 0 and line["low"] < -confirm.NOT_BELOW and not line["holds"]


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
