"""The split of a change of mean entropy: by hand, exact, the same both ways, and its intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.analysis import changes
from egrc.entropy import CLASSES


@pytest.mark.parametrize(
    ("sides", "mix", "certainty"),
    [
        # 2 nats and 0 nats; from one in four to three in four of the uncertain kind: 0.5 -> 1.5, the kinds as before
        (([1, 3], [2, 0], [3, 1], [6, 0]), [0.5, 0.5], [0, 0]),
        # half and half before and after; 2 and 1 nats become 1 and 0.5.  Twice as many tokens change nothing
        (([2, 2], [4, 2], [4, 4], [4, 2]), [0, 0], [-0.5, -0.25]),
        # shares 1/4 -> 1/2, means 2 -> 1 and 0 -> 1, level 3/4: mix 1/4 x 3/4 and -1/4 x -1/4; 3/8 x -1 and 5/8 x 1
        (([1, 3], [2, 0], [2, 2], [2, 2]), [0.1875, 0.0625], [-0.375, 0.625]),
        # a class that disappears is all mix: 1.5 -> 1, level 1.25
        (([1, 1], [2, 1], [0, 5], [0, 5]), [-0.375, -0.125], [0, 0]),
    ],
)
def test_a_split_by_hand(sides: tuple, mix: list, certainty: list) -> None:
    found = changes.decompose(*sides)
    assert (found.mix.tolist(), found.certainty.tolist()) == (mix, certainty)
    assert found.total == sum(mix) + sum(certainty)


kinds = st.tuples(st.integers(0, 50), st.floats(0, 4))
sides = st.lists(kinds, min_size=4, max_size=4).filter(lambda side: sum(n for n, _ in side))


@given(sides, sides)
def test_nothing_is_left_over_and_backwards_is_minus_forwards(before: list, after: list) -> None:
    a, b = ((np.array([n for n, _ in s]), np.array([n * h for n, h in s])) for s in (before, after))
    there, back = changes.decompose(*a, *b), changes.decompose(*b, *a)
    assert there.total == pytest.approx(b[1].sum() / b[0].sum() - a[1].sum() / a[0].sum())
    assert there.mix.sum() + there.certainty.sum() == pytest.approx(there.total, abs=1e-12)
    np.testing.assert_allclose(there.mix, -back.mix, atol=1e-12)
    np.testing.assert_allclose(there.certainty, -back.certainty, atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "sums", "message"),
    [
        ([1, np.nan], [1, 1], "finite"), ([1, 1], [np.nan, 1], "finite"), ([-1, 2], [0, 1], "not negative"),
        ([0, 0], [0, 0], "without tokens"), ([0, 1], [1, 1], "class without tokens"),
    ],
)  # fmt: skip
def test_bad_numbers_are_refused(counts: list, sums: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changes.decompose([1, 1], [1, 1], counts, sums)


def test_from_the_first_steps_to_the_last_tokens_are_pooled_not_means() -> None:
    steps = pd.DataFrame({"tokens_mean": [30.0, 10, 10, 10, 10, 10, 10, 10]})
    steps[[f"share_{c}" for c in CLASSES]] = [1, 0, 0, 0]
    steps[[f"entropy_{c}" for c in CLASSES]] = [[h, np.nan, np.nan, np.nan] for h in (1, 4, 4, 4, 4, 3, 3, 3)]
    found = changes.along(steps)  # first five: 30 + 4 x 40 nats in 70 tokens
    assert found["total"] == found["certainty_connector"] == pytest.approx(3 - 190 / 70) and found["mix"] == 0


def rows(counts: list[float], nats: list[float], n: int = 1, benchmark: str = "hole-2") -> pd.DataFrame:
    """n problems alike."""
    table = pd.DataFrame({"benchmark": benchmark, "id": [f"p{i}" for i in range(n)]})
    table[[f"n_{c}" for c in CLASSES]] = np.array(counts, float)
    table[[f"entropy_{c}" for c in CLASSES]] = np.array(nats, float)
    return table


def test_tokens_are_pooled_over_benchmarks_of_different_sizes() -> None:
    rest = rows([1, 1, 0, 0], [1, 0, 0, 0], 1, "b")
    before, after = (pd.concat([rows([1, 1, 0, 0], [h, 0, 0, 0], 3, "a"), rest]) for h in (1, 3))
    found = changes.split(before, after, n_boot=20).set_index("part")
    assert found.loc["total"].tolist() == pytest.approx([10 / 8 - 4 / 8] * 3)  # nothing varies inside
    assert found.loc["certainty_connector", "estimate"] == pytest.approx(0.75) and found.loc["mix", "estimate"] == 0


def test_an_interval_holds_what_varies_between_problems() -> None:
    rng, n = np.random.default_rng(0), 200
    before, after = (rows([1, 0, 0, 0], np.c_[rng.normal(h, 0.1, n), np.zeros((n, 3))], n) for h in (2, 1))
    line = changes.split(before, after, n_boot=500).set_index("part").loc["certainty"]
    assert line["low"] < -1 < line["high"] and line["high"] - line["low"] == pytest.approx(3.92 * 0.01, rel=0.25)


def test_different_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="not asked the same.*'hole-2', 'p1'"):
        changes.split(rows([1, 1, 0, 0], [1, 0, 0, 0], 2), rows([1, 1, 0, 0], [1, 0, 0, 0], 1))
