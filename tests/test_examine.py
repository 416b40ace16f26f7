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
from egrc.checks import ConfigError
from egrc.evaluation import ask, generation
from egrc.evaluation.benchmarks import BenchmarkError
from egrc.evaluation.problems import Problem
from egrc.experiments import evaluations, examine
from egrc.experiments.examine import PROTOCOLS, Protocol, chosen, plan, put, run, who
from egrc.experiments.records import RecordError
from egrc.worlds.deepseek import Gpu

FEW = Protocol(samples=2, temperature=1.0, top_p=1.0, cap=30, problems=4, dtype="float32", batch=4)
KIND = "forward-3"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Pocket's evaluation with a tiny random model, recorded below a temporary folder."""
    monkeypatch.setattr(examine, "load_backend", lambda planned: Random(planned.protocol.batch))
    return lambda protocol=FEW, **given: plan("pocket", KIND, protocol=protocol, out=tmp_path, **given)


class Random(generation.Transformers):
    """Random words of pocket's vocabulary; `stop_after` calls it fails, as if it were killed."""

    stop_after = None

    def __init__(self, batch):
        from egrc.worlds.pocket.base import new_model
        from egrc.worlds.pocket.tokenizer import build_tokenizer

        torch.manual_seed(0)
        super().__init__(new_model(), build_tokenizer(), batch)
        self.calls = 0

    def generate(self, asks, sampling):
        self.calls += 1
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        return super().generate(asks, sampling)


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--benchmark gsm8k", "no benchmark 'gsm8k' at scale pocket: choose one of forward-3"),
        ("--benchmark forward-3 hole-9", "no benchmark 'hole-9' at scale pocket"),
        ("--benchmark nonsense --scale smol", "choose one of gsm8k, math500, amc23, aime24, aime25, olympiadbench"),
        ("--benchmark gsm8k --scale smol --data nowhere", "no folder nowhere: name one that holds"),
        ("--benchmark forward-3 --samples 0", "samples=0: pass@1 is a mean over at least 1 answer"),
        ("--benchmark forward-3 --problems -1", "problems=-1"),
        ("--benchmark forward-3 --temperature 0", "use --samples 1, or a temperature above"),
        ("--benchmark forward-3 --temperature -1", "temperature=-1.0: 0 for greedy"),
        ("--benchmark forward-3 --top-p 1.5", "top_p=1.5"),
        ("--benchmark forward-3 --cap 0", "cap=0: at least 1 token"),
        ("--benchmark forward-3 --batch 0", "batch=0"),
        ("--benchmark forward-3 --cap 9999", "cap=9999: the model of scale pocket reads"),
        ("--benchmark forward-3 --backend llama", "no backend 'llama': choose one of transformers, vllm"),
        ("--benchmark forward-3 --backend vllm", "vLLM is not installed"),
        ("--benchmark forward-3 --adapter nowhere", "nowhere has no adapter_config.json and no adapter_model"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_loaded(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "load_backend", None)
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments.split(), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_of_another_base_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="was trained on 'someone/else', but scale pocket starts from 'data/pocket"):
        plan("pocket", KIND, adapter=tmp_path, protocol=FEW, out=tmp_path)


def test_a_cap_that_leaves_no_room_for_the_longest_prompt_says_what_would_fit(tmp_path):
    room = examine.context(examine.scales.world("pocket"))
    with pytest.raises(ConfigError, match=rf"more than the {room} .*at most --cap {room - 6}"):
        plan("pocket", KIND, protocol=replace(FEW, cap=room - 1), out=tmp_path)


def test_a_missing_set_names_the_folder_and_the_hub(tmp_path):
    with pytest.raises(BenchmarkError, match=r"no .*/gsm8k/test.jsonl"):
        plan("smol", "gsm8k", data=tmp_path, out=tmp_path / "out")


def test_without_a_gpu_the_paper_s_models_are_not_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "chosen", lambda *_: [])
    with pytest.raises(ConfigError, match="scale gpu needs a GPU"):
        plan("gpu", "gsm8k", out=tmp_path)


