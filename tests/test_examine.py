"""`evaluate`: what it refuses before anything is loaded, and that a stopped evaluation equals an uninterrupted one."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from egrc import paths
from egrc.__main__ import main
from egrc.evaluation.problems import Problem
from egrc.evaluation.sampling import by_transformers
from egrc.experiments import evaluations, examine
from egrc.experiments.examine import Protocol, chosen, plan, run, who
from egrc.experiments.records import RecordError
from egrc.worlds.pocket import Pocket
from egrc.worlds.pocket.base import new_model
from egrc.worlds.pocket.tokenizer import build_tokenizer

FEW = Protocol(samples=2, temperature=1.0, top_p=1.0, cap=30, problems=4, dtype="float32", batch=4)
KIND = "forward-3"


def random_words(batch, stop_after=None):
    """A backend of random words of pocket's vocabulary; after `stop_after` calls it fails, as if it were killed."""
    torch.manual_seed(0)
    vocabulary = Pocket().clock.vocabulary
    backend, calls = by_transformers(new_model(len(vocabulary)), build_tokenizer(vocabulary), batch), []

    def generate(*arguments):
        calls.append(arguments)
        if stop_after is not None and len(calls) > stop_after:
            raise KeyboardInterrupt
        return backend.generate(*arguments)

    return replace(backend, generate=generate)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Pocket's evaluation with a tiny random model, recorded below a temporary folder."""

    def make(protocol=FEW, stop_after=None, **given):
        monkeypatch.setattr(examine, "load_backend", lambda planned: random_words(planned.protocol.batch, stop_after))
        return plan("pocket", KIND, protocol=protocol, out=tmp_path, **given)

    return make


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--benchmark gsm8k", "no benchmark 'gsm8k' at scale pocket: choose one of forward-2"),
        ("--benchmark nonsense --scale smol", "choose one of gsm8k, math500, amc23, aime24, aime25, olympiadbench"),
        ("--benchmark gsm8k --scale smol --data nowhere", "no folder nowhere: name one that holds"),
        ("--benchmark forward-3 --samples 0", "samples=0: pass@1 is a mean over at least 1 answer"),
        ("--benchmark forward-3 --temperature 0", "use --samples 1, or a temperature above"),
        ("--benchmark forward-3 --top-p 1.5", "top_p=1.5"),
        ("--benchmark forward-3 --cap 9999", "cap=9999: with the "),
        ("--benchmark forward-3 --backend llama", "no backend 'llama': choose one of transformers, vllm"),
        ("--benchmark forward-3 --backend vllm", "vLLM is not installed"),
        ("--benchmark forward-3 --adapter nowhere", "nowhere has no adapter_config.json: name a folder"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_loaded(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "load_backend", None)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments.split(), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_same_problems_are_drawn_whatever_the_order_of_the_file(monkeypatch):
    every = [Problem(f"gsm8k/{i}", f"What is {i} + {i}?", (str(2 * i),), "", "gsm8k") for i in range(50)]
    world, drawn = SimpleNamespace(name="smol", synthetic=False), []
    for shuffled in (every, every[::-1]):
        monkeypatch.setattr(examine.benchmarks, "load", lambda name, data, recorded=shuffled: recorded)
        drawn.append(chosen(world, "gsm8k", None, 10))
        assert [shuffled.index(p) for p in drawn[-1]] == sorted(shuffled.index(p) for p in drawn[-1])
    assert set(drawn[0]) == set(drawn[1]) and len(drawn[0]) == 10 and drawn[0] != every[:10]
    assert chosen(world, "gsm8k", None, 0) == every[::-1]


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("data/runs/pocket/egrc/seed-2/adapter", "egrc-seed-2"), ("my adapter", r"my-adapter-[0-9a-f]{8}")],
)
def test_who_answers(folder, expected, tmp_path):
    adapter = tmp_path / folder
    adapter.mkdir(parents=True)
    for name in examine.ADAPTER:
        (adapter / name).write_text(name)
    assert re.fullmatch(expected, who(adapter)) and who(None) == "base"
    before = examine.adapter_hash(adapter)
    (adapter / "README.md").write_text("a card")
    assert examine.adapter_hash(adapter) == before
    (adapter / examine.ADAPTER[1]).write_text("other weights")
    assert examine.adapter_hash(adapter) != before


def test_an_evaluation_is_recorded_with_all_that_decided_it(small, tmp_path, monkeypatch):
    progress, planned = [], small()
    path = run(planned, on_progress=lambda *words: progress.append(words))
    assert path == tmp_path / "evaluations/pocket/base/forward-3.parquet"
    recorded = evaluations.load(path)
    assert recorded.rows["id"].tolist() == [q["id"] for q in planned.questions for _ in range(2)]
    assert recorded.rows["sample"].tolist() == [0, 1] * 4
    assert set(recorded.settings) == set(evaluations.KEYS) and recorded.settings["problems"] == 4
    assert recorded.settings["template"] == "{problem}" and recorded.settings["model"] == "data/pocket/start-0"
    assert progress == [("evaluating", n, 4) for n in (0, 2, 4)]
    assert not planned.work.exists() and str(tmp_path) not in path.with_suffix(".json").read_text()
    before, again = path.stat().st_mtime_ns, small()
    monkeypatch.setattr(examine, "load_backend", None)
    assert run(again) == path and path.stat().st_mtime_ns == before
    with pytest.raises(RecordError, match=r"made otherwise \(samples: 2 then, 3 now\): --fresh replaces it"):
        small(replace(FEW, samples=3))


def test_a_stopped_evaluation_goes_on_and_equals_the_uninterrupted_one(small):
    whole = pd.read_parquet(run(small()))
    planned, progress = small(fresh=True, stop_after=1), []
    with pytest.raises(KeyboardInterrupt):
        run(planned, fresh=True)
    assert len(list(planned.work.glob("*.parquet"))) == 1
    planned.target.unlink()
    pd.testing.assert_frame_equal(pd.read_parquet(run(small(), on_progress=lambda *w: progress.append(w))), whole)
    assert progress == [("evaluating", 2, 4), ("evaluating", 4, 4)]
    with pytest.raises(KeyboardInterrupt):
        run(small(fresh=True, stop_after=1), fresh=True)
    planned.target.unlink()
    run(small(replace(FEW, seed=1)), on_progress=lambda *w: progress.append(w))
    assert progress[2] == ("evaluating", 0, 4), "what other settings left is not taken up"


@pytest.mark.e2e
def test_the_command_evaluates_base_and_adapter_alike(tmp_path, capsys):
    """Each adapter with the model it was trained on, which its seed names."""
    adapter = paths.DATA / "runs/pocket/egrc/seed-1/adapter"
    few = ["--samples", "2", "--problems", "4", "--out", str(tmp_path)]
    for more in ([], ["--adapter", str(adapter)], []):
        assert main(["evaluate", "--benchmark", KIND, *few, *more]) == 0
    assert "already there" in capsys.readouterr().out
    base, arm = evaluations.load_all(data=tmp_path)
    assert (base.settings["who"], arm.settings["who"]) == ("base", "egrc-seed-1")
    assert (base.settings["model"], arm.settings["model"]) == ("data/pocket/start-0", "data/pocket/start-1")
    assert json.loads(arm.path.with_suffix(".json").read_text())["adapter"] == examine.adapter_hash(adapter)
    assert arm.rows["tokens"].mean() < base.rows["tokens"].mean()  # the arm is brief
