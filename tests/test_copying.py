"""What can be read off a teacher's trace: the right place is read, padding does not count, teaching teaches."""

import math
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from egrc.analysis import copied, copying
from egrc.experiments import scales
from egrc.worlds.pocket.tokenizer import build_tokenizer
from egrc.worlds.pocket.world import problems


class Fixed(torch.nn.Module):
    """Logits that do not look at the text: those given for some tokens, 0 for the others."""

    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, input_ids):
        logits = torch.zeros(*input_ids.shape, 64)
        for token, value in self.given.items():
            logits[..., token] = value
        return SimpleNamespace(logits=logits)


def asked(benchmark="hole-3", n=40):
    return list(islice(problems(benchmark, True, 1), n))


@pytest.mark.parametrize("style", copying.STYLES)
def test_without_any_knowledge_every_token_is_as_likely(style):
    found = copying.answers(Fixed({}), build_tokenizer(), asked(), style)
    assert found.p_answer.to_list() == pytest.approx([1 / 64] * 40)


def test_the_probability_is_of_each_problems_own_answer():
    """ln 63 on the digit 2 against 0 on 63 others: one half where the answer is 2, 1/126 elsewhere."""
    tokenizer = build_tokenizer()
    two = tokenizer.convert_tokens_to_ids("2")
    found = copying.answers(Fixed({two: math.log(63)}), tokenizer, asked(), "compact")
    for problem, p in zip(asked(), found.p_answer, strict=True):
        assert p == pytest.approx(1 / 2 if problem.answers[0] == 2 else 1 / 126)
    assert found.p_answer.nunique() == 2


class Echo(torch.nn.Module):
    """Expects at every place what comes next: right only if the place before the answer is read."""

    def forward(self, input_ids):
        following = torch.cat([input_ids[:, 1:], input_ids[:, :1]], 1)
        return SimpleNamespace(logits=torch.nn.functional.one_hot(following, 64).double() * 50)


def test_the_place_before_the_answer_is_read_whatever_the_length():
    found = copying.answers(Echo(), build_tokenizer(), asked("hole-2") + asked("forward-5"), "verbose")
    assert found.p_answer.min() > 0.999


def test_teaching_lowers_the_loss_on_what_is_taught():
    """Three updates of ten are enough to see the adapter move, and the same seed gives the same weights."""
    config = replace(scales.config("pocket", "base"), steps=3, prompts_per_step=16, group_size=2, learning_rate=1e-2)
    world, said = scales.world("pocket"), []
    one, tokenizer = copying.taught(config, world, lambda done, total: said.append((done, total)))
    two, _ = copying.taught(config, world, lambda done, total: None)
    assert said == [(1, 3), (2, 3), (3, 3)]
    base, _ = world.policy()
    weights = [dict(m.state_dict()) for m in (base, one, two)]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert all(torch.equal(weights[1][k], weights[2][k]) for k in weights[1])


def test_a_summary_averages_seeds_first_and_shows_them():
    """Two problems, two seeds: 0.1 and 0.3 of seed 0, 0.5 and 0.7 of seed 1; a problem's means are 0.3 and 0.5."""
    rows = [("x", seed, "hole-3", f"p{i}", "compact", p) for seed, i, p in
            ((0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.5), (1, 1, 0.7))]  # fmt: skip
    line = copied.summary(pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "id", "style", "p_answer"])).iloc[0]
    assert line[["p_answer", "low", "high"]].to_list() == pytest.approx([0.4, 0.3, 0.5])
    assert line[["lowest", "highest"]].to_list() == pytest.approx([0.2, 0.6])