def test_a_gpu_that_is_full_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(examine, "chosen", lambda *_: [])
    monkeypatch.setattr("egrc.worlds.deepseek.require_gpu", lambda scale: None)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (3e9, 80e9))
    monkeypatch.setattr("egrc.worlds.hub.require", None)
    with pytest.raises(ConfigError, match="the weights take 4 GB, the answers more, and 3 GB are free"):
        plan("gpu", "gsm8k", out=tmp_path)


# --- what is asked ---


def test_pocket_asks_its_own_problems_as_they_are(small):
    planned = small()
    assert len(planned.questions) == 4 and planned.questions[0].prompt == planned.questions[0].id
    assert planned.settings["template"] == "{problem}" and planned.settings["model"] == "data/pocket/base"


def test_the_same_problems_are_drawn_whatever_the_order_of_the_file(monkeypatch):
    every = [Problem(f"gsm8k/{i}", f"What is {i} + {i}?", (str(2 * i),), "", "gsm8k") for i in range(50)]
    world, drawn = SimpleNamespace(name="smol"), []
    for shuffled in (every, every[::-1]):
        monkeypatch.setattr(examine.benchmarks, "load", lambda name, data, found=shuffled: found)
        drawn.append(chosen(world, "gsm8k", None, 10))
        assert [shuffled.index(p) for p in drawn[-1]] == sorted(shuffled.index(p) for p in drawn[-1])
    assert set(drawn[0]) == set(drawn[1]) and len(drawn[0]) == 10 and drawn[0] != every[:10]
    assert chosen(world, "gsm8k", None, 0) == every[::-1]


def test_real_problems_are_put_in_the_set_s_template():
    problem = Problem("gsm8k/1", "What is 1 + 1?", ("2",), "", "gsm8k")
    seen = []
    chat = SimpleNamespace(apply_chat_template=lambda messages, **how: seen.append((messages, how)) or "asked")
    assert put("smol", [problem], chat) == [ask.Question("gsm8k/1", "asked", ("2",))]
    ((messages, how),) = seen
    assert messages == [{"role": "user", "content": "What is 1 + 1?\n\nPut the final answer in \\boxed{}."}]
    assert how == {"tokenize": False, "add_generation_prompt": True}
    (question,) = put("gpu", [problem], None)
    assert question.thinks and "Put the final answer in" in question.prompt
    assert not put("smol", [problem], chat)[0].thinks


def test_every_scale_has_a_protocol_within_its_model_s_reach():
    assert PROTOCOLS.keys() == examine.scales.SCALES.keys()
    assert PROTOCOLS["gpu"].cap < Gpu().model_config().max_position_embeddings
    assert (PROTOCOLS["gpu"].temperature, PROTOCOLS["gpu"].top_p) == (0.6, 0.95)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("data/runs/pocket/egrc/seed-2/adapter", "egrc-seed-2"), ("my adapter", r"my-adapter-[0-9a-f]{8}")],
)
def test_who_answers(folder, expected, tmp_path):
    adapter = tmp_path / folder
    adapter.mkdir(parents=True)
    for name in examine.ADAPTER:
        (adapter / name).write_text(name)
    assert re.fullmatch(expected, who(adapter))
    before = examine.adapter_hash(adapter)
    (adapter / "README.md").write_text("a card")
    assert examine.adapter_hash(adapter) == before
    (adapter / examine.ADAPTER[1]).write_text("other weights")
    assert examine.adapter_hash(adapter) != before
    assert who(None) == "base"


# --- from the plan to the record ---


def test_an_evaluation_is_recorded_with_all_that_decided_it(small, tmp_path):
    said = []
    planned = small()
    path = run(planned, on_progress=lambda *words: said.append(words))
    assert path == tmp_path / "evaluations/pocket/base/forward-3.parquet"
    found = evaluations.load(path)
    assert found.rows["id"].tolist() == [q.id for q in planned.questions for _ in range(2)]
    assert found.rows["sample"].tolist() == [0, 1] * 4
    assert found.settings.keys() >= set(evaluations.KEYS) and found.settings["problems"] == 4
    assert said == [("evaluating", n, 4) for n in (0, 2, 4)]
    assert not planned.work.exists() and str(tmp_path) not in path.with_suffix(".json").read_text()


