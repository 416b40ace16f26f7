"""Intervals over problems: estimates by hand, widths from theory, pairing, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from test_evaluate import rows_of

from egrc.evaluation import intervals
from egrc.evaluation.intervals import Means, paired_bootstrap


def random_rows(rng, accuracy, tokens, n=40):
    parts = [rows_of(rng.random((n, 2)) < accuracy, rng.poisson(tokens, (n, 2)), benchmark) for benchmark in "xy"]
    return pd.concat(parts)


def test_estimates_are_plain_differences_and_ratios():
    rng = np.random.default_rng(0)
    a, b = random_rows(rng, 0.8, 20), random_rows(rng, 0.5, 60)
    means = [rows.groupby("benchmark")[["correct", "tokens"]].mean() for rows in (a, b)]
    for statistic, expected in {
        "accuracy": (means[0]["correct"] - means[1]["correct"]).mean(),
        "tokens": (means[0]["tokens"] - means[1]["tokens"]).mean(),
        "token_ratio": means[0]["tokens"].mean() / means[1]["tokens"].mean(),
    }.items():
        estimate, low, high = paired_bootstrap(a, b, statistic, n_boot=500)
        assert estimate == pytest.approx(expected)
        assert low < estimate < high


def test_the_interval_is_as_wide_as_theory_says():
    rng = np.random.default_rng(1)
    a, b = random_rows(rng, 0.7, 20, n=200), random_rows(rng, 0.6, 20, n=200)
    _, low, high = paired_bootstrap(a, b, "accuracy", n_boot=4000)
    pairs = [r.groupby(["benchmark", "id"])["correct"].mean() for r in (a, b)]
    variances = (pairs[0] - pairs[1]).groupby("benchmark").var(ddof=0) / 200
    expected = 2 * 1.96 * np.sqrt(variances.sum()) / 2
    assert high - low == pytest.approx(expected, rel=0.1)


def test_problems_are_paired():
    """A side against itself, three tokens longer everywhere: no spread, however much problems differ."""
    rng = np.random.default_rng(2)
    a = random_rows(rng, 0.5, 50)
    b = a.assign(tokens=a["tokens"] + 3).sample(frac=1, random_state=0)  # the order of rows does not matter
    assert paired_bootstrap(a, b, "tokens", n_boot=200) == pytest.approx((-3, -3, -3))
    with pytest.raises(ValueError, match="different problems.*p39"):
        paired_bootstrap(a, b[b["id"] != "p39"])


def test_a_statistic_of_ones_own_sees_benchmarks_in_alphabetical_order():
    a = pd.concat([rows_of([[1]], [[30]], "z"), rows_of([[0]], [[10]], "a")])
    seen = []

    def statistic(mine: Means, other: Means):
        seen.append(mine.tokens)
        return mine.tokens[..., 0] / other.tokens[..., 1]

    assert paired_bootstrap(a, a, statistic, n_boot=5)[0] == pytest.approx(1 / 3)
    assert seen[0].shape == (1 + 5, 2) and seen[0][0].tolist() == [10, 30]


def test_units_are_drawn_inside_their_stratum():
    """Two strata of one unit each: nothing to draw from, so every resample is the observed value."""
    values = [[6.0, 3.0], [8.0, 2.0]]
    ratio = intervals.interval(values, ["a", "b"], lambda m: (m[..., 0] / m[..., 1]).mean(-1), n_boot=7)
    assert ratio == (3.0, 3.0, 3.0)
    observed, drawn = intervals.resample([[0.0], [0.0], [1.0]], ["a", "a", "b"], n_boot=50)
    assert observed.tolist() == [[0], [1]] and drawn.shape == (50, 2, 1)
    assert (drawn[:, 0] == 0).all() and (drawn[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("values", "strata", "says"),
    [([[1.0], [2.0]], ["a"], "2 rows of values, but 1 strata"), ([[1.0], [np.nan]], ["a", "a"], "row 1: NaN")],
)
def test_values_that_cannot_be_resampled_are_refused(values, strata, says):
    with pytest.raises(ValueError, match=says):
        intervals.resample(values, strata)


def test_students_t_by_the_table():
    found = [intervals.t_quantile(0.975, df) for df in (1, 2, 4, 30)]
    assert found == pytest.approx([12.706, 4.303, 2.776, 2.042], rel=5e-4)
