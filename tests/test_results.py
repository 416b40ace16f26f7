"""Results: runs and evaluations in one table, in which nobody's old columns have moved."""

import stub_records
from test_evaluations import rows, write

from egrc.experiments.results import COLUMNS, results


def test_runs_and_evaluations_stand_together(tmp_path):
    stub_records.write(tmp_path, "base", 0)
    write(tmp_path, rows({"a": "rr5", "b": "111"}, thinking=4), scale="pocket", benchmark="hole-2")
    table = results("pocket", tmp_path)
    assert list(table.columns) == COLUMNS
    assert table["source"].tolist() == ["run"] * 4 + ["evaluation"]
    run, evaluation = table.iloc[0], table.iloc[4]
    assert (run["top_p"], run["cap"]) == (1, 240) and run[["majority", "accuracy_low"]].isna().all()
    assert evaluation[["arm", "seed", "benchmark", "temperature", "samples", "cap"]].tolist() == [
        "base", 0, "hole-2", 0.6, 2, 100,
    ]  # fmt: skip
    assert evaluation["accuracy"] == 1 / 3 and evaluation["majority"] == 0.5
    assert evaluation["mean_tokens"] == evaluation["thinking_tokens"] + evaluation["answer_tokens"] == 11
    assert evaluation["floor_tokens"] == run["floor_tokens"] or evaluation["floor_tokens"] > 1


def test_evaluations_alone_are_enough(tmp_path):
    write(tmp_path, rows({"a": "r1"}))
    table = results("smol", tmp_path)
    assert len(table) == 1 and table["floor_tokens"].isna().all() and table["stale"].isna().all()
    none = results("gpu", tmp_path)
    assert none.empty and list(none.columns) == COLUMNS
