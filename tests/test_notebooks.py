"""The notebooks: each is asked for its question and its limits, and each runs from top to bottom."""

import json
import os
import re
import sys
from statistics import median

import forked
import pytest
from ipykernel.zmqshell import InteractiveShell

from egrc import paths

ALL = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
TRAINS = "03_from_scratch"
"""Trains a little with FRESH=True.  (05 trains, too: in another process, by the command that it is about.)"""
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
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", cell["source"]):
            assert (path.parent / target).exists(), target


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
    assert all(re.fullmatch(r"\w\w?-\d\d", i) for i in ids)


class Shell(InteractiveShell):
    """IPython without a window."""

    def enable_gui(self, gui=None):
        pass


def run(path, fresh):
    """Run a notebook from top to bottom, as a kernel does; TRL may be imported only where something is trained."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("egrc", "trl")]:
        del sys.modules[name]  # this process has them of the test that it was forked from
    os.chdir(path.parent)
    shell = Shell.instance()
    shell.enable_matplotlib("inline")
    trains = False
    for cell in cells(path, "code"):
        parameters = "parameters" in cell["metadata"].get("tags", [])
        shell.run_cell(f'SCALE, FRESH = "pocket", {fresh}' if parameters else cell["source"]).raise_error()
        trains |= fresh and "if FRESH" in cell["source"]
        assert trains or "trl" not in sys.modules, cell["source"]
    assert trains == fresh


@pytest.mark.e2e
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_runs_and_imports_trl_only_to_train(path, tmp_path, shared_numbers, capfd):
    process = forked.start(run, path, path.stem == TRAINS, IPYTHONDIR=str(tmp_path))
    assert forked.exit_code(process) == 0, capfd.readouterr()
