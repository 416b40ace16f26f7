"""No work for rows that have ended: fewer rows and tokens through the model, the same answers, scores and records."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from egrc import ended
from egrc.ended import by_length, left_out

EOS = tiny.VOCABULARY.index("<eos>")
PAD = tiny.VOCABULARY.index("<pad>")
KEEP = {"max_completion_length": 40, "record_rollouts_every": 1}


def sampled(
    model: nn.Module, leave_out: bool, rows: int = 40, seed: int = 1, most: int = 60, **settings: Any
) -> Tensor:
    """Completions of one prompt, [rows, T]; a random model ends one in 43 tokens."""
    inputs = torch.tensor([[PAD, 1, 4, 13, 5]] * rows)
    torch.manual_seed(seed)
    with torch.no_grad(), left_out(model, [EOS]) if leave_out else nullcontext():
        out = model.generate(
            input_ids=inputs,
            attention_mask=(inputs != PAD).long(),
            do_sample=True,
            top_k=0,
            max_new_tokens=most,
            **settings,
        )
    return out[:, inputs.shape[1] :]


def watched(model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what the model's body reads, call by call."""
    seen: list[tuple[int, ...]] = []
    inner: Callable[..., Any] = model.model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(kwargs["input_ids"].shape))
        return inner(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", forward)
    return seen


def test_the_same_answers_from_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    plain = sampled(model, leave_out=False)
    seen = watched(model, monkeypatch)
    assert torch.equal(sampled(model, leave_out=True), plain)
    lengths = torch.where((plain == EOS).any(1), (plain == EOS).int().argmax(1) + 1, plain.shape[1])
    assert lengths.min() < 10 < lengths.max()  # there is something to leave out
    for step, (rows, _) in enumerate(seen[1:], 1):  # the prompt is the first call
        going = int((lengths > step).sum())
        assert going <= rows <= going / ended.WORTH + 1, f"token {step}"
    assert seen[-1][0] < len(plain)


def test_a_row_is_left_out_at_its_end_and_not_at_a_pad(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows, their tokens forced: the first ends at once, the second writes a pad and goes on, the third too."""
    model = tiny.model()
    forced = torch.tensor([[EOS, PAD, PAD, PAD], [PAD, 7, EOS, PAD], [5, 6, 7, 8]])

    def force(ids: Tensor, scores: Tensor) -> Tensor:
        return torch.zeros_like(scores).scatter_(1, forced[:, ids.shape[1] - 5, None], 1e4)

    seen = watched(model, monkeypatch)
    assert torch.equal(sampled(model, True, rows=3, most=4, logits_processor=[force]), forced)
    assert [rows for rows, _ in seen] == [3, 2, 2, 1]


def test_one_batch_after_the_other_and_then_as_before() -> None:
    model = tiny.model()
    first, second = sampled(model, False), sampled(model, False, rows=7, seed=2)
    with left_out(model, [EOS]):
        assert torch.equal(sampled(model, False), first)
        assert torch.equal(sampled(model, False, rows=7, seed=2), second)
    with pytest.raises(RuntimeError, match="within"), left_out(model, [EOS]):
        raise RuntimeError("within")
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_with_an_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    policy = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")).eval()
    plain = sampled(policy, False)
    seen = watched(model, monkeypatch)
    assert torch.equal(sampled(policy, True), plain)
    assert seen[-1][0] < seen[0][0]


def test_without_a_cache_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    plain = sampled(model, False, rows=5, use_cache=False)
    seen = watched(model, monkeypatch)
    assert torch.equal(sampled(model, True, rows=5, use_cache=False), plain)
    assert {rows for rows, _ in seen} == {5}


def test_pieces_hold_every_row_once_the_shortest_first() -> None:
    lengths = torch.tensor([5, 1, 4] * 11)
    pieces = by_length(lengths)
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(lengths)))
    assert lengths[torch.cat(pieces)].tolist() == sorted(lengths.tolist())
    assert {len(piece) for piece in pieces[:-1]} == {ended.PIECE}


def test_a_run_in_small_pieces_is_the_run_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for size in (1000, 2):
        monkeypatch.setattr(ended, "PIECE", size)
        trainer = tiny.trainer(tmp_path / str(size), tiny.recipe(budget=40), max_steps=3, **KEEP)
        seen = watched(trainer.model.get_base_model(), monkeypatch)
        trainer.train()
        records = tmp_path / str(size) / "records"
        texts = pd.read_parquet(records / "rollouts.parquet")["text"].tolist()
        steps = pd.read_csv(records / "steps.csv").drop(columns=["seconds", "phase"])
        runs.append(([shape for shape in seen if shape[1] > 1], texts, steps))
    (whole, texts, steps), (pieces, texts_of_pieces, steps_of_pieces) = runs
    assert len(pieces) > len(whole)
    assert sum(rows * columns for rows, columns in pieces) < sum(rows * columns for rows, columns in whole)
    pd.testing.assert_frame_equal(steps_of_pieces, steps, rtol=1e-4, atol=1e-7)
    assert texts_of_pieces == texts
