"""The pocket world: its arithmetic, its teacher and its criteria, worked by hand."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc import paths
from egrc.atomic import write_csv
from egrc.checks import ConfigError
from egrc.experiments import records, scales, start
from egrc.worlds.pocket import BASES, Pocket, criteria, language
from egrc.worlds.pocket.base import padded, stage, train_base
from egrc.worlds.pocket.criteria import branches, hard_steps
from egrc.worlds.pocket.language import BENCHMARKS, Clock, Problem
from egrc.worlds.pocket.tokenizer import build_tokenizer, word_class

CLOCK, TOKENIZER = Clock(17), build_tokenizer(Clock(17).vocabulary)
benchmarks, seeds = st.sampled_from(list(BENCHMARKS)), st.integers(0, 10_000)


def test_arithmetic_and_problems_by_hand() -> None:
    assert CLOCK.apply(16, "+3") == 2 and CLOCK.apply(1, "-4") == 14 and CLOCK.apply(5, "*4") == 3
    assert CLOCK.apply(3, "/4") == 5  # 5 * 4 = 20 = 3
    assert CLOCK.is_hard(3, "/4") and not CLOCK.is_hard(0, "/4") and not CLOCK.is_hard(3, "*4")
    assert Problem("forward-2", 3, ("/4", "+2"), 7).text == "3 /4 +2 ?"
    assert Problem("hole-2", 3, ("/4", "+2"), 7).text == "_ -2 *4 = 3 ?"  # 7 - 2 = 5, 5 * 4 = 3


@given(benchmarks, seeds)
def test_problems_have_their_divisions_and_their_answer(benchmark: str, seed: int) -> None:
    problem = CLOCK.draw(benchmark, random.Random(seed))
    value, hard = problem.start, 0
    for step in problem.steps:
        hard += CLOCK.is_hard(value, step)
        value = CLOCK.apply(value, step)
    assert (len(problem.steps), hard) == BENCHMARKS[benchmark] and value == problem.answer


def test_training_and_probe_problems_are_of_the_training_half() -> None:
    world = Pocket()
    tested = [p for table in world.benchmarks(300).values() for p in table["prompt"]]
    searched = {p for table in world.benchmarks(300, "search").values() for p in table["prompt"]}
    probed = {text.partition(" ?")[0] + " ?" for text in world.probe_prefixes()}
    assert len(tested) == len(set(tested)) == 300 * len(BENCHMARKS)
    assert not set(tested) & {*world.train_problems(0)["prompt"], *searched, *probed}


@pytest.mark.parametrize(
    ("completion", "right"), [("3 +4 7 # 7", True), ("# 1", False), ("3 +4 7", False), ("", False), ("# 7 so", False)]
)
def test_grader(completion: str, right: bool) -> None:
    assert Pocket().correct(completion, "7") == Pocket().correct(completion, ["seven", "7"]) == right


def test_tokens_and_their_classes() -> None:
    ids = TOKENIZER("3 +4 ?")["input_ids"]
    assert TOKENIZER.convert_ids_to_tokens(ids) == ["<bos>", "3", "+4", "?"] and len(TOKENIZER) == len(CLOCK.vocabulary)
    kinds = {"so": "connector", "5": "number", "/3": "operator", "-0": "operator", "=": "operator", "check": "other"}
    assert {word: word_class(word) for word in kinds} == kinds and word_class("<eos>") == "other"
    classes = Pocket().token_classes(TOKENIZER).ids
    assert [int((classes == c).sum()) for c in (0, 1, 2)] == [11, 17, 4 * 16 + 2]  # '-0' and '=' are two more


@given(benchmarks, seeds, st.sampled_from([0.0, 0.12, 1.0]))
def test_traces_keep_to_the_vocabulary_and_a_sure_teacher_is_right(benchmark: str, seed: int, compact: float) -> None:
    rng = random.Random(seed)
    problem = CLOCK.draw(benchmark, rng)
    words = CLOCK.trace(problem, rng, compact, sure=compact == 1)
    assert {*words, *problem.text.split()} <= set(CLOCK.vocabulary) and words[-3] == "#" and words[-1] == "<eos>"
    if compact == 1:
        assert Pocket().correct(" ".join(words[:-1]), str(problem.answer))
        assert len(words) == 2 * len(problem.steps) + 4  # a value, two tokens a step, '# answer <eos>'
    for sentence in " ".join(words).split(" . "):
        if " check " in sentence:
            *_, r, back, x, minus_a, gap, verdict = sentence.split()
            assert CLOCK.apply(int(r), back) == int(x)
            assert (int(x) + int(minus_a)) % 17 == int(gap) and (verdict == "yes") == (gap == "0")


def test_the_intuition_ranks_the_right_quotient_as_stated() -> None:
    found = [ranked.index(CLOCK.apply(a, f"/{b}")) for (a, b), ranked in CLOCK.intuition.items()]
    shares = [found.count(k) / 16**2 for k in range(len(language.RIGHT_AT))]
    assert len(found) == 16**2 and shares == pytest.approx(language.RIGHT_AT, abs=0.1)
    assert all(len(set(ranked)) == len(language.RANK_WEIGHTS) for ranked in CLOCK.intuition.values())
    *failed, left = CLOCK.intuition[3, 4]
    assert CLOCK.guess(3, "/4", random.Random(0), tuple(failed)) == left


def test_batches_by_hand_and_in_their_stages() -> None:
    inputs, labels = padded([(2, [1, 5, 6, 2]), (1, [1, 2])])
    assert inputs.tolist() == [[1, 5, 6, 2], [1, 2, 0, 0]]
    assert labels.tolist() == [[-100, -100, 6, 2], [-100, 2, -100, -100]]
    assert stage(0, 600, 9, 17) == (1.0, 36, 4) and stage(550, 600, 9, 17) == (1.0, 36, 17)
    assert stage(600, 600, 9, 17) == (0.5, 32, 17) and stage(609, 600, 9, 17) == (language.P_COMPACT, 32, 17)


def test_checks_and_branches_are_counted_in_a_trace_by_hand() -> None:
    problem = Problem("forward-2", 3, ("+1", "/4"), 1)
    words = "so 3 +1 4 . so 4 /4 2 . wait check 2 *4 8 -4 4 no . hmm 4 /4 1 . wait again 3 +1 4 . 4 /4 1 . # 1 <eos>"
    assert hard_steps(CLOCK, problem, words.split()) == [(1, True)]
    there = [word for word, branch in zip(words.split(), branches(words.split()), strict=True) if branch]
    assert there == ["so", "3", "so", "4", "2", "wait", "check", "hmm", "4", "1", "wait", "again", "1"]


def test_three_bases_are_recorded_and_a_seed_names_its_own(tmp_path: Path) -> None:
    world = json.loads((paths.DATA / "pocket" / "world.json").read_text(encoding="utf-8"))
    assert [base["number"] for base in world["bases"]] == list(range(BASES))
    assert world["version"] == language.WORLD_VERSION
    assert [Path(scales.world("pocket", seed=s).policy_path()).name[-1] for s in (0, 1, 3)] == ["0", "1", "0"]
    assert Path(start.raw_world("pocket", 4).policy_path()).name == "base-1"
    with pytest.raises(FileNotFoundError, match="train --base --scale pocket"):
        Pocket(tmp_path).policy_path()


def test_a_base_and_its_start_are_made_once_and_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps of each; whatever comes of it is measured against every criterion."""
    small = {"steps": 1, "prompts_per_step": 2, "group_size": 2, "cap": 20, "learning_rate": 0.1, "warmup_steps": 0}
    monkeypatch.setitem(scales.SCALES, "pocket", replace(scales.SCALES["pocket"], start=small))
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BUILD", tmp_path / "build")
    monkeypatch.setattr(start, "train_base", partial(train_base, stages=(2, 1, 1)))
    folder = start.make("pocket", 1)
    monkeypatch.setattr(start, "train_base", None)  # both are there
    assert folder == start.make("pocket", 1) == tmp_path / "data/pocket/start-1"
    assert len(pd.read_csv(folder / "steps.csv")) == 1 and (tmp_path / "data/pocket/base-1/tokenizer.json").is_file()
    with pytest.raises(ConfigError, match="no base model 3"):
        start.make("pocket", 3)
    monkeypatch.setattr(criteria, "WANTED", 20)
    monkeypatch.setattr(criteria, "CAP", 8)
    measured = criteria.measure(Pocket(seed=1), n=2, say=lambda _: None)
    met = {c["name"]: c["met"] for c in measured["criteria"]}
    assert met["weights in MB"] and not met["answer read off a right compact trace, worst"] and len(met) == 13


