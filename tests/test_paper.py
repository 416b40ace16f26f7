"""`paper`: refuses missing and stale records by name, runs notebooks in its own kernel, replaces whole sets."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import nbformat
import pytest
import stub_records
from test_sweep import descendants

from egrc import paper, paths
from egrc.analysis import measure
from egrc.checks import ConfigError
from egrc.experiments import scales, sweep
from egrc.experiments.jobs import JobsError
from egrc.experiments.records import RecordError
from egrc.paper import products

ARMS, STUDIED = ("base", "joint", "egrc"), "joint-r0.5"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Folders of our own, with all records of a scale, and no figures to draw."""
    for name in ("DATA", "NOTEBOOKS", "FIGURES", "BUILD"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    small = {"arms": ARMS, "seeds": (0, 1, 2), "studies": {"dilemma": (STUDIED,)}, "study_seeds": {}}
    monkeypatch.setitem(scales.SCALES, "pocket", replace(scales.SCALES["pocket"], **small))
    for arm, seed in (*sweep.main("pocket"), *scales.extras("pocket")):
        stub_records.write(paths.DATA, arm, seed)
    monkeypatch.setattr(measure, "MEASUREMENTS", {})
    monkeypatch.setattr(products, "drawings", lambda scale: {})
    return tmp_path


def notebook(name, code):
    parameters = nbformat.v4.new_code_cell("SCALE, FRESH = 'none', True", metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, paths.NOTEBOOKS / f"{name}.ipynb")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: (data / "runs/pocket/egrc/seed-1").rename(data / "away"),
         "no records of:\n  pocket/egrc/seed-1\n.*ARM=egrc SEEDS=1"),
        (lambda data: stub_records.write(data, "joint", 2, stale=True),
         "stale records:\n  pocket/joint/seed-2: config changed: cap, steps"),
    ],
)  # fmt: skip
def test_missing_and_stale_records_are_named_and_nothing_is_made(home, change, message):
    change(paths.DATA)
    notebook("00_one", "print('seen')")
    with pytest.raises(RecordError, match=message):
        paper.paper("pocket")
    assert not list(paths.BUILD.rglob("*.ipynb")) and not (paths.BUILD / "paper" / "pocket").exists()


@pytest.mark.e2e
def test_notebooks_run_with_their_parameters_in_the_kernel_of_this_environment(home, monkeypatch):
    """A hub's JUPYTER_PATH offers a `python3` not ours; what fails is named with its error, the rest is made."""
    foreign = home / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(home / "jupyter"))
    told = f"import os, sys\nassert os.environ['SOURCE_DATE_EPOCH'] == {products.EPOCH!r}\n"
    notebook("00_one", told + "assert (SCALE, FRESH) == ('pocket', False)\nprint(sys.executable)")
    notebook("01_two", "raise ValueError('this very message')")
    with pytest.raises(JobsError, match="(?s)01_two failed.*this very message"):
        paper.paper("pocket")
    executed = nbformat.read(paths.BUILD / "notebooks" / "00_one.ipynb", 4)
    assert executed.cells[-1].outputs[0].text.strip() == sys.executable
    assert not (paths.BUILD / "paper" / "pocket").exists()
    with pytest.raises(ConfigError, match="no fig0 at scale 'pocket': choose from 01_two, 00_one"):
        paper.paper("pocket", only=["fig0"])


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ending_it_ends_all_that_it_started(home, number, tmp_path):
    notebook("00_one", "open('started', 'w').close()\nimport time\ntime.sleep(600)")
    code = f"""
import signal, sys
from pathlib import Path
from egrc import figures, paths
from egrc.paper import products
figures.FIGURES.clear()  # for this is quick, where there are none to load
paths.BUILD, paths.NOTEBOOKS = Path({str(paths.BUILD)!r}), Path({str(paths.NOTEBOOKS)!r})
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(1))
if __name__ == "__main__":
    products.make("pocket", only=["00_one"])
"""
    (tmp_path / "script.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    started = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], env=env)
    while not (paths.NOTEBOOKS / "started").exists():
        assert started.poll() is None
        time.sleep(0.1)
    family = descendants(started.pid)
    started.send_signal(number)
    assert started.wait(60) != 0
    end = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in family):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_figure_whose_measurement_lacks_is_named_and_the_others_are_drawn(monkeypatch, capsys):
    def draw(scale):
        raise measure.NotMade("no table")

    monkeypatch.setattr(products, "FIGURES", {"fig": "made_up_figure", "other": "elsewhere"})
    monkeypatch.setitem(sys.modules, "made_up_figure", SimpleNamespace(draw=draw))
    monkeypatch.setitem(sys.modules, "elsewhere", SimpleNamespace(draw=draw, SCALES=("smol",)))
    assert products._figure("fig", "pocket") == products._figure("other", "pocket") == []
    assert capsys.readouterr().out == "egrc: fig is not drawn: no table\n"


