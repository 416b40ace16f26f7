"""What the notebooks show."""

import base64
import math
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from egrc import figures, paths
from egrc.experiments import shared
from egrc.figures import show, style
from egrc.paper import products

ROW = {
    "prompt": "1 + 2 ?",
    "tokens": ["so", "1", "2", "<eos>"],
    "entropies": [math.log(5), 0.0, math.log(1.2), math.log(2.5)],
    "correct": True,
    "length": 4,
}


def test_source_is_the_functions_own():
    shown = show.source(show.rollout)
    assert "def rollout(row: pd.Series" in repr(shown)
    assert shown.markdown.startswith("```python\n") and repr(shown) in shown.markdown
    with pytest.raises(TypeError):
        show.source(3)


def test_header_is_the_docstring_and_by_name_imports_nothing():
    code = "import sys, egrc.figures.show as s; print(s.header('egrc.trainer')); assert 'trl' not in sys.modules"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "TRL" in shown.stdout, shown.stderr
    assert repr(show.header(show)) == show.__doc__.strip()
    for bare in (type(show)("bare"), "egrc.no_such_module"):
        with pytest.raises(ValueError, match="no docstring"):
            show.header(bare)


def test_uncertain_tokens_differ_by_more_than_colour():
    shown = show.rollout(ROW)
    assert "so''' 1 2' <eos>''" in repr(shown)
    assert "font-weight:bold" in shown.html and "text-decoration:underline" in shown.html
    assert "&lt;eos&gt;" in shown.html and "<eos>" not in shown.html
    assert "[4 tokens, correct]" in repr(shown)


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


def test_a_row_that_is_no_rollout_is_refused():
    with pytest.raises(ValueError):
        show.rollout(ROW | {"entropies": [0.0]})


def test_a_notebook_gets_html_and_plain_text():
    data, display = show.texts(["a"], ["1 < 2"])._repr_mimebundle_()
    assert data.keys() == {"text/plain", "text/html"} and display == {}
    assert "1 &lt; 2" in data["text/html"]


def test_the_pair_shown_first_is_the_ordinary_one_and_has_its_texts():
    def evaluation(lengths, text="so # 1"):
        rows = pd.DataFrame({"id": [str(i) for i in range(len(lengths))], "tokens": lengths})
        return rows.assign(benchmark="b", temperature=1.0, sample=0, text=text)

    first = show.same_problem(evaluation([90, 10, 40]), evaluation([9, 1, 4])).iloc[0]
    assert (first["tokens_before"], first["tokens_after"]) == (40, 4)
    with pytest.raises(ValueError, match="no problem has its text"):
        show.same_problem(evaluation([1]), evaluation([1], text=None))
