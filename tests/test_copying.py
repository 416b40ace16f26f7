"""What can be read off a teacher's trace: the right place is read, padding does not count, teaching teaches."""

import math
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from egrc.analysis import copying
from egrc.experiments import scales
from egrc.worlds.pocket.tokenizer import build_tokenizer
from egrc.worlds.pocket.world import problems

TOKENIZER = build_tokenizer()


class Model(torch.nn.Module):
    """Logits [B, T, 64] that are a function of the token ids."""

    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.of(input_ids))


def asked(benchmark="hole-3", n=40):
    return list(islice(problems(benchmark, True, 1), n))


def test_the_probability_is_of_each_problems_own_answer():
    """ln 63 on the digit 2 against 0 on 63 others: one half where the answer is 2, 1/126 elsewhere."""
    logits = torch.zeros(64)
    logits[TOKENIZER.convert_tokens_to_ids("2")] = math.log(63)
    found = copying.answers(Model(lambda ids: logits.expand(*ids.shape, 64)), TOKENIZER, asked(), "compact")
    assert found.p_answer.to_list() == pytest.approx([1 / 2 if p.answers[0] == 2 else 1 / 126 for p in asked()])
    assert found.p_answer.nunique() == 2


def test_the_place_before_the_answer_is_read_whatever_the_length():
    """A model that expects at every place what comes next."""
    echo = Model(lambda ids: torch.nn.functional.one_hot(ids.roll(-1, 1), 64).double() * 50)
    found = copying.answers(echo, TOKENIZER, asked("hole-2") + asked("forward-5"), "verbose")
    assert found.p_answer.min() > 0.999


def test_teaching_moves_the_adapter_and_the_same_seed_gives_the_same_weights():
    config = replace(scales.config("pocket", "base"), steps=3, prompts_per_step=16, group_size=2, learning_rate=1e-2)
    world, said = scales.world("pocket"), []
    one, two = (copying.taught(config, world, lambda done, total: said.append((done, total)))[0] for _ in range(2))
    assert said == [(1, 3), (2, 3), (3, 3)] * 2
    weights = [dict(m.state_dict()) for m in (world.policy()[0], one, two)]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert all(torch.equal(weights[1][k], weights[2][k]) for k in weights[1])


def test_a_summary_averages_seeds_first_and_shows_them():
    """Two problems, two seeds: 0.1 and 0.3 of seed 0, 0.5 and 0.7 of seed 1; a problem's means are 0.3 and 0.5."""
    rows = [("x", seed, "hole-3", f"p{i}", "compact", p) for seed, i, p in
            ((0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.5), (1, 1, 0.7))]  # fmt: skip
    line = copying.summary(pd.DataFrame(rows, columns=["arm", "seed", "benchmark", "id", "style", "p_answer"])).iloc[0]
    assert line[["p_answer", "low", "high"]].to_list() == pytest.approx([0.4, 0.3, 0.5])
    assert line[["lowest", "highest"]].to_list() == pytest.approx([0.2, 0.6])
