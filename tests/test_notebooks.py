"""The notebooks: each is asked for its question and its limits, and each runs alone from top to bottom."""

import json
import re
from statistics import median

import pytest

from egrc import paths
from egrc.paper.products import execute

ALL = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
TRAINS = "03_reward_gate_trainer"
"""Trains a little with FRESH=True."""
# Code, formulas and the paper's number are no results; a decimal or a percentage in the rest would be.
NOT_PROSE = re.compile(r"`[^`]*`|\$[^$]*\$|arXiv [\d.]+")
RESULT = re.compile(r"\d+\.\d+|\d+ ?%|\b\d{2,}\s+(?:tokens|points|nats|steps|seconds|minutes)")


def cells(path, kind=None):
    """The cells of a notebook, of one kind if given, each with its source as one text."""
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c | {"source": "".join(c["source"])} for c in found if kind in (None, c["cell_type"])]


def each(test):
    return pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)(test)


@each
def test_opens_with_its_question_closes_with_its_limits_and_asks_for_predictions(path):
    first, last = cells(path)[0], cells(path)[-1]
    assert first["cell_type"] == last["cell_type"] == "markdown"
    assert re.search(r"\*\*Question\.\*\* .*\?", first["source"], re.DOTALL)
    assert last["source"].startswith("## Limits")
    texts = [cell["source"] for cell in cells(path, "markdown")]
    assert any("*Predict before you run:*" in text for text in texts)
    assert any("[ours]" in text or "[abstract]" in text for text in texts)


@each
def test_prose_holds_no_results_and_its_links_lead_somewhere(path):
    for cell in cells(path, "markdown"):
        assert RESULT.search(NOT_PROSE.sub("", cell["source"])) is None, cell["source"]
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", cell["source"]):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    ("prose", "is_result"),
    [("rose to 0.83", True), ("a fifth, 20% of", True), ("17 tokens", True), ("two of 3 seeds", False)],
)
def test_the_pattern_for_results(prose, is_result):
    assert bool(RESULT.search(prose)) == is_result


@each
def test_has_parameters_short_cells_and_stable_ids(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    tagged = [c["source"] for c in cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assert tagged == ['SCALE = "pocket"\nFRESH = False']
    assert median(len(cell["source"].splitlines()) for cell in cells(path, "code")) <= 6
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(rf"{path.stem[:2]}-\d\d", i) for i in ids)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("path", "fresh"),
    [*((p, False) for p in ALL), *((p, True) for p in ALL if p.stem == TRAINS)],
    ids=lambda value: getattr(value, "stem", str(value)),
)
def test_runs_alone_and_imports_trl_only_to_train(path, fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    notebook = json.loads(path.read_text(encoding="utf-8"))
    asks = {"cell_type": "code", "id": "ask", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"].append(asks | {"source": "import sys\nprint('imported', 'trl' in sys.modules)"})
    asked = tmp_path / path.name
    asked.write_text(json.dumps(notebook), encoding="utf-8")
    done = execute(asked, "pocket", tmp_path / "out", fresh)
    assert done.cells[-1].outputs[0].text == f"imported {fresh}\n"
