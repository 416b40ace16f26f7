"""Table 1 on rows whose numbers can be worked out by hand, and on random ones for its form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic

from egrc.analysis import tables
from egrc.evaluation.intervals import paired_bootstrap
from egrc.experiments.records import RecordError, load_all
from egrc.figures import table1
from egrc.methods import MAIN

FLOOR = {"z": 20.0, "a": 10.0}


def rows(arm: str, seed: int, temperature: float, tokens: dict[str, int], correct: int) -> pd.DataFrame:
    """Four problems a benchmark, one sample each: the given length, the first `correct` of them right."""
    parts = [
        pd.DataFrame({"benchmark": b, "id": list("pqrs"), "tokens": n, "correct": np.arange(4) < correct})
        for b, n in tokens.items()
    ]
    return pd.concat(parts).assign(
        arm=arm, seed=seed, temperature=temperature, truncated=False, config=f"{arm}{seed}"
    )


@pytest.fixture
def by_hand() -> pd.DataFrame:
    """A base, better when cool, and an arm that shortens the long benchmark only, more on one seed."""
    return pd.concat(
        [
            rows("base", 0, 1.0, {"z": 100, "a": 40}, correct=2),
            rows("base", 0, 0.6, {"z": 90, "a": 40}, correct=3),
            rows("egrc", 0, 1.0, {"z": 20, "a": 40}, correct=4),
            rows("egrc", 1, 1.0, {"z": 40, "a": 40}, correct=2),
        ],
        ignore_index=True,
    )


def line(table: pd.DataFrame, benchmark: str, arm: str, temperature: float = 1.0) -> pd.Series:
    found = table.query("benchmark == @benchmark and arm == @arm and temperature == @temperature")
    assert len(found) == 1
    return found.iloc[0]


def test_numbers_by_hand(by_hand: pd.DataFrame) -> None:
    egrc = line(tables.compare(by_hand, FLOOR, 0.6), "z", "egrc")
    assert egrc["tokens"] == pytest.approx(30)
    assert egrc["share"] == pytest.approx(0.3)
    assert egrc["removed"] == pytest.approx((100 - 30) / (100 - 20))
    assert egrc["accuracy"] == pytest.approx(0.75)
    assert egrc["gain"] == pytest.approx(0.25)
    assert egrc["gain_best"] == pytest.approx(0.0)
    assert (egrc["seeds"], egrc["floor"]) == (2, 20.0)


def test_means_of_runs_are_those_of_the_whole_summary(by_hand: pd.DataFrame) -> None:
    keys, names = ["arm", "temperature", "seed", "benchmark"], ["accuracy", "mean_tokens"]
    whole = tables.by_seed(by_hand).query("benchmark != 'mean'").set_index(keys)[names].sort_index()
    pd.testing.assert_frame_equal(tables.run_means(by_hand).set_index(keys), whole)


def test_the_mean_is_over_benchmarks_of_the_fractions_not_a_fraction_of_means(by_hand: pd.DataFrame) -> None:
    mean = line(tables.compare(by_hand, FLOOR, 0.6), "mean", "egrc")
    assert mean["removed"] == pytest.approx((70 / 80 + 0) / 2)
    assert mean["share"] == pytest.approx((0.3 + 1) / 2)
    assert mean["floor"] == pytest.approx(15)


def test_the_spread_over_seeds_stands_beside_the_interval_over_problems(by_hand: pd.DataFrame) -> None:
    egrc = line(tables.compare(by_hand, FLOOR, 0.6), "z", "egrc")
    assert (egrc["tokens_min"], egrc["tokens_max"]) == (20, 40)
    assert (egrc["removed_min"], egrc["removed_max"]) == (pytest.approx(60 / 80), pytest.approx(1.0))
    assert egrc["tokens_low"] == egrc["tokens_high"] == 30  # every problem has the same length
    assert egrc["accuracy_low"] < 0.75 < egrc["accuracy_high"]


def test_the_base_is_not_compared_with_itself(by_hand: pd.DataFrame) -> None:
    table = tables.compare(by_hand, FLOOR, 0.6)
    for temperature in (1.0, 0.6):
        assert line(table, "mean", "base", temperature)[["gain", "share", "removed"]].isna().all()
    assert np.isnan(line(table, "mean", "base", 0.6)["gain_best"])
    assert line(table, "mean", "base", 1.0)["gain_best"] == pytest.approx(-0.25)


def test_without_base_floor_or_best_temperature_only_what_needs_them_is_empty(by_hand: pd.DataFrame) -> None:
    alone = line(tables.compare(by_hand[by_hand["arm"] == "egrc"], FLOOR, 0.6), "z", "egrc")
    assert alone["tokens"] == 30
    assert alone[["gain", "gain_best", "share", "removed"]].isna().all()
    unknown = line(tables.compare(by_hand, {"z": np.nan, "a": np.nan}, None), "z", "egrc")
    assert unknown["share"] == pytest.approx(0.3)
    assert unknown[["removed", "gain_best"]].isna().all()
    assert table1.cell(unknown, "removed") == "–"


def test_one_shared_bootstrap_gives_the_intervals_of_one_bootstrap_per_statistic() -> None:
    base, egrc = (synthetic.evaluation(arm, 0).assign(arm=arm, seed=0) for arm in ("base", "egrc"))
    table = tables.compare(pd.concat([base, egrc]), synthetic.FLOORS, None, ["gain"])
    sides = [side[side["temperature"] == 1.0] for side in (egrc, base)]
    expected = paired_bootstrap(*sides, "accuracy", tables.N_BOOT)
    assert tuple(line(table, "mean", "egrc")[["gain", "gain_low", "gain_high"]]) == pytest.approx(expected)
    assert expected[1] < expected[0] < expected[2]


def test_arms_asked_different_problems_are_refused(by_hand: pd.DataFrame) -> None:
    other = by_hand.assign(id=by_hand["id"].where(by_hand["arm"] == "base", by_hand["id"] + "'"))
    with pytest.raises(ValueError, match="different problems"):
        tables.compare(other, FLOOR, None)


def test_cells_show_estimate_interval_and_seeds(by_hand: pd.DataFrame) -> None:
    table = tables.compare(by_hand, FLOOR, 0.6)
    assert table1.cell(line(table, "z", "egrc"), "tokens") == "30.0 [30.0, 30.0] (20.0 to 40.0)"
    assert table1.cell(line(table, "z", "base"), "tokens") == "100.0 [100.0, 100.0]"  # one seed has no spread
    assert table1.cell(line(table, "z", "egrc"), "gain").startswith("+25.0 [")


def test_missing_arms_and_seeds_are_named() -> None:
    present = [("base", s) for s in range(3)] + [("egrc", 0), ("joint", 0), ("joint", 1)]
    assert tables.missing(("base", "egrc", "joint", "accuracy"), present) == [
        "egrc: only 1 seed",
        "joint: only 2 seeds",
        "accuracy: no record",
    ]


def test_without_any_record_the_error_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="egrc train"):
        tables.evaluations(load_all("pocket", tmp_path))


def test_best_temperature_is_what_the_world_recorded(tmp_path: Path) -> None:
    assert tables.best_temperature("pocket", tmp_path) is None
    (tmp_path / "pocket").mkdir()
    file = tmp_path / "pocket" / "world.json"
    file.write_text('{"base_best_temperature": 0.3}')
    assert tables.best_temperature("pocket", tmp_path) == 0.3
    file.write_text("{}")
    with pytest.raises(RecordError, match="egrc measure world"):
        tables.best_temperature("pocket", tmp_path)


def test_a_best_temperature_that_cannot_be_shown_is_said(by_hand: pd.DataFrame) -> None:
    assert tables.best_note(by_hand, 0.6) == ""
    assert "not recorded" in tables.best_note(by_hand, None)
    assert "not evaluated" in tables.best_note(by_hand, 0.3)
    assert tables.best_note(by_hand, 0.3) in table1.notes(tables.compare(by_hand, FLOOR, 0.3), by_hand, 0.3)
    assert tables.temperature_label(0.0, 0.0) == "greedy (base's best)"


def test_files_repeat_and_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "N_BOOT", 50)
    monkeypatch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)
    data = synthetic.write_runs(tmp_path / "data", ("base", "egrc"), seeds=2)
    once, again = (
        [f.read_bytes() for f in table1.write("pocket", data, tmp_path / part)] for part in ("once", "again")
    )
    assert once == again
    text, tex = ((tmp_path / "once" / f"table1.{kind}").read_text() for kind in ("md", "tex"))
    for shown in (text, tex):
        assert "joint: no record" in shown and "egrc: only 2 seeds" in shown
        assert all(b in shown for b in synthetic.BENCHMARKS) and "0.6 (base's best)" in shown and "greedy" in shown
    per_benchmark = 2 * len(synthetic.TEMPERATURES)
    assert sum(ln.startswith(("| base", "| egrc")) for ln in text.splitlines()) == per_benchmark * 7
    assert tex.count(r"\begin{longtable}") == tex.count(r"\end{longtable}") == 1
    assert all("%" not in ln.replace(r"\%", "") for ln in tex.splitlines()[1:])  # a bare % hides the rest of a line
    assert set(MAIN) == set(synthetic.ARMS)
