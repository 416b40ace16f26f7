"""Advantages: worked by hand, and as properties."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egrc.advantage import (
    EPS,
    absolute,
    advantages,
    batch_centred,
    batch_scaled,
    centred,
    group_relative,
    leave_one_out,
    phase_advantages,
    separate,
    step_brevity,
    step_lengths,
    step_moments,
    within_correct,
)
from egrc.config import ConfigError, Phase

KINDS = ("absolute", "group", "separate", "within_correct")
PEERS = ("centred", "batch_scaled", "leave_one_out", "batch_centred", "steps")
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


# --- the peers' and the ablations' kinds ------------------------------------------------------------------------


def test_kinds_without_a_group_std_by_hand() -> None:
    reward = torch.tensor([1.0, 0, 0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(centred(reward, 3), torch.tensor([2 / 3, -1 / 3, -1 / 3, 0, 0, 0]))
    torch.testing.assert_close(leave_one_out(reward, 3), torch.tensor([1, -0.5, -0.5, 0, 0, 0]))
    torch.testing.assert_close(batch_centred(reward, 3.0), torch.tensor([1.0, -2, -2, 1, 1, 1]))
    # only the first group has a spread: its mean square is (4 + 1 + 1) / 9 / 3 = 2/9
    expected = torch.tensor([2 / 3, -1 / 3, -1 / 3, 0, 0, 0]) / (math.sqrt(2 / 9) + EPS)
    torch.testing.assert_close(batch_scaled(reward, 3), expected)
    assert not batch_scaled(torch.ones(6), 3).any(), "no group has a spread"


@given(groups, st.sampled_from(PEERS))
def test_a_right_one_is_never_below_a_wrong_one(group: list, kind: str) -> None:
    correct, length = tensors(group)
    result = advantages(kind, correct, correct.float(), length, GROUP)
    if correct.any() and not correct.all():
        assert result[correct].min() > result[~correct].max()


def test_an_unreliable_group_is_trained_on_correctness_alone() -> None:
    phase = Phase("compress", "absolute", 100, "exponential", r=0.1, reliable=0.75)
    correct = torch.tensor([True, True, True, False, True, False, False, False])
    reward = torch.tensor([0.5, 0.25, 0.5, 0, 1.0, 0, 0, 0])
    result = phase_advantages(phase, correct, reward, torch.ones(8), 4)
    assert result[:4].tolist() == [0.5, 0.25, 0.5, 0]
    torch.testing.assert_close(result[4:], group_relative(reward[4:], 4))


# --- steps --------------------------------------------------------------------------------------------------------


def test_steps_by_hand() -> None:
    """`a | + b c | + d e f | + g <eos>` and `+ b | + c` with padding: the last step never counts."""
    opens = torch.tensor([[0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0], [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]]).bool()
    mask = torch.tensor([[1] * 11, [1] * 4 + [0] * 7])
    lengths, counted = step_lengths(opens, mask)
    assert lengths[0].tolist() == [1, 3, 3, 3, 4, 4, 4, 4, 3, 3, 3]
    assert lengths[1, :4].tolist() == [2, 2, 2, 2]
    assert counted.tolist() == [[True] * 8 + [False] * 3, [True] * 2 + [False] * 9]
    moments = step_moments(lengths, counted)
    assert moments.tolist() == [[3, 8, 1 + 9 + 16], [1, 2, 4]]
    # both correct: steps of 1, 3, 4 and 2 tokens, mean 2.5, std sqrt(30/4 - 6.25)
    both = moments.sum(0).expand(2, 3)
    brevity = step_brevity(lengths, counted, torch.tensor([True, True]), both)
    std = math.sqrt(1.25) + EPS
    torch.testing.assert_close(brevity[0, :5], torch.tensor([1.5, -0.5, -0.5, -0.5, -1.5]) / std)
    torch.testing.assert_close(brevity[1], torch.tensor([0.5 / std] * 2 + [0.0] * 9))
    alone = step_brevity(lengths, counted, torch.tensor([True, False]), moments * torch.tensor([[1], [0]]))
    assert not alone[1].any(), "brevity never pays in a wrong completion"


def test_steps_of_one_length_push_nothing() -> None:
    opens, mask = torch.tensor([[0, 1, 0, 1, 0, 1]]).bool(), torch.ones(1, 6)
    lengths, counted = step_lengths(opens | torch.tensor([[True] + [False] * 5]), mask)
    moments = step_moments(lengths, counted)
    assert not step_brevity(lengths[:, 1:3], counted[:, 1:3], torch.tensor([True]), torch.tensor([[2, 4, 8.0]])).any()
    assert moments[0, 0] == 3
    no_steps = step_brevity(lengths, torch.zeros_like(counted), torch.tensor([True]), torch.zeros(1, 3))
    assert not no_steps.any() and torch.isfinite(no_steps).all()


@given(st.integers(1, 8), st.integers(1, 8))
def test_another_step_of_the_same_length_costs_nothing(tries: int, more: int) -> None:
    """What distinguishes it from the chain's length: patience is free."""
    opens = torch.tensor([[1, 0] * (tries + more) + [1]]).bool()
    mask = torch.tensor([[1] * (2 * (tries + more) + 1)])
    lengths, counted = step_lengths(opens, mask)
    brevity = step_brevity(lengths, counted, torch.tensor([True]), torch.tensor([[4, 12, 40.0]]))
    assert brevity[0, : 2 * tries].unique().numel() == 1
    assert (brevity[counted] > 0).all(), "each is shorter than the mean of 3"
