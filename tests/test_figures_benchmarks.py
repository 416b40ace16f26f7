"""Figure 11 on made-up evaluations: same bytes twice, every empty place explained, nothing without a protocol."""

import pytest
from matplotlib.text import Text
from test_evaluations import rows, write

from egrc.experiments.evaluations import NotEvaluated
from egrc.figures import fig11_benchmarks, style, table2
from egrc.worlds.deepseek import NOT_RUN


@pytest.fixture
def data(tmp_path):
    """Two kinds of pocket, base and trained, and one real set."""
    for who in ("base", "egrc-seed-0"):
        for kind in ("forward-3", "hole-2"):
            write(tmp_path, rows({"a": "rr", "b": "1x", "c": "r1"}), scale="pocket", who=who, benchmark=kind, code={})
    write(tmp_path, rows({"a": "r1", "b": "11"}), benchmark="gsm8k", code={})
    return tmp_path


def words(figure):
    return [t.get_text() for t in figure.findobj(Text) if t.get_text()]


def test_the_same_bytes_twice(data, tmp_path):
    once, again = (
        style.save(*fig11_benchmarks.draw("pocket", data), tmp_path / name / "fig11_benchmarks")
        for name in ("once", "again")
    )
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


def test_every_evaluation_is_drawn_and_every_gap_explained(data):
    figure, drawn = fig11_benchmarks.draw("pocket", data)
    assert len(drawn) == 5 and not drawn[["accuracy_low", "mean_tokens_high"]].isna().any(axis=None)
    said = words(figure)
    assert said.count("not recorded") == 3 and said.count(table2.NO_COPY) == 3
    assert {"GSM8K", "AIME 2025", "OlympiadBench", "Minerva", "forward-3", "hole-2"} <= set(said)
    assert any("k = 2, T = 0.6, top-p = 0.95, cap = 100" in text for text in said)
    assert any(NOT_RUN in text for text in said)


def test_without_evaluations_it_names_the_command(tmp_path):
    with pytest.raises(NotEvaluated, match="python -m egrc evaluate"):
        fig11_benchmarks.draw("pocket", tmp_path)
