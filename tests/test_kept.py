"""The length that problems keep, on a handful of answers whose means can be worked out by hand."""

import math

import pandas as pd
import pytest

from egrc.analysis import kept

FLOOR = {"a": 5.0, "b": 9.0}


def answers(arm: str, temperature: float, *rows: tuple[str, str, int, int, bool]) -> pd.DataFrame:
    """Rows of benchmark, problem, seed, tokens, correct."""
    table = pd.DataFrame(rows, columns=["benchmark", "id", "seed", "tokens", "correct"])
    return table.assign(arm=arm, temperature=temperature)


@pytest.fixture
def rows() -> pd.DataFrame:
    """Problems p and q of a, r of b; the arm has two seeds."""
    base = answers("base", 0.6, ("a", "p", 0, 10, True), ("a", "q", 0, 30, False), ("b", "r", 0, 40, True))
    arm = answers(
        "arm", 0.6, ("a", "p", 0, 4, True), ("a", "p", 1, 6, True), ("a", "q", 0, 10, True), ("a", "q", 1, 20, False),
        ("b", "r", 0, 10, False), ("b", "r", 1, 30, True),
    )  # fmt: skip
    return pd.concat([base, arm], ignore_index=True)


@pytest.fixture
def rates(rows: pd.DataFrame) -> pd.Series:
    other = answers(
        "base", 1.0, ("a", "p", 0, 99, True), ("a", "p", 1, 99, True), ("a", "q", 0, 99, True),
        ("a", "q", 1, 99, False), ("b", "r", 0, 99, True), ("b", "r", 1, 99, False),
    )  # fmt: skip
    greedy = answers("base", 0.0, ("a", "p", 0, 9, False), ("a", "q", 0, 9, False), ("b", "r", 0, 9, False))
    return kept.difficulty(pd.concat([rows[rows["arm"] == "base"], other, greedy]), 0.6)


def test_difficulty_comes_from_other_answers_than_those_compared(rows: pd.DataFrame, rates: pd.Series) -> None:
    assert rates.to_dict() == {("a", "p"): 1.0, ("a", "q"): 0.5, ("b", "r"): 0.5}
    with pytest.raises(ValueError, match="sampled at temperature 0.6 only"):
        kept.difficulty(rows[rows["arm"] == "base"], 0.6)


def test_lengths_and_accuracy_by_difficulty(rows: pd.DataFrame, rates: pd.Series) -> None:
    table = kept.by_difficulty(rows, rates, FLOOR, 50).set_index(["arm", "pass_rate"])
    hard = table.loc[("arm", 0.5)]
    assert hard["tokens"] == (15 + 20) / 2 and hard["change"] == pytest.approx((0.5 - 0 + 0.5 - 1) / 2)
    assert (hard["problems"], hard["floor"]) == (2, (5 + 9) / 2)
    assert (hard["tokens_low"], hard["tokens_high"]) == (15, 20)  # one of the two problems, twice
    easy = table.loc[("arm", 1.0)]
    assert (easy["tokens"], easy["tokens_low"], easy["change"], easy["floor"]) == (5, 5, 0, 5)
    assert table.loc[("base", 0.5), "tokens"] == 35 and table.loc[("base", 0.5), "change"] == 0


def test_each_seed_alone_is_held_against_the_bases_mean(rows: pd.DataFrame, rates: pd.Series) -> None:
    table = kept.seeds_by_difficulty(rows, rates).set_index(["arm", "seed", "pass_rate"])
    assert table.loc[("arm", 0, 0.5)].tolist() == [10, 0.5 - 0.5]
    assert table.loc[("arm", 1, 0.5)].tolist() == [25, 0.5 - 0.5]
    assert table.loc[("arm", 1, 1.0)].tolist() == [6, 0]


def test_tokens_over_all_correct_and_both_correct_answers(rows: pd.DataFrame) -> None:
    table = kept.cases(rows, 20).set_index("cases")
    everything, correct, both = (table.loc[name] for name in kept.CASES)
    # a: arm (5 + 15) / 2 = 10, base 20; b: arm 20, base 40
    assert (everything["tokens"], everything["base"], everything["share"]) == (15, 30, 0.5)
    # a: arm (4 + 6 + 10) / 3, base 10 (q is not solved); b: arm 30, base 40
    assert correct["tokens"] == pytest.approx((20 / 3 + 30) / 2) and correct["base"] == 25
    assert correct["share"] == pytest.approx((20 / 30 + 30 / 40) / 2)
    # a: only p, arm 5, base 10; b: r, arm 30, base 40
    assert (both["tokens"], both["base"], both["share"]) == (17.5, 25, (0.5 + 0.75) / 2)
    assert table["problems"].to_dict() == {"all": 3, "correct": 2, "both correct": 2}


def test_a_benchmark_without_a_correct_answer_has_no_share(rows: pd.DataFrame) -> None:
    alone = kept.cases(rows[rows["seed"] == 0], 5).set_index("cases")["share"]
    assert alone["all"] == (7 / 20 + 10 / 40) / 2
    assert math.isnan(alone["both correct"])  # seed 0 does not solve r, the only problem of b


def test_other_problems_are_refused(rows: pd.DataFrame, rates: pd.Series) -> None:
    fewer = rows[(rows["arm"] == "base") | (rows["id"] != "q")]
    with pytest.raises(ValueError, match="asked different problems"):
        kept.cases(fewer, 5)
    with pytest.raises(ValueError, match="asked different problems"):
        kept.by_difficulty(fewer, rates, FLOOR, 5)
