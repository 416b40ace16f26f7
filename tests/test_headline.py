"""The headline predicate, on rows whose answer can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from egrc.analysis.headline import REMOVED, HeadlineError, Interval, headline
from egrc.analysis.headline import rows as gather

FLOORS = {"easy": 10.0, "hard": 20.0}


def rows(easy, hard, correct, seed=0, temperature=0.6, problems=20):
    """Evaluation rows with given tokens per benchmark, and every problem correct or not as told."""
    return pd.DataFrame(
        [
            {"benchmark": b, "id": str(i), "temperature": temperature, "sample": 0, "seed": seed,
             "tokens": tokens, "correct": i < correct * problems}
            for b, tokens in (("easy", easy), ("hard", hard))
            for i in range(problems)
        ]
    )  # fmt: skip


def test_the_mean_is_over_benchmarks_and_the_floor_counts():
    found = headline(rows(110, 120, 0.5), rows(10, 70, 0.5), FLOORS, 0.6)
    assert found.by_benchmark["removed"].to_dict() == {"easy": 1.0, "hard": 0.5}
    assert found.removed == Interval(0.75, 0.75, 0.75, REMOVED)  # lengths do not vary: no width
    assert found.accuracy.estimate == 0


@pytest.mark.parametrize(
    ("arm_tokens", "arm_accuracy", "supported"),
    [(10, 0.5, True), (10, 0.45, False), (100, 0.9, False), (110 - 100 * REMOVED, 0.5, True)],
)
def test_both_conditions_are_needed(arm_tokens, arm_accuracy, supported):
    arm = rows(arm_tokens, arm_tokens + 10, arm_accuracy)
    found = headline(rows(110, 120, 0.5), arm, FLOORS, 0.6)
    assert found.verdict.startswith("supported" if supported else "not supported")


def test_an_interval_that_crosses_its_bound_is_said():
    base, arm = rows(110, 120, 0.5), rows(10, 20, 0.5)
    arm["correct"] = ~arm["correct"]  # the same accuracy, on the other problems: the difference varies widely
    found = headline(base, arm, FLOORS, 0.6)
    assert found.accuracy.reached and not found.accuracy.surely_reached
    assert found.verdict.startswith("supported (but")


def test_the_interval_is_paired_by_problem():
    base = rows(110, 120, 0.5)
    found = headline(base, base.assign(tokens=base["tokens"] / 2), FLOORS, 0.6)
    assert (found.accuracy.low, found.accuracy.high) == (0, 0)


def test_the_interval_agrees_with_the_normal_approximation():
    base, arm = rows(110, 120, 1.0, problems=400), rows(10, 20, 0.8, problems=400)
    found = headline(base, arm, FLOORS, 0.6)
    half_width = 1.96 * np.sqrt(0.8 * 0.2 / 800)  # two benchmarks of 400 problems, equally weighted
    assert found.accuracy.estimate == pytest.approx(-0.2)
    assert found.accuracy.high - found.accuracy.low == pytest.approx(2 * half_width, rel=0.1)


def test_seeds_are_averaged_and_shown():
    arm = pd.concat([rows(10, 20, 0.5, seed=0), rows(60, 70, 0.7, seed=1)])
    found = headline(rows(110, 120, 0.5), arm, FLOORS, 0.6)
    assert found.by_seed["removed"].to_dict() == {0: 1.0, 1: 0.5}
    assert found.by_seed["accuracy"].tolist() == pytest.approx([0, 0.2])
    assert found.removed.estimate == pytest.approx(0.75)


def test_the_table_holds_both_bounds():
    table = headline(rows(110, 120, 0.5), rows(10, 20, 0.5), FLOORS, 0.6).table()
    assert table["bound"].tolist() == [REMOVED, 0.0]
    assert table["reached"].all()


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (rows(10, 20, 0.5, temperature=1.0), "not evaluated at temperature 0.6, only at 1"),
        (rows(10, 20, 0.5, problems=5), "different problems"),  # said by paired_bootstrap
    ],
)
def test_rows_that_cannot_answer_are_refused(arm, message):
    with pytest.raises(ValueError, match=message):
        headline(rows(110, 120, 0.5), arm, FLOORS, 0.6)


def test_one_sure_miss_settles_it():
    base, arm = rows(110, 120, 0.5), rows(100, 110, 0.5)  # hardly shorter, and as accurate on other problems
    arm["correct"] = ~arm["correct"]
    found = headline(base, arm, FLOORS, 0.6)
    assert found.removed.surely_missed and not found.accuracy.surely_missed
    assert found.verdict == "not supported"


def test_without_a_floor_nothing_is_judged():
    found = headline(rows(110, 120, 0.5), rows(10, 20, 0.9), FLOORS | {"hard": float("nan")}, 0.6)
    assert found.verdict.startswith("not judged")
    assert found.accuracy.estimate == pytest.approx(0.4)


def test_an_arm_without_records_is_named():
    with pytest.raises(HeadlineError, match="make train ARM=egrc"):
        gather([], "egrc")
