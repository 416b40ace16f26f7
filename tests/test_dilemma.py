"""Frontiers and what lies between them: by hand, and with rows made so that the answer is known."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.analysis import dilemma
from egrc.analysis.dilemma import WAYS, frontier, gap
from egrc.experiments import scales
from egrc.experiments.records import RecordError

points = st.lists(st.tuples(st.integers(1, 100), st.integers(0, 100)), min_size=1, max_size=8)


@given(points)
def test_a_frontier_increases_and_nothing_lies_above_it(settings):
    tokens, accuracy = found = frontier(*np.array(settings, float).T)
    assert (np.diff(tokens) > 0).all() and (np.diff(accuracy) > 0).all()
    assert set(zip(*found, strict=True)) <= set(settings)
    for length, right in settings:
        assert accuracy[tokens <= length].max() >= right
    assert dilemma.gaps(found, found) == pytest.approx((0, 0), abs=1e-9)


def test_a_gap_is_the_mean_over_what_both_have():
    x, y = np.array([0.0, 10.0]), np.array([0.0, 1.0])
    assert gap(x, y + 0.25, x, y) == pytest.approx(0.25)
    # shared: 5 to 10; the other is flat at 1/2, so the difference goes from 0 to 1/2
    assert gap(x, y, np.array([5.0, 20.0]), np.array([0.5, 0.5])) == pytest.approx(0.25)
    # a bend inside the shared range: 0 to 1 and back to 0, mean 1/2
    assert gap(np.array([0.0, 5.0, 10.0]), np.array([0.0, 1.0, 0.0]), x, np.zeros(2)) == pytest.approx(0.5)
    assert gap(np.array([5.0]), np.array([0.9]), x, y) == pytest.approx(0.4)  # a point
    assert math.isnan(gap(x, y, x + 11, y))


def test_resamples_without_a_number_count_as_the_worst_and_the_best():
    assert dilemma.bounds(np.array([np.nan] * 5 + [1.0] * 95)) == (-np.inf, np.inf)
    assert dilemma.bounds(np.array([np.nan] + [1.0] * 99)) == (1.0, 1.0)
    assert dilemma.bounds(np.arange(1001.0)) == (25, 975)


def rows(settings: dict[str, tuple[float, float]], problems: int = 10, noise: float = 0.0) -> pd.DataFrame:
    """Evaluation rows of two seeds and two benchmarks: arm to (tokens, accuracy); noise by problem."""
    shift, frames = np.random.default_rng(0).normal(0, noise, 2 * problems), []
    for arm, (tokens, accuracy) in settings.items():
        for seed in (0, 1):
            frames.append(pd.DataFrame({
                "benchmark": np.repeat(["forward-3", "hole-2"], problems), "id": [f"p{i}" for i in range(2 * problems)],
                "arm": arm, "seed": seed, "r": 0.05, "tokens": tokens + shift,
                "correct": np.tile(np.arange(problems) < round(accuracy * problems), 2),
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


JOINT = {"joint": (10, 0.4), "joint-r0.8": (30, 0.6)}


@pytest.mark.parametrize(
    ("staged", "estimates"),
    [
        ({"egrc": (10, 0.4), "egrc-r0.8": (30, 0.6)}, [0, 0]),  # the same frontier
        ({"egrc": (10, 0.6), "egrc-r0.2": (30, 0.8)}, [0.2, 20]),  # they share one accuracy only, 0.6
        ({"egrc": (10, 0.2), "egrc-r0.2": (30, 0.4)}, [-0.2, -20]),
    ],
)
def test_the_readings_find_what_was_planted(staged, estimates):
    found = dilemma.readings(rows(JOINT | staged), n_boot=50)
    assert found["estimate"].tolist() == pytest.approx(estimates, abs=1e-9)
    assert found.loc[0, ["from", "to"]].tolist() == [10, 30]
    if not any(estimates):  # the same in every resample
        assert found[["low", "high"]].to_numpy() == pytest.approx(0, abs=1e-9)
    assert (found["problems"] == 20).all() and (found["seeds"] == 2).all() and (found["reason"] == "").all()


def test_each_seed_alone():
    table = rows(JOINT | {"egrc": (10, 0.4), "egrc-r0.8": (30, 0.6)})
    better = (table["seed"] == 1) & table["arm"].str.startswith("egrc")
    found = dilemma.by_seed(table.assign(tokens=table["tokens"] - 4 * better)).set_index(["seed", "reading"])
    # 4 tokens shorter: on the line from 0.4 at 10 to 0.6 at 30 that is worth 0.04
    assert found["estimate"].tolist() == pytest.approx([0, 0, 0.04, 4], abs=1e-9)


def test_frontiers_apart_have_no_number_and_a_reason():
    found = dilemma.readings(rows(JOINT | {"egrc": (40, 0.7), "egrc-r0.2": (50, 0.9)}), n_boot=50).set_index("reading")
    assert math.isnan(found.loc["3a", "estimate"]) and found.loc["3a", "apart"] == 1
    assert found.loc["3a", ["low", "high"]].tolist() == [-np.inf, np.inf]
    assert found.loc["3a", "reason"] == "the frontiers share no length: the staged one is longer throughout"
    assert "share no accuracy" in found.loc["3b", "reason"]


def test_points_say_which_settings_are_on_the_frontier():
    table = rows(JOINT | {"joint-r0.2": (20, 0.4), "egrc": (10, 0.6), "compression": (5, 0.9)}, noise=2.0)
    found = dilemma.points(table, n_boot=200).set_index("arm")
    assert found.index[found["frontier"]].tolist() == ["joint", "joint-r0.8", "egrc"]
    line = found.loc["joint"]
    assert line["tokens_low"] < line["tokens"] < line["tokens_high"] and line["accuracy"] == pytest.approx(0.4)


def test_a_scale_without_the_study_says_so():
    with pytest.raises(RecordError, match="scale 'smol' has no study 'dilemma'"):
        dilemma.load("smol")


def test_every_arm_of_the_study_has_its_way_and_as_many_rollouts():
    ways = {arm: dilemma.way(arm) for arm in scales.study("pocket", dilemma.STUDY)}
    r = {arm: scales.config("pocket", arm).recipe.phases[0].settings().get("r", 1.0) for arm in ways}
    swept = {name: {r[arm] for arm in ways if ways[arm] == name} for name in WAYS}
    assert swept["joint"] == swept["staged"] and len(swept["joint"]) >= 3  # over the same shaping
    assert [arm for arm in ways if ways[arm] == "control"] == ["compression"]
    configs = [scales.config("pocket", arm) for arm in ways if arm != "base"]
    assert len({c.steps * c.prompts_per_step * c.group_size for c in configs}) == 1
    assert dilemma.way("egrc-reversed") == dilemma.way("truncation") == "control"
