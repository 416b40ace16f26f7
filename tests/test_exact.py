"""The exact teacher: by hand, and against the teacher's samples."""

from __future__ import annotations

import random
from math import log

import numpy as np
import pytest

from egrc.worlds.pocket import exact
from egrc.worlds.pocket.exact import CLOCK, Impossible, next_token, read_problem, score
from egrc.worlds.pocket.language import (
    BENCHMARKS,
    OPENER_WEIGHTS,
    OPENERS,
    P_AGAIN,
    P_CHECK,
    P_COMPACT,
    P_KEEP_STYLE,
    P_SECOND_CHECK,
    RANK_WEIGHTS,
    TURNER_WEIGHTS,
    TURNERS,
    Problem,
)

EASY = read_problem("3 +4 ?")
TWO = read_problem("3 +4 *2 ?")
HARD = read_problem("3 /4 ?")
FIRST, SECOND, THIRD, FOURTH = map(str, CLOCK.intuition[3, 4])  # candidates; 5 is right, because 5 * 4 = 20 = 3
EASY_DONE = "so 3 +4 . so 3 +4 7 . "
HARD_TO_GUESS = "so 3 /4 . so 3 /4 "


def after(problem: Problem, prefix: str, expected: dict[str, float], p_compact: float = P_COMPACT) -> bool:
    found = next_token(problem, prefix.split(), p_compact)
    return found == pytest.approx({word: p for word, p in expected.items() if p}, abs=1e-12)


def openers(p: float = 1.0) -> dict[str, float]:
    return {word: p * weight for word, weight in zip(OPENERS, OPENER_WEIGHTS, strict=True)}


def turners(p: float = 1.0) -> dict[str, float]:
    return {word: p * weight for word, weight in zip(TURNERS, TURNER_WEIGHTS, strict=True)}


def failed(candidate: str, before: str) -> str:
    """A guess that a check refuses, and up to where the next one is named."""
    x = int(candidate) * 4 % 17
    return f"{before}{candidate} . wait check {candidate} *4 {x} -3 {(x - 3) % 17} no . hmm 3 /4 "


# --- by hand --------------------------------------------------------------------------------------


def test_the_first_word_tells_the_style() -> None:
    assert after(EASY, "", {"3": P_COMPACT} | openers(1 - P_COMPACT))
    assert after(EASY, "", {"3": 1.0}, p_compact=1.0)
    assert after(EASY, "", openers(), p_compact=0.0)
    assert after(EASY, "so 3 +4 .", openers())  # it still holds after the problem has been restated
    assert after(EASY, "3 +4 7", {"#": 1.0})  # a compact trace is not checked, nor said again
    assert after(EASY, "3 +4 7 # 7 <eos>", {})


def test_the_next_style_is_mostly_the_last() -> None:
    stays = P_KEEP_STYLE + (1 - P_KEEP_STYLE) * P_COMPACT
    assert after(TWO, "3 +4 7", {"*2": stays} | openers(1 - stays))
    turns, done = (1 - P_KEEP_STYLE) * P_COMPACT, 1 - P_CHECK
    expected = {"7": done * turns} | openers(done * (1 - turns)) | turners(P_CHECK)
    assert after(TWO, "so 3 +4 *2 . so 3 +4 7 .", expected)


def test_after_the_last_step_a_turner_may_open_either_and_the_belief_says_how_likely_each_is() -> None:
    check, again = P_CHECK, (1 - P_CHECK) * P_AGAIN
    assert after(EASY, EASY_DONE, {"#": 1 - check - again} | turners(check + again))
    for turner in TURNERS:
        assert after(EASY, EASY_DONE + turner, {"check": check / (check + again), "again": again / (check + again)})
    checked = EASY_DONE + "wait check 3 +4 7 -7 0 yes ."
    assert after(EASY, checked, {"#": 1 - P_AGAIN} | turners(P_AGAIN))  # an easy step is checked once
    assert after(EASY, checked + " but again 3 +4 7 .", {"#": 1.0})


def test_a_quotient_is_guessed_by_rank_and_what_failed_is_left_out() -> None:
    ranked = dict(zip((FIRST, SECOND, THIRD, FOURTH), RANK_WEIGHTS, strict=True))
    assert (FIRST, SECOND) == ("3", "5")
    for prefix in ("3 /4", HARD_TO_GUESS):
        assert after(HARD, prefix, ranked)
    assert after(HARD, failed(FIRST, HARD_TO_GUESS), {SECOND: 0.25 / 0.4, THIRD: 0.1 / 0.4, FOURTH: 0.05 / 0.4})
    assert after(read_problem("_ *4 = 3 ?"), "so _ *4 = 3 . so 3 /4", ranked)  # the same step, asked as a hole
    assert after(read_problem("0 /4 ?"), "0 /4", {"0": 1.0})  # nothing to guess


