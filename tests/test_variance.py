"""Components of variance on data whose components were planted, and standard errors worked out by hand."""

import math

import numpy as np
import pytest

from egrc.analysis.variance import Comparison, Design, detectable, effects, shared, t_quantile


def planted(seeds, problems, samples, problem, seed, interaction, sampling, rng, benchmarks=1):
    """Outcomes [benchmarks, seeds, problems, samples] with components of given standard deviations."""
    shape = benchmarks, seeds, problems, samples
    return (
        rng.normal(0, problem, (benchmarks, 1, problems, 1))
        + rng.normal(0, seed, (benchmarks, seeds, 1, 1))
        + rng.normal(0, interaction, (benchmarks, seeds, problems, 1))
        + rng.normal(0, sampling, shape)
    )


def test_planted_components_are_recovered():
    y = planted(60, 300, 3, 1.0, 0.5, 2.0, 3.0, np.random.default_rng(0))
    found = effects(y)
    assert found.problem[0] == pytest.approx(1.0, rel=0.2)
    assert found.seed[0, 0] == pytest.approx(0.25, rel=0.4)
    assert found.interaction[0] == pytest.approx(4.0, rel=0.05)
    assert found.sampling[0] == pytest.approx(9.0, rel=0.02)


def test_estimates_are_unbiased_with_three_seeds():
    rng = np.random.default_rng(1)
    found = [effects(planted(3, 40, 1, 0.5, 0.3, 0.0, 1.0, rng)) for _ in range(2000)]
    assert np.mean([f.seed for f in found]) == pytest.approx(0.09, abs=0.01)
    assert np.mean([f.problem for f in found]) == pytest.approx(0.25, abs=0.01)


def test_no_variance_of_seeds_is_found_where_there_is_none():
    found = effects(planted(200, 200, 1, 1.0, 0.0, 0.0, 1.0, np.random.default_rng(2)))
    assert found.seed[0, 0] == pytest.approx(0, abs=2e-3)


def test_components_by_hand():
    # two seeds, two problems, one sample: cells 0 2 | 4 10.  The contrast 0 - 2 - 4 + 10 = 4 leaves a residual of
    # 4^2 / 4 = 4; problems' means 2 and 6 vary by 8, seeds' means 1 and 7 by 18; each minus 4 / 2.
    found = effects(np.array([[[[0.0], [2.0]], [[4.0], [10.0]]]]), share=0.25)
    assert found.problem[0] == pytest.approx(8 - 2)
    assert found.seed[0, 0] == pytest.approx(18 - 2)
    assert (found.sampling[0], found.interaction[0]) == pytest.approx((1, 3))


def test_seeds_of_an_untrained_arm_are_samples():
    y = np.array([[[[0.0], [1.0]], [[2.0], [5.0]]]])  # problem 1: 0, 2; problem 2: 1, 5
    found = effects(y, trained=False)
    assert found.sampling[0] == pytest.approx((2 + 8) / 2)
    assert found.problem[0] == pytest.approx(2 - 5 / 2)  # means 1 and 3 vary by 2
    assert found.seed[0, 0] == found.interaction[0] == 0


def test_a_seed_that_moves_benchmarks_against_each_other_leaves_their_mean_alone():
    rng = np.random.default_rng(3)
    y = planted(200, 300, 1, 0, 0, 0, 0.5, rng, benchmarks=2)
    shift = rng.normal(0, 1, 200)
    y += np.stack([shift, -shift])[:, :, None, None]
    seed = effects(y).seed
    assert seed[0, 0] == pytest.approx(1, rel=0.3) and seed[0, 1] == pytest.approx(-seed[0, 0], rel=0.02)
    assert np.array([0.5, 0.5]) @ seed @ np.array([0.5, 0.5]) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(("shape", "trained"), [((1, 1, 5, 3), True), ((1, 3, 1, 3), True), ((1, 1, 5, 1), False)])
def test_two_of_each_are_needed(shape, trained):
    with pytest.raises(ValueError, match="two of each"):
        effects(np.zeros(shape), trained=trained)


