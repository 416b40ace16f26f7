"""The confirmation: what is asked, what makes it stale, and its predicates on answers worked by hand."""

import pandas as pd
import pytest
import stub_records

from egrc.analysis import confirm
from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.experiments import records, scales

FLOORS = {"a": 10.0, "b": 10.0}


def answers(arm, tokens, right, seed=0):
    """Four problems of two benchmarks; `tokens` and the number of `right` ones by benchmark."""
    rows = [
        (benchmark, f"{benchmark}{i}", i < right[benchmark], tokens[benchmark], False)
        for benchmark in FLOORS
        for i in range(4)
    ]
    return pd.DataFrame(rows, columns=list(confirm.KEPT)).assign(arm=arm, seed=seed)


def table(*sides):
    lines = confirm.verdicts(confirm.judge(pd.concat(sides), FLOORS))
    return lines.set_index(["arm", "predicate"])


BASE = answers("base", {"a": 110, "b": 110}, {"a": 2, "b": 3})


def test_predicates_on_answers_worked_by_hand():
    """x removes (100 + 96) / 200 and wins one problem of eight; y removes 90% and loses three of b's four."""
    x = answers("x", {"a": 10, "b": 14}, {"a": 3, "b": 3})
    y = answers("y", {"a": 20, "b": 20}, {"a": 4, "b": 0})
    lines = table(BASE, x, y)
    assert lines.estimate["x", "removed"] == pytest.approx(0.98) and lines.holds["x", "removed"]
    assert lines.estimate["x", "accuracy"] == pytest.approx(1 / 8) and lines.holds["x", "accuracy"]
    assert lines.estimate["x", "worst"] == 0 and lines.holds["x", "worst"] and lines.holds["x", "front"]
    assert lines.estimate["x", "left of base"] == pytest.approx((10 + 14) / 220)
    assert not lines.holds["y", "removed"]
    assert lines.estimate["y", "worst"] == -0.75 and lines.note["y", "worst"] == "b" and not lines.holds["y", "worst"]
    assert not lines.holds["y", "accuracy"] and not lines.holds["y", "front"] and lines.note["y", "front"] == "x"


def test_the_markdown_says_what_holds():
    y = answers("y", {"a": 20, "b": 20}, {"a": 4, "b": 0})
    text = confirm.markdown(confirm.verdicts(confirm.judge(pd.concat([BASE, y]), FLOORS)))
    row = text.splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")[1:3]] == ["`y`", "1"]  # one seed
    assert "`y`" in row and "90.0 [90.0, 90.0] ✗" in row and "b -75.0 ✗" in row and "nobody ✓" in row and "18 " in row


def test_what_is_missed_and_met_is_said_of_one_arm():
    x = answers("x", {"a": 10, "b": 14}, {"a": 3, "b": 3})
    y = answers("y", {"a": 20, "b": 20}, {"a": 4, "b": 0})
    lines = confirm.verdicts(confirm.judge(pd.concat([BASE, x, y]), FLOORS))
    assert confirm.said(lines, "y") == (
        "`y`: not supported. Missed: 90.0% of the removable length removed, bound 95%; accuracy -12.5 points, its "
        "interval's lower end -37.5, bound -2; worst benchmark b -75.0 points, bound -5; at or above it, of the arms "
        "asked: x. Of the base's tokens 18% are left."
    )
    assert confirm.said(lines, "x").startswith("`x`: supported. Met: 98.0% of")


def test_an_equal_arm_stands_at_the_front_too():
    same = {"a": 10, "b": 10}, {"a": 3, "b": 3}
    lines = table(BASE, answers("x", *same), answers("y", *same))
    assert not lines.holds["x", "front"] and not lines.holds["y", "front"]


def test_the_lower_end_of_the_interval_decides():
    """As many lost as won: the estimate is 0, but resampling may lose more than the bound allows."""
    rows = answers("x", {"a": 10, "b": 10}, {"a": 3, "b": 2})
    line = table(BASE, rows).loc["x", "accuracy"]
    assert line.estimate == 0 and line.low < -confirm.NOT_BELOW and not line.holds


def test_problems_come_after_those_of_the_records(monkeypatch):
    monkeypatch.setattr(confirm, "PROBLEMS", 5)
    asked = scales.config("pocket", "base").eval_problems
    old = scales.world("pocket").benchmarks(asked)
    new = confirm.unseen("pocket")
    assert {b: len(p) for b, p in new.items()} == dict.fromkeys(old, 5)
    assert all(not set(new[b]["id"]) & set(old[b]["id"]) for b in old)


def test_too_few_problems_are_said(monkeypatch):
    monkeypatch.setattr(confirm, "PROBLEMS", 10**5)

    class Small:
        def benchmarks(self, n):
            return {"hole-2": scales_rows(201), "forward-3": scales_rows(n)}

    def scales_rows(n):
        class Rows(list):
            def select(self, at):
                return Rows(self[i] for i in at)

        return Rows(range(n))

    monkeypatch.setattr(scales, "world", lambda scale: Small())
    with pytest.raises(ConfigError, match="hole-2: fewer than"):
        confirm.unseen("pocket")


def test_deciding_arms_are_asked_at_every_seed_a_study_trains():
    runs = confirm.deciding("pocket")
    assert runs[:3] == [("base", 0), ("base", 1), ("base", 2)]
    asked = {arm: [k for a, k in runs if a == arm] for arm, _ in runs}
    deciding = {"egrc", "egrc-plus", *scales.RIVALS}
    assert all(asked[arm] == list(scales.FIVE) for arm in deciding)
    assert set(asked) == {"base", *scales.SCALES["pocket"].deciding}
    with pytest.raises(ConfigError, match="no arms to confirm"):
        confirm.deciding("smol")


def test_other_weights_make_it_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(confirm.paths, "DATA", tmp_path)
    monkeypatch.setattr(confirm, "deciding", lambda scale: [("egrc", 0), ("egrc", 1)])  # the second is not trained yet
    weights = stub_records.write(tmp_path, "egrc", 0) / "adapter"
    weights.mkdir(exist_ok=True)
    (weights / "w").write_text("1")
    assert confirm.recorded("pocket") == [("egrc", 0)]
    monkeypatch.setattr(records, "load", lambda *a: records.Record.load(weights.parent))
    with pytest.raises(records.RecordError, match="makes it"):
        confirm.load("pocket", tmp_path)
    write_parquet(confirm.file("pocket", tmp_path), BASE)
    write_json(confirm.file("pocket", tmp_path).with_suffix(".json"), confirm.stamp("pocket"))
    assert len(confirm.load("pocket", tmp_path)) == len(BASE)
    (weights / "w").write_text("2")
    with pytest.raises(records.RecordError, match="stale .weights changed"):
        confirm.load("pocket", tmp_path)
