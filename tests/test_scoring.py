"""Scoring in chunks of tokens gives what all logits at once give; the head scales and caps as the model does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
)

from egrc import scoring
from egrc.entropy import token_entropy
from egrc.scoring import Head, score_hidden, score_tokens

SIZES = {
    "vocab_size": 37, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODELS = {
    "plain": lambda: tiny.model(),
    "soft cap": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, final_logit_softcapping=0.5)),
    "scale": lambda: Cohere2ForCausalLM(Cohere2Config(**SIZES, logit_scale=3.0)),
    "divisor": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=0.25)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 1.4])
@pytest.mark.parametrize("chunk", [2**24, 100])
def test_hidden_states_give_the_models_own_logits(name, temperature, chunk, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", chunk)
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    ids = torch.randint(3, 30, (3, 9))
    logits = model(ids).logits
    with torch.no_grad():
        hidden = model.base_model(ids).last_hidden_state
    scores = score_hidden(hidden, Head(model), ids, temperature)
    expected = score_tokens(logits, ids, temperature)
    for field, value in expected._asdict().items():
        torch.testing.assert_close(getattr(scores, field), value, rtol=1e-5, atol=1e-6, msg=field)
    torch.testing.assert_close(scores.entropy, token_entropy(logits), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Four steps each, across a switch to another temperature: all logits at once, and in chunks of a few tokens."""
    torch.set_num_threads(1)
    made = {}
    for name, chunk in (("whole", scoring.CHUNK), ("chunks", 5 * len(tiny.VOCABULARY))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scoring, "CHUNK", chunk)
            folder = tmp_path_factory.mktemp(name)
            trainer = tiny.trainer(folder, tiny.recipe(), optim="sgd", learning_rate=1.0, max_steps=4)
            trainer.train()
            made[name] = (trainer, pd.read_csv(folder / "records" / "steps.csv"))
    return made


def test_readings_and_updates_are_the_same(runs):
    (one, whole), (two, chunks) = runs["whole"], runs["chunks"]
    assert list(whole["phase"]) == list(chunks["phase"]) and whole["phase"].nunique() == 2
    numbers = whole.select_dtypes("number").columns.drop(["seconds"])
    np.testing.assert_allclose(chunks[numbers], whole[numbers], rtol=1e-4, atol=1e-6)
    other = dict(two.model.named_parameters())
    for name, weight in one.model.named_parameters():
        torch.testing.assert_close(other[name], weight, rtol=1e-4, atol=1e-6, msg=name)
