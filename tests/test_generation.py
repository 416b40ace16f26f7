"""Generation: tokens come from the model's distribution and end by one rule, also by a stand-in of vLLM."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import tiny
import torch
from transformers import GenerationConfig
from trl import GRPOConfig, GRPOTrainer

from egrc.evaluation.sampling import Sampling, by_transformers, by_vllm, end_tokens, generate

END, OTHER = 2, 15
TOKENIZER = tiny.tokenizer()
PROMPTS = TOKENIZER(["3 + 4 ?", "1 + 2 + 3 + 4 ?", "1 ?"])["input_ids"]
LOOSE = Sampling(1.0, 1.0, 12)


@pytest.fixture
def model():
    return tiny.model()


def test_sampled_tokens_have_the_models_frequencies(model):
    """First tokens of 3000 answers against softmax and top_p, each within five standard errors; never the pad."""
    n = 3000
    with torch.no_grad():
        logits = model(torch.tensor(PROMPTS[:1])).logits[0, -1]
    logits[0] = -torch.inf
    for top_p in (1.0, 0.5):
        p, order = torch.softmax(logits / 0.7, -1).sort(descending=True)
        p = torch.zeros_like(p).scatter(0, order, p * (p.cumsum(0) - p < top_p))
        p /= p.sum()
        firsts = [a[0] for a in generate(model, TOKENIZER, PROMPTS[:1] * n, Sampling(0.7, top_p, 1), 0, batch=n)]
        seen = torch.bincount(torch.tensor(firsts), minlength=len(p)) / n
        assert ((seen - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


def test_greedy_answers_are_the_likeliest_tokens_whatever_the_batch(model):
    found = generate(model, TOKENIZER, PROMPTS, Sampling(0, 1.0, 12), 0)
    assert found == [generate(model, TOKENIZER, [p], Sampling(0, 1.0, 12), 0)[0] for p in PROMPTS]
    for prompt, answer in zip(PROMPTS, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logits[:, 0] = -torch.inf
        assert answer == logits.argmax(-1).tolist()


def test_a_seed_repeats_and_the_global_state_is_left_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (generate(model, TOKENIZER, PROMPTS, LOOSE, seed) for seed in (0, 0, 1))
    assert first == again != other and torch.equal(torch.rand(3), expected)


def test_a_models_own_generation_config_gives_end_tokens_and_nothing_else(model, tmp_path):
    """TRL's rule in training, here and for vLLM: every end token of the config, and the tokenizer's."""
    before = generate(model, TOKENIZER, PROMPTS * 20, LOOSE, 0)
    model.generation_config = GenerationConfig(repetition_penalty=9.0, top_k=1, do_sample=True, min_new_tokens=5)
    assert generate(model, TOKENIZER, PROMPTS * 20, LOOSE, 0) == before
    model.generation_config.eos_token_id = [OTHER, END]
    found = generate(model, TOKENIZER, PROMPTS * 20, LOOSE, 0)
    assert {a[-1] for a in found if len(a) < 12} == {END, OTHER}
    assert not any({END, OTHER, 0} & set(a[:-1]) for a in found)
    assert model.generation_config.top_k == 1
    args = GRPOConfig(str(tmp_path), report_to="none", use_cpu=True, per_device_train_batch_size=8)
    trainer = GRPOTrainer(model, lambda **_: 0, args, tiny.dataset(), processing_class=TOKENIZER)
    assert set(trainer.eos_token_ids) == set(by_transformers(model, TOKENIZER).ends) == {END, OTHER}
    assert end_tokens(None, TOKENIZER) == [END]


@pytest.fixture
def stand_in(monkeypatch):
    """What `by_vllm` uses of vLLM: it answers with given ids."""

    def install(answers):
        made = SimpleNamespace(settings={}, asked=[])

        def answer(prompts, settings, use_tqdm, lora_request):
            made.asked += [(p["prompt_token_ids"], s, lora_request) for p, s in zip(prompts, settings, strict=True)]
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids)]) for ids in answers]

        def llm(**settings):
            made.settings = settings
            return SimpleNamespace(generate=answer)

        vllm, request = ModuleType("vllm"), ModuleType("vllm.lora.request")
        vllm.__spec__ = SimpleNamespace(name="vllm")
        vllm.LLM, vllm.SamplingParams = llm, lambda **settings: SimpleNamespace(**settings)
        request.LoRARequest = lambda *words: words
        for module in (vllm, ModuleType("vllm.lora"), request):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return made

    return install


def test_both_backends_end_answers_alike(model, stand_in, tmp_path):
    """vLLM, saying what transformers said, gives the same ids."""
    model.generation_config.eos_token_id = [END, OTHER]
    model.save_pretrained(tmp_path)
    ours = by_transformers(model, TOKENIZER).generate(PROMPTS * 9, LOOSE, 0)
    made = stand_in(ours)
    theirs = by_vllm(str(tmp_path), TOKENIZER, "bfloat16", 99, adapter="lora", rank=32)
    assert theirs.generate(PROMPTS * 9, LOOSE, 0) == ours and theirs.ends == [END, OTHER]
    assert {a[-1] for a in ours} > {END, OTHER} and [s.seed for _, s, _ in made.asked[:3]] == [0, 1, 2]
    assert made.settings["trust_remote_code"] is False and made.settings["generation_config"] == "vllm"
    prompt, settings, adapter = made.asked[0]
    assert prompt == PROMPTS[0] and adapter == ("adapter", 1, "lora") and made.settings["max_lora_rank"] == 32
    rest = {k: v for k, v in vars(settings).items() if k != "seed"}
    assert rest == {"temperature": 1.0, "top_p": 1.0, "max_tokens": 12, "stop_token_ids": [END, OTHER],
                    "detokenize": False, "logit_bias": {0: -100.0}}  # fmt: skip
