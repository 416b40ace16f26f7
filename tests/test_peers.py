"""Rewards, budgets and token rules of the peers: worked by hand, and as properties."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from egrc.config import ConfigError, Phase
from egrc.methods import peers
from egrc.methods.history import History
from egrc.reward import budgets, linear_shaping, relative_shaping, shaped_reward

GROUP = 4
PHASES = {
    "sigmoid": Phase("train", "leave_one_out", 600, "sigmoid", length_weight=0.2),
    "step": Phase("train", "group", 600, "step", length_weight=0.5),
    "longest": Phase("train", "centred", 600, "longest", length_weight=1.0),
    "dual": Phase("train", "group", 600, "dual", length_weight=0.1),
    "linear": Phase("train", "absolute", 600, "linear", r=0.1),
    "relative": Phase("train", "absolute", 600, "relative", r=0.1),
    "reliable": Phase("train", "absolute", 600, "exponential", r=0.1, reliable=0.75),
    "solved": Phase("train", "batch_scaled", 600, cut="solved", cut_at=0.5),
    "outlier": Phase("train", "group", 600, cut="outlier", cut_at=1.0),
}
groups = st.lists(st.tuples(st.booleans(), st.integers(1, 500)), min_size=GROUP, max_size=GROUP)


def reward(phase: Phase, group: list[tuple[bool, int]], history: History | None = None) -> torch.Tensor:
    correct, length = map(torch.tensor, zip(*group, strict=True))
    return shaped_reward(correct, length, torch.ones_like(correct), phase, len(group), history)


def remembered() -> History:
    history = History()
    history.update(torch.tensor([True, True, True, False]), torch.tensor([50, 100, 150, 5]), 4)
    return history


# --- by hand ---------------------------------------------------------------------------------------------------


def test_sigmoid_by_hand() -> None:
    # Correct ones of 10 and 30: mean 20, std 10, so z = -1 and 1; the wrong one does not count.
    value = reward(PHASES["sigmoid"], [(True, 10), (True, 30), (False, 1000)])
    s = 1 / (1 + math.exp(-1))
    torch.testing.assert_close(value, torch.tensor([1 - 0.2 * (1 - s), 1 - 0.2 * s, 0.0]))


def test_longest_by_hand() -> None:
    value = reward(PHASES["longest"], [(True, 10), (True, 40), (False, 400)])
    torch.testing.assert_close(value, torch.tensor([1.75, 1.0, 0.0]))


def test_step_by_hand() -> None:
    # The history's one group of 4 (3/4 correct) is easy: a third of the correct ones within L_T, so L_T = 50.
    history = remembered()
    assert reward(PHASES["step"], [(True, 50), (True, 51), (True, 9), (False, 9)], history).tolist() == [1.5, 1, 1.5, 0]
    hard = [(True, 500), (False, 1), (False, 1), (False, 1)]
    assert reward(PHASES["step"], hard, history).tolist() == [1.5, 0, 0, 0], "no target yet: any length will do"


def test_dual_by_hand() -> None:
    # All correct, lengths 10 and 30 (z = -1, 1); the pass rate is 1 and its average 0.5: beta = 0.5.
    history = History()
    history.pass_rate = 0.5
    s = 1 / (1 + math.exp(0.5))
    easy = reward(PHASES["dual"], [(True, 10), (True, 30)], history)
    torch.testing.assert_close(easy, torch.tensor([1 + 0.1 * (1 - s), 1 + 0.1 * s]))
    history.pass_rate = 1.0
    hard = reward(PHASES["dual"], [(True, 10), (True, 30), (False, 20), (False, 20)], history)
    assert hard[1] > hard[0], "below the average, longer is better"


def test_linear_and_relative_by_hand() -> None:
    line = linear_shaping(torch.tensor([0, 50, 100, 200]), 100, 0.2)
    torch.testing.assert_close(line, torch.tensor([1, 0.6, 0.2, 0]))
    correct, length = torch.tensor([True, True, False, False]), torch.tensor([10, 30, 500, 20])
    value = relative_shaping(correct, length, 4, 0.25)  # mean 20, so L = 40: 0.25 ** (x / 40)
    torch.testing.assert_close(value[[0, 1, 3]], torch.tensor([0.25**0.25, 0.25**0.75, 0.5]))
    assert torch.isfinite(relative_shaping(torch.zeros(4, dtype=torch.bool), length, 4, 0.25)).all()


def test_length_counts_only_where_a_group_is_reliable() -> None:
    easy, hard = [(True, 300)] * 3 + [(False, 3)], [(True, 300)] * 2 + [(False, 3)] * 2
    assert reward(PHASES["reliable"], easy).tolist() == pytest.approx([0.1**0.5] * 3 + [0], rel=1e-6)
    assert reward(PHASES["reliable"], hard).tolist() == [1, 1, 0, 0]


def test_solved_groups_have_a_shorter_budget() -> None:
    assert reward(PHASES["solved"], [(True, 300), (True, 301), (True, 10), (False, 10)]).tolist() == [1, 0, 1, 0]
    assert reward(PHASES["solved"], [(True, 300), (True, 301), (False, 10), (False, 10)]).tolist() == [1, 1, 0, 0]


def test_outliers_are_cut_where_all_are_correct() -> None:
    # Lengths 10, 10, 10, 50: mean 20, std sqrt(300) = 17.3, so at one deviation the cut is at floor(37.3).
    phase, length = PHASES["outlier"], torch.tensor([10, 10, 10, 50])
    correct = torch.ones(4, dtype=torch.bool)
    assert budgets(correct, length, correct, phase, 4).tolist() == [37] * 4
    assert reward(phase, [(True, 10)] * 3 + [(True, 50)]).tolist() == [1, 1, 1, 0]
    assert reward(phase, [(True, 10), (False, 10), (True, 10), (True, 50)]).tolist() == [1, 0, 1, 1]


def test_three_deviations_never_cut_a_group_of_eight() -> None:
    """As `outlier_budget` says: the farthest that one of n can be is sqrt(n - 1)."""
    length, correct = torch.tensor([1] * 7 + [10_000]), torch.ones(8, dtype=torch.bool)
    assert (peers.outlier_budget(correct, length, 20_000, 3.0, 8) > 10_000).all()
    assert (peers.outlier_budget(correct, length, 20_000, math.sqrt(7) - 0.1, 8) < 10_000).all()


def test_kl_cov_leaves_out_the_tokens_that_cost_most_entropy() -> None:
    # A - mean: 1, 1, -1, -1; log p - mean: 1, -1, 1, -1 (padding apart): products 1, -1, -1, 1 and then one is larger.
    logp = torch.tensor([[-1.0, -3.0], [-1.0, -3.5], [0.0, 0.0]])
    advantage = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [9.0, 9.0]])
    mask = torch.tensor([[1, 1], [1, 1], [0, 0]])
    keep = peers.kl_cov(logp, advantage, mask, 0.25)
    assert keep.tolist() == [[True, True], [True, False], [True, True]]
    assert peers.kl_cov(logp, advantage, mask, 0.5).tolist() == [[False, True], [True, False], [True, True]]
    assert (~peers.kl_cov(logp, advantage, mask, 1e-6)).sum() == 1, "at least one"


def test_the_entropy_floor_lets_only_widening_pushes_through_below_it() -> None:
    # At H = 1: a token with log p = -0.5 is likelier than the average, one with -2 rarer.
    logp = torch.tensor([[-0.5, -0.5, -2.0, -2.0]])
    advantage = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    entropy = torch.ones(1, 4)
    assert peers.entropy_floor(logp, advantage, entropy, entropy).tolist() == [[False, True, True, False]]
    assert peers.entropy_floor(logp, advantage, entropy, 0.9 * entropy).all(), "above the floor all count"


@pytest.mark.parametrize("push, lowers", [((0, 1.0), True), ((0, -1.0), False), ((2, 1.0), False), ((2, -1.0), True)])
def test_the_sign_of_a_sharpening_push_is_that_of_the_entropys_change(push: tuple[int, float], lowers: bool) -> None:
    """A small step on the logits of one place, by the policy gradient."""
    logits = torch.tensor([2.0, 1.0, -1.0])
    token, advantage = push
    p = logits.softmax(0)
    moved = logits + 1e-3 * advantage * (torch.eye(3)[token] - p)
    before, after = (torch.special.entr(x.softmax(0)).sum() for x in (logits, moved))
    assert bool(after < before) == lowers
    kept = peers.entropy_floor(p.log()[token], torch.tensor(advantage), before, before)
    assert bool(kept) == (not lowers)


# --- properties ------------------------------------------------------------------------------------------------


@given(groups, st.sampled_from(sorted(PHASES)))
def test_a_wrong_one_earns_nothing_and_a_right_one_in_time_something(group: list, name: str) -> None:
    value = reward(PHASES[name], group, remembered())
    correct = torch.tensor([good for good, _ in group])
    assert (value[~correct] == 0).all()
    assert (value >= 0).all() and torch.isfinite(value).all()
    if PHASES[name].cut is None:
        assert (value[correct] > 0).all(), "so a short wrong one never beats a right one"


@given(groups, st.sampled_from(["sigmoid", "step", "longest", "linear", "relative", "reliable", "solved", "outlier"]))
def test_of_two_right_ones_the_shorter_earns_no_less(group: list, name: str) -> None:
    value = reward(PHASES[name], group, remembered())
    for (i, (a, x)), (j, (b, y)) in product(enumerate(group), repeat=2):
        if a and b and x < y:
            assert value[i] >= value[j]


@given(groups, st.sampled_from(["sigmoid", "step", "longest", "linear", "relative", "outlier"]), st.integers(1, 500))
def test_the_length_of_a_wrong_one_does_not_matter(group: list, name: str, length: int) -> None:
    changed = [(good, x if good else length) for good, x in group]
    torch.testing.assert_close(*(reward(PHASES[name], g, remembered()) for g in (group, changed)))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"cut": "solved"}, "give both or neither"),
        ({"tokens_at": 0.2}, "give both or neither"),
        ({"tokens": "nonsense", "tokens_at": 0.2}, "tokens='nonsense'"),
        ({"cut": "solved", "cut_at": -1.0}, "cut_at=-1.0"),
        ({"reliable": 1.5}, "reliable=1.5"),
        ({"scale": 0}, "scale=0"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Phase("train", "group", 100, **settings)