def comparison(**changed):
    """One benchmark: P of both arms 8, pairing -6, PS 1, E 4, one trained arm with a seed variance of 0.09."""
    one = {"problem": 8.0, "pairing": -6.0, "interaction": 1.0, "sampling": 4.0} | changed
    seeds = one.pop("seeds", (0.09,))
    arrays = {k: np.array([v]) for k, v in one.items()}
    return Comparison("a - b", "x", np.zeros(1), seeds=tuple(np.array([[s]]) for s in seeds), **arrays)


def test_standard_errors_by_hand():
    c, w = comparison(), np.ones(1)
    # paired: (2 + (1 + 4 / 2) / 3) / 100 = 0.03; unpaired: (8 + 1) / 100; seeds: 0.09 / 3 = 0.03
    assert c.given(w, Design(3, 100, 2)) == pytest.approx(0.03)
    assert c.given(w, Design(3, 100, 2), paired=False) == pytest.approx(0.09)
    found = c.errors(w, Design(3, 100, 2))
    assert found["se_all"] == pytest.approx(0.06**0.5)
    assert found["seeds_share"] == pytest.approx(0.5)
    # Satterthwaite: 0.06^2 / (0.03^2 / 2) = 8 degrees of freedom; t(0.975, 8) = 2.306, t(0.8, 8) = 0.889
    assert found["detectable_all"] == pytest.approx((2.306 + 0.889) * 0.06**0.5, rel=1e-3)
    assert found["detectable_given"] == pytest.approx((1.960 + 0.842) * 0.03**0.5, rel=1e-3)


def test_the_mean_of_two_benchmarks_has_a_quarter_of_the_sum():
    both = comparison()
    both = Comparison("a - b", "x", *(np.repeat(getattr(both, k), 2) for k in
                      ("estimate", "problem", "pairing", "interaction", "sampling")), seeds=())  # fmt: skip
    d = Design(3, 100, 2)
    assert both.given(np.array([0.5, 0.5]), d) == pytest.approx(0.03 / 2)


def test_without_variance_of_seeds_both_stories_agree():
    found = comparison(seeds=(0.0,)).errors(np.ones(1), Design(3, 100, 1))
    assert found["se_all"] == found["se_given"] and found["detectable_all"] == found["detectable_given"]
    assert found["seeds_share"] == 0


def test_negative_estimates_count_as_none():
    d = Design(2, 10, 1)
    assert comparison(pairing=-9.0, interaction=-1.0).given(np.ones(1), d) == pytest.approx(4 / 20)
    assert comparison(seeds=(-0.5,)).over_seeds(np.ones(1), d) == [0]


def test_pairing_is_worth_the_covariance_of_problems():
    rng = np.random.default_rng(4)
    problem = rng.normal(0, 1, (1, 1, 4000, 1))
    a, b = (problem + planted(3, 4000, 1, 0, 0, 0, 0.1, rng) for _ in range(2))
    assert shared(a, b)[0] == pytest.approx(problem.var(), rel=0.02)
    assert shared(a, planted(3, 4000, 1, 1, 0, 0, 0, rng))[0] == pytest.approx(0, abs=0.05)


def test_the_formula_is_the_variance_of_repeated_studies():
    rng, d = np.random.default_rng(5), Design(4, 25, 2)
    means = [planted(*d, 1.0, 0.3, 0.5, 2.0, rng).mean() for _ in range(20_000)]
    c = comparison(problem=1.0, pairing=0.0, interaction=0.25, sampling=4.0, seeds=(0.09,))
    assert np.var(means) == pytest.approx(c.errors(np.ones(1), d)["se_all"] ** 2, rel=0.04)


@pytest.mark.parametrize(
    ("p", "df", "value"),
    [(0.975, 2, 4.3027), (0.975, 4, 2.7764), (0.8, 2, 1.0607), (0.975, 1, 12.7062), (0.975, math.inf, 1.95996)],
)
def test_quantiles_are_those_of_the_tables(p, df, value):
    assert t_quantile(p, df) == pytest.approx(value, rel=3e-4)


def test_a_detectable_difference_is_that_many_standard_errors():
    assert detectable(1.0) == pytest.approx(1.95996 + 0.84162, rel=1e-4)
