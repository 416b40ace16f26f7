"""What the notebooks show, and numbers that are worked out once, told apart by all of their arguments."""

import base64
import math
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from egrc import figures, paths
from egrc.experiments import shared
from egrc.figures import show, style
from egrc.paper import products

ROW = {
    "prompt": "1 + 2 ?", "tokens": ["so", "1", "2", "<eos>"],
    "entropies": [math.log(5), 0.0, math.log(1.2), math.log(2.5)], "correct": True, "length": 4,
}  # fmt: skip


def test_uncertain_tokens_differ_by_more_than_colour():
    shown = show.rollout(ROW)
    assert "so''' 1 2' <eos>''" in repr(shown)
    assert "font-weight:bold" in shown.html and "text-decoration:underline" in shown.html
    assert "&lt;eos&gt;" in shown.html and "<eos>" not in shown.html
    assert "[4 tokens, correct]" in repr(shown)
    data, display = shown._repr_mimebundle_()
    assert data.keys() == {"text/plain", "text/html"} and display == {}
    with pytest.raises(ValueError):
        show.rollout(ROW | {"entropies": [0.0]})


@pytest.fixture
def drawn(monkeypatch):
    """A figure's module that counts how often it is drawn, and its name."""
    scales = []

    def draw(scale):
        scales.append(scale)
        return Figure(figsize=(1, 1)), pd.DataFrame()

    monkeypatch.setitem(figures.FIGURES, "fig", "made_up_figure")
    monkeypatch.setitem(sys.modules, "made_up_figure", SimpleNamespace(draw=draw))
    return scales


def test_a_figure_is_drawn_where_nobody_has_drawn_it(drawn, monkeypatch):
    monkeypatch.delenv(shared.FOLDER, raising=False)
    shown = show.figure("fig", "pocket")
    assert shown.png.startswith(b"\x89PNG") and drawn == ["pocket"]
    data, display = shown._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == shown.png and data["text/plain"] == "fig"
    assert display == {"image/png": {"width": 100 * style.WIDTH, "alt": "fig"}}


def test_in_a_make_paper_the_figure_of_its_file_is_shown(drawn, monkeypatch, tmp_path):
    monkeypatch.setenv(shared.FOLDER, str(tmp_path / "shared"))
    monkeypatch.setattr(paths, "FIGURES", tmp_path)
    (tmp_path / "shared").mkdir()
    _, png = products._figure("fig", "pocket")
    assert show.figure("fig", "pocket").png == png.read_bytes() and drawn == ["pocket"]
    show.figure("fig", "smol")  # another scale's is another picture
    assert drawn == ["pocket", "smol"]


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
