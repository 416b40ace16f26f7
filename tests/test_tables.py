"""The numbers of table 1 on rows that can be worked out by hand, and the table itself on random ones."""

import numpy as np
import pandas as pd
import pytest
import synthetic

from egrc.analysis import tables
from egrc.experiments.records import RecordError, load_all
from egrc.figures import table1, typeset

FLOOR = {"z": 20.0, "a": 10.0}


def rows(arm: str, seed: int, temperature: float, tokens: dict[str, int], correct: int) -> pd.DataFrame:
    """Four problems a benchmark, one sample each: the given length, the first `correct` of them right."""
    parts = [
        pd.DataFrame({"benchmark": b, "id": list("pqrs"), "tokens": n, "correct": np.arange(4) < correct})
        for b, n in tokens.items()
    ]
    return pd.concat(parts).assign(arm=arm, seed=seed, temperature=temperature, truncated=False, config=f"{arm}{seed}")


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


def test_numbers_by_hand(by_hand):
    table = tables.compare(by_hand, FLOOR, 0.6)
    egrc, mean = line(table, "z", "egrc"), line(table, "mean", "egrc")
    names = ["tokens", "share", "removed", "accuracy", "gain", "gain_best", "seeds", "floor"]
    assert egrc[names].tolist() == pytest.approx([30, 0.3, (100 - 30) / (100 - 20), 0.75, 0.25, 0.0, 2, 20])
    # the mean is over benchmarks of the fractions, not a fraction of means
    assert mean[["removed", "share", "floor"]].tolist() == pytest.approx([(70 / 80 + 0) / 2, (0.3 + 1) / 2, 15])
    assert egrc[["tokens_min", "tokens_max", "removed_min", "removed_max"]].tolist() == [20, 40, 60 / 80, 1]
    assert egrc["tokens_low"] == egrc["tokens_high"] == 30  # every problem has the same length
    assert egrc["accuracy_low"] < 0.75 < egrc["accuracy_high"]
    for temperature in (1.0, 0.6):  # the base is not compared with itself
        assert line(table, "mean", "base", temperature)[["gain", "share", "removed"]].isna().all()
    assert np.isnan(line(table, "mean", "base", 0.6)["gain_best"])
    assert line(table, "mean", "base", 1.0)["gain_best"] == pytest.approx(-0.25)
    assert table1.cell(egrc, "tokens") == "30.0 [30.0, 30.0] (20.0 to 40.0)"
    assert table1.cell(line(table, "z", "base"), "tokens") == "100.0 [100.0, 100.0]"  # one seed has no spread
    assert table1.cell(egrc, "gain").startswith("+25.0 [")


def test_each_run_alone(by_hand):
    runs = tables.by_run(by_hand, FLOOR).query("temperature == 1.0").set_index(["arm", "seed", "benchmark"])
    assert runs.loc[("egrc", 0, "z"), list(tables.LEVELS)].tolist() == [1.0, 20, 1.0]
    assert runs.loc[("egrc", 1, "mean"), list(tables.LEVELS)].tolist() == pytest.approx([0.5, 40, (60 / 80 + 0) / 2])
    assert tables.by_run(by_hand)["removed"].isna().all()  # no floor is known


def test_without_base_floor_or_best_temperature_only_what_needs_them_is_empty(by_hand):
    alone = line(tables.compare(by_hand[by_hand["arm"] == "egrc"], FLOOR, 0.6), "z", "egrc")
    assert alone["tokens"] == 30 and alone[["gain", "gain_best", "share", "removed"]].isna().all()
    unknown = line(tables.compare(by_hand, {"z": np.nan, "a": np.nan}, None), "z", "egrc")
    assert unknown["share"] == pytest.approx(0.3) and unknown[["removed", "gain_best"]].isna().all()
    assert table1.cell(unknown, "removed") == "–"
    assert tables.best_note(by_hand, 0.6) == "" and tables.temperature_label(0.0, 0.0) == "greedy (base's best)"
    assert "not recorded" in tables.best_note(by_hand, None)
    assert tables.best_note(by_hand, 0.3) in table1.notes(by_hand, 0.3) and "0.3" in tables.best_note(by_hand, 0.3)


def test_arms_asked_different_problems_are_refused(by_hand):
    other = by_hand.assign(id=by_hand["id"].where(by_hand["arm"] == "base", by_hand["id"] + "'"))
    with pytest.raises(ValueError, match="different problems"):
        tables.compare(other, FLOOR, None)


def test_what_is_missing_is_named(tmp_path):
    present = [("base", s) for s in range(3)] + [("egrc", 0), ("joint", 0), ("joint", 1)]
    lacking = tables.missing(("base", "egrc", "joint", "accuracy"), present)
    assert lacking == "Missing: only 1 seed: egrc; only 2 seeds: joint; no record: accuracy."
    assert tables.missing({"egrc": 1, "joint": 2}, present) == ""
    with pytest.raises(RecordError, match="egrc train"):
        tables.evaluations(load_all("pocket", tmp_path))
    assert tables.best_temperature("pocket", tmp_path) is None and tables.compared_at("pocket", tmp_path) == 1
    file = tmp_path / "pocket" / "world.json"
    file.parent.mkdir()
    file.write_text('{"base_best_temperature": 0.3}')
    assert tables.best_temperature("pocket", tmp_path) == 0.3


def test_files_repeat_and_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "N_BOOT", 50)
    monkeypatch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)
    data = synthetic.write_runs(tmp_path / "data", ("base", "egrc"), seeds=2)
    once, again = ([f.read_bytes() for f in table1.write("pocket", data, tmp_path / name)] for name in ("a", "b"))
    assert once == again
    text, tex = (part.decode() for part in once)
    for shown in (text, tex):
        assert "only 2 seeds: base, egrc" in shown and "no record: accuracy, compression, joint" in shown
        assert all(b in shown for b in synthetic.BENCHMARKS) and "0.6 (base's best)" in shown and "greedy" in shown
    per_benchmark = 2 * len(synthetic.TEMPERATURES)
    assert sum(ln.startswith(("| base", "| egrc")) for ln in text.splitlines()) == per_benchmark * 7
    assert tex.count(r"\begin{longtable}") == tex.count(r"\end{longtable}") == 7


def test_a_table_without_rows_says_so_and_latex_swallows_nothing(tmp_path):
    table = pd.DataFrame({"arm": ["a_b"], "removed (%)": ["9.0 − 1"]})
    written = typeset.write(tmp_path / "table9", ["100%."], {"95% removed": table, "two": table[:0]})
    text, tex = (file.read_text() for file in written)
    assert text.startswith("# Table 9\n\n100%.\n\n## 95% removed\n\n| arm ") and text.endswith("## two\n\nNone yet.\n")
    assert r"a\_b" in tex and r"95\% removed" in tex and r"100\%." in tex and "9.0 $-$ 1" in tex
    assert "%" not in "".join(tex.splitlines()[1:]).replace(r"\%", "")
    assert r"\begin{longtable}{p{11.0cm}p{11.0cm}}" in tex
