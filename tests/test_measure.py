"""Measurements: parts, resuming, staleness by name, and what is refused."""

import os
import subprocess
import sys
import types

import pandas as pd
import pytest

from egrc import paths
from egrc.analysis import measure
from egrc.atomic import write_json, write_parquet
from egrc.experiments.records import RecordError


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A measurement of two parts, whose jobs run in this process; `calls` says which parts were measured."""
    made = types.ModuleType("egrc.analysis.toy")
    made.COLUMNS, made.calls, made.run, made.at_most = ("value",), [], "1", 2
    made.parts = lambda scale: ["long/0", "short/0"]
    made.inputs = lambda scale: {"run": made.run}

    def one(scale, part, work, say):
        made.calls.append(part)
        assert work.is_dir()
        return pd.DataFrame({"value": [len(part), 2]})

    def in_this_process(jobs):
        for job in jobs[: made.at_most]:
            measure.make_part(job.command[4], "pocket", job.command[-1], lambda done, total: None)
        if len(jobs) > made.at_most:
            raise KeyboardInterrupt

    made.measure = one
    monkeypatch.setitem(sys.modules, "egrc.analysis.toy", made)
    monkeypatch.setattr(measure, "MEASUREMENTS", {"toy": ("pocket",)})
    monkeypatch.setattr(measure, "run_jobs", in_this_process)
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    return made


def test_reading_a_table_loads_no_model_library(tmp_path):
    table = pd.DataFrame({"scale": ["pocket"], "tokenizer": "t", "value": 1.0})
    file = measure.file("policies", "pocket", tmp_path)
    write_parquet(file, table)
    write_json(file.with_suffix(".json"), {"columns": list(table)})
    code = "from egrc.analysis import rows; rows.load('policies', 'pocket')"
    code += "; import sys; print({'trl', 'transformers'} & set(sys.modules))"
    env = {**os.environ, "EGRC_DATA": str(tmp_path), "PYTHONPATH": str(paths.ROOT)}
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert loaded.stdout.strip() == "set()"


def test_parts_are_joined_in_their_order_and_made_once(toy):
    for fresh in (False, False, True):
        measure.make("toy", "pocket", fresh)
    table = measure.load("toy", "pocket")
    assert table["part"].tolist() == ["long/0", "long/0", "short/0", "short/0"]
    assert table["value"].tolist() == [6, 2, 7, 2]
    assert toy.calls == ["long/0", "short/0"] * 2
    assert not list(paths.BUILD.rglob("*.parquet"))


@pytest.mark.parametrize(("run", "calls"), [("1", ["long/0", "short/0"]), ("2", ["long/0", "long/0", "short/0"])])
def test_a_stopped_measurement_goes_on_unless_its_inputs_changed(toy, run, calls):
    toy.at_most = 1
    with pytest.raises(KeyboardInterrupt):
        measure.make("toy", "pocket")
    assert measure.missing("pocket") == ["toy"]
    toy.at_most, toy.run = 2, run
    measure.make("toy", "pocket")
    assert toy.calls == calls and measure.missing("pocket") == []


def test_stale_measurements_are_named_with_what_changed(toy):
    measure.require_fresh("pocket")
    measure.make("toy", "pocket")
    measure.require_fresh("pocket")
    toy.run = "2"
    with pytest.raises(RecordError, match="toy: inputs changed: run"):
        measure.require_fresh("pocket")


def test_tables_that_lack_something_are_named(toy):
    file = measure.make("toy", "pocket")
    pd.DataFrame({"other": [1]}).to_parquet(file)
    with pytest.raises(RecordError, match="toy.parquet: no value"):
        measure.load("toy", "pocket")
    file.unlink()
    with pytest.raises(RecordError, match="make it with `python -m egrc measure toy --scale pocket`"):
        measure.load("toy", "pocket")
