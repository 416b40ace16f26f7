"""The gate: traces worked by hand, and properties that hold for any entropy."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.controller import EntropyGate, Recipe, replay, report
from egrc.methods.controls import Fixed, Shuffled, Soft
from egrc.objective import Objective

COMPRESS, EXPLORE = Objective("compress", 100), Objective("explore", 50, temperature=1.2)
entropies = st.lists(st.floats(0, 5), min_size=1, max_size=60)
gates = st.builds(
    lambda low, gap, flat, window, extra, switches, kind: kind(low, low + gap, flat, window, window + extra, switches),
    st.floats(0.1, 1),
    st.floats(0.01, 1),
    st.sampled_from([0.0, 0.01, 0.5]),
    st.integers(1, 5),
    st.integers(0, 5),
    st.integers(0, 4),
    st.sampled_from([EntropyGate, Soft]),
)
recipes = st.builds(Recipe, st.sampled_from([(COMPRESS, EXPLORE), (EXPLORE, COMPRESS), (COMPRESS,)]), gates)


def two(kind: type[EntropyGate] = EntropyGate, **settings) -> Recipe:
    return Recipe((COMPRESS, EXPLORE), kind(**{"window": 1, "dwell": 1, "low": 0.5, "high": 0.9, **settings}))


def phases(recipe: Recipe, trace: list[float]) -> list[str]:
    return [d.next_phase for d in replay(recipe, trace)]


def test_two_stages_by_hand() -> None:
    # Start 2; below 0.5 * 2 at the fourth step; one switch only, so the later rise changes nothing.
    decisions = replay(two(), [2.0, 1.5, 1.0, 0.9, 1.9, 0.5])
    assert [d.phase for d in decisions] == ["compress"] * 4 + ["explore"] * 2
    assert decisions[3].cause == "entropy fell below 0.5 of its start"
    assert [d.cause for d in decisions].count("") == 5
    assert decisions[3].weights == (0.0, 1.0)


def test_hysteresis_by_hand() -> None:
    # Down at < 1, up at > 1.8: between the two nothing moves.
    assert phases(two(max_switches=9), [2.0, 0.9, 1.2, 1.7, 1.9, 1.5, 0.9]) == [
        *("compress", "explore", "explore", "explore", "compress", "compress", "explore")
    ]


def test_smoothing_by_hand() -> None:
    decisions = replay(two(window=2, dwell=2), [4.0, 2.0, 1.0, 0.0])
    assert [d.smoothed for d in decisions] == [4.0, 3.0, 1.5, 0.5]
    assert [d.slope for d in decisions] == [None, -2.0, -1.0, -1.0]
    assert replay(two(window=3, dwell=3), [1.0, 5.0, 4.0])[-1].slope == 1.5, "least squares: (-1 * 1 + 1 * 4) / 2"
    # Start is the first full window, 3; 1.5 is not below half of it, 0.5 is.
    assert [d.next_phase for d in decisions] == ["compress", "compress", "compress", "explore"]


def test_stopped_falling_and_stopped_rising() -> None:
    recipe = two(window=2, dwell=2, low=0.01, high=9.0, flat=0.1, max_switches=2)
    decisions = replay(recipe, [3.0, 2.0, 1.0, 0.95, 2.0, 3.0, 3.05, 3.05])
    causes = {d.step: d.cause for d in decisions if d.cause}
    assert causes == {4: "entropy stopped falling", 7: "entropy stopped rising"}
    assert set(phases(two(window=2, dwell=2, low=0.01), [2.0] * 9)) == {"compress"}, "flat=0 turns this cause off"


def test_dwell_limit_is_named() -> None:
    # Fallen from the second step on, but held until the fifth.
    decisions = replay(two(dwell=5), [2.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert [d.next_phase for d in decisions].index("explore") == 4
    assert decisions[4].cause == "dwell limit: entropy fell below 0.5 of its start"
    assert "every switch came at the dwell limit" in report(decisions)
    assert "never switched" in report(replay(Recipe((COMPRESS,)), [2.0, 0.1]))
    # fallen just when the dwell ends; and an early dip that recovered
    for trace in ([2.0, 2.0, 2.0, 2.0, 0.5], [2.0, 0.5, 2.0, 2.0, 0.5]):
        decisions = replay(two(dwell=5), trace)
        assert decisions[4].cause == "entropy fell below 0.5 of its start" and "dwell" not in report(decisions)


def test_soft_by_hand() -> None:
    # Start 2, low 1, high 1.8: (1.6 - 1)/0.8 = 3/4 of 'compress'.
    decisions = replay(two(Soft), [2.0, 1.6, 0.8, 1.2])
    assert [d.weights for d in decisions] == [pytest.approx((w, 1 - w)) for w in (1.0, 0.75, 0.0, 0.25)]
    assert [d.next_phase for d in decisions] == ["compress", "compress", "explore", "explore"]
    second = Recipe((EXPLORE, COMPRESS), Soft(low=0.5, high=0.9, window=1, dwell=1))
    assert replay(second, [2.0, 0.8])[-1].weights == (1.0, 0.0), "'compress' in second place"
    assert replay(two(Soft), [0.0, 0.0])[-1].weights == (0.0, 1.0), "a policy without entropy"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_reading_that_is_no_number_is_an_error(bad: float) -> None:
    gate = two().new_gate()
    gate.update(1, 2.0)
    before = gate.state_dict()
    with pytest.raises(FloatingPointError, match="step 2: the entropy is .*: the policy has diverged"):
        gate.update(2, bad)
    assert gate.state_dict() == before
    assert gate.update(2, None).next_phase == "compress" and gate.state_dict() == before, "no reading, no decision"


@given(recipes, entropies)
def test_rules_hold_for_any_entropy(recipe: Recipe, trace: list[float]) -> None:
    decisions = replay(recipe, trace)
    switches = [d for d in decisions if d.phase != d.next_phase]
    assert all(bool(d.cause) == (d.phase != d.next_phase) for d in decisions)
    assert all(d.phase == before.next_phase for before, d in zip(decisions, decisions[1:], strict=False))
    for d in decisions:
        assert math.fsum(d.weights) == pytest.approx(1) and all(0 <= w <= 1 for w in d.weights)
    if len(recipe.phases) == 1:
        assert not switches
    elif not isinstance(recipe.gate, Soft):
        assert len(switches) <= recipe.gate.max_switches
        steps = [0, *(d.step for d in switches)]
        assert all(b - a >= recipe.gate.dwell for a, b in zip(steps, steps[1:], strict=False))
        assert all(set(d.weights) <= {0.0, 1.0} for d in decisions)


def test_a_fixed_schedule_does_not_look_at_the_signal():
    recipe = two(Fixed, every=2, max_switches=3)
    assert phases(recipe, [1.0] * 8) == phases(recipe, [0.1, 5.0] * 4)
    assert phases(recipe, [1.0] * 8) == ["compress", *["explore"] * 2, *["compress"] * 2, *["explore"] * 3]


def test_shuffled_readings_keep_their_level_and_lose_their_course():
    recipe = two(Shuffled, max_switches=0)
    trace = [float(k) for k in range(40)]
    read = [d.smoothed for d in replay(recipe, trace)]
    assert read != trace and set(read) <= set(trace)
    assert all(r <= t for r, t in zip(read, trace, strict=True)), "drawn from what was read so far"
    assert read == [d.smoothed for d in replay(recipe, trace)], "the same run, the same draws"
