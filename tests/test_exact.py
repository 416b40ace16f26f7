"""The exact teacher: by hand, and against the teacher's samples."""

from __future__ import annotations

import random
from collections import Counter
from math import log

import numpy as np
import pytest

from egrc.worlds.pocket import exact, teacher
from egrc.worlds.pocket.exact import INDEX, Impossible, next_token, read_problem, score
from egrc.worlds.pocket.world import (
    BENCHMARKS,
    OPENER_WEIGHTS,
    OPENERS,
    P_AGAIN,
    P_COMPACT,
    P_GIVE_UP,
    P_KEEP_STYLE,
    P_RECHECK,
    P_REPEAT,
    TURNER_WEIGHTS,
    TURNERS,
    Problem,
    draw_problem,
)

FORWARD = Problem("forward-1", 3, ("+4",))
TWO = Problem("forward-2", 3, ("+4", "*2"))
HOLE = Problem("hole-1", None, ("+3",), (5, ()))  # 2 fits
said = str.split


def same(found: dict[str, float], expected: dict[str, float]) -> bool:
    return found.keys() == expected.keys() and all(found[w] == pytest.approx(p, abs=1e-12) for w, p in expected.items())


def openers(p: float = 1.0) -> dict[str, float]:
    return {word: p * weight for word, weight in zip(OPENERS, OPENER_WEIGHTS, strict=True)}


def turners(p: float = 1.0) -> dict[str, float]:
    return {word: p * weight for word, weight in zip(TURNERS, TURNER_WEIGHTS, strict=True)}


# --- by hand --------------------------------------------------------------------------------------


def test_the_first_word_tells_the_style() -> None:
    assert same(next_token(FORWARD, []), {"3": P_COMPACT} | openers(1 - P_COMPACT))
    assert same(next_token(FORWARD, ["so"]), {"3": 1.0})
    assert same(next_token(FORWARD, [], p_compact=1.0), {"3": 1.0})
    assert same(next_token(FORWARD, [], p_compact=0.0), openers())
    assert same(next_token(FORWARD, ["3", "+4", "0"]), {"#": 1.0})  # a compact trace ends without again
    assert next_token(FORWARD, ["3", "+4", "0", "#", "0", "<eos>"]) == {}


def test_the_next_style_is_mostly_the_last() -> None:
    stays = P_KEEP_STYLE + (1 - P_KEEP_STYLE) * P_COMPACT
    assert same(next_token(TWO, ["3", "+4", "0"]), {"*2": stays} | openers(1 - stays))
    turns = (1 - P_KEEP_STYLE) * P_COMPACT
    done = 1 - P_RECHECK[0]
    after_verbose = {"0": done * turns} | openers(done * (1 - turns)) | turners(P_RECHECK[0])
    assert same(next_token(TWO, said("so 3 +4 = 0 .")), after_verbose)


def test_after_the_last_step_a_turner_may_open_either_and_the_belief_says_how_likely_each_is() -> None:
    check, again = P_RECHECK[0], (1 - P_RECHECK[0]) * P_AGAIN
    prefix = said("so 3 +4 = 0 .")
    assert same(next_token(FORWARD, prefix), {"#": 1 - check - again} | turners(check + again))
    expected = {"check": check / (check + again), "again": again / (check + again)}
    for turner in TURNERS:
        assert same(next_token(FORWARD, [*prefix, turner]), expected)


def test_candidates_are_drawn_from_the_untried_and_sometimes_the_failed() -> None:
    assert same(next_token(HOLE, ["so", "try"]), {str(c): 1 / 6 for c in range(1, 7)})
    first = said("so try 1 . 1 +3 = 4 . gap 4 -5 = 6 no .")
    untried = {str(c): (1 - P_REPEAT) / 5 for c in range(2, 7)}
    assert same(next_token(HOLE, [*first, "wait", "try"]), {"1": P_REPEAT} | untried)
    again = [*first, *said("wait try 1 . 1 +3 = 4 . gap 4 -5 = 6 no .")]
    other = [*again, *said("wait try 3 . 3 +3 = 6 . gap 6 -5 = 1 no .")]
    weights = {"1": P_REPEAT * 2 / 3, "3": P_REPEAT / 3} | dict.fromkeys("2456", (1 - P_REPEAT) / 4)
    assert same(next_token(HOLE, [*other, "hmm", "try"]), weights)  # 1 failed twice


