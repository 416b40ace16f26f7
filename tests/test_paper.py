"""`paper`: refuses missing and stale records by name, runs notebooks with their parameters, replaces whole sets."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import pytest
import stub_records

from egrc import figures, paper, paths
from egrc.checks import ConfigError
from egrc.experiments import jobs, measure, scales, sweep
from egrc.experiments.jobs import JobsError
from egrc.experiments.records import RecordError
from egrc.figures import claims, table1, table2, table3
from egrc.paper import products


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Folders of our own, with all records of a scale, and no figures to draw."""
    for name in ("DATA", "NOTEBOOKS", "FIGURES", "BUILD"):
        monkeypatch.setattr(paths, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setitem(scales.SCALES, "pocket", replace(scales.SCALES["pocket"], studies={"dilemma": ("joint-grpo",)}))
    for config in sweep.needed("pocket", [*sweep.main("pocket"), *scales.extras("pocket")]):
        stub_records.write(paths.DATA, config.arm, config.seed)
    monkeypatch.setattr(measure, "MEASUREMENTS", {})
    monkeypatch.setattr(products, "drawings", lambda scale: {})
    return tmp_path


def notebook(name, code):
    parameters = nbformat.v4.new_code_cell("SCALE, FRESH = 'none', True", metadata={"tags": ["parameters"]})
    book = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(book, paths.NOTEBOOKS / name)


def test_missing_records_are_named_before_anything_runs(home):
    (paths.DATA / "runs/pocket/egrc/seed-1").rename(home / "away")
    with pytest.raises(RecordError, match="no records of:\n  pocket/egrc/seed-1\n.*ARM=egrc SEEDS=1"):
        paper.paper("pocket", say=lambda line: None)
    assert not paper.spent("pocket")


def test_stale_records_are_named_before_anything_runs(home):
    stub_records.write(paths.DATA, "joint", 2, stale=True)
    with pytest.raises(RecordError, match="stale records:\n  pocket/joint/seed-2: config changed: cap, steps"):
        paper.paper("pocket", say=lambda line: None)
    assert not paper.spent("pocket")


def test_notebooks_run_with_their_parameters_and_times_are_kept(home):
    told = f"import os\nassert os.environ['SOURCE_DATE_EPOCH'] == {products.EPOCH!r}\n"
    notebook("00_one.ipynb", told + "assert (SCALE, FRESH) == ('pocket', False)\nprint('seen', SCALE)")
    times = paper.paper("pocket", say=lambda line: None)
    executed = nbformat.read(paths.BUILD / "notebooks" / "00_one.ipynb", 4)
    assert executed.cells[-1].outputs[0].text == "seen pocket\n"
    (written,) = paper.spent("pocket").values()
    assert written.keys() == times.keys() == {"records", "00_one", "total"}


@pytest.mark.parametrize(
    ("fresh", "arms", "command"),
    [
        (None, None, "make paper"), ("main", None, "make paper FRESH=1"), ("all", None, "make paper FRESH=all"),
        (None, ["egrc", "joint"], 'make paper ARMS="egrc joint"'),
    ],
)  # fmt: skip
def test_times_are_kept_by_the_command_that_took_them(home, monkeypatch, fresh, arms, command):
    done = []
    monkeypatch.setattr(paper, "make_fresh", lambda *given, **named: done.append("runs"))
    monkeypatch.setattr(paper, "follow", lambda scale, say, everything: done.append(("follow", everything)))
    monkeypatch.setattr(products, "make", lambda *given, **named: {})
    paper.paper("pocket", say=lambda line: None)
    assert done == []
    paper.paper("pocket", fresh, say=lambda line: None, arms=arms)
    assert set(paper.spent("pocket")) == {"make paper", command}
    anew = fresh or arms
    assert done == (["runs", ("follow", fresh == "all")] if anew else [])
    assert set(paper.spent("pocket")[command]) == ({"runs", "what follows from them"} if anew else set()) | {"total"}
    assert paper.spent("smol") == {}


def test_what_runs_took_is_kept_before_the_rest_follows(home, monkeypatch):
    def stopped(scale, say, everything):
        raise JobsError("stopped")

    monkeypatch.setattr(paper, "make_fresh", lambda *given, **named: None)
    monkeypatch.setattr(paper, "follow", stopped)
    with pytest.raises(JobsError):
        paper.paper("pocket", arms=["egrc"], say=lambda line: None)
    assert paper.spent("pocket")['make paper ARMS="egrc"'].keys() == {"runs"}


def test_a_failing_notebook_fails_the_paper_with_its_error(home):
    notebook("00_one.ipynb", "raise ValueError('this very message')")
    with pytest.raises(JobsError, match="(?s)00_one failed.*this very message"):
        paper.paper("pocket", say=lambda line: None)


def test_a_notebook_that_lacks_a_measurement_is_named_and_not_run(home, monkeypatch):
    notebook("00_one.ipynb", "raise ValueError")
    file = paths.NOTEBOOKS / "00_one.ipynb"
    book = nbformat.read(file, 4)
    book.metadata["egrc"] = {"needs": ["there", "lacking"]}
    nbformat.write(book, file)
    monkeypatch.setattr(measure, "missing", lambda scale: ["lacking"])
    monkeypatch.setattr(measure, "require_fresh", lambda scale: None)
    said = []
    paper.paper("pocket", say=said.append)
    assert "egrc: notebook 00_one is not run: it needs lacking" in said


def test_a_figure_whose_measurement_lacks_is_named_and_the_others_are_drawn(monkeypatch, capsys):
    def draw(scale):
        raise measure.NotMade("no table")

    monkeypatch.setattr(figures, "FIGURES", {"fig": "made_up_figure", "other": "elsewhere"})
    monkeypatch.setattr(figures, "NAMES", ("fig", "other"))
    monkeypatch.setitem(sys.modules, "made_up_figure", SimpleNamespace(draw=draw))
    monkeypatch.setitem(sys.modules, "elsewhere", SimpleNamespace(draw=draw, SCALES=("smol",)))
    monkeypatch.setattr(table1, "write", lambda scale, out: ["table"])
    monkeypatch.setattr(claims, "write", lambda out: ["claims"])
    monkeypatch.setattr(table2, "write", lambda out: ["benchmarks"])
    monkeypatch.setattr(table3, "wanted", lambda scale: {})
    assert products.draw("pocket") == ["table", "benchmarks", "claims"]
    assert capsys.readouterr().out.splitlines() == [
        "egrc: fig is not drawn: no table", "egrc: wrote table", "egrc: wrote benchmarks", "egrc: wrote claims"
    ]  # fmt: skip
    assert products.draw("smol") == ["table"]  # table 2 and the claims are of all scales, and stand once


def test_a_failing_drawing_is_named_and_the_rest_is_made(home, monkeypatch):
    notebook("00_one.ipynb", "print('seen')")
    monkeypatch.setattr(products, "drawings", lambda scale: {"fig0": None})  # unknown to its maker
    with pytest.raises(JobsError, match="(?s)fig0 failed; the end of .*fig0.log.*KeyError"):
        paper.paper("pocket", say=lambda line: None)
    assert (paths.BUILD / "notebooks" / "00_one.ipynb").exists()


def test_a_maker_takes_what_is_left(home, monkeypatch):
    made = []
    monkeypatch.setattr(figures, "FIGURES", {})
    drawn = {name: (lambda name=name: made.append(name) or []) for name in ("one", "two", "three")}
    monkeypatch.setattr(products, "drawings", lambda scale: drawn)
    logs = paths.BUILD / "logs"
    logs.mkdir()
    given = {"scale": "pocket", "logs": str(logs), "out": str(home), "tasks": dict.fromkeys(drawn)}
    (home / "tasks.json").write_text(json.dumps(given))
    (home / "go").touch()
    (home / "two.taken").touch()  # by the other maker
    products.take(home)
    assert made == ["one", "three"]
    assert not json.loads((home / "three.json").read_text())["failed"] and not (home / "two.json").exists()


def test_the_seconds_of_all_drawings_stand_together(home, monkeypatch):
    """Made by one maker in this process."""
    checked = []

    def one_maker(jobs_, at_once, meanwhile):
        jobs_[0].log.parent.mkdir(parents=True)
        meanwhile()
        products.take(products.Path(jobs_[0].command[-1]))

    monkeypatch.setattr(figures, "FIGURES", {})
    monkeypatch.setattr(products, "drawings", lambda scale: dict.fromkeys(("one", "two"), list))
    monkeypatch.setattr(products, "run_jobs", one_maker)
    found = products.make("pocket", ["one", "two"], [], lambda: checked.append(True))
    assert found.keys() == {"figures and tables"} and checked == [True]


# --- fresh ---


def make_all(scale, data=None, trust=True, runs=None):
    """Instead of a sweep: records that differ from the old ones; of a study's arms only if asked for."""
    if data is None:
        assert runs == list(scales.extras(scale))
        return
    for config in sweep.needed(scale, runs):
        stub_records.write(data, config.arm, config.seed, seconds=99.0)


def make_base(jobs_, **kwargs):
    """Instead of training a base model."""
    (job,) = jobs_
    folder = paths.BUILD / "fresh" / "pocket" / "pocket" / "base"
    assert job.env == {"EGRC_DATA": str(paths.BUILD / "fresh" / "pocket")}
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("new")


def seconds(arms=("joint-grpo",)):
    files = [f for arm in arms for f in (paths.DATA / "runs" / "pocket" / arm).rglob("run.json")]
    return {json.loads(file.read_text())["seconds"] for file in files}


def test_fresh_replaces_base_and_runs_when_all_are_there(home, monkeypatch):
    (paths.DATA / "problems").mkdir()
    (paths.DATA / "problems" / "given.jsonl").write_text("given")
    monkeypatch.setattr(paper, "run_jobs", make_base)
    monkeypatch.setattr(paper, "sweep", make_all)
    paper.make_fresh("pocket", lambda line: None)
    assert seconds(scales.SCALES["pocket"].arms) == {99.0}
    assert seconds() == {1.0}
    assert (paths.DATA / "pocket" / "base" / "model.safetensors").read_text() == "new"
    assert (paths.DATA / "problems" / "given.jsonl").read_text() == "given"
    assert not (paths.BUILD / "fresh" / "pocket").exists()


def test_a_stopped_fresh_run_keeps_the_old_records_and_goes_on(home, monkeypatch):
    def stopped(scale, data, trust, runs):
        stub_records.write(data, "egrc", 0, seconds=98.0)
        raise JobsError("stopped")

    monkeypatch.setattr(paper, "run_jobs", make_base)
    monkeypatch.setattr(paper, "sweep", stopped)
    with pytest.raises(JobsError):
        paper.make_fresh("pocket", lambda line: None)
    assert seconds(scales.SCALES["pocket"].arms) == {1.0}
    monkeypatch.setattr(paper, "run_jobs", jobs.run_jobs)  # a second training of the base would be seen
    seen = []

    def going_on(scale, data=None, trust=True, runs=None):
        if data is None:
            return
        assert not trust
        seen.extend(data.rglob("run.json"))
        make_all(scale, data, trust, runs)

    monkeypatch.setattr(paper, "sweep", going_on)
    paper.make_fresh("pocket", lambda line: None)
    assert [f.parent.name for f in seen] == ["seed-0"]
    assert seconds(scales.SCALES["pocket"].arms) == {99.0}


def test_fresh_all_makes_the_studies_anew_too(home, monkeypatch):
    monkeypatch.setattr(paper, "run_jobs", make_base)
    monkeypatch.setattr(paper, "sweep", make_all)
    paper.make_fresh("pocket", lambda line: None, everything=True)
    assert seconds() == {99.0}


def test_measurements_follow_fresh_runs(home, monkeypatch):
    made = []
    monkeypatch.setattr(paper, "sweep", make_all)
    monkeypatch.setattr(measure, "names", lambda scale: ["a", "b"])
    monkeypatch.setattr(measure, "make", lambda name, scale, fresh: made.append((name, scale, fresh)))
    paper.follow("pocket", lambda line: None)
    paper.follow("pocket", lambda line: None, everything=True)
    assert made == [("a", "pocket", False), ("b", "pocket", False), ("a", "pocket", True), ("b", "pocket", True)]


def test_only_the_arms_asked_for_are_made_anew_on_the_same_base(home, monkeypatch):
    base = paths.DATA / "pocket" / "base"
    base.mkdir(parents=True)
    (base / "model.safetensors").write_text("old")

    def on_the_same_base(scale, data=None, trust=True, runs=None):
        assert data is None or (data / "pocket" / "base" / "model.safetensors").read_text() == "old"
        make_all(scale, data, trust, runs)

    monkeypatch.setattr(paper, "run_jobs", jobs.run_jobs)  # a training of the base would be seen
    monkeypatch.setattr(paper, "sweep", on_the_same_base)
    paper.make_fresh("pocket", lambda line: None, arms=["joint", "joint-grpo"])
    assert seconds(["joint", "joint-grpo"]) == {99.0}
    assert seconds(["egrc"]) == {1.0}
    with pytest.raises(ConfigError, match="no runs of nonsense at scale 'pocket': choose from"):
        paper.make_fresh("pocket", lambda line: None, arms=["nonsense"])


def test_runs_that_a_study_lacks_are_named_and_not_made_by_the_way(home, monkeypatch):
    (paths.DATA / "runs/pocket/joint-grpo/seed-1").rename(home / "away")
    said = []
    paper.paper("pocket", say=said.append)
    assert "egrc: study dilemma: 2 of 3 runs (`python -m egrc sweep --study dilemma --scale pocket`)" in said
    asked = []
    monkeypatch.setattr(paper, "sweep", lambda scale, runs: asked.extend(runs))
    paper.follow("pocket", said.append)
    assert asked == [("joint-grpo", 0), ("joint-grpo", 2)]