def test_a_stopped_evaluation_goes_on_and_equals_the_uninterrupted_one(small, monkeypatch):
    whole = pd.read_parquet(run(small()))
    monkeypatch.setattr(Random, "stop_after", 1)
    planned = small(fresh=True)
    with pytest.raises(KeyboardInterrupt):
        run(planned, fresh=True)
    assert len(list(planned.work.glob("*.parquet"))) == 1
    monkeypatch.setattr(Random, "stop_after", None)
    said = []
    evaluations.file("pocket", "base", KIND, planned.target.parents[3]).unlink()
    pd.testing.assert_frame_equal(pd.read_parquet(run(planned, on_progress=lambda *w: said.append(w))), whole)
    assert said == [("evaluating", 2, 4), ("evaluating", 4, 4)]


def test_other_batches_give_the_same_answers(small):
    one = pd.read_parquet(run(small()))
    other = pd.read_parquet(run(small(replace(FEW, batch=1), fresh=True), fresh=True))
    pd.testing.assert_frame_equal(one, other)


def test_what_was_left_by_other_settings_is_not_taken_up(small, monkeypatch):
    monkeypatch.setattr(Random, "stop_after", 1)
    with pytest.raises(KeyboardInterrupt):
        run(small())
    monkeypatch.setattr(Random, "stop_after", None)
    said = []
    run(small(replace(FEW, seed=1)), on_progress=lambda *w: said.append(w))
    assert said[0] == ("evaluating", 0, 4)


def test_a_finished_evaluation_stays_and_other_settings_are_named(small, monkeypatch):
    path = run(small())
    before = path.stat().st_mtime_ns
    monkeypatch.setattr(examine, "load_backend", None)
    assert run(small()) == path and path.stat().st_mtime_ns == before
    with pytest.raises(RecordError, match=r"made otherwise \(samples: 2 then, 3 now\): --fresh replaces it"):
        small(replace(FEW, samples=3))


def test_two_processes_do_not_work_on_the_same(small, monkeypatch):
    planned = small()

    def second(_):
        with pytest.raises(RecordError, match="another process is at work"):
            run(planned)
        return Random(4)

    monkeypatch.setattr(examine, "load_backend", second)
    run(planned)


def test_pocket_s_verdicts_are_its_own():
    with examine.grader("pocket") as grade:
        found = grade([("2 so 3 # 5", ("5",)), ("2 # 4", ("5",)), ("no idea", ("5",))])
    assert [(g.correct, g.extracted, g.reason) for g in found] == [
        (True, "5", "equal"),
        (False, "4", "not equal"),
        (False, None, "no answer"),
    ]


def test_real_answers_are_graded_in_a_pool():
    with examine.grader("smol") as grade:
        found = grade([(r"so \boxed{\frac{1}{2}}", ("0.5",)), ("", ("1",))])
    assert [(g.correct, g.reason) for g in found] == [(True, "equal"), (False, "no answer")]


def test_vllm_is_given_the_adapter_beside_the_base(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(generation, "Vllm", lambda *words: made.append(words))
    (tmp_path / "adapter_config.json").write_text('{"r": 16}')
    world = examine.scales.world("pocket")
    planned = SimpleNamespace(
        world=world, adapter=tmp_path, protocol=replace(FEW, backend="vllm"), questions=[ask.Question("a", "1 ?", ())]
    )
    examine.load_backend(planned)
    ((folder, tokenizer, dtype, length, adapter, rank),) = made
    assert (folder, dtype, length, adapter, rank) == (world.policy_path(), "float32", 33, str(tmp_path), 16)


@pytest.mark.e2e
def test_the_command_evaluates_base_and_adapter_alike(tmp_path, capsys):
    adapter = paths.ROOT / "data/runs/pocket/egrc/seed-0/adapter"
    few = ["--samples", "2", "--problems", "4", "--out", str(tmp_path)]
    assert main(["evaluate", "--benchmark", KIND, *few]) == 0
    assert main(["evaluate", "--benchmark", KIND, *few, "--adapter", str(adapter)]) == 0
    assert main(["evaluate", "--benchmark", KIND, *few]) == 0
    assert "already there" in capsys.readouterr().out
    base, arm = evaluations.load_all(data=tmp_path)
    assert (base.settings["who"], arm.settings["who"]) == ("base", "egrc-seed-0")
    estimate, low, high = evaluations.compare(arm, base, "token_ratio")
    assert low <= estimate <= high < 1  # the arm is brief