@pytest.fixture
def made(home, monkeypatch):
    """What was trained, by stand-ins that take 99 s: the base models, and each sweep's data folder and runs."""
    calls = []

    def base(jobs):
        for job in jobs:
            for kind in ("base", "start"):
                made = paths.Path(job.env["EGRC_DATA"]) / "pocket" / f"{kind}-{job.command[-1]}"
                made.mkdir(exist_ok=True)  # left by the call that was stopped
                (made / "model").write_text("new")
        calls.append("base")

    def runs(scale, data=None, runs=None):
        calls.append((data, runs))
        for arm, seed in runs if data else ():
            assert (data / "pocket" / "start-2" / "model").read_text() == (data / "problems").read_text() == calls[0]
            stub_records.write(data, arm, seed, seconds=99.0)
            if arm == "egrc" and "stop" in calls:
                raise JobsError("stopped")

    (paths.DATA / "problems").write_text("given")
    for kind, n in product(("base", "start"), range(3)):
        model = paths.DATA / "pocket" / f"{kind}-{n}" / "model"
        model.parent.mkdir(parents=True)
        model.write_text("given")
    monkeypatch.setattr(paper, "run_jobs", base)
    monkeypatch.setattr(paper, "sweep", runs)
    return calls


def seconds(*arms):
    files = [f for arm in arms for f in (paths.DATA / "runs" / "pocket" / arm).rglob("run.json")]
    return {json.loads(file.read_text())["seconds"] for file in files}


@pytest.mark.parametrize(
    ("asked", "anew"),
    [({}, ARMS), ({"everything": True}, (*ARMS, STUDIED)), ({"arms": ["egrc", STUDIED]}, ("egrc", STUDIED))],
)
def test_fresh_runs_replace_the_old_ones_when_all_are_there_on_the_models_that_are_given(asked, anew, made):
    models = "new" if "everything" in asked else "given"
    (paths.DATA / "problems").write_text(models)
    made += [models, "stop"]
    with pytest.raises(JobsError):
        paper.make_fresh("pocket", **asked)
    assert seconds(*ARMS, STUDIED) == {1.0}, "the old ones stand"
    made.remove("stop")
    paper.make_fresh("pocket", **asked)
    assert ("base" in made) == ("everything" in asked)
    assert seconds(*anew) == {99.0} and seconds(*({*ARMS, STUDIED} - {*anew})) <= {1.0}
    assert not (paths.BUILD / "fresh" / "pocket").exists()
    with pytest.raises(ConfigError, match="no runs of nonsense at scale 'pocket': choose from"):
        paper.make_fresh("pocket", arms=["nonsense"])


def test_measurements_and_recorded_runs_of_studies_follow(made, monkeypatch, capsys):
    measured = []
    made.append("given")
    (paths.DATA / "runs/pocket" / STUDIED / "seed-1").rename(paths.DATA / "away")
    monkeypatch.setattr(measure, "names", lambda scale: ["a", "b"])
    monkeypatch.setattr(measure, "make", lambda name, scale, fresh: measured.append((name, fresh)))
    monkeypatch.setattr(measure, "missing", lambda scale: ["c"])
    monkeypatch.setattr(products, "make", lambda *given: None)
    paper.paper("pocket", "main")
    lines = capsys.readouterr().out.splitlines()
    assert made[-1] == (None, [(STUDIED, 0), (STUDIED, 2)]) and measured == [("a", False), ("b", False)]
    assert "egrc: study dilemma: 2 of 3 runs (`python -m egrc sweep --study dilemma --scale pocket`)" in lines
    assert "egrc: not measured yet: c (`python -m egrc measure c --scale pocket`)" in lines
    paper.follow("pocket", everything=True)
    assert made[-1][1] == list(scales.extras("pocket")) and measured[2:] == [("a", True), ("b", True)]
