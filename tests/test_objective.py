"""Rewards, advantages, budgets and token rules of every method: worked by hand, and as properties."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc.checks import ConfigError
from egrc.methods.ablations import EntropyBonus, GroupRelative, HardMore, Linear, NotPositiveOnly, Unshaped
from egrc.methods.arora_zanette import AroraZanette
from egrc.methods.ceeh import Ceeh
from egrc.methods.controls import Blend
from egrc.methods.deepcompress import DeepCompress
from egrc.methods.dler import DaDler, Dler
from egrc.methods.dot import Dot
from egrc.methods.egrc import Compress, Explore, Shaped, exponent_shaping
from egrc.methods.entropy_floor import EntropyFloor
from egrc.methods.kl_cov import KlCov
from egrc.methods.laser_d import WINDOW, LaserD, bucket
from egrc.methods.lc_r1 import LcR1
from egrc.methods.ours import ReliableCompress, ReliableExplore
from egrc.objective import EPS, Objective, Rollouts, Tokens, entropy_push, group_relative

GROUP = 4
groups = st.lists(st.tuples(st.booleans(), st.integers(1, 500)), min_size=GROUP, max_size=GROUP)
ALL = [
    Objective("train", 600), Shaped("joint", 600, r=0.1), Compress("compress", 600, r=0.1), Explore("explore", 600),
    Dler("truncate", 600), DaDler("truncate", 600), Dot("truncate", 600, cut_at=1.0), AroraZanette("train", 600),
    LaserD("train", 600), LcR1("train", 600), DeepCompress("train", 600), KlCov("joint", 600, r=0.1),
    EntropyFloor("joint", 600, r=0.1), NotPositiveOnly("compress", 600, r=0.1), GroupRelative("compress", 600, r=0.1),
    Linear("compress", 600, r=0.1), Unshaped("compress", 600, r=0.1), ReliableCompress("compress", 600, r=0.1),
    ReliableExplore("explore", 600), HardMore("explore", 600), EntropyBonus("explore", 600), Ceeh("train", 600),
]  # fmt: skip
each = pytest.mark.parametrize("objective", ALL, ids=lambda o: type(o).__name__)


def rollouts(*group, size=None, **more) -> Rollouts:
    correct, length = zip(*group, strict=True)
    return Rollouts(torch.tensor(correct), torch.tensor(length), size or len(group), **more)


def rewards(objective, *group, size=None):
    return objective.rewards(rollouts(*group, size=size))


def advantages(objective, r):
    return objective.advantages(r, objective.rewards(r))


def test_exponent_and_linear_shaping_by_hand():
    # r = 0.25 at L = 100: half-way the reward is sqrt(0.25) = 0.5; overlong or wrong it is 0.
    o = Shaped("joint", 100, r=0.25)
    assert rewards(o, (True, 50), (True, 100), (True, 101), (False, 1)).tolist() == [0.5, 0.25, 0, 0]
    assert rewards(replace(o, budget=200, scale=100), (True, 150), (False, 1))[0] == 0.125, "L of the shaping alone"
    o = Linear("compress", 300, r=0.2, scale=100)
    assert rewards(o, (True, 50), (True, 100), (True, 200), (False, 1)).tolist() == pytest.approx([0.6, 0.2, 0, 0])


@given(st.integers(1, 4000), st.floats(1e-6, 1), st.lists(st.integers(1, 8000), min_size=1, max_size=20))
def test_the_curve_is_bounded_monotone_and_meets_its_ends(budget, r, lengths):
    start, end = exponent_shaping(torch.tensor([0, budget]), budget, r).tolist()
    assert start == 1 and end == pytest.approx(r, rel=1e-6)
    value = exponent_shaping(torch.tensor(sorted(lengths)), budget, r)
    assert ((value >= 0) & (value <= 1)).all() and (value.diff() <= 0).all()


def test_arora_zanette_by_hand():
    # Correct ones of 10 and 30: mean 20, std 10, so z = -1 and 1; the wrong one does not count.
    s = 1 / (1 + math.exp(-1))
    r = rollouts((True, 10), (True, 30), (False, 1000))
    torch.testing.assert_close(
        AroraZanette("train", 600).rewards(r), torch.tensor([1 - 0.2 * (1 - s), 1 - 0.2 * s, 0.0])
    )
    leave_one_out = AroraZanette("train", 600).advantages(rollouts(*[(True, 1)] * 3), torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(leave_one_out, torch.tensor([1, -0.5, -0.5]))


def test_lc_r1_by_hand():
    o, r = LcR1("train", 600), rollouts((True, 10), (True, 40), (False, 400))
    assert o.rewards(r).tolist() == [1.75, 1.0, 0.0]
    torch.testing.assert_close(advantages(o, r), torch.tensor([1.75, 1, 0]) - 2.75 / 3)


def test_laser_d_by_hand():
    """Groups of 6.  Easy: 5 correct, of which 1/4 (a group at 2/3 has 4) must be within: the 2nd of 5 lengths.
    Medium: 3 correct, 1/2 within (2 of 6): the 2nd of 3.  Hard: 1 correct, all within."""
    assert [bucket(rate) for rate in (1.0, 2 / 3, 0.6, 1 / 3, 0.3, 0.0)] == [0, 0, 1, 1, 2, 2]
    o = LaserD("train", 600)
    assert o.targets(8) == [math.inf] * 3, "without a correct rollout there is no target"
    for good, lengths in (
        ([1, 1, 1, 1, 1, 0], [50, 10, 40, 20, 30, 1]),
        ([1, 1, 1, 0, 0, 0], [80, 60, 70, 2, 3, 4]),
        ([0, 0, 1, 0, 0, 0], [9, 9, 90, 9, 9, 9]),
    ):
        o.observe(Rollouts(torch.tensor(good).bool(), torch.tensor(lengths), 6))
    assert o.targets(6) == [20.0, 70.0, 90.0]
    assert rewards(o, (True, 20), (True, 21), (True, 9), (True, 9), (True, 9), (False, 9)).tolist()[:2] == [1.5, 1]
    for step in range(WINDOW):
        o.observe(rollouts((True, step + 1), (True, 100)))
    assert o.targets(6)[1:] == [math.inf] * 2, "old rollouts are forgotten"


def test_deepcompress_by_hand():
    # All correct, lengths 10 and 30 (z = -1, 1); the pass rate is 1 and its average 0.5: beta = 0.5.
    o, s = DeepCompress("train", 600), 1 / (1 + math.exp(0.5))
    o.average = 0.5
    easy = rewards(o, (True, 10), (True, 30))
    torch.testing.assert_close(easy, torch.tensor([1 + 0.1 * (1 - s), 1 + 0.1 * s]))
    o.average = 1.0
    hard = rewards(o, (True, 10), (True, 30), (False, 20), (False, 20))
    assert hard[1] > hard[0], "below the average, longer is better"
    o.observe(rollouts((True, 1), (False, 2), (False, 3), (False, 4)))
    assert o.average == pytest.approx(0.99 + 0.01 * 0.25), "it moves slowly"


def test_length_counts_only_where_a_group_is_reliable():
    o, explore = ReliableCompress("compress", 600, r=0.1), ReliableExplore("explore", 600, length_weight=0.5)
    easy, hard = rollouts(*[(True, 300)] * 2, (True, 600), (False, 3)), rollouts(*[(True, 300)] * 2, *[(False, 3)] * 2)
    assert o.rewards(easy).tolist() == pytest.approx([0.1**0.5] * 2 + [0.1, 0], rel=1e-6)
    assert o.rewards(hard).tolist() == [1, 1, 0, 0]
    for r in (easy, hard):
        torch.testing.assert_close(advantages(o, r), group_relative(o.rewards(r), 4))
    assert torch.equal(advantages(explore, easy), advantages(Explore("explore", 600, length_weight=0.5), easy))
    assert torch.equal(advantages(explore, replace(hard, length=torch.tensor([1, 9, 3, 3]))), advantages(o, hard))


def test_ceeh_by_hand():
    o, r = Ceeh("train", 600), rollouts((True, 10), (True, 40), *[(False, 5)] * 2, (True, 9), *[(False, 5)] * 3, size=4)
    assert o.rewards(r).tolist() == [1.5, 1.125, 0, 0, 1, 0, 0, 0]  # half correct is easy, a quarter is hard
    torch.testing.assert_close(advantages(o, r), group_relative(o.rewards(r), 4))
    logp = torch.tensor([[-1.0, -2.0], [-1.0, -2.0]])
    t = Tokens(logp, torch.full((2, 2), 0.5), logp, logp, lambda: logp, rollout=torch.tensor([5, 0]))
    torch.testing.assert_close(o.bonus(t), 0.001 * torch.tensor([[0.5, 1.5], [0, 0]]))
    o.advantages(replace(r, rows=slice(4, 8)), o.rewards(r))  # of the second rank
    assert o.hard.tolist() == [True] * 4 and o.state_dict() == {}, "not part of a checkpoint"


def test_solved_groups_have_a_shorter_budget():
    o = DaDler("truncate", 600, cut_at=0.5)
    assert rewards(o, (True, 300), (True, 301), (True, 10), (False, 10)).tolist() == [1, 0, 1, 0]
    assert rewards(o, (True, 300), (True, 301), (False, 10), (False, 10)).tolist() == [1, 1, 0, 0]


def test_outliers_are_cut_where_all_are_correct():
    # Lengths 10, 10, 10, 50: mean 20, std sqrt(300) = 17.3, so at one deviation the cut is at floor(37.3).
    o = Dot("truncate", 600, cut_at=1.0)
    assert o.budgets(rollouts(*[(True, 10)] * 3, (True, 50))).tolist() == [37] * 4
    assert rewards(o, *[(True, 10)] * 3, (True, 50)).tolist() == [1, 1, 1, 0]
    assert rewards(o, (True, 10), (False, 10), (True, 10), (True, 50)).tolist() == [1, 0, 1, 1]
    r = rollouts(*[(True, 1)] * 7, (True, 10_000))  # the farthest that one of n can be is sqrt(n - 1) away
    assert (Dot("truncate", 20_000, cut_at=3.0).budgets(r) > 10_000).all()
    assert (Dot("truncate", 20_000, cut_at=math.sqrt(7) - 0.1).budgets(r) < 10_000).all()


@pytest.mark.parametrize("o", [DaDler("truncate", 600), Dot("truncate", 600, cut_at=1.0)])
def test_tokens_beyond_a_cut_are_not_trained_on(o):
    r = rollouts(*[(True, 10)] * 3, (True, 500), mask=torch.ones(4, 500))
    given, cut = torch.ones(4), o.budgets(r)[3]
    assert o.token_advantages(r, given).sum(1).tolist() == [cut] * 4


def test_absolute_and_group_relative_by_hand():
    r = rollouts(*[(True, 1)] * 3)
    assert Compress("compress", 9, beta=2.0).advantages(r, torch.tensor([-0.5, 0.5, 1.0])).tolist() == [0.0, 1.0, 2.0]
    # Rewards 0, 0, 1, 1: mean 1/2, std (n - 1) sqrt(1/3).  The second group is uniform.
    z = 0.5 / (math.sqrt(1 / 3) + EPS)
    expected = torch.tensor([-z, -z, z, z, 0.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(group_relative(torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]), 4), expected)
    # 0.1 thrice: the mean in float32 is not 0.1, and a standardised rounding error would be an advantage
    assert not group_relative(torch.full((3,), 0.1), 3).any()


def test_phase_two_by_hand():
    # Two correct ones of 10 and 30 tokens; two wrong ones, whose lengths must not matter.
    z, y = 10 / (math.sqrt(200) + EPS), 0.5 / (math.sqrt(1 / 3) + EPS)
    r = rollouts((True, 10), (True, 30), (False, 5), (False, 500))
    expected = torch.tensor([y + 0.5 * z, y - 0.5 * z, -y, -y])
    torch.testing.assert_close(advantages(Explore("explore", 600, length_weight=0.5), r), expected)
    torch.testing.assert_close(advantages(HardMore("explore", 600, length_weight=0.5), r), expected)  # 2 x 1/2 wrong
    lone = rollouts((True, 90), *[(False, 10)] * 3)
    (plain, *_), (weighed, *_) = (advantages(kind("explore", 600), lone) for kind in (Explore, HardMore))
    assert weighed == pytest.approx(2 * 0.75 * plain), "three of four are wrong"
    assert not advantages(HardMore("explore", 600, length_weight=9.0), rollouts((True, 9), (True, 90))).any()


def test_batch_statistics_by_hand():
    r, reward = rollouts(*[(True, 1)] * 6, size=3), torch.tensor([1.0, 0, 0, 1.0, 1.0, 1.0])
    torch.testing.assert_close(
        NotPositiveOnly("compress", 9, beta=3.0).advantages(r, reward), torch.tensor([1.0, -2, -2, 1, 1, 1])
    )
    # only the first group has a spread: its mean square is (4 + 1 + 1) / 9 / 3 = 2/9
    expected = torch.tensor([2 / 3, -1 / 3, -1 / 3, 0, 0, 0]) / (math.sqrt(2 / 9) + EPS)
    torch.testing.assert_close(Dler("truncate", 9).advantages(r, reward), expected)
    assert not Dler("truncate", 9).advantages(r, torch.ones(6)).any(), "no group has a spread"


def test_kl_cov_leaves_out_the_tokens_that_cost_most_entropy():
    # A - mean: 1, 1, -1, -1; log p - mean: 1, -1, 1, -1 (padding apart): products 1, -1, -1, 1 and then one is larger.
    logp = torch.tensor([[-1.0, -3.0], [-1.0, -3.5], [0.0, 0.0]])
    pushes, mask = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [9.0, 9.0]]), torch.tensor([[1, 1], [1, 1], [0, 0]])

    def keep(share):
        return KlCov("joint", 9, tokens_at=share).keep(Tokens(logp, logp, pushes, mask, lambda: logp))

    assert keep(0.25).tolist() == [[True, True], [True, False], [True, True]]
    assert keep(0.5).tolist() == [[False, True], [True, False], [True, True]]
    assert (~keep(1e-6)).sum() == 1, "at least one"


@pytest.mark.parametrize("push, lowers", [((0, 1.0), True), ((0, -1.0), False), ((2, 1.0), False), ((2, -1.0), True)])
def test_the_entropy_floor_stops_what_would_sharpen_further(push, lowers):
    """A small step on the logits of one place, by the policy gradient."""
    logits, (token, advantage) = torch.tensor([2.0, 1.0, -1.0]), push
    p = logits.softmax(0)
    moved = logits + 1e-3 * advantage * (torch.eye(3)[token] - p)
    before, after = (torch.special.entr(x.softmax(0)).sum() for x in (logits, moved))
    assert bool(after < before) == lowers
    tokens = Tokens(p.log()[token], before, torch.tensor(advantage), torch.tensor(1), lambda: before)
    assert bool(EntropyFloor("joint", 9, tokens_at=1.0).keep(tokens)) == (not lowers)
    assert EntropyFloor("joint", 9, tokens_at=0.9).keep(tokens), "above the floor all count"


def test_the_entropy_push_is_the_gradient_of_the_entropy_on_average():
    logits = torch.tensor([2.0, 1.0, -1.0, 0.0], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(0)
    entropy = -(logp.exp() * logp).sum()
    (gradient,) = torch.autograd.grad(entropy, logits)
    p, score = logp.exp().detach(), torch.eye(4) - logp.exp().detach()  # of each token: grad log p, [token, logit]
    push = entropy_push(Tokens(logp.detach(), entropy.detach(), p, p, lambda: p))
    torch.testing.assert_close((p * push) @ score, gradient)
    # by hand, odds 1 : 3: -(log 1/4 + H) and -(log 3/4 + H) with H = log 4 - 3/4 log 3
    logp = torch.tensor([0.25, 0.75]).log()
    push = entropy_push(Tokens(logp, torch.tensor(math.log(4) - 0.75 * math.log(3)), p, p, lambda: p))
    torch.testing.assert_close(push, torch.tensor([0.75, -0.25]) * math.log(3))


def test_a_blend_gives_each_phase_its_share():
    r, parts = rollouts((True, 10), (True, 30), (False, 5)), [(0.25, Shaped("a", 60, r=0.1)), (0.75, Explore("b", 60))]
    blend = Blend("b", 60, 1.0, parts)
    torch.testing.assert_close(blend.rewards(r), sum(w * p.rewards(r) for w, p in parts))
    torch.testing.assert_close(advantages(blend, r), sum(w * advantages(p, r) for w, p in parts))


@pytest.mark.parametrize("entropy, share", [(0.19, 0.3), (0.21, None)])
def test_the_entropy_bonus_is_paid_below_its_threshold(entropy, share):
    logp, mask = torch.tensor([[-1.0, -9.0]]), torch.tensor([[1, 0]])
    t = Tokens(logp, torch.tensor([[entropy, 9.0]]), logp, mask, lambda: logp)
    o = EntropyBonus("explore", 60, entropy_weight=0.3, below=0.2)
    bonus, blended = o.bonus(t), Blend("explore", 60, 1.0, [(0.25, Objective("compress", 60)), (0.75, o)]).bonus(t)
    assert (bonus is None) == (blended is None) == (share is None)
    if share:
        assert bonus[0, 0].item() == pytest.approx(share * (1 - entropy))
        torch.testing.assert_close(blended, 0.75 * bonus)


@each
@settings(max_examples=50)
@given(group=groups, other=st.integers(1, 500))
def test_what_holds_in_any_group(objective, group, other):
    r = rollouts(*group)
    value, a, good = objective.rewards(r), advantages(objective, r), objective.good(r)
    assert (value[~r.correct] == 0).all() and (value >= 0).all() and torch.isfinite(value).all()
    assert (value[good] > 0).all(), "so a short wrong one never beats a right one"
    if not isinstance(objective, Explore) and good.any() and not r.correct.all():
        assert a[good].min() >= a[~r.correct].max()
    if not isinstance(objective, DeepCompress):  # there the length of all counts, and longer may be better
        changed = [(right, n if right else other) for right, n in group]
        torch.testing.assert_close(advantages(objective, rollouts(*changed)), a)
        for (i, (one, x)), (j, (two, y)) in product(enumerate(group), repeat=2):
            assert not (one and two and x < y) or value[i] >= value[j], "of two right ones the shorter earns no less"


@pytest.mark.parametrize("objective", [o for o in ALL if not isinstance(o, (Dler, NotPositiveOnly))])
@settings(max_examples=20)
@given(many=st.lists(groups, min_size=2, max_size=3))
def test_groups_do_not_mix(objective, many):
    together = advantages(objective, rollouts(*[x for group in many for x in group], size=GROUP))
    torch.testing.assert_close(together, torch.cat([advantages(objective, rollouts(*group)) for group in many]))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Objective("train", 0), "budget L=0"),
        (lambda: Objective("train", 9, temperature=0), "temperature=0"),
        (lambda: Compress("compress", 9, r=0.0), "r=0.0"),
        (lambda: Compress("compress", 9, scale=0), "scale=0"),
    ],
)
def test_what_is_out_of_range_is_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
