"""The pocket world: what is in it by construction is checked against its own stated probabilities."""

from __future__ import annotations

import json
import random
import shutil
from itertools import islice

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc import paths
from egrc.worlds.pocket import Pocket, criteria, floor_tokens
from egrc.worlds.pocket.criteria import sizes, started_compact, world_hash
from egrc.worlds.pocket.teacher import trace
from egrc.worlds.pocket.tokenizer import build_tokenizer, word_class
from egrc.worlds.pocket.world import (
    BENCHMARKS,
    CONNECTORS,
    MODULUS,
    OPENER_WEIGHTS,
    OPENERS,
    OPERATIONS,
    P_COMPACT,
    P_GIVE_UP,
    P_RECHECK,
    TURNERS,
    VOCABULARY,
    Problem,
    apply,
    draw_problem,
    problems,
    run,
)

TRACES = 4000


def near(count: int, n: int, p: float) -> bool:
    """Within five standard errors of what the stated probability gives."""
    return abs(count / n - p) < 5 * (p * (1 - p) / n) ** 0.5


def traces(benchmark: str, n: int = TRACES, **options) -> list[tuple[Problem, list[str]]]:
    rng = random.Random(f"test/{benchmark}")
    return [(p, trace(p, rng, **options)) for p in (draw_problem(benchmark, rng) for _ in range(n))]


def test_arithmetic_by_hand():
    assert [apply(3, "+6"), apply(1, "-4"), apply(5, "*3")] == [2, 4, 1]
    assert run(3, ("+4", "*6", "-1")) == [3, 0, 0, 6]


def test_problems_by_hand():
    forward = Problem("forward-3", 3, ("+4", "*6", "-1"))
    assert (forward.text, forward.answers) == ("3 +4 *6 -1 ?", (6,))
    hole = Problem("hole-2r", None, ("*4", "-2"), (3, ("+5",)))
    assert (hole.text, hole.target) == ("_ *4 -2 = 3 +5 ?", 1)
    assert hole.answers == (6,)  # 6 * 4 = 3 (mod 7), 3 - 2 = 1


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_problem_has_one_answer_and_the_halves_are_disjoint(benchmark):
    trained = {p.text for p in islice(problems(benchmark, held_out=False, seed=1), 3000)}
    tested = list(islice(problems(benchmark, held_out=True, seed=1), 3000))
    assert len({p.text for p in tested}) == len(tested) and not trained & {p.text for p in tested}
    assert all(len(p.answers) == 1 for p in tested)


def test_training_and_probe_problems_are_of_the_training_half():
    pocket = Pocket()
    tested = {p for table in pocket.benchmarks(2000).values() for p in table["prompt"]}
    assert not tested & set(pocket.train_problems(0)["prompt"])
    assert not tested & {text.partition(" ?")[0] + " ?" for text in pocket.probe_prefixes()}


@given(st.integers(0, 10**9), st.sampled_from(BENCHMARKS))
def test_every_statement_of_a_trace_is_true(seed, benchmark):
    rng = random.Random(seed)
    problem = draw_problem(benchmark, rng)
    words = trace(problem, rng)
    assert words[-1] == "<eos>" and words[-3] == "#"
    assert set(words) <= set(VOCABULARY)
    for i, word in enumerate(words):
        if word == "=":
            a, operation, result = words[i - 2], words[i - 1], words[i + 1]
            assert eval(f"({a} {operation}) % {MODULUS}") == int(result)
    if problem.start is not None:
        assert int(words[-2]) in problem.answers


def test_forward_traces_are_always_right_and_holes_fail_only_by_giving_up():
    for benchmark in BENCHMARKS:
        for problem, words in traces(benchmark, 500):
            right = int(words[-2]) in problem.answers
            assert right or problem.start is None
        assert all(int(w[-2]) in p.answers for p, w in traces(benchmark, 300, patient=True))


def test_first_style_and_connectors_follow_their_probabilities():
    words = [w for _, w in traces("forward-3")]
    verbose = [w for w in words if w[0] in OPENERS]
    assert near(len(words) - len(verbose), len(words), P_COMPACT)
    for connector, weight in zip(OPENERS, OPENER_WEIGHTS, strict=True):
        assert near(sum(w[0] == connector for w in verbose), len(verbose), weight)


