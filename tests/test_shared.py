"""`shared`: a number is worked out once, told apart by all of its arguments, and the same afterwards."""

import numpy as np
import pandas as pd
import pytest

from egrc.experiments import shared


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(shared.FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def counted():
    calls = []

    @shared.once
    def work(table, name="x", n=1):
        calls.append((name, n))
        return table.assign(name=name, n=n)

    work.calls = calls
    return work


TABLE = pd.DataFrame({"value": [0.1, np.nan], "word": ["a", None], "list": [[1.0], [2.0, 3.0]]})


def test_it_is_worked_out_once_however_it_is_asked(counted, place, monkeypatch):
    first = counted(TABLE)
    assert counted(TABLE.copy(), n=1).equals(first) and counted(TABLE, "x").equals(first)
    assert counted.calls == [("x", 1)] and len(list(place.iterdir())) == 1
    monkeypatch.delenv(shared.FOLDER)  # then nothing is kept
    counted(TABLE)
    assert len(counted.calls) == 2


@pytest.mark.parametrize("other", [
    {"table": TABLE.assign(value=[0.1, 0.2])}, {"table": TABLE.rename(columns={"value": "other"})},
    {"table": TABLE.iloc[::-1].reset_index(drop=True)}, {"table": TABLE.assign(list=[[1.0], [2.0, 4.0]])},
    {"table": TABLE, "name": "y"}, {"table": TABLE, "n": 2},
])  # fmt: skip
def test_other_arguments_are_another_number(counted, place, other):
    counted(TABLE)
    counted(**other)
    assert len(counted.calls) == 2


def test_numbers_come_back_to_the_last_bit(place):
    numbers = pd.DataFrame({"x": np.random.default_rng(0).normal(size=100), "n": pd.array([1, None] * 50, "Int64")})
    kept_once = shared.once(lambda: numbers)
    for _ in range(2):
        pd.testing.assert_frame_equal(kept_once(), numbers, check_exact=True)


def test_a_file_is_handed_on(place, monkeypatch):
    assert shared.kept("one") is None
    shared.keep("one", b"bytes")
    assert shared.kept("one") == b"bytes" and shared.kept("other") is None
    monkeypatch.delenv(shared.FOLDER)
    shared.keep("two", b"bytes")  # nobody to hand it to
    assert shared.kept("one") is None and [file.name for file in place.iterdir()] == ["one"]
