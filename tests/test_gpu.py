"""The scale gpu as far as it goes without a GPU and a hub: prompts, grading, what is refused and how, the dry run."""

from __future__ import annotations

import copy
import errno
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import httpx2
import huggingface_hub
import pytest
import tiny
import torch
from accelerate.commands.launch import launch_command_parser
from huggingface_hub import errors
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.distributed.run import get_args_parser
from transformers import PreTrainedTokenizerFast
from trl.scripts.vllm_serve import ScriptArguments, build_command

from egrc.__main__ import parser
from egrc.checks import ConfigError
from egrc.evaluation import benchmarks, sampling
from egrc.evaluation.problems import Problem
from egrc.experiments import dryrun, scales
from egrc.worlds import hub, launch
from egrc.worlds.deepseek import END, PAD, Gpu, prompt
from egrc.worlds.hub import HubError
from egrc.worlds.launch import Hardware

RESPONSE = httpx2.Response(404, request=httpx2.Request("GET", "https://huggingface.co/x"))


@pytest.mark.parametrize(
    "error",
    [
        errors.GatedRepoError("gated", response=RESPONSE),
        errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set"),
        httpx2.ConnectError("refused"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_the_hub_refuses_is_one_line_with_the_way_out(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, local_files_only: bool = False, **__: Any) -> None:
        raise errors.LocalEntryNotFoundError("not cached") if local_files_only else error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    with pytest.raises(HubError, match="or run `hf download owner/model --revision aaa") as raised:
        hub.snapshot("owner/model", "a" * 40)
    said = str(raised.value)
    assert "\n" not in said and f"{type(error).__name__}: {str(error).splitlines()[0]}" in said


def test_only_data_are_fetched_and_what_is_cached_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, **how: asked.append(how) or "there")
    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: pytest.fail("asked the network"))
    assert hub.snapshot("owner/model", "rev") == Path("there") and asked[-1]["revision"] == "rev"
    names = ["modeling_x.py", "model.bin", "model.pt", "model-1.safetensors", "tokenizer.json", "config.json"]
    fetched = list(huggingface_hub.utils.filter_repo_objects(names, allow_patterns=asked[-1]["allow_patterns"]))
    assert fetched == ["model-1.safetensors", "tokenizer.json", "config.json"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A made-up machine: change it, and the checks see it so."""
    has = SimpleNamespace(gpus=1, vllm=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has.gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: has.gpus)
    monkeypatch.setattr(sampling, "find_spec", lambda name: SimpleNamespace() if has.vllm else None)
    monkeypatch.setattr(hub, "snapshot", lambda *_: pytest.fail("loads weights"))
    monkeypatch.setattr(hub, "require", lambda *_: None)
    monkeypatch.setattr(Gpu, "training", [])
    return has


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        ({"gpus": 0, "vllm": False}, r"needs a GPU, and torch sees none.*pocket and smol run on a CPU"),
        ({"gpus": 8, "vllm": False}, r"sees 8 GPUs: .*--num_processes 8 .*or set CUDA_VISIBLE_DEVICES=0"),
        ({"vllm": False}, r"vLLM is not installed: .*site/gpus\.md.*--on vllm="),
    ],
)
def test_what_the_machine_lacks_is_said_before_any_work(
    machine: SimpleNamespace, lacks: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The most fundamental first: nobody is to install vLLM for a machine without a GPU."""
    vars(machine).update(lacks)
    monkeypatch.setattr(hub, "require", lambda *_: pytest.fail("asks the hub before the machine is known to do"))
    with pytest.raises(ConfigError, match=message) as raised:
        launch.check(scales.config("gpu", "egrc"), scales.hardware("gpu"), Gpu())
    assert "\n" not in str(raised.value)


def test_a_machine_that_will_do_is_asked_no_more(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    launch.check(scales.config("gpu", "egrc"), scales.hardware("gpu"), Gpu())
    machine.vllm = False  # the base is not trained
    launch.check(scales.config("gpu", "base"), scales.hardware("gpu"), Gpu())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP and DeepSpeed ZeRO-3.*ddp.yaml"):
        launch.check(scales.config("pocket", "egrc"), Hardware(), object())


@given(st.integers(1, 64), st.integers(2, 16), st.integers(1, 16), st.integers(0, 32))
def test_no_rollout_is_lost_or_made_twice(prompts: int, group: int, ranks: int, micro_batch: int) -> None:
    config = scales.config("pocket", "egrc", prompts_per_step=prompts, group_size=group)
    try:
        at_once, times = launch.micro_batches(config, Hardware(micro_batch=micro_batch), ranks)
    except ConfigError:
        share, rest = divmod(prompts * group, ranks)
        assert rest or share % micro_batch
    else:
        assert at_once * times * ranks == prompts * group and at_once == (micro_batch or at_once)


def test_bfloat16_checkpointing_and_micro_batches_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scale's precision and its way of saving memory, on a CPU and a tiny model: near what float32 gives."""
    torch.set_num_threads(1)
    whole = tiny.model()
    rows = {}
    for name in ("float32", "bfloat16"):
        hardware = Hardware(dtype=name, micro_batch=4, gradient_checkpointing=name == "bfloat16")
        config = scales.config("pocket", "egrc", prompts_per_step=4, group_size=4)
        settings = launch.trainer_settings(config, hardware)
        monkeypatch.setattr(tiny, "model", lambda name=name: copy.deepcopy(whole).to(getattr(torch, name)))
        made = tiny.trainer(tmp_path / name, tiny.recipe(dwell=1), max_steps=2, **settings)
        made.train()
        rows[name] = made.recorder.steps
        trained = [p for p in made.model.parameters() if p.requires_grad]
        assert {p.dtype for p in trained} == {torch.float32}, "adapters stay float32"
        assert rows[name][0]["grad_norm"] > 0
    assert [row["phase"] for row in rows["bfloat16"]] == ["compress", "explore"]
    assert rows["bfloat16"][0]["entropy"] == pytest.approx(rows["float32"][0]["entropy"], rel=0.02)


TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<｜User｜>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)


def tokenizer(template: str = TEMPLATE, special: tuple[str, ...] = (), pad: str = PAD) -> PreTrainedTokenizerFast:
    """Characters, and the marks of the published tokenizer as whole tokens."""
    begin, end = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    marks = [begin, end, pad, "<｜User｜>", "<｜Assistant｜>", "<think>", END]
    letters = [chr(c) for c in range(32, 127)] + ["\n", "Ġso", "7"]
    ids = {t: i for i, t in enumerate(dict.fromkeys([*marks, *letters]))}
    core = Tokenizer(models.WordLevel(ids, unk_token="?"))
    core.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    core.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=[(begin, ids[begin])])
    core.add_special_tokens([begin, end, pad, *special])
    core.add_tokens([m for m in marks[3:] if m not in special])
    named = {"bos_token": begin, "eos_token": end, "pad_token": end, "chat_template": template}
    return PreTrainedTokenizerFast(tokenizer_object=core, **named)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (tokenizer(TEMPLATE.replace("<think>\\n", "")), "its chat template is another"),
        (tokenizer(special=(END,)), f"drops {END} as a special token"),
        (tokenizer(pad="<|other|>"), r"has no token <\|vision_pad\|>"),
    ],
)
def test_another_tokenizer_is_refused(made: PreTrainedTokenizerFast, message: str) -> None:
    Gpu().check_tokenizer(tokenizer())
    with pytest.raises(ConfigError, match=message):
        Gpu().check_tokenizer(made)


