"""Entropy, gradient norms, token classes and scores: by hand, against autograd and models' logits, as properties."""

import math

import pytest
import tiny
import torch
import transformers

from egrc import scoring
from egrc.entropy import (
    CLASSES,
    TokenClasses,
    class_means,
    class_sums,
    lexical_classes,
    logit_gradient_norm,
    probe_entropy,
    token_entropy,
)
from egrc.scoring import Head, score_hidden, score_tokens


def test_by_hand() -> None:
    # Odds 1 : 1 : 2 are probabilities 1/4, 1/4, 1/2: entropy 3/2 log 2.
    logits = torch.log(torch.tensor([1.0, 1.0, 2.0]))
    assert token_entropy(logits).item() == pytest.approx(1.5 * math.log(2))
    assert token_entropy(torch.tensor([0.0, -torch.inf, -torch.inf])) == 0
    # Of the last token: sqrt(1 - 2/2 + 1/16 + 1/16 + 1/4) = sqrt(3/8).
    assert logit_gradient_norm(logits, torch.tensor(2)).item() == pytest.approx(math.sqrt(3 / 8))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_gradient_norm_is_autograds(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(20, 11, generator=generator)).requires_grad_()
    token = torch.randint(11, (20,), generator=generator)
    logp = (logits / temperature).log_softmax(-1)[torch.arange(20), token]
    (gradient,) = torch.autograd.grad(logp.sum(), logits)
    torch.testing.assert_close(logit_gradient_norm(logits, token, temperature), gradient.norm(dim=-1))


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_scores_are_the_single_functions(temperature: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 5, 7, generator=generator, requires_grad=True)
    tokens = torch.randint(7, (2, 5), generator=generator)
    scores = score_tokens(logits, tokens, temperature)
    log_probs = (logits / temperature).log_softmax(-1)
    torch.testing.assert_close(scores.logp, log_probs.gather(-1, tokens[..., None])[..., 0])
    torch.testing.assert_close(scores.entropy, token_entropy(logits))
    torch.testing.assert_close(scores.entropy_sampling, token_entropy(logits, temperature))
    assert scores.logp.requires_grad and not scores.entropy.requires_grad
    assert score_tokens(logits, tokens, temperature, entropy_grad=True).entropy_sampling.requires_grad


CLASSED = TokenClasses(("connector", "number"), torch.tensor([0, 1, 1]))


def test_class_means_by_hand() -> None:
    values = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 99.0]])
    tokens = torch.tensor([[0, 1, 2], [0, 1, 2]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    assert class_means(values, tokens, mask, CLASSED) == {"connector": 4.5, "number": 22 / 3}
    assert class_sums(values[None], tokens, mask, CLASSED).tolist() == [[9.0, 22.0]]


def test_lexical_classes() -> None:
    tokenizer = tiny.tokenizer()
    classes = lexical_classes(tokenizer, size=64)
    of = {word: CLASSES[classes.ids[i]] for word, i in tokenizer.get_vocab().items()}
    assert len(classes.ids) == 64
    assert {of[w] for w in ("so", "wait", "therefore")} == {"connector"}
    assert {of[w] for w in "0123456789"} == {"number"}
    assert {of[w] for w in "+-*="} == {"operator"}
    assert {of[w] for w in ("<eos>", "#", "try")} == {"other"}


def test_probe_is_the_entropy_after_each_prefix() -> None:
    model, tokenizer = tiny.model(), tiny.tokenizer()
    prefixes = ["3 + 4 ?", "3 + 4 ? so 3 + 4 =", "1 ?"]
    classes = lexical_classes(tokenizer)
    probe = probe_entropy(model, tokenizer, prefixes, classes, batch_size=2)
    p = torch.stack(
        [model(**tokenizer(t, return_tensors="pt", return_token_type_ids=False)).logits[0, -1] for t in prefixes]
    ).softmax(-1)
    entropy = torch.special.entr(p).sum(-1)
    assert probe["mean"] == pytest.approx(entropy.mean().item(), rel=1e-5)
    for number, name in enumerate(CLASSES):
        mass = p[:, classes.ids == number].sum(-1)
        assert probe[name] == pytest.approx(((entropy * mass).sum() / mass.sum()).item(), rel=1e-5)


SIZES = tiny.SIZES | {"head_dim": 8}
MODELS = {
    "plain": lambda: tiny.model(),
    "soft cap": lambda: transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**SIZES, final_logit_softcapping=0.5)),
    "scale": lambda: transformers.Cohere2ForCausalLM(transformers.Cohere2Config(**SIZES, logit_scale=3.0)),
    "divisor": lambda: transformers.GraniteForCausalLM(transformers.GraniteConfig(**SIZES, logits_scaling=0.25)),
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
