"""Rewards: worked by hand, and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egrc.config import ConfigError, Phase
from egrc.reward import exponent_shaping, in_time, shaped_reward

budgets = st.integers(1, 4000)
targets = st.floats(1e-6, 1.0)
lengths = st.lists(st.integers(1, 8000), min_size=1, max_size=20)


def phase(budget: int, r: float, shaping: str = "exponential") -> Phase:
    return Phase("compress", "absolute", budget, shaping, r)


def test_by_hand() -> None:
    # r = 0.25 at L = 100: half-way the reward is sqrt(0.25) = 0.5; overlong, cut or wrong it is 0.
    correct = torch.tensor([True, True, True, True, False])
    length = torch.tensor([50, 100, 101, 50, 1])
    ended = torch.tensor([True, True, True, False, True])
    torch.testing.assert_close(
        shaped_reward(correct, length, ended, phase(100, 0.25)), torch.tensor([0.5, 0.25, 0.0, 0.0, 0.0])
    )


def test_without_shaping_it_is_correctness_in_time() -> None:
    correct, ended = torch.tensor([True, True, False]), torch.tensor([True, True, True])
    length = torch.tensor([10, 11, 3])
    reward = shaped_reward(correct, length, ended, phase(10, 0.1, "none"))
    assert reward.tolist() == [1.0, 0.0, 0.0]
    assert in_time(correct, length, ended, 10).tolist() == [True, False, False]


@given(budgets, targets)
def test_ends_of_the_curve(budget: int, r: float) -> None:
    """f(0) = 1 and f(L) = r."""
    start, end = exponent_shaping(torch.tensor([0, budget]), budget, r).tolist()
    assert start == 1
    assert end == pytest.approx(r, rel=1e-6)


@given(budgets, targets, lengths)
def test_bounded_and_monotone(budget: int, r: float, x: list[int]) -> None:
    value = exponent_shaping(torch.tensor(sorted(x)), budget, r)
    assert ((value >= 0) & (value <= 1)).all()
    assert (value.diff() <= 0).all()


def test_strictly_shorter_is_strictly_better() -> None:
    value = exponent_shaping(torch.arange(1, 200), 200, 0.05)
    assert (value.diff() < 0).all()


@given(budgets, targets, lengths, st.sampled_from(["none", "exponential"]))
def test_a_wrong_answer_never_gains_from_brevity(budget: int, r: float, x: list[int], shaping: str) -> None:
    length = torch.tensor(x)
    wrong, ended = torch.zeros(len(x), dtype=torch.bool), torch.ones(len(x), dtype=torch.bool)
    assert not shaped_reward(wrong, length, ended, phase(budget, r, shaping)).any()


@given(budgets, targets, lengths)
def test_r_of_one_shapes_nothing(budget: int, r: float, x: list[int]) -> None:
    assert (exponent_shaping(torch.tensor(x), budget, 1.0) == 1).all()


@pytest.mark.parametrize("budget, r", [(0, 0.5), (-3, 0.5), (10, 0.0), (10, -0.1), (10, 1.5), (10, math.nan)])
def test_out_of_range_is_an_error(budget: int, r: float) -> None:
    with pytest.raises(ConfigError, match="budget" if budget < 1 else "r="):
        exponent_shaping(torch.tensor([1]), budget, r)
