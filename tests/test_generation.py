"""Generation: tokens come from the right distribution, by seeds of their own, and both backends count them one way."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import tiny
import torch

from egrc.checks import ConfigError
from egrc.evaluation import generation
from egrc.evaluation.generation import Ask, Count, Sampling, Transformers, Vllm, count, draw

END, CLOSE = 2, 7  # of thinking
LOOSE = Sampling(1.0, 1.0, 12)


@pytest.fixture(scope="module")
def backend():
    return Transformers(tiny.model(), tiny.tokenizer())


def asks(tokenizer, seeds=((1, 2), (3, 4))):
    prompts = ("3 + 4 ?", "1 + 2 + 3 + 4 ?")
    return [Ask(tokenizer(p)["input_ids"], s) for p, s in zip(prompts, seeds, strict=True)]


@pytest.mark.parametrize(
    ("ids", "thinks", "expected"),
    [
        ([5, 6, END], False, Count(3, 0, 3, False)),
        ([5, 6], False, Count(2, 0, 2, True)),
        ([5, CLOSE, 6, END], True, Count(4, 2, 2, False)),
        ([5, CLOSE, 6, CLOSE, 8, 9, END], True, Count(7, 4, 3, False)),  # the last one counts
        ([5, 6, 8], True, Count(3, 3, 0, True)),
        ([5, 6, END], True, Count(3, 3, 0, False)),  # ended without an answer
        ([5, CLOSE], True, Count(2, 2, 0, True)),
        ([5, CLOSE, END], True, Count(3, 2, 1, False)),
        ([], True, Count(0, 0, 0, True)),
    ],
)
def test_tokens_of_thinking_and_answer(ids, thinks, expected):
    assert count(ids, END, CLOSE if thinks else None) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [((-1, 1, 5), "temperature=-1"), ((0.001, 1, 5), "temperature=0.001: 0 for greedy"), ((1, 0, 5), "top_p=0"),
     ((1, 1.1, 5), "top_p=1.1"), ((1, 1, 0), "cap=0"), ((float("nan"), 1, 5), "temperature=nan")],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(*values)


# --- drawing ---


def test_a_uniform_number_goes_through_the_inverse_of_the_cumulative_distribution():
    logits = torch.tensor([0.2, 0.5, 0.3]).log().repeat(6, 1)
    u = torch.tensor([0.1, 0.19, 0.21, 0.69, 0.71, 1.0], dtype=torch.double)
    assert draw(logits, LOOSE, u).tolist() == [0, 0, 1, 1, 2, 2]


def test_temperature_flattens_and_zero_is_greedy():
    logits = torch.tensor([[0.0, 2.0, 0.0]])
    half = torch.tensor([0.2])  # softmax at T=1: 0.107, 0.787, 0.107; at T=4: 0.274, 0.452, 0.274
    assert draw(logits, Sampling(1.0, 1.0, 1), half).item() == 1
    assert draw(logits, Sampling(4.0, 1.0, 1), half).item() == 0
    assert draw(logits, Sampling(0, 1.0, 1), half).item() == 1


TOP_P = [(0.49, {1}), (0.51, {1, 2}), (0.81, {1, 2}), (0.82, {0, 1, 2}), (1, {0, 1, 2})]


@pytest.mark.parametrize(("top_p", "kept"), TOP_P)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p, kept, monkeypatch):
    u = torch.linspace(0.001, 1, 500, dtype=torch.double)
    logits = torch.tensor([0.1875, 0.5, 0.3125]).log().repeat(500, 1)
    for candidates in (1, 256):  # where the first look does not suffice, all tokens are sorted
        monkeypatch.setattr(generation, "CANDIDATES", candidates)
        assert set(draw(logits, Sampling(1.0, top_p, 1), u).tolist()) == kept


def test_a_token_of_probability_zero_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).repeat(2, 1)
    assert draw(logits, LOOSE, torch.tensor([1e-300, 1.0], dtype=torch.double)).tolist() == [1, 1]


# --- transformers ---


def test_greedy_answers_are_those_of_generate(backend):
    found = backend.generate(asks(backend.tokenizer, ((1,), (2,))), Sampling(0, 1.0, 12))
    for ask, (answer,) in zip(asks(backend.tokenizer), found, strict=True):
        out = backend.model.generate(
            torch.tensor([ask.prompt]), max_new_tokens=12, do_sample=False, eos_token_id=END, pad_token_id=0,
            suppress_tokens=[0],
        )  # fmt: skip
        assert answer == out[0, len(ask.prompt) :].tolist()


def test_an_answer_depends_on_its_seed_and_not_on_its_batch(backend):
    together = backend.generate(asks(backend.tokenizer), LOOSE)
    alone = [backend.generate([a], LOOSE)[0] for a in asks(backend.tokenizer)]
    swapped = backend.generate(asks(backend.tokenizer)[::-1], LOOSE)[::-1]
    single = [[backend.generate([Ask(a.prompt, [s])], LOOSE)[0][0] for s in a.seeds] for a in asks(backend.tokenizer)]
    assert together == alone == swapped == single
    assert together[0][0] != together[0][1]
    other = backend.generate(asks(backend.tokenizer, ((1, 5), (3, 4))), LOOSE)
    assert other[0][0] == together[0][0] and other[0][1] != together[0][1]


def test_answers_end_at_their_end_or_at_the_cap(backend):
    many = backend.generate([Ask(backend.tokenizer("1 + 1 ?")["input_ids"], range(60))], LOOSE)[0]
    assert all(END not in answer[:-1] and 1 <= len(answer) <= 12 and 0 not in answer for answer in many)
    assert all(answer[-1] == END or len(answer) == 12 for answer in many)
    assert {answer[-1] == END for answer in many} == {True, False}


def test_sampled_tokens_have_the_models_frequencies(backend):
    """First tokens of 3000 answers against the softmax, each within five standard errors."""
    prompt, n = backend.tokenizer("3 + 4 ?")["input_ids"], 3000
    firsts = [a[0] for a in backend.generate([Ask(prompt, range(n))], Sampling(0.7, 1.0, 1))[0]]
    with torch.no_grad():
        logits = backend.model(torch.tensor([prompt])).logits[0, -1]
    logits[0] = -torch.inf
    p = torch.softmax(logits / 0.7, -1)
    seen = torch.bincount(torch.tensor(firsts), minlength=len(p)) / n
    assert ((seen - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-9).all()


# --- vLLM, by a stand-in ---


class StandIn:
    """What `Vllm` uses of vLLM; it answers with given ids, leaving out or keeping the end token."""

    def __init__(self, answers, lists_end=True):
        self.answers, self.lists_end, self.made, self.asked = answers, lists_end, {}, []

    def module(self):
        vllm = ModuleType("vllm")
        vllm.__spec__ = SimpleNamespace(name="vllm")
        vllm.LLM, vllm.SamplingParams = self._llm, lambda **settings: SimpleNamespace(**settings)
        request = ModuleType("vllm.lora.request")
        request.LoRARequest = lambda *words: words
        return {"vllm": vllm, "vllm.lora": ModuleType("vllm.lora"), "vllm.lora.request": request}

    def _llm(self, **settings):
        self.made = settings
        return SimpleNamespace(generate=self._generate)

    def _generate(self, prompts, settings, use_tqdm, lora_request):
        self.asked += [(p["prompt_token_ids"], s, lora_request) for p, s in zip(prompts, settings, strict=True)]
        return [SimpleNamespace(outputs=[self._output(i)]) for i in range(len(prompts))]

    def _output(self, i):
        ids, ended = self.answers[i], self.answers[i][-1] == END
        said = ids[:-1] if ended and not self.lists_end else ids
        return SimpleNamespace(token_ids=said, finish_reason="stop" if ended else "length")


@pytest.fixture
def stand_in(monkeypatch):
    def install(answers, lists_end=True):
        made = StandIn(answers, lists_end)
        for name, module in made.module().items():
            monkeypatch.setitem(sys.modules, name, module)
        return made

    return install


@pytest.mark.parametrize("lists_end", [True, False])
def test_both_backends_count_the_same_tokens(backend, stand_in, lists_end):
    """vLLM, saying what transformers said, gives the same ids, whether or not it lists the token it stopped at."""
    wanted = asks(backend.tokenizer, (range(9), range(9)))
    ours = backend.generate(wanted, LOOSE)
    stand_in([ids for answers in ours for ids in answers], lists_end)
    theirs = Vllm("folder", backend.tokenizer, "bfloat16", 99).generate(wanted, LOOSE)
    assert theirs == ours
    counts = [count(ids, END, CLOSE) for answers in theirs for ids in answers]
    assert {c.truncated for c in counts} == {True, False}


def test_vllm_gets_every_setting_and_a_seed_for_each_answer(backend, stand_in):
    vllm = stand_in([[5, END]] * 4)
    made = Vllm("folder", backend.tokenizer, "bfloat16", 99, adapter="lora", rank=32)
    made.generate(asks(backend.tokenizer), Sampling(0.6, 0.95, 12))
    assert vllm.made == {
        **{"model": "folder", "dtype": "bfloat16", "max_model_len": 99, "generation_config": "vllm"},
        **{"trust_remote_code": False, "enable_lora": True, "max_lora_rank": 32},
    }
    assert [s.seed for _, s, _ in vllm.asked] == [1, 2, 3, 4]
    prompt, settings, adapter = vllm.asked[0]
    assert prompt == asks(backend.tokenizer)[0].prompt and adapter == ("adapter", 1, "lora")
    rest = {k: v for k, v in vars(settings).items() if k != "seed"}
    assert rest == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 12, "stop_token_ids": [END],
                    "detokenize": False, "logit_bias": {0: -100.0}}  # fmt: skip


def test_without_vllm_one_line_says_so(backend):
    with pytest.raises(ConfigError, match="vLLM is not installed: .*leave out --backend vllm"):
        Vllm("folder", backend.tokenizer, "bfloat16", 99)
