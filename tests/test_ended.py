"""No work for rows that have ended: fewer rows and tokens through the model, the same answers, scores and records."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import Lfm2Config, Lfm2ForCausalLM, Qwen3NextConfig, Qwen3NextForCausalLM

from egrc import scoring
from egrc.scoring import generating

EOS, PAD = tiny.VOCABULARY.index("<eos>"), tiny.VOCABULARY.index("<pad>")


def sampled(model: nn.Module, leave_out: bool, rows: int = 40, seed: int = 1, most: int = 60, **more: Any) -> Tensor:
    """Completions of one prompt, [rows, T]; a random model ends one in 43 tokens."""
    inputs = torch.tensor([[PAD, 1, 4, 13, 5]] * rows)
    mask = (inputs != PAD).long()
    torch.manual_seed(seed)
    with torch.no_grad(), generating(model, [EOS]) if leave_out else nullcontext():
        out = model.generate(inputs, attention_mask=mask, do_sample=True, top_k=0, max_new_tokens=most, **more)
    return out[:, inputs.shape[1] :]


def watched(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what the model's body reads, call by call."""
    seen, inner = [], model.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(kwargs["input_ids"].shape))
        return inner(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)
    return seen


def test_the_same_answers_from_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    plain, other = sampled(model, leave_out=False), sampled(model, leave_out=False, rows=7, seed=2)
    seen = watched(model, monkeypatch)
    with generating(model, [EOS]):
        assert torch.equal(sampled(model, False), plain)
        calls = list(seen)
        assert torch.equal(sampled(model, False, rows=7, seed=2), other), "another batch"
    lengths = torch.where((plain == EOS).any(1), (plain == EOS).int().argmax(1) + 1, plain.shape[1])
    assert lengths.min() < 10 < lengths.max(), "there is something to leave out"
    for step, (rows, _) in enumerate(calls[1:], 1):  # the prompt is the first call
        going = int((lengths > step).sum())
        assert going <= rows <= going / scoring.WORTH + 1, f"token {step}"
    assert calls[-1][0] < len(plain)
    assert not model._forward_hooks and not model._forward_pre_hooks
    seen.clear()
    sampled(model, True, rows=5, use_cache=False)
    assert {rows for rows, _ in seen} == {5}, "nothing is left out without a cache"


def test_a_row_is_left_out_at_its_end_and_not_at_a_pad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows, their tokens forced: the first ends at once, the second writes a pad and goes on, the third too."""
    model = tiny.model()
    forced = torch.tensor([[EOS, PAD, PAD, PAD], [PAD, 7, EOS, PAD], [5, 6, 7, 8]])

    def force(ids: Tensor, scores: Tensor) -> Tensor:
        return torch.zeros_like(scores).scatter_(1, forced[:, ids.shape[1] - 5, None], 1e4)

    seen = watched(model, monkeypatch)
    assert torch.equal(sampled(model, True, rows=3, most=4, logits_processor=[force]), forced)
    assert [rows for rows, _ in seen] == [3, 2, 2, 1]


LINEAR = {"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
MODELS = {
    "adapter": lambda: get_peft_model(tiny.model(), LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM")),
    "lfm2": lambda: Lfm2ForCausalLM(Lfm2Config(**tiny.SIZES, layer_types=["conv", "full_attention"])),
    "qwen3-next": lambda: Qwen3NextForCausalLM(
        Qwen3NextConfig(**tiny.SIZES, **LINEAR, head_dim=8, layer_types=["linear_attention", "full_attention"],
                        mlp_only_layers=[0, 1])
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_adapters_and_linear_attention_leave_rows_out_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    plain = sampled(model, False, most=40)
    seen = watched(model.get_base_model() if name == "adapter" else model, monkeypatch)
    assert torch.equal(sampled(model, True, most=40), plain)
    assert seen[-1][0] < seen[0][0]


def test_a_run_in_small_pieces_is_the_run_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of rows, and chunks of tokens in the head, across a switch to another temperature."""
    runs = []
    for size, chunk in ((1000, scoring.CHUNK), (2, 5 * len(tiny.VOCABULARY))):
        monkeypatch.setattr(scoring, "PIECE", size)
        monkeypatch.setattr(scoring, "CHUNK", chunk)
        keep = {"max_completion_length": 40, "record_rollouts_every": 1}
        trainer = tiny.trainer(tmp_path / str(size), tiny.recipe(budget=40), max_steps=4, **keep)
        seen = watched(trainer.model.get_base_model(), monkeypatch)
        trainer.train()
        records = tmp_path / str(size) / "records"
        texts = pd.read_parquet(records / "rollouts.parquet")["text"].tolist()
        steps = pd.read_csv(records / "steps.csv").drop(columns="seconds")
        runs.append(([shape for shape in seen if shape[1] > 1], texts, steps))
    (whole, texts, steps), (pieces, texts_of_pieces, steps_of_pieces) = runs
    assert sum(rows * columns for rows, columns in pieces) < sum(rows * columns for rows, columns in whole)
    pd.testing.assert_frame_equal(steps_of_pieces, steps, rtol=1e-4, atol=1e-6)
    assert texts_of_pieces == texts and steps["phase"].nunique() == 2