def test_a_check_is_sure() -> None:
    wrong, right = HARD_TO_GUESS + FIRST, HARD_TO_GUESS + SECOND
    assert after(HARD, wrong + " . wait check 3 *4 12 -3 9", {"no": 1.0})
    assert after(HARD, wrong + " . wait check 3 *4 12 -3 9 no .", turners())  # it always guesses again
    more = P_SECOND_CHECK + (1 - P_SECOND_CHECK) * P_AGAIN
    once = right + " . wait check 5 *4 3 -3 0 yes ."
    assert after(HARD, once, {"#": 1 - more} | turners(more))
    assert after(HARD, once + " wait", {"check": P_SECOND_CHECK / more, "again": 1 - P_SECOND_CHECK / more})
    assert after(HARD, once + " wait check 5 *4 3 -3 0 yes .", {"#": 1 - P_AGAIN} | turners(P_AGAIN))
    last = failed(FOURTH, failed(THIRD, failed(FIRST, HARD_TO_GUESS)))
    assert after(HARD, last, {"5": 1.0})
    assert after(HARD, last + "5 . wait", {"again": 1.0})  # nothing was left that a check could tell it from


@pytest.mark.parametrize(
    ("words", "place"),
    [
        ("so 3 +4 . so 3 +4 8", "word 8: '8', .* can say: 7$"),
        ("3 +4 7 wait", "word 4: 'wait'"),
        ("3 +4 7 # 7 <eos> so", "word 7: 'so', .* nothing$"),
    ],
)
def test_what_the_teacher_cannot_say_is_refused_by_place(words: str, place: str) -> None:
    tokens = words.split()
    with pytest.raises(Impossible, match=place):
        next_token(EASY, tokens)
    rows = score(EASY, tokens)
    assert len(rows) == len(tokens) - (tokens[-2] == "<eos>")  # the row before the slip is still known
    assert np.allclose(rows.sum(1), 1)
    assert len(score(EASY, [*tokens, ".", "so"])) == len(rows)  # and nothing after it


def test_rows_are_in_the_order_of_the_vocabulary() -> None:
    row = score(HARD, ["3", "/4", "5"])[2]
    assert {CLOCK.vocabulary[i]: row[i] for i in np.flatnonzero(row)} == pytest.approx(next_token(HARD, ["3", "/4"]))
    assert score(HARD, []).shape == (0, len(CLOCK.vocabulary))


def test_entropy_by_hand() -> None:
    assert exact.entropy(np.array([[0.5, 0.5, 0], [1, 0, 0]])) == pytest.approx([log(2), 0])


def test_problems_are_read_from_their_text() -> None:
    assert read_problem("_ *4 -2 = 5 ?") == Problem("hole-2", 5, ("+2", "/4"), 6)  # 7 / 4 = 6, because 6 * 4 = 24 = 7
    for benchmark in BENCHMARKS:
        problem = CLOCK.draw(benchmark, random.Random(0))
        assert read_problem(problem.text) == problem
    for text in ("3 +4", "_ +4 ?", "so what ?", "3 +4 = 5 ?", "17 +4 ?", "3 +17 ?", "3 /0 ?"):
        with pytest.raises(ValueError, match="not a problem"):
            read_problem(text)


# --- against the teacher's samples ------------------------------------------------------------------


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_surprise_is_entropy_in_the_mean(benchmark: str) -> None:
    """What makes it a floor: E[-log p(trace)] is the expected sum of the conditional entropies."""
    rng, excess = random.Random(f"calibration/{benchmark}"), []
    for _ in range(200):
        problem = CLOCK.draw(benchmark, rng)
        tokens = CLOCK.trace(problem, rng)
        rows = score(problem, tokens)
        np.testing.assert_allclose(rows.sum(1), 1)
        surprise = -sum(log(row[CLOCK.vocabulary.index(t)]) for row, t in zip(rows, tokens, strict=True))
        excess.append(surprise - exact.entropy(rows).sum())
    assert abs(np.mean(excess)) < 4.5 * np.std(excess) / len(excess) ** 0.5


def test_paths_are_few_also_where_styles_could_have_been_drawn_anew_at_every_step(monkeypatch) -> None:
    write, paths = exact._Path.write, []
    monkeypatch.setattr(exact._Path, "write", lambda path, *args: paths.append(path) or write(path, *args))
    problem = read_problem("3" + " +1" * 12 + " ?")
    tokens = CLOCK.trace(problem, random.Random(0), p_compact=1.0)
    assert len(score(problem, tokens)) == len(tokens)
    assert len(paths) < 10 * len(tokens)