def test_giving_up_answers_the_last_candidate_and_a_fit_is_never_left() -> None:
    fails = said("1 +3 4 -5 6")  # compact: candidate, operation, value, gap
    stays = P_KEEP_STYLE + (1 - P_KEEP_STYLE) * P_COMPACT
    on = 1 - P_GIVE_UP[0]
    expected = {"#": P_GIVE_UP[0]} | dict.fromkeys("23456", on * stays / 5) | turners(on * (1 - stays))
    assert same(next_token(HOLE, fails), expected)
    assert same(next_token(HOLE, [*fails, "#"]), {"1": 1.0})
    assert same(next_token(HOLE, said("2 +3 5 -5 0")), {"#": 1.0})
    fits = said("so try 2 . 2 +3 = 5 . gap 5 -5 = 0 yes .")
    assert same(next_token(HOLE, fits), {"#": 1 - P_AGAIN} | turners(P_AGAIN))


@pytest.mark.parametrize(
    ("words", "place"),
    [("so 3 +4 = 1", "word 5: '1'"), ("3 +4 0 wait", "word 4: 'wait'"), ("3 +4 0 # 0 <eos> so", "word 7: 'so'")],
)
def test_what_the_teacher_cannot_say_is_refused_by_place(words: str, place: str) -> None:
    with pytest.raises(Impossible, match=place):
        next_token(FORWARD, words.split())
    tokens = words.split()
    rows = score(FORWARD, tokens)
    assert len(rows) == len(tokens) - (tokens[-2] == "<eos>")  # the row before the slip is still known
    assert np.allclose(rows.sum(1), 1)
    assert len(score(FORWARD, [*tokens, "=", "0"])) == len(rows)  # and nothing after it


def test_entropy_by_hand() -> None:
    assert exact.entropy(np.array([[0.5, 0.5, 0], [1, 0, 0]])) == pytest.approx([log(2), 0])


def test_problems_are_read_from_their_text() -> None:
    rng = random.Random(0)
    for benchmark in BENCHMARKS:
        problem = draw_problem(benchmark, rng)
        assert read_problem(problem.text) == problem
    for text in ("3 +4", "_ +4 ?", "so what ?", "3 +4 = 5 ?"):
        with pytest.raises(ValueError):
            read_problem(text)


# --- against the teacher's samples ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "prefix"),
    [(TWO, "3 +4 0 so 0 *2 = 0 ."), (TWO, "3 +4 0 so 0 *2 = 0 . wait"), (HOLE, "1 +3 4 -5 6 3 +3 6 -5 1")],
)
def test_frequencies_of_the_next_word_agree(problem: Problem, prefix: str) -> None:
    rng, words, p_compact = random.Random(prefix), prefix.split(), 0.5
    traces = (teacher.trace(problem, rng, p_compact) for _ in range(8_000))
    counts = Counter(t[len(words)] for t in traces if t[: len(words)] == words)
    n, expected = counts.total(), next_token(problem, words, p_compact)
    assert n > 30 and counts.keys() <= expected.keys()
    for word, p in expected.items():
        assert abs(counts[word] / n - p) < 4.5 * (p * (1 - p) / n) ** 0.5 + 1 / n, word


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_surprise_is_entropy_in_the_mean(benchmark: str) -> None:
    """What makes it a floor: E[-log p(trace)] is the expected sum of the conditional entropies."""
    rng, excess = random.Random(f"calibration/{benchmark}"), []
    for _ in range(200):
        problem = draw_problem(benchmark, rng)
        tokens = teacher.trace(problem, rng)
        rows = score(problem, tokens)
        np.testing.assert_allclose(rows.sum(1), 1)
        surprise = -sum(log(row[INDEX[t]]) for row, t in zip(rows, tokens, strict=True))
        excess.append(surprise - exact.entropy(rows).sum())
    assert abs(np.mean(excess)) < 4.5 * np.std(excess) / len(excess) ** 0.5
