"""Measurements: parts, resuming, staleness by name, and what is refused."""

import json
import math
import subprocess
import sys
import types

import pandas as pd
import pytest

from egrc import paths
from egrc.checks import ConfigError
from egrc.experiments import fingerprint, measure
from egrc.experiments.records import RecordError


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A measurement of two parts, whose jobs run in this process; `calls` says which parts were measured."""
    made = types.ModuleType("egrc.analysis.toy")
    made.SCALES, made.COLUMNS, made.calls, made.found = ("pocket",), ("value",), [], {"run": "1"}
    made.parts = lambda scale: ["long/0", "short/0"]
    made.inputs = lambda scale: dict(made.found)

    def one(scale, part, work, say):
        made.calls.append(part)
        say(1, 1)
        assert work.is_dir()
        return pd.DataFrame({"value": [len(part), 2]})

    def in_this_process(jobs):
        for job in jobs:
            name, part = job.command[4], job.command[-1]
            measure.make_part(name, "pocket", part, lambda done, total: None)

    made.measure = one
    monkeypatch.setitem(sys.modules, "egrc.analysis.toy", made)
    monkeypatch.setattr(measure, "MEASUREMENTS", {"toy": ("pocket", "a toy")})
    monkeypatch.setattr(measure, "run_jobs", in_this_process)
    made.code = {"egrc.analysis.toy": tmp_path / "toy.py"}
    made.code["egrc.analysis.toy"].write_text("x = 1")
    monkeypatch.setattr(fingerprint, "reachable", lambda entry, leave_out: made.code)
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return made


def test_modules_say_the_same_scale():
    assert {name: measure.module(name).SCALES for name in measure.MEASUREMENTS} == {
        name: (measure.made_at(name),) for name in measure.MEASUREMENTS
    }


def test_reading_a_table_loads_no_model_library():
    read = "from egrc.analysis import rows; rows.load('floor', 'pocket'); rows.load('words', 'smol')"
    loaded = f"{read}; import sys; print({{'torch', 'transformers'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True, cwd=paths.ROOT)
    assert found.stdout.strip() == "set()"


def test_parts_are_joined_in_their_order(toy):
    measure.make("toy", "pocket")
    table = measure.load("toy", "pocket")
    assert table["part"].tolist() == ["long/0", "long/0", "short/0", "short/0"]
    assert table["value"].tolist() == [6, 2, 7, 2]
    assert not list(paths.BUILD.rglob("*.parquet"))


def test_what_is_there_and_not_stale_is_not_measured_again(toy):
    measure.make("toy", "pocket")
    measure.make("toy", "pocket")
    assert toy.calls == ["long/0", "short/0"]
    measure.make("toy", "pocket", fresh=True)
    assert len(toy.calls) == 4


def test_a_stopped_measurement_goes_on_with_the_parts_that_are_missing(toy, monkeypatch):
    run_all = measure.run_jobs
    monkeypatch.setattr(measure, "run_jobs", lambda jobs: (run_all(jobs[:1]), sys.exit(1)))
    with pytest.raises(SystemExit):
        measure.make("toy", "pocket")
    assert not measure.file("toy", "pocket").exists()
    monkeypatch.setattr(measure, "run_jobs", run_all)
    measure.make("toy", "pocket")
    assert toy.calls == ["long/0", "short/0"]


def test_parts_measured_by_other_code_are_forgotten(toy, monkeypatch):
    run_all = measure.run_jobs
    monkeypatch.setattr(measure, "run_jobs", lambda jobs: (run_all(jobs[:1]), sys.exit(1)))
    with pytest.raises(SystemExit):
        measure.make("toy", "pocket")
    monkeypatch.setattr(measure, "run_jobs", run_all)
    toy.code["egrc.analysis.toy"].write_text("x = 2")
    measure.make("toy", "pocket")
    assert toy.calls == ["long/0", "long/0", "short/0"]


def test_stale_measurements_are_named_with_what_changed(toy):
    assert measure.missing("pocket") == ["toy"]
    measure.require_fresh("pocket")
    measure.make("toy", "pocket")
    assert measure.missing("pocket") == []
    measure.require_fresh("pocket")
    toy.found["run"] = "2"
    with pytest.raises(RecordError, match="toy: inputs changed: run"):
        measure.require_fresh("pocket")
    toy.found["run"] = "1"
    toy.code["egrc.analysis.toy"].write_text("x = 2")
    with pytest.raises(RecordError, match="toy: code changed: egrc.analysis.toy"):
        measure.require_fresh("pocket")


def test_comments_do_not_make_stale(toy):
    measure.make("toy", "pocket")
    toy.code["egrc.analysis.toy"].write_text('"""A word."""\nx = 1  # another')
    assert measure.stale("toy", "pocket") is None


def test_verify_measures_a_part_again_and_restamps_only_what_agrees(toy):
    measure.make("toy", "pocket")
    toy.code["egrc.analysis.toy"].write_text("x = 2")
    said = []
    assert measure.verify("toy", "pocket", said.append)
    assert "agrees" in said[0]
    assert measure.stale("toy", "pocket") is None
    toy.code["egrc.analysis.toy"].write_text("x = 3")
    toy.measure = lambda scale, part, work, say: pd.DataFrame({"value": [0, 2]})
    assert not measure.verify("toy", "pocket", said.append)
    assert "short/0 now differs" in said[1]
    assert measure.stale("toy", "pocket")


def test_a_column_that_one_part_lacks_is_no_difference(toy):
    said = {"long/0": "a", "short/0": None}
    toy.measure = lambda scale, part, work, say: pd.DataFrame({"value": [0, 1], "text": said[part]})
    measure.make("toy", "pocket")
    toy.code["egrc.analysis.toy"].write_text("x = 2")
    assert measure.verify("toy", "pocket", lambda line: None)


@pytest.mark.parametrize(
    ("column", "other", "same"),
    [
        ([1.0, 100.0], [1.0, 100.005], True),  # TOLERANCE of the largest
        ([1.0, 100.0], [1.005, 100.0], True),  # of the column's largest, not of its own
        ([1.0, 100.0], [1.02, 100.0], False),
        ([1, 1000000], [1, 1000001], False),  # whole numbers are counts
        ([True, False], [True, True], False),
        (["a", None], ["a", None], True),
        (["a", None], ["a", "b"], False),
        ([1.0, math.nan], [1.0, math.nan], True),
        ([1.0, math.nan], [1.0, 2.0], False),
        ([[1.0, 2.0], [3.0]], [[1.0, 2.0001], [3.0]], True),
        ([[1.0, 2.0], [3.0]], [[1.0], [2.0, 3.0]], False),
        ([[1.0, 2.0], [3.0]], [[1.0, 2.0], [3.1]], False),
        ([[], [3.0]], [[], [3.0]], True),
    ],
)
def test_tables_agree_up_to_rounding(column, other, same):
    a, b = (pd.DataFrame({"value": values}) for values in (column, other))
    assert measure.agree(a, b) is same
    assert not measure.agree(a, b.rename(columns={"value": "other"}))


def test_changed_inputs_cannot_be_verified(toy):
    measure.make("toy", "pocket")
    toy.found["run"] = "2"
    said = []
    assert not measure.verify("toy", "pocket", said.append)
    assert said == ["toy: inputs changed: run; measure it again"]


def test_the_seconds_of_each_part_are_kept(toy):
    measure.make("toy", "pocket")
    kept = json.loads(measure.file("toy", "pocket").with_suffix(".json").read_text())
    assert kept["seconds"].keys() == {"long/0", "short/0"}


def test_wrong_names_are_refused_with_the_valid_ones(toy):
    with pytest.raises(ConfigError, match="no measurement 'nonsense': choose one of toy"):
        measure.module("nonsense")
    with pytest.raises(ConfigError, match="no part 'x' of toy: choose one of long/0, short/0"):
        measure.make_part("toy", "pocket", "x", lambda done, total: None)
    with pytest.raises(ConfigError, match="not made at scale 'smol': choose one of pocket"):
        measure.make("toy", "smol")


def test_damaged_tables_are_named(toy):
    measure.make("toy", "pocket")
    file = measure.file("toy", "pocket")
    file.write_bytes(b"nonsense")
    with pytest.raises(RecordError, match="toy.parquet: damaged"):
        measure.load("toy", "pocket")
    pd.DataFrame({"other": [1]}).to_parquet(file)
    with pytest.raises(RecordError, match="toy.parquet: no value"):
        measure.load("toy", "pocket")
    file.unlink()
    with pytest.raises(RecordError, match="make it with `python -m egrc measure toy --scale pocket`"):
        measure.load("toy", "pocket")
