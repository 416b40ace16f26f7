"""Intervals over problems: estimates by hand, widths from theory, pairing, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from test_evaluate import rows_of

from egrc.evaluation import intervals
from egrc.evaluation.intervals import resampled


def random_rows(rng, accuracy, tokens, n=40):
    parts = [rows_of(rng.random((n, 2)) < accuracy, rng.poisson(tokens, (n, 2)), benchmark) for benchmark in "xy"]
    return pd.concat(parts)


def gain(a, b, n_boot):
    """Estimate and interval of a's accuracy minus b's, and of the tokens."""
    means = resampled(pd.concat([a.assign(arm="a"), b.assign(arm="b")]), n_boot)
    differences = ((x - y).mean(-1) for x, y in zip(means["a"], means["b"], strict=True))
    return [intervals.estimate(each[0], each[1:]) for each in differences]


def test_the_interval_is_as_wide_as_theory_says():
    rng = np.random.default_rng(1)
    a, b = random_rows(rng, 0.7, 20, n=200), random_rows(rng, 0.6, 20, n=200)
    estimate, low, high = gain(a, b, 4000)[0]
    pairs = [r.groupby(["benchmark", "id"])["correct"].mean() for r in (a, b)]
    differences = (pairs[0] - pairs[1]).groupby("benchmark")
    assert estimate == pytest.approx(differences.mean().mean())
    expected = 2 * 1.96 * np.sqrt(differences.var(ddof=0).sum() / 200) / 2
    assert high - low == pytest.approx(expected, rel=0.1)


def test_problems_are_paired():
    """A side against itself, three tokens longer everywhere: no spread, however much problems differ."""
    rng = np.random.default_rng(2)
    a = random_rows(rng, 0.5, 50)
    b = a.assign(tokens=a["tokens"] + 3).sample(frac=1, random_state=0)  # the order of rows does not matter
    assert gain(a, b, 200) == [(0, 0, 0), pytest.approx((-3, -3, -3))]
    with pytest.raises(ValueError, match="different problems.*p39"):
        gain(a, b[b["id"] != "p39"], 200)


def test_benchmarks_stand_in_alphabetical_order():
    rows = pd.concat([rows_of([[1]], [[30]], "z"), rows_of([[0]], [[10]], "a")]).assign(arm="a")
    means = resampled(rows, 5)["a"]
    assert means.tokens.shape == (1 + 5, 2) and means.tokens[0].tolist() == [10, 30]


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
