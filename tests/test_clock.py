"""The clock world: its arithmetic and its teacher, worked by hand, and what must hold for every trace."""

from __future__ import annotations

import json
import random

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.experiments import scales
from egrc.paths import DATA
from egrc.worlds.clock import BASES, ClockWorld, criteria
from egrc.worlds.clock.base import train_base
from egrc.worlds.clock.criteria import branches, hard_steps
from egrc.worlds.clock.language import BENCHMARKS, RANK_WEIGHTS, WORLD_VERSION, Clock, Problem
from egrc.worlds.pocket.tokenizer import build_tokenizer

CLOCK = Clock(17)
benchmarks, seeds = st.sampled_from(list(BENCHMARKS)), st.integers(0, 10_000)


def test_arithmetic_by_hand() -> None:
    assert CLOCK.apply(16, "+3") == 2 and CLOCK.apply(1, "-4") == 14 and CLOCK.apply(5, "*4") == 3
    assert CLOCK.apply(3, "/4") == 5  # 5 * 4 = 20 = 3
    assert CLOCK.is_hard(3, "/4") and not CLOCK.is_hard(0, "/4") and not CLOCK.is_hard(3, "*4")


def test_a_hole_shows_the_inverses_backwards() -> None:
    problem = Problem("hole-2", 3, ("/4", "+2"), 7)
    assert problem.text == "_ -2 *4 = 3 ?"
    filled = CLOCK.apply(CLOCK.apply(problem.answer, "-2"), "*4")
    assert filled == problem.start


@given(benchmarks, seeds)
def test_problems_have_their_divisions_and_their_answer(benchmark: str, seed: int) -> None:
    problem = CLOCK.draw(benchmark, random.Random(seed))
    n, divisions = BENCHMARKS[benchmark]
    value, hard = problem.start, 0
    for step in problem.steps:
        hard += CLOCK.is_hard(value, step)
        value = CLOCK.apply(value, step)
    assert (len(problem.steps), hard, value) == (n, divisions, problem.answer)


@given(benchmarks, seeds, st.sampled_from([0.0, 0.12, 1.0]))
def test_traces_keep_to_the_vocabulary_and_a_sure_teacher_is_right(benchmark: str, seed: int, compact: float) -> None:
    rng = random.Random(seed)
    problem = CLOCK.draw(benchmark, rng)
    assert {*CLOCK.trace(problem, rng, compact), *problem.text.split()} <= set(CLOCK.vocabulary)
    floor = CLOCK.trace(problem, rng, p_compact=1.0, sure=True)
    assert ClockWorld().correct(" ".join(floor[:-1]), str(problem.answer))
    assert len(floor) == 2 * len(problem.steps) + 4  # a value, two tokens a step, '# answer <eos>'


@given(seeds)
def test_a_check_finds_every_slip(seed: int) -> None:
    rng = random.Random(seed)
    words = " ".join(CLOCK.trace(CLOCK.draw("forward-4", rng), rng, p_compact=0.0))
    for sentence in words.split(" . "):
        if " check " in f" {sentence} ":
            *_, r, back, x, minus_a, gap, verdict = sentence.split()
            assert CLOCK.apply(int(r), back) == int(x)
            assert (int(x) + int(minus_a)) % 17 == int(gap) and (verdict == "yes") == (gap == "0")


def test_the_intuition_is_wrong_for_four_facts_in_ten() -> None:
    firsts = [CLOCK.apply(a, f"/{b}") == ranked[0] for (a, b), ranked in CLOCK.intuition.items()]
    assert 0.5 < sum(firsts) / len(firsts) < 0.7
    assert all(len(set(ranked)) == len(RANK_WEIGHTS) for ranked in CLOCK.intuition.values())
    assert all(CLOCK.apply(a, f"/{b}") in ranked for (a, b), ranked in CLOCK.intuition.items())


def test_checks_and_branches_are_counted_in_a_trace_by_hand() -> None:
    problem = Problem("forward-2", 3, ("+1", "/4"), 1)
    words = "so 3 +1 4 . so 4 /4 2 . wait check 2 *4 8 -4 4 no . hmm 4 /4 1 . wait again 3 +1 4 . 4 /4 1 . # 1 <eos>"
    assert hard_steps(CLOCK, problem, words.split()) == [(1, True)]
    there = [word for word, branch in zip(words.split(), branches(words.split()), strict=True) if branch]
    assert there == ["so", "3", "so", "4", "2", "wait", "check", "hmm", "4", "1", "wait", "again", "1"]


def test_halves_do_not_overlap_and_a_base_is_named_where_it_lacks(tmp_path) -> None:
    world = ClockWorld(tmp_path)
    test, train = world.benchmarks(50), world.train_problems(0)
    assert not {p for table in test.values() for p in table["prompt"]} & set(train["prompt"])
    assert len(build_tokenizer(world.clock.vocabulary)) == len(world.clock.vocabulary)
    with pytest.raises(FileNotFoundError, match="train --base --scale clock"):
        world.policy_path()


def test_a_seed_names_its_base() -> None:
    paths = [ClockWorld(seed=s) for s in (0, 1, 3)]
    assert [w.seed % 3 for w in paths] == [0, 1, 0]


def test_a_base_is_trained_and_measured(tmp_path, monkeypatch) -> None:
    """A few steps through all three stages; whatever comes of it is measured against every criterion."""

    class Small(ClockWorld):
        modulus = 11

        def policy_path(self) -> str:
            return str(tmp_path / "base")

    train_base(Small().clock, tmp_path / "base", stages=(2, 1, 1))

    monkeypatch.setattr(criteria, "WANTED", 20)
    monkeypatch.setattr(criteria, "CAP", 8)
    measured = criteria.measure(Small(), n=2, say=lambda _: None)
    assert {c["name"]: c["met"] for c in measured["criteria"]}["weights in MB"]
    assert not {c["name"]: c["met"] for c in measured["criteria"]}["answer read off a right compact trace, worst"]
    assert 0 < measured["branch_entropy"] < 1 and len(measured["criteria"]) == 13


def test_the_recorded_world_has_three_bases_and_says_what_is_not_met() -> None:
    world = json.loads((DATA / "clock" / "world.json").read_text(encoding="utf-8"))
    assert [base["number"] for base in world["bases"]] == list(range(BASES))
    names = [c["name"] for base in world["bases"] for c in base["criteria"] if not c["met"]]
    assert world["version"] == WORLD_VERSION and "answer read off a right compact trace, worst" not in names
    steps = [pd.read_csv(DATA / "clock" / f"start-{n}" / "steps.csv") for n in range(BASES)]
    assert all(len(s) == scales.SCALES["clock"].start["steps"] for s in steps)
