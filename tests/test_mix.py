"""The split of a change of mean entropy: by hand, exact, the same both ways, and its intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.analysis import mix
from egrc.entropy import CLASSES
from egrc.experiments import records
from egrc.experiments.records import RecordError


class Record(records.Record):
    """A record whose steps are given."""

    def __init__(self, path: Path, meta: dict, steps: pd.DataFrame) -> None:
        super().__init__(path, meta)
        self.__dict__["steps"] = steps


def test_all_mix() -> None:
    # 2 nats and 0 nats; from one in four to three in four of the uncertain kind.  0.5 -> 1.5 nats, the kinds as before.
    change = mix.decompose([1, 3], [2, 0], [3, 1], [6, 0])
    assert change.total == 1.0
    assert change.mix.tolist() == [0.5, 0.5]  # half by more of the uncertain, half by fewer of the certain
    assert change.certainty.tolist() == [0, 0]


def test_all_certainty() -> None:
    # Half and half before and after; 2 and 1 nats become 1 and 0.5: 1.5 -> 0.75.  Twice as many tokens change nothing.
    change = mix.decompose([2, 2], [4, 2], [4, 4], [4, 2])
    assert change.total == -0.75
    assert change.mix.tolist() == [0, 0]
    assert change.certainty.tolist() == [-0.5, -0.25]


def test_both_at_once_with_midpoint_weights() -> None:
    # shares 1/4 -> 1/2, means 2 -> 1 and 0 -> 1: mix 1/4 x 1.5 - 1/4 x 0.5 = 1/4; certainty 3/8 x -1 + 5/8 x 1 = 1/4
    change = mix.decompose([1, 3], [2, 0], [2, 2], [2, 2])
    assert (change.total, change.mix.sum(), change.certainty.sum()) == (0.5, 0.25, 0.25)
    assert change.certainty.tolist() == [-0.375, 0.625]


def test_a_class_that_disappears_is_all_mix() -> None:
    gone = mix.decompose([1, 1], [2, 1], [0, 5], [0, 5])
    assert (gone.total, gone.mix.sum()) == (-0.5, -0.5)
    assert gone.certainty.tolist() == [0, 0]
    back = mix.decompose([0, 5], [0, 5], [1, 1], [2, 1])
    assert (back.total, back.mix.sum(), back.certainty.sum()) == (0.5, 0.5, 0)


kinds = st.tuples(st.integers(0, 50), st.floats(0, 4))
sides = st.lists(kinds, min_size=4, max_size=4).filter(lambda side: sum(n for n, _ in side))


@given(sides, sides)
def test_nothing_is_left_over_and_backwards_is_minus_forwards(before: list, after: list) -> None:
    a, b = ((np.array([n for n, _ in s]), np.array([n * h for n, h in s])) for s in (before, after))
    there, back = mix.decompose(*a, *b), mix.decompose(*b, *a)
    assert there.total == pytest.approx(b[1].sum() / b[0].sum() - a[1].sum() / a[0].sum())
    assert there.mix.sum() + there.certainty.sum() == pytest.approx(there.total, abs=1e-12)
    np.testing.assert_allclose(there.mix, -back.mix, atol=1e-12)
    np.testing.assert_allclose(there.certainty, -back.certainty, atol=1e-12)


def test_leading_axes_are_independent() -> None:
    both = mix.decompose([[1, 3], [2, 2]], [[2, 0], [4, 2]], [[3, 1], [4, 4]], [[6, 0], [4, 2]])
    assert both.total.tolist() == [1.0, -0.75]
    assert both.mix.shape == (2, 2)


@pytest.mark.parametrize(
    ("counts", "sums", "message"),
    [
        ([1, np.nan], [1, 1], "finite"),
        ([1, 1], [np.nan, 1], "finite"),
        ([-1, 2], [0, 1], "not negative"),
        ([0, 0], [0, 0], "without tokens has no mean"),
        ([0, 1], [1, 1], "class without tokens"),
    ],
)
def test_bad_numbers_are_refused(counts: list, sums: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mix.decompose([1, 1], [1, 1], counts, sums)


# --- along training ---------------------------------------------------------------------------------------


def steps(shares: list[list[float]], means: list[list[float]]) -> pd.DataFrame:
    """A steps.csv with the columns that the split reads."""
    table = pd.DataFrame({"step": range(1, len(shares) + 1), "tokens_mean": 10.0})
    table[[f"share_{c}" for c in CLASSES]] = shares
    table[[f"entropy_{c}" for c in CLASSES]] = means
    return table


def test_along_training() -> None:
    mixed, same = [0.5, 0.5, 0, 0], [2.0, 0.0, np.nan, np.nan]
    sure = [0.25, 0.75, 0, 0]
    found = mix.along(steps([mixed] * 3 + [sure] * 3, [same] * 6), window=1)
    assert found["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["total"].tolist() == [0, 0, 0, -0.5, -0.5, -0.5]
    assert found["mix"].tolist() == found["total"].tolist()
    assert found["certainty"].tolist() == [0] * 6
    colder = mix.along(steps([mixed] * 2, [same, [1.0, 0.0, np.nan, np.nan]]), window=1)
    assert colder["certainty_connector"].tolist() == [0, -0.5] and colder["mix"].tolist() == [0, 0]


def test_the_window_pools_tokens_not_means() -> None:
    table = steps([[1, 0, 0, 0]] * 3, [[1.0, 0, 0, 0], [4.0, 0, 0, 0], [4.0, 0, 0, 0]])
    found = mix.along(table.assign(tokens_mean=[30.0, 10.0, 10.0]), window=3)
    # the first three steps hold 30 + 40 + 40 nats in 50 tokens; at the end two steps are left, at 4 nats a token
    assert found["total"].tolist() == pytest.approx([(30 + 40) / 40 - 2.2, 0, 4 - 2.2])


def test_a_run_with_holes_is_refused_by_file_and_row(tmp_path: Path) -> None:
    table = steps([[0.5, 0.5, 0, 0]] * 3, [[1.0, 2.0, np.nan, np.nan]] * 3)
    assert mix.of_run(Record(tmp_path, {}, table))["total"].tolist() == [0, 0, 0]  # no tokens, no entropy
    table.loc[1, "entropy_number"] = np.nan
    with pytest.raises(RecordError, match=r"steps.csv, row 2: entropy_number is empty"):
        mix.of_run(Record(tmp_path, {}, table))
    with pytest.raises(RecordError, match="steps.csv: no share_number, entropy_number"):
        mix.of_run(Record(tmp_path, {}, table.drop(columns=["share_number", "entropy_number"])))


# --- between policies -------------------------------------------------------------------------------------


def rows(counts: list[list[float]], nats: list[list[float]], benchmark: str = "hole-2") -> pd.DataFrame:
    """One row per problem."""
    table = pd.DataFrame({"benchmark": benchmark, "id": [f"p{i}" for i in range(len(counts))]})
    table[[f"n_{c}" for c in CLASSES]] = np.array(counts, float)
    table[[f"entropy_{c}" for c in CLASSES]] = np.array(nats, float)
    return table


def test_between_policies_by_hand() -> None:
    before = rows([[2, 2, 0, 0]] * 4, [[4, 2, 0, 0]] * 4)
    after = rows([[4, 4, 0, 0]] * 4, [[4, 2, 0, 0]] * 4)
    found = mix.between(before, after, n_boot=50).set_index("part")
    assert found.loc["total"].tolist() == [-0.75] * 3  # all problems alike: no interval
    assert found.loc["certainty", "estimate"] == -0.75 and found.loc["mix", "estimate"] == 0
    assert found.loc["certainty_connector", "estimate"] == -0.5


def test_tokens_are_pooled_over_benchmarks_of_different_sizes() -> None:
    before = pd.concat([rows([[1, 1, 0, 0]] * 3, [[1, 0, 0, 0]] * 3, "a"), rows([[1, 1, 0, 0]], [[1, 0, 0, 0]], "b")])
    after = pd.concat([rows([[1, 1, 0, 0]] * 3, [[3, 0, 0, 0]] * 3, "a"), rows([[1, 1, 0, 0]], [[1, 0, 0, 0]], "b")])
    found = mix.between(before, after, n_boot=20).set_index("part")
    assert found.loc["total", "estimate"] == pytest.approx(10 / 8 - 4 / 8)
    assert found.loc["total", ["low", "high"]].tolist() == pytest.approx([0.75, 0.75])  # nothing varies inside


def test_an_interval_holds_what_varies_between_problems() -> None:
    rng = np.random.default_rng(0)
    n = 200
    before = rows([[1, 0, 0, 0]] * n, np.c_[rng.normal(2, 0.1, n), np.zeros((n, 3))].tolist())
    after = rows([[1, 0, 0, 0]] * n, np.c_[rng.normal(1, 0.1, n), np.zeros((n, 3))].tolist())
    line = mix.between(before, after, n_boot=500).set_index("part").loc["certainty"]
    assert line["low"] < -1 < line["high"] and line["high"] - line["low"] == pytest.approx(3.92 * 0.01, rel=0.25)


def test_different_problems_are_refused() -> None:
    one = rows([[1, 1, 0, 0]] * 2, [[1, 0, 0, 0]] * 2)
    with pytest.raises(ValueError, match="different problems.*'hole-2', 'p1'"):
        mix.between(one, one.iloc[:1])