def test_the_criteria_of_training_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "DATA", tmp_path)
    write_csv(tmp_path / "pocket/start-0/steps.csv", pd.DataFrame({"accuracy": [0.5] * 6 + [0.6] * 2 + [0.7, 0.8]}))
    steps = pd.DataFrame({"truncated": [0.5] + [0.0] * 5, "accuracy": [0.0, 0.4, 0.5, 0.6, 0.5, 0.5]})
    answers = [(b, str(i), 0.3, 0, i < right, 9, False) for b, right in (("x", 3), ("y", 1)) for i in range(4)]
    names = ["benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated"]
    record = SimpleNamespace(steps=steps, evaluation=pd.DataFrame(answers, columns=names))
    monkeypatch.setattr(records, "load", lambda *_: record)
    rows = [("base", "x", 0.3, 0.5), ("base", "y", 0.3, 0.5), ("base", "mean", 0.3, 0.5), ("start", "mean", 1.0, 0.8)]
    table = pd.DataFrame(rows, columns=["policy", "benchmark", "temperature", "accuracy"])
    found = start.of_training("pocket", 0, table.assign(split="test", compact=False), 0.3)
    # the start still gains 0.75 - 0.6; compression falls from 0.8 to 0.5, and ends at 1/4 on y, the base at 1/2
    assert [c["value"] for c in found] == pytest.approx([0.15, 0.3, -0.25])
    assert [c["met"] for c in found] == [False, True, False]
