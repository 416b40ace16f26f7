"""Scoring in chunks of tokens gives what all logits at once give; the head scales and caps as the model does."""

from __future__ import annotations

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