def test_rechecks_follow_their_probability():
    firsts = [w for _, w in traces("forward-3", p_compact=0.0)]  # OPENER a +b = r . | TURNER check ...
    checked = [w for w in firsts if w[7] == "check"]
    assert all(w[6] in TURNERS for w in checked)
    assert near(len(checked), len(firsts), P_RECHECK[0])
    twice = [w for w in checked if w[15] == "check"]
    assert near(len(twice), len(checked), P_RECHECK[1])


def test_giving_up_follows_its_probabilities():
    compact = [(p, w) for p, w in traces("hole-2", p_compact=1.0)]  # c +b r *b r -t g: seven tokens a try
    gave_up, reached = [0] * 6, [0] * 6
    for problem, words in compact:
        tries = (len(words) - 3) // 7
        right = int(words[-2]) in problem.answers
        for k in range(tries - right):  # failures before the end
            reached[k] += 1
        if not right:
            gave_up[tries - 1] += 1
    for k in range(4):
        assert near(gave_up[k], reached[k], P_GIVE_UP[k])


def test_compact_floor_by_hand():
    assert floor_tokens("forward-3") == 1 + 2 * 3 + 3  # start, (operation, value) x 3, # answer <eos>
    expected = 7 * 3.5 + 3  # 3.5 tries on average, each c (+b r) x 2 -t g
    assert floor_tokens("hole-2") == pytest.approx(expected, rel=0.02)


def test_tokenizer():
    tokenizer = build_tokenizer()
    ids = tokenizer("3 +4 ?")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "3", "+4", "?"]
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert tokenizer.decode(ids, skip_special_tokens=True) == "3 +4 ?"
    kinds = {"so": "connector", "5": "number", "*3": "operator", "=": "operator", "check": "other", "<eos>": "other"}
    assert {word: word_class(word) for word in kinds} == kinds
    classes = Pocket().token_classes(tokenizer)
    assert (classes.ids == 0).sum() == len(CONNECTORS) and (classes.ids == 2).sum() == len(OPERATIONS) + 2


@pytest.mark.parametrize(
    ("completion", "right"), [("3 +4 0 # 0", True), ("# 1", False), ("3 +4 0", False), ("", False), ("# 0 so", False)]
)
def test_grader(completion, right):
    assert Pocket().correct(completion, "0") == Pocket().correct(completion, ["zero", "0"]) == right


def test_started_compact_names_what_is_computed_first():
    tables = started_compact(Pocket().benchmarks(3))
    first, *_, started = tables["forward-3"][0]["prompt"].split()
    assert started == first
    right_side = tables["hole-2r"][0]["prompt"]
    assert right_side.split()[-1] == right_side.split("=")[1].split()[0]


def test_recorded_criteria_are_of_this_world():
    recorded = json.loads((paths.DATA / "pocket" / "world.json").read_text())
    assert recorded["hash"] == world_hash(), "the world changed: `python -m egrc measure world`, raise WORLD_VERSION"
    assert all(criterion["met"] for criterion in recorded["criteria"])
    table = sizes()
    assert recorded["sizes"] == table.to_dict("records")
    assert list(table[table.whole_half].benchmark) == ["hole-2"]  # 18 * 18 * 6 problems in all


def test_a_callers_folder_holds_base_and_criteria(tmp_path, monkeypatch):
    shutil.copytree(paths.DATA / "pocket" / "base", tmp_path / "pocket" / "base")
    monkeypatch.setattr(paths, "DATA", tmp_path / "nowhere")  # the package's must not be touched

    def made_up(temperatures):
        rows = [(b, t, 0.5, 60.0) for t in temperatures for b in (*BENCHMARKS, "mean")]
        return pd.DataFrame(rows, columns=["benchmark", "temperature", "accuracy", "mean_tokens"])

    monkeypatch.setattr(criteria, "evaluate", lambda *asked: next(x for x in asked if isinstance(x, tuple)))
    monkeypatch.setattr(criteria, "summarise", made_up)
    result = criteria.measure(n=1, say=lambda line: None, data=tmp_path)
    kept = json.loads((tmp_path / "pocket" / "world.json").read_text())
    assert kept["hash"] == result["hash"] and not (tmp_path / "nowhere").exists()
    with pytest.raises(FileNotFoundError, match="no base model in"):
        Pocket().policy_path()