@given(st.lists(st.sampled_from(["<｜User｜>", "<｜Assistant｜>", "<|im_end|>", "<｜", "｜>", "User", " ", "x"])))
def test_a_problem_cannot_leave_its_turn(pieces: list[str]) -> None:
    text = prompt("".join(pieces))
    assert (text.count("<｜User｜>"), text.count("<｜Assistant｜>")) == (1, 1)
    assert text.endswith("\n\nPut the final answer in \\boxed{}.<｜Assistant｜><think>\n")


def test_only_what_follows_thinking_counts_and_a_hostile_rollout_costs_its_reward_and_no_more() -> None:
    world = Gpu()
    graded = {
        "6 x 7 is 42</think>The answer is \\boxed{42}.": True,
        "\\boxed{42}</think>The answer is \\boxed{41}.": False,
        "the answer is \\boxed{42}": False,  # thinking that does not end has not answered
        "6 x 7 is 42</think>": False,
        "</think>\\boxed{100000000!}": False,  # no thread of ours could be stopped in this
        "</think>\\boxed{forty-two}": True,
    }
    assert world.correct.batch(list(graded), [["42", "forty-two"]] * len(graded)) == list(graded.values())
    assert world.correct.counts["time limit"] == 1
    world.correct.close()


def test_problems_of_the_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three training rows of five are usable, one of those stands in a test set."""
    rows = {"problem": ["What is 1 + 1?", "What is 2 + 2?", "  ", "x" * 2000, "What is 3 + 3?"],
            "answer": ["2", "4", "1", "1", "6"], "solution": [""] * 5}  # fmt: skip
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(rows))
    tests = {n: [Problem(f"{n}/{i}", f"{n} {i}?", (str(i),), "", n) for i in range(3)] for n in benchmarks.REGISTRY}
    tests["math500"].append(Problem("math500/3", "what is $2+2$ ?", ("4",), "", "math500"))
    monkeypatch.setattr(benchmarks, "load", lambda name: tests[name])
    world = Gpu()
    trained, tested = world.train_problems(0), world.benchmarks(2)
    assert trained.column_names == ["prompt", "answer", "benchmark"]
    assert sorted(trained["prompt"]) == [prompt("What is 1 + 1?"), prompt("What is 3 + 3?")]
    assert tuple(tested) == benchmarks.SIX
    assert all(t.column_names == ["id", "prompt", "answer"] and len(t) == 2 for t in tested.values())
    assert "without units" in tested["olympiadbench"]["prompt"][0]
    assert list(world.benchmarks(1, "search")) == ["deepscaler"]
    with pytest.raises(ConfigError, match="choose test or search"):
        world.benchmarks(1, "train")


def parse(line: str) -> None:
    """The launcher's part by its own parser, ours by ours.  Raises SystemExit for an option that one does not know."""
    words = shlex.split(line)
    if "accelerate" in words:
        asked = launch_command_parser().parse_args(words[words.index("launch") + 1 :])
        words = [asked.training_script, *asked.training_script_args]
        launch.micro_batches(scales.config("gpu", "egrc"), scales.hardware("gpu"), asked.num_processes)
    elif "torch.distributed.run" in words:
        asked = get_args_parser().parse_args(words[3:])
        words = [asked.training_script, *asked.training_script_args]
    if "egrc" in words:
        parser().parse_args(words[words.index("egrc") + 1 :])


@pytest.mark.parametrize("scale", ["pocket", "gpu", "gpu-7b"])
def test_every_command_is_known_to_the_installed_versions(scale: str) -> None:
    lines = "\n".join(dryrun.commands(scale).values()).splitlines()
    for line in lines:
        parse(line)
    assert all(f"--scale {scale} " in line for line in lines if " egrc train " in line)
    if scale == "pocket":
        return
    serve = next(shlex.split(line) for line in lines if "vllm serve" in line)  # vLLM is not installed
    theirs, world = build_command(ScriptArguments(model=Gpu.HUB)), scales.world(scale)
    assert set(theirs[theirs.index("--weight-transfer-config") :]) <= set(serve), "TRL asks for it so"
    assert {world.HUB, world.REVISION, "127.0.0.1"} <= set(serve) and "trust" not in " ".join(serve)
