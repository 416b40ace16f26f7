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
    assert found.loc["certainty", "estimate"] == pytest.approx(0.75) and found.loc["mix", "estimate"] == 0


def test_an_interval_holds_what_varies_between_problems() -> None:
    rng, n = np.random.default_rng(0), 200
    before, after = (rows([1, 0, 0, 0], np.c_[rng.normal(h, 0.1, n), np.zeros((n, 3))], n) for h in (2, 1))
    line = changes.split(before, after, n_boot=500).set_index("part").loc["certainty"]
    assert line["low"] < -1 < line["high"] and line["high"] - line["low"] == pytest.approx(3.92 * 0.01, rel=0.25)


# --- readings of a change -----------------------------------------------------------------------------------------

PROBLEMS, SAMPLES, SEEDS = 12, 4, (0, 1)
BY_HAND = {"per_token": 0.25, "per_completion": 5, "prefix": 5, "tokens": 8, "distinct": 0.75, "coverage": 0.75}
"""What the arm has more than the base of the quantity that moved, in the rows of `policies`."""


def policies(quantity: str, arm: str = "accuracy") -> pd.DataFrame:
    """Rows of base and arm, two benchmarks: the arm has more of a quantity, everything else is alike."""

    def line(i: int, name: str, seed: int, number: int) -> dict:
        up = {q: q == quantity and name == arm for q in BY_HAND}
        correct = number == 0 or (quantity == "coverage" and not up["coverage"])
        same = quantity == "distinct" and not up["distinct"]
        nats = 10.0 + 5 * (up["per_token"] or up["per_completion"] or up["prefix"])
        return {
            "kind": "prefix" if quantity == "prefix" else "completion", "benchmark": "ab"[i % 2], "id": str(i),
            "arm": name, "seed": seed, "sample": number, "entropy_sum": nats, "tokens": 20 + 8 * up["tokens"],
            "correct": correct, "text_key": "0" if same else str(number),
        }  # fmt: skip

    runs = [(i, name, seed) for i in range(PROBLEMS) for name in (arm, "base") for seed in SEEDS]
    return pd.DataFrame([line(*run, k) for run in runs for k in range(SAMPLES)])


@pytest.mark.parametrize("quantity", BY_HAND)
def test_a_policy_that_moved(quantity: str) -> None:
    found = changes.change(policies(quantity), "accuracy", quantity, n_boot=50)
    assert found[:3] == pytest.approx([BY_HAND[quantity]] * 3) and (found.n, found.seeds) == (PROBLEMS, len(SEEDS))
    assert found.by_seed == pytest.approx([found.estimate] * len(SEEDS))


def test_a_seed_alone_is_compared_with_all_of_the_base() -> None:
    rows = policies("tokens")
    rows.loc[(rows["arm"] == "accuracy") & (rows["seed"] == 1), "tokens"] -= 10
    rows.loc[(rows["arm"] == "base") & (rows["seed"] == 1), "tokens"] -= 4
    found = changes.change(rows, "accuracy", "tokens", n_boot=10)
    assert found.by_seed == (8 + 2, 8 - 10 + 2)
    assert found.estimate == 8 - 5 + 2


def test_entropy_per_token_is_one_sum_by_another() -> None:
    """A problem of 30 tokens at 1 nat and three of 10 at 0: (30 + 0)/60, although benchmarks and problems differ."""
    rows = policies("per_token").query("id in ['0', '1', '2', '4'] and seed == 0")
    mine, long = rows["arm"] == "accuracy", rows["id"] == "1"
    rows.loc[mine, "entropy_sum"], rows.loc[mine, "tokens"] = np.where(long, 30, 0)[mine], np.where(long, 30, 10)[mine]
    assert changes.change(rows, "accuracy", "per_token", n_boot=10).estimate == pytest.approx(30 / 60 - 10 / 20)


def test_rows_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows of arm 'egrc'.*accuracy"):
        changes.change(policies("tokens"), "egrc", "tokens")
    with pytest.raises(ValueError, match="not asked the same.*'0'"):
        changes.change(policies("tokens").iloc[2 * SAMPLES :], "accuracy", "tokens")
