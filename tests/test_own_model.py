"""A model of one's own: from a file of problems to an adapter, for several architectures; the gate's thresholds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from egrc.__main__ import main
from egrc.checks import ConfigError
from egrc.controller import EntropyGate, Recipe, replay
from egrc.experiments import own_model
from egrc.methods.egrc import Compress, Explore

MODELS = {
    "llama": tiny.model,
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**tiny.SIZES)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**tiny.SIZES, head_dim=8)),
}
SMALL = ["max_steps=5", "per_device_train_batch_size=4", "gradient_accumulation_steps=1", "num_generations=2",
         "max_completion_length=8"]  # fmt: skip


def files(folder: Path, name: str) -> list[str]:
    """A model in a folder and a file of problems."""
    MODELS[name]().save_pretrained(folder / "model")
    tokenizer = tiny.tokenizer()
    if name == "qwen2":
        tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    tokenizer.save_pretrained(folder / "model")
    pd.DataFrame(tiny.dataset(6).to_list()).rename(columns={"prompt": "question"}).to_json(
        folder / "problems.jsonl", orient="records", lines=True
    )
    return ["train", "--model", str(folder / "model"), "--data", str(folder / "problems.jsonl"),
            "--out", str(folder / "out")]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_from_a_file_of_problems_to_an_adapter(name: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = files(tmp_path, name)
    assert main([*command, "--set", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "training 5/5" in printed and "gate: the gate never switched" in printed
    card = (tmp_path / "out" / "adapter" / "README.md").read_text()
    assert "never switched" in card and str(tmp_path) not in card
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    assert len(pd.read_csv(tmp_path / "out" / "steps.csv")) == 5


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = files(tmp_path, "llama")
    assert main([*command, "--set", *SMALL, "learning_rat=1"]) == 2 and "learning_rat" in capsys.readouterr().err
    (tmp_path / "problems.jsonl").write_text('{"text": "1"}\n')
    assert main(command) == 2 and "no column 'prompt' or 'problem'" in capsys.readouterr().err
    (tmp_path / "problems.jsonl").write_text('{"prompt": "1 ?", "answer": "1"}\n["2 ?", "2"]\n')
    assert main(command) == 2 and "row 2: expected columns and values, found list" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="cannot be read: .*No such file"):
        own_model.problems(tmp_path / "none.jsonl", tiny.tokenizer())


def test_thresholds_from_the_entropys_course() -> None:
    gate = EntropyGate(window=4, dwell=10, low=0.7, high=0.95, flat=1e-3)
    falling, why = own_model.proposal(gate, [1 - 0.02 * i for i in range(9)])
    # start = mean of 1, 0.98, 0.96, 0.94; after the dwell of 10 steps it has fallen by 0.2; there is no noise
    assert falling.low == pytest.approx((0.97 - 0.2) / 0.97, abs=1e-3) and falling.flat == pytest.approx(0.005)
    assert "starts at 0.970 nats" in why and "-0.0200 a step" in why
    still, why = own_model.proposal(gate, [1.0, 1.1, 0.9, 1.0, 1.1, 0.9, 1.0, 1.1, 0.9])
    assert still.flat == 0 and 0.8 < still.low < 0.95 and "no slope counts as stopped" in why


def test_a_run_takes_the_proposal_and_its_decisions_replay(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files(tmp_path, "llama")
    recipe = Recipe((Compress("compress", 8), Explore("explore", 8)), EntropyGate(window=2, dwell=4, flat=10.0))
    settings = {name: int(value) for name, value in (pair.split("=") for pair in SMALL)} | {"max_steps": 7}
    given, out = (str(tmp_path / "model"), tmp_path / "problems.jsonl"), tmp_path / "out"
    own_model.train(*given, out, recipe=recipe, **settings)
    assert "gate: over the first 3 steps" in capsys.readouterr().out
    gate = replace(recipe.gate, **json.loads((out / own_model.GATE_FILE).read_text()))
    assert gate.flat < recipe.gate.flat
    log = [json.loads(line) for line in (out / "decisions.jsonl").read_text().splitlines()]
    again = replay(replace(recipe, gate=gate), [d["entropy"] for d in log])
    assert [d.next_phase for d in again] == [d["next_phase"] for d in log] and log[3]["phase"] == "compress"
