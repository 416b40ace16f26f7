"""Advantages: worked by hand, and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egrc.advantage import EPS, absolute, advantages, group_relative, separate, within_correct
from egrc.config import ConfigError

KINDS = ("absolute", "group", "separate", "within_correct")
GROUP = 4
groups = st.lists(st.tuples(st.booleans(), st.integers(1, 500)), min_size=GROUP, max_size=GROUP)


def tensors(group: list[tuple[bool, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    correct, length = zip(*group, strict=True)
    return torch.tensor(correct), torch.tensor(length)


def test_absolute_by_hand() -> None:
    assert absolute(torch.tensor([0.0, 0.5, 1.0]), beta=2.0).tolist() == [0.0, 1.0, 2.0]
    assert absolute(torch.tensor([-0.5]), beta=2.0).tolist() == [0.0], "positive only"


def test_group_by_hand() -> None:
    # Rewards 0, 0, 1, 1: mean 1/2, std (n - 1) sqrt(1/3).  The second group is uniform.
    z = 0.5 / (math.sqrt(1 / 3) + EPS)
    expected = torch.tensor([-z, -z, z, z, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(group_relative(torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]), 4), expected)


def test_separate_by_hand() -> None:
    # Lengths 10, 30 have mean 20 and std sqrt(200): the shorter gets z, whatever its answer.
    z, y = 10 / (math.sqrt(200) + EPS), 0.5 / (math.sqrt(0.5) + EPS)
    result = separate(torch.tensor([0.0, 1.0]), torch.tensor([10, 30]), 2, length_weight=0.5)
    torch.testing.assert_close(result, torch.tensor([-y + 0.5 * z, y - 0.5 * z]))


def test_within_correct_by_hand() -> None:
    # Two correct ones of 10 and 30 tokens; two wrong ones, whose lengths must not matter.
    z, y = 10 / (math.sqrt(200) + EPS), 0.5 / (math.sqrt(1 / 3) + EPS)
    correct = torch.tensor([True, True, False, False])
    result = within_correct(correct, correct.float(), torch.tensor([10, 30, 5, 500]), 4, length_weight=0.5)
    torch.testing.assert_close(result, torch.tensor([y + 0.5 * z, y - 0.5 * z, -y, -y]))


def test_a_lone_correct_answer_gets_no_length_term() -> None:
    correct = torch.tensor([True, False])
    args = (correct, correct.float(), torch.tensor([90, 10]), 2)
    assert torch.equal(within_correct(*args, length_weight=9.0), within_correct(*args, length_weight=0.0))


@given(groups, st.floats(0.1, 10))
def test_absolute_is_never_negative(group: list[tuple[bool, int]], beta: float) -> None:
    correct, length = tensors(group)
    assert (advantages("absolute", correct, correct.float(), length, GROUP, beta) >= 0).all()


@given(groups)
def test_group_relative_sums_to_zero_and_ignores_uniform_groups(group: list[tuple[bool, int]]) -> None:
    correct, length = tensors(group)
    result = advantages("group", correct, correct.float(), length, GROUP)
    assert result.sum().item() == pytest.approx(0, abs=1e-5)
    if len(set(correct.tolist())) == 1:
        assert not result.any()


def test_uniform_rewards_that_do_not_average_exactly_are_still_uniform() -> None:
    """0.1 thrice: the mean in float32 is not 0.1, and a standardised rounding error would be an advantage."""
    assert not group_relative(torch.full((3,), 0.1), 3).any()


@given(groups, st.integers(1, 500), st.floats(0, 2))
def test_a_wrong_answer_never_gains_from_brevity(
    group: list[tuple[bool, int]], other: int, weight: float
) -> None:
    """Changing one wrong rollout's length changes no advantage of these three kinds, its own or another's."""
    group[0] = (False, group[0][1])
    changed = [(False, other), *group[1:]]
    for kind in ("absolute", "group", "within_correct"):
        before, after = (
            advantages(kind, c, c.float(), n, GROUP, 1.0, weight) for c, n in map(tensors, (group, changed))
        )
        assert torch.equal(before, after), kind


def test_reading_a_lacks_that_property() -> None:
    wrong = torch.zeros(2, dtype=torch.bool)
    short, long = separate(wrong.float(), torch.tensor([5, 50]), 2, length_weight=1.0).tolist()
    assert short > 0 > long


@given(groups, st.floats(0.01, 2))
def test_among_correct_ones_the_shorter_gains(group: list[tuple[bool, int]], weight: float) -> None:
    correct, length = tensors([(True, n) for _, n in group])
    result = advantages("within_correct", correct, correct.float(), length, GROUP, 1.0, weight)
    order = length.argsort()
    assert (result[order].diff() <= 1e-6).all()
    if length[order[0]] < length[order[-1]]:
        assert result[order[0]] > result[order[-1]]


@given(st.lists(groups, min_size=2, max_size=4), st.sampled_from(KINDS))
def test_groups_do_not_mix(many: list[list[tuple[bool, int]]], kind: str) -> None:
    def of(group: list[tuple[bool, int]]) -> torch.Tensor:
        correct, length = tensors(group)
        return advantages(kind, correct, correct.float(), length, GROUP, 1.0, 0.5)

    together = of([rollout for group in many for rollout in group])
    torch.testing.assert_close(together, torch.cat([of(group) for group in many]))


@pytest.mark.parametrize("kind", KINDS)
def test_bad_groups_are_errors(kind: str) -> None:
    correct, length = tensors([(True, 1)] * 3)
    with pytest.raises(ConfigError, match="groups of 2"):
        advantages(kind, correct, correct.float(), length, 2)
    if kind != "absolute":
        with pytest.raises(ConfigError, match="2 rollouts or more"):
            advantages(kind, correct, correct.float(), length, 1)


def test_unknown_kind_lists_the_valid_ones() -> None:
    correct, length = tensors([(True, 1)] * 2)
    with pytest.raises(ConfigError, match="absolute, group, separate, within_correct"):
        advantages("other", correct, correct.float(), length, 2)
