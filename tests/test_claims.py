"""Claims: every reading on rows whose verdict is known by hand, and the tables that are made of verdicts."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc import paths
from egrc.__main__ import main
from egrc.analysis import changes, claims, measure, tables, verdicts
from egrc.analysis.claims import CLAIMS, COLUMNS
from egrc.analysis.evidence import Rows
from egrc.analysis.verdicts import Answer, Bound, judged
from egrc.atomic import write_csv, write_json, write_parquet
from egrc.checks import ConfigError
from egrc.experiments import scales
from egrc.experiments.records import RecordError

READINGS = {reading.name: reading for claim in CLAIMS.values() for reading in claim.readings}
PROBLEMS, SAMPLES, SEEDS = 12, 4, (0, 1)
CROSSES, OPPOSITE = "the interval crosses the bound", "the opposite holds"
CASES = {"claimed": ("supported", ""), "opposite": ("not supported", OPPOSITE), "mixed": ("not supported", CROSSES)}


def answered(name, tmp_path, **tables_):
    """What a reading finds in tables that are given instead of read, with its verdict and note."""
    rows = Rows("pocket", tmp_path)
    vars(rows).update(tables_)
    found = READINGS[name].of(rows)
    return found, *judged(found, READINGS[name].bound)


# --- the bound ---


@pytest.mark.parametrize(
    ("bound", "low", "high", "verdict", "note"),
    [
        (Bound("<", 0), -2, -1, "supported", ""),
        (Bound("<", 0), -2, 0, "not supported", CROSSES),  # the bound itself is not below it
        (Bound("<", 0), 0, 1, "not supported", OPPOSITE),
        (Bound(">", 1), 1.1, 2, "supported", ""),
        (Bound(">", 1), 0.9, 2, "not supported", CROSSES),
        (Bound(">", 1), 0.2, 0.9, "not supported", OPPOSITE),
        (Bound(">=", 0.2), 0.2, 0.3, "supported", ""),
        (Bound(">=", 0.2), 0.1, 0.2, "not supported", CROSSES),
        (Bound(">=", 0.2), 0.1, 0.19, "not supported", OPPOSITE),
    ],
)
def test_the_whole_interval_has_to_lie_on_the_claimed_side(bound, low, high, verdict, note):
    assert judged(Answer((low + high) / 2, low, high, 9, 3), bound) == (verdict, note)


@settings(deadline=None)
@given(st.sampled_from(["<", ">", ">="]), st.floats(-5, 5), st.tuples(*[st.floats(-9, 9)] * 2).map(sorted))
def test_the_predicate_says_what_is_judged(side, value, ends):
    """What is printed, worked out for both ends, is the verdict."""
    bound = Bound(side, round(value, 2), "nats")
    says = str(bound).removesuffix(" nats")
    holds = all(eval(f"{end} {says}") for end in ends)
    assert judged(Answer(sum(ends) / 2, *ends, 9, 3), bound)[0] == ("supported" if holds else "not supported")


def test_a_seed_on_the_other_side_is_told():
    found = Answer(-1, -2, -0.5, 9, 3, by_seed=(-2.0, 0.5, -1.5), note="by construction")
    assert judged(found, Bound("<", 0)) == ("supported", "seeds differ: -2, 0.5, -1.5; by construction")
    assert judged(found._replace(by_seed=(-2.0, -0.5)), Bound("<", 0))[1] == "by construction"


@pytest.mark.parametrize("ends", [(np.nan, np.nan), (-np.inf, np.inf), (1, 2)])
def test_where_there_is_no_number_the_note_is_the_reason(ends):
    found = Answer(np.nan, *ends, 9, 3, by_seed=(np.nan, np.nan, 1.0), note="one lies wholly elsewhere")
    assert judged(found, Bound(">", 0)) == ("not supported", "one lies wholly elsewhere")


# --- the claims of the paper ---


def test_every_claim_is_there_with_what_decides_it():
    assert list(CLAIMS) == [1, 2, 3, 4, 5, 6, 7, 8]
    names = "1a 1b 1c 1d 1e 1f 2a 2b 2c 2d 3a 3b 4a 4b 5a 5b 6a 7a 7b 7c 7d 7e 7f 7g 7h 8a 8b 8c 8d"
    assert " ".join(READINGS) == names
    assert " ".join(name for name, r in READINGS.items() if r.primary) == "1a 2a 3a 4a 5a 6a 7a 7b 7c 7d 8a 8b"
    assert all(name.startswith(str(c.number)) for c in CLAIMS.values() for name in [r.name for r in c.readings])


def test_the_bounds_are_those_that_were_fixed():
    bounds = {name: str(reading.bound) for name, reading in READINGS.items()}
    assert bounds == {
        **{"1a": "< 0 nats", "1b": "< 0 nats", "1c": "< 0 nats", "1d": "< 0 tokens", "1e": "< 0", "1f": "< 0"},
        **{"2a": "> 0 nats", "2b": "> 0 nats", "2c": "> 0 nats", "2d": "> 0 tokens"},
        **{"3a": "> 0", "3b": "> 0 tokens", "4a": "> 1", "4b": ">= 0.2", "5a": "> 1", "5b": "> 0", "6a": "< 0"},
        **{f"7{letter}": "> 0" for letter in "abcdefgh"},
        **{"8a": ">= 0.8", "8b": ">= 0", "8c": "< 0.2", "8d": ">= -0.05"},
    }


# --- claims 1 and 2: a policy that moved ---

BY_HAND = {"per_token": 0.25, "per_completion": 5, "prefix": 5, "tokens": 8, "distinct": 0.75, "coverage": 0.75}
"""What the high level of a quantity has more than the low one, in the rows of `sample`."""


def sample(quantity, high, number):
    """One sample of a problem (or prefix) where a quantity is high, or low, and the others are as always."""
    up = {name: name == quantity and high for name in BY_HAND}
    return {
        "kind": "prefix" if quantity == "prefix" else "completion",
        "sample": number,
        "entropy_sum": 10.0 + 5 * (up["per_token"] or up["per_completion"] or up["prefix"]),
        "tokens": 20 + 8 * up["tokens"],
        "correct": number == 0 or (quantity == "coverage" and not high),
        "text_key": "0" if quantity == "distinct" and not high else str(number),
    }


def policies(quantity, arm, case, sign):
    """Rows of base and arm: the arm is on the claimed side in all problems, in none, or in every other one."""
    arm_high = [{"claimed": sign > 0, "opposite": sign < 0, "mixed": i // 2 % 2 == 0}[case] for i in range(PROBLEMS)]
    return pd.DataFrame(
        [
            {"benchmark": "ab"[i % 2], "id": str(i), "arm": name, "seed": seed, **sample(quantity, high, k)}
            for i in range(PROBLEMS)
            for name, high in ((arm, arm_high[i]), ("base", not arm_high[i]))
            for seed in SEEDS
            for k in range(SAMPLES)
        ]
    )


MOVED = [
    *((f"1{letter}", quantity, "compression", -1) for letter, quantity in zip("abcdef", BY_HAND, strict=True)),
    *((f"2{letter}", quantity, "accuracy", 1) for letter, quantity in zip("abcd", BY_HAND, strict=False)),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "quantity", "arm", "sign"), MOVED)
def test_a_policy_that_moved(name, quantity, arm, sign, case, tmp_path):
    found, *verdict = answered(name, tmp_path, policies=policies(quantity, arm, case, sign))
    assert tuple(verdict) == CASES[case]
    assert found.estimate == pytest.approx({"claimed": sign, "opposite": -sign, "mixed": 0}[case] * BY_HAND[quantity])
    assert (found.n, found.seeds) == (PROBLEMS, len(SEEDS))
    assert found.by_seed == pytest.approx((found.estimate,) * len(SEEDS))


def test_a_seed_alone_is_compared_with_all_of_the_base():
    rows = policies("tokens", "accuracy", "claimed", 1)
    rows.loc[(rows["arm"] == "accuracy") & (rows["seed"] == 1), "tokens"] -= 10
    rows.loc[(rows["arm"] == "base") & (rows["seed"] == 1), "tokens"] -= 4
    found = changes.change(rows, "accuracy", "tokens", n_boot=10)
    assert found.by_seed == {0: 8 + 2, 1: 8 - 10 + 2}
    assert found.estimate == 8 - 5 + 2


def test_entropy_per_token_is_one_sum_by_another():
    """A problem of 30 tokens at 1 nat and three of 10 at 0: (30 + 0)/60, although benchmarks and problems differ."""
    rows = policies("per_token", "accuracy", "claimed", 1).query("id in ['0', '1', '2', '4'] and seed == 0")
    mine, long = rows["arm"] == "accuracy", rows["id"] == "1"
    rows.loc[mine, "entropy_sum"], rows.loc[mine, "tokens"] = np.where(long, 30, 0)[mine], np.where(long, 30, 10)[mine]
    assert changes.change(rows, "accuracy", "per_token", n_boot=10).estimate == pytest.approx(30 / 60 - 10 / 20)


@pytest.mark.parametrize(
    ("spoil", "ask", "says"),
    [
        (lambda rows: rows, ("accuracy", "speed"), "no quantity 'speed': choose one of per_token, "),
        (lambda rows: rows, ("egrc", "tokens"), "no rows of arm 'egrc'.*accuracy"),
        (lambda rows: rows.iloc[SAMPLES * 2 :], ("accuracy", "tokens"), "not asked the same.*'0'"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(spoil, ask, says):
    with pytest.raises(ValueError, match=says):
        changes.change(spoil(policies("tokens", "accuracy", "claimed", 1)), *ask)


# --- claim 3: two frontiers ---


def study(staged, other_problems=False):
    """Two settings of each way, tokens to accuracy, on 20 problems: the easy ones first, or for the staged the last."""
    ways = {"joint": {10: 0.3, 20: 0.7}, "egrc": staged}
    return pd.DataFrame(
        [
            {"arm": way + ("-r0.8" if k else ""), "seed": seed, "r": 0.8 if k else 0.05, "benchmark": "ab"[i % 2],
             "id": str(i), "tokens": tokens,
             "correct": (19 - i if other_problems and way == "egrc" else i) < 20 * accuracy}
            for way, settings in ways.items()
            for k, (tokens, accuracy) in enumerate(settings.items())
            for seed in SEEDS
            for i in range(20)
        ]
    )  # fmt: skip


FRONTIERS = {
    "claimed": ({10: 0.5, 20: 0.9}, 0.2, 5),
    "opposite": ({10: 0.1, 20: 0.5}, -0.2, -5),
    "mixed": ({10: 0.3, 20: 0.7}, 0, 0),
}
"""The staged way's settings, and by hand both readings: the lines are parallel, 0.2 or 5 tokens apart."""


@pytest.mark.parametrize("case", CASES)
def test_the_frontier_of_the_staged_way(case, tmp_path):
    staged, *by_hand = FRONTIERS[case]
    rows = Rows("pocket", tmp_path)
    vars(rows)["dilemma"] = study(staged, other_problems=case == "mixed")
    for name, expected in zip(("3a", "3b"), by_hand, strict=True):
        found = READINGS[name].of(rows)
        verdict, note = judged(found, READINGS[name].bound)
        assert verdict == CASES[case][0]
        assert note.split("; ") == [said for said in (CASES[case][1], "both swept over r = 0.05, 0.8") if said]
        assert found.estimate == pytest.approx(expected)
        assert (found.n, found.seeds) == (20, 2) and found.by_seed == pytest.approx((expected,) * 2)


def test_frontiers_apart_are_not_supported_with_the_reason(tmp_path):
    found, verdict, note = answered("3a", tmp_path, dilemma=study({30: 0.5, 40: 0.9}))
    assert np.isnan(found.estimate)
    assert (verdict, note.count("share no length")) == ("not supported", 1)


# --- claim 4: who is among the tokens of highest entropy ---


def rollouts(connectors_on_top):
    """Problems of ten tokens, two of them connectors; two have the highest entropy: the connectors, or two others."""
    nats = {True: [2.0] * 2 + [0.1] * 8, False: [0.1] * 2 + [2.0] * 2 + [0.1] * 6}
    kinds = ["connector"] * 2 + ["number"] * 8
    return pd.DataFrame(
        [
            {"benchmark": "ab"[i % 2], "id": str(i), "seed": seed, "sample": 0, "tokens": ["x"] * 10,
             "entropies": nats[i in connectors_on_top], "classes": kinds, "correct": True}
            for i in range(20)
            for seed in SEEDS
        ]
    )  # fmt: skip


ON_TOP = {"claimed": range(20), "opposite": [], "mixed": [0, 1, 5, 8]}


@pytest.mark.parametrize("case", CASES)
def test_connectors_among_the_tokens_of_highest_entropy(case, tmp_path):
    rows = Rows("pocket", tmp_path)
    vars(rows)["rollouts"] = rollouts(ON_TOP[case])
    for name, at_most in (("4a", 5), ("4b", 1)):
        found = READINGS[name].of(rows)
        verdict, note = judged(found, READINGS[name].bound)
        assert verdict == CASES[case][0]
        assert note.split("; ") == [said for said in (CASES[case][1], "true by construction") if said]
        assert found.estimate == pytest.approx(at_most * len(ON_TOP[case]) / 20)
        assert (found.n, found.seeds) == (20, 2)


# --- claims 5 and 6: what reaches the adapter ---

SIZES = {"claimed": [4.0] * 8, "opposite": [1.0] * 8, "mixed": [4.0, 4.0, 0.0, 0.0] * 2}
"""Each problem's gradient from its connectors, all in one direction; from random tokens it is always 2."""


def tug(sizes, first_says_more):
    """Problems of two rollouts: the first alone is right and short; scores 1 and 0 if it says more connectors."""
    sets = {(-1, "connector"): sizes, (0, "connector"): [2.0] * len(sizes), (-1, "all"): [1.0] * len(sizes)}
    return pd.DataFrame(
        [
            {"arm": "base", "seed": seed, "step": 0, "permutation": permutation, "token_class": name, "problem": i,
             "benchmark": "ab"[i % 2], "id": str(i), "advantage_accuracy": [1, -1], "advantage_compression": [1, 0],
             "scores": [1, 0] if first_says_more[i] else [0, 1],
             "gram_accuracy": [x[i] * x[j] for j in range(i + 1)],
             **dict.fromkeys(("gram_compression", "gram_cross"), [1.0] * (i + 1))}
            for seed in SEEDS
            for (permutation, name), x in sets.items()
            for i in range(len(x))
        ]
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_from_connectors(case, tmp_path):
    found, *verdict = answered("5a", tmp_path, tug=tug(SIZES[case], [True] * 8))
    assert tuple(verdict) == CASES[case]
    assert found.estimate == pytest.approx(np.mean(SIZES[case]) / 2)
    assert (found.n, found.seeds) == (8, 2) and found.by_seed == pytest.approx((found.estimate,) * 2)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("name", "sign", "most"), [("5b", 1, 1), ("6a", -1, 0.5)])
def test_the_push_on_connectors(name, sign, most, case, tmp_path):
    """Along a gradient of length 8, scores that all agree move M by 8 (accuracy), by 8 - 8 * 8 / 16 (compression)."""
    first = {"claimed": [sign > 0] * 8, "opposite": [sign < 0] * 8, "mixed": [True, True, False, False] * 2}[case]
    found, *verdict = answered(name, tmp_path, tug=tug([1.0] * 8, first))
    assert tuple(verdict) == CASES[case]
    assert found.estimate == pytest.approx({"claimed": sign, "opposite": -sign, "mixed": 0}[case] * most)
    assert (found.n, found.seeds) == (8, 2)


# --- claims 7 and 8: the runs themselves ---


def write_pair(data, arm_tokens, arm_correct):
    """Records of base and egrc: its tokens are a function of problem and floor, its correctness one of the problem."""
    floors = tables.floors("pocket", synthetic.BENCHMARKS)
    frame = synthetic.evaluation("base", 0, problems=10, samples=1)
    problem, floor = frame["id"].str.split("/").str[1].astype(int), frame["benchmark"].map(floors)
    base = frame.assign(tokens=floor + 100, correct=problem < 5)
    egrc = frame.assign(tokens=[arm_tokens(*pair) for pair in zip(problem, floor, strict=True)])
    egrc["correct"] = problem.map(arm_correct)
    for seed in scales.runs("pocket")[1]:
        synthetic.write_run(data, "base", seed, base)
        synthetic.write_run(data, "egrc", seed, egrc)
    write_json(data / "pocket" / "world.json", {"base_best_temperature": synthetic.BEST})


LENGTHS = {
    "claimed": (lambda i, floor: floor + 10, 0.9),
    "opposite": (lambda i, floor: floor + 30, 0.7),
    "mixed": (lambda i, floor: floor + 40 * (i % 2), 0.8),
}
SOLVED = {
    "claimed": (lambda i: i < 6, 0.1),
    "opposite": (lambda i: i < 4, -0.1),
    "mixed": (lambda i: i % 2 == 0, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_the_headline_of_claim_8(case, tmp_path):
    write_pair(tmp_path, LENGTHS[case][0], SOLVED[case][0])
    shorter, right, _, _ = claims.verdicts("pocket", 8, tmp_path).to_dict("records")
    assert shorter["estimate"] == pytest.approx(LENGTHS[case][1])
    assert right["estimate"] == pytest.approx(SOLVED[case][1])
    for line in (shorter, right):
        assert line["verdict"] == CASES[case][0] and line["note"].startswith(CASES[case][1])
        assert (line["n"], line["seeds"], line["primary"]) == (60, 3, True)
    left = {"claimed": 10, "opposite": 30, "mixed": 20}[case]
    floor = np.mean(list(tables.floors("pocket", synthetic.BENCHMARKS).values()))
    assert f"{(floor + left) / (floor + 100):.0%} of the base's tokens are left" in shorter["note"]


def test_the_literal_fifth_of_claim_8_hangs_on_the_floor(tmp_path):
    write_pair(tmp_path, lambda i, floor: floor / 2, bool)
    line = claims.verdicts("pocket", 8, tmp_path).set_index("reading").loc["8c"]
    floor = np.mean(list(tables.floors("pocket", synthetic.BENCHMARKS).values()))
    assert line["estimate"] == pytest.approx(floor / 2 / (floor + 100)) and line["verdict"] == "supported"
    assert line["note"] == f"the compact floor is {floor / (floor + 100):.0%} of the base's tokens"
    write_pair(tmp_path, lambda i, floor: floor + 5, bool)  # nearly all that can go is gone
    line = claims.verdicts("pocket", 8, tmp_path).set_index("reading").loc["8c"]
    assert line["estimate"] == pytest.approx((floor + 5) / (floor + 100)) and line["verdict"] == "not supported"


def test_the_worst_benchmark_of_claim_8(tmp_path):
    """Ten of ten problems right instead of five everywhere, but on hole-2 only one, and on one seed none."""
    write_pair(tmp_path, lambda i, floor: floor, lambda i: True)
    for seed in range(3):
        file = paths.run_folder(tmp_path, "pocket", "egrc", seed) / "evaluation.parquet"
        rows = pd.read_parquet(file)
        lost = (rows["benchmark"] == "hole-2") & ((rows["id"] != "hole-2/0") | (seed == 2))
        write_parquet(file, rows.assign(correct=rows["correct"] & ~lost))
    line = claims.verdicts("pocket", 8, tmp_path).set_index("reading").loc["8d"]
    assert line["estimate"] == pytest.approx(2 / 3 * 0.1 - 0.5)
    assert (line["n"], line["seeds"], line["verdict"]) == (10, 3, "not supported")
    assert line["note"] == f"{OPPOSITE}; the worst is hole-2" and not line["primary"]


def write_controls(data, correct, tokens, seeds=(0, 1, 2)):
    """Base, EGRC (right on the even ones of ten problems, in floor + 20 tokens), and all four controls of claim 7."""
    write_pair(data, lambda i, floor: floor + 20, lambda i: i % 2 == 0)
    rows = synthetic.evaluation("base", 0, problems=10, samples=1)
    problem, floors = rows["id"].str.split("/").str[1].astype(int), tables.floors("pocket", synthetic.BENCHMARKS)
    rows = rows.assign(correct=problem.map(correct), tokens=rows["benchmark"].map(floors) + problem.map(tokens))
    for arm in claims.CONTROLS:
        for seed in seeds:
            synthetic.write_run(data, arm, seed, rows, like="egrc")


CONTROL = {
    "claimed": (lambda i: False, lambda i: 60, 0.5, 0.4),
    "opposite": (lambda i: True, lambda i: 0, -0.5, -0.2),
    "mixed": (lambda i: i % 2 == 1, lambda i: 40 * (i % 2), 0.0, 0.0),
}
"""The control's correctness and tokens beyond the floor, and by hand EGRC minus it: accuracy, removed (EGRC: 0.8)."""


@pytest.mark.parametrize("case", CASES)
def test_the_gate_against_its_controls(case, tmp_path):
    correct, tokens, *by_hand = CONTROL[case]
    write_controls(tmp_path, correct, tokens)
    lines = claims.verdicts("pocket", 7, tmp_path)
    for number, line in enumerate(lines.to_dict("records")):
        assert line["estimate"] == pytest.approx(by_hand[number // 4])
        assert line["verdict"] == CASES[case][0] and line["note"].startswith(CASES[case][1])
        assert (line["n"], line["seeds"], line["primary"]) == (60, 3, number < 4)
    assert all(arm in quantity for arm, quantity in zip(claims.CONTROLS * 2, lines["quantity"], strict=True))


def test_the_gate_is_compared_on_the_seeds_that_both_have(tmp_path):
    write_controls(tmp_path, lambda i: i % 2 == 0, lambda i: 20, seeds=(1, 2))
    better = synthetic.evaluation("egrc", 0, 10, 1).assign(correct=True)
    synthetic.write_run(tmp_path, "egrc", 0, better)  # has no counterpart
    file = paths.run_folder(tmp_path, "pocket", "egrc-fixed", 2) / "steps.csv"
    steps = pd.read_csv(file)
    write_csv(file, steps.assign(phase=np.where(steps["step"] <= 60, "compress", "explore")))
    line = claims.verdicts("pocket", 7, tmp_path).iloc[0]
    assert (line["estimate"], line["seeds"]) == (0, 2)
    assert line["note"].endswith("control: fixed schedule, not looking; it switched at another step on 1 of 2 seeds")
    write_csv(file, steps.assign(phase="compress"))
    assert claims.verdicts("pocket", 7, tmp_path).iloc[0]["note"].endswith("on 0 of 2 seeds, never on 1")


def test_claim_7_names_the_command_for_a_control_that_is_missing(tmp_path):
    write_controls(tmp_path, lambda i: False, lambda i: 60)
    shutil.rmtree(tmp_path / "runs" / "pocket" / "egrc-shuffled")
    lines = claims.verdicts("pocket", 7, tmp_path).set_index("reading")
    assert lines.index[lines["verdict"] == "not measured"].tolist() == ["7c", "7g"]
    assert lines["note"]["7c"] == "`python -m egrc sweep --scale pocket --study ablations` makes it"


# --- the table ---


def test_nothing_measured_is_no_verdict_but_names_the_command(tmp_path):
    table = claims.verdicts("pocket", data=tmp_path)
    assert list(table.columns) == list(COLUMNS)
    assert list(table["reading"]) == list(READINGS)
    assert set(table["verdict"]) == {"not measured"}
    assert table[["estimate", "low", "high", "n", "seeds"]].isna().all(axis=None)
    notes = table.set_index("reading")["note"]
    assert notes["3a"] == "`python -m egrc sweep --scale pocket --study dilemma` makes it"
    assert notes["7a"] == notes["8c"] == "`python -m egrc sweep --scale pocket` makes it"
    assert notes["8b"] == "`python -m egrc sweep --scale pocket` makes it"
    for name, reading in {"policies": "1a", "interventions": "4a", "tug": "5a"}.items():
        assert notes[reading] == f"`python -m egrc measure {name} --scale pocket` makes it"


@pytest.fixture
def measured(tmp_path):
    """A data folder with the measurement `policies`: both arms' completions are longer than the base's, and no more."""
    rows = policies("tokens", "accuracy", "claimed", 1).assign(scale="pocket", tokenizer="t")
    rows = pd.concat([rows, rows[rows["arm"] == "accuracy"].assign(arm="compression")])
    prefix = rows.assign(kind="prefix", benchmark="prefix", tokens=1)
    for column in measure.module("policies").COLUMNS:
        rows[column] = rows.get(column, 0.0)
    write_parquet(measure.file("policies", "pocket", tmp_path), pd.concat([rows, prefix]).fillna(0))
    return tmp_path


def test_the_rest_is_judged_although_something_is_missing(measured):
    lines = claims.verdicts("pocket", data=measured).set_index("reading")
    assert lines.loc["2d", ["estimate", "low", "high", "n", "seeds"]].tolist() == [8, 8, 8, 12, 2]
    assert lines.loc["2d", ["claim", "primary", "verdict", "note"]].tolist() == [2, False, "supported", ""]
    assert lines.loc["1d", ["verdict", "note"]].tolist() == ["not supported", OPPOSITE]
    assert lines.loc["5a", "verdict"] == "not measured"
    assert claims.verdicts("pocket", 2, measured)["reading"].tolist() == ["2a", "2b", "2c", "2d"]


def test_damaged_rows_are_an_error_and_no_verdict(measured):
    file = measure.file("policies", "pocket", measured)
    table = pd.read_parquet(file)
    table.loc[3, "entropy_sum"] = np.nan
    write_parquet(file, table)
    with pytest.raises(RecordError, match="policies.parquet, row 4: entropy_sum"):
        claims.verdicts("pocket", data=measured)


def test_smol_is_not_testable_where_training_is_asked_for(tmp_path, monkeypatch):
    quarter = rollouts(range(20)).assign(correct=lambda table: table["id"].astype(int) % 4 == 0)
    monkeypatch.setattr(Rows, "rollouts", property(lambda self: quarter))
    table = claims.verdicts("smol", data=tmp_path)
    reasons = table[table["verdict"] == "not testable"]
    assert set(reasons["claim"]) == {1, 2, 3, 7, 8}
    assert set(reasons["note"].str[:59]) == {"the model answers 25.0% of 40 rollouts correctly, and train"}
    lines = table.set_index("reading")
    assert lines.loc["4a", ["estimate", "verdict", "note"]].tolist() == [5, "supported", ""]
    assert lines.loc[["5a", "6a"], "verdict"].tolist() == ["not measured"] * 2


def test_the_reason_itself_has_to_be_measured(tmp_path):
    table = claims.verdicts("smol", data=tmp_path)
    assert set(table["verdict"]) == {"not measured"}
    assert table["note"][0] == "`python -m egrc measure words --scale smol` makes it"


def test_gpu_is_not_testable_before_it_has_run(tmp_path):
    table = claims.verdicts("gpu", data=tmp_path)
    assert set(table["verdict"]) == {"not testable"} and set(table["note"]) == {"not yet run on a GPU"}
    write_json(paths.run_folder(tmp_path, "gpu", "base", 0) / "run.json", {})
    assert set(claims.verdicts("gpu", 3, tmp_path)["note"]) == {"scale gpu has no study of it"}
    assert set(claims.verdicts("gpu", 4, tmp_path)["note"]) == {"measurement words is not made at scale gpu yet"}


def test_unknown_names_are_refused(tmp_path, capsys):
    with pytest.raises(ConfigError, match="no scale 'nonsense': choose one of pocket"):
        claims.verdicts("nonsense")
    with pytest.raises(ConfigError, match="no claim 9: choose one of 1, 2"):
        claims.verdicts("pocket", 9)
    assert main(["claims", "--scale", "nonsense"]) == 2
    assert "no scale 'nonsense': choose one of pocket" in capsys.readouterr().err


# --- as text ---


def test_the_command_prints_a_line_per_reading_in_120_columns(measured, monkeypatch, capsys):
    monkeypatch.setattr(paths, "DATA", measured)
    assert main(["claims"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= verdicts.WIDTH
    for name, reading in READINGS.items():
        lines = [line for line in shown if re.match(rf"   {name}\*? +{re.escape(reading.quantity)} ", line)]
        assert len(lines) == 2  # pocket and smol
        assert str(reading.bound) in lines[0]
    (line,) = [line for line in shown if line.startswith("   2d") and "supported" in line]
    assert line.split()[-6:] == ["8.000", "[8.000,", "8.000]", "12", "2", "supported"]
    assert sum("all readings: not testable (not yet run on a GPU)" in line for line in shown) == 2  # both scales
    assert sum("measure policies" in line for line in shown) == 0  # it is there
    assert sum("measure tug --scale pocket" in line for line in shown) == 2  # once for claim 5, once for claim 6


def test_json_is_all_of_the_output_and_comes_back_the_same(measured, monkeypatch, capfd):
    monkeypatch.setattr(paths, "DATA", measured)
    assert main(["claims", "--scale", "pocket", "--json"]) == 0
    lines = json.loads(capfd.readouterr().out)
    assert [list(line) for line in lines] == [list(COLUMNS)] * len(READINGS)
    table = claims.verdicts("pocket")
    again = pd.DataFrame(lines, columns=list(COLUMNS)).astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(again, table)
    missing = next(line for line in lines if line["reading"] == "5a")
    assert [missing[k] for k in ("estimate", "low", "high", "n", "seeds")] == [None] * 5


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.8872, 0.8731, 0.9003), "0.887 [0.873, 0.900]"),
        ((-31.4, -36.02, -27.9), "-31.4 [-36.0, -27.9]"),
        ((212.2, 180.4, 230.1), "212 [180, 230]"),
        ((5, 5, 5), "5.000 [5.000, 5.000]"),
        ((2.5e-7, 1.2e-7, 3.9e-7), "2.5e-07 [1.2e-07, 3.9e-07]"),
        ((np.nan, -np.inf, np.inf), "-"),
        ((0.1, -np.inf, 0.3), "0.100 [-inf, 0.300]"),
    ],
)
def test_numbers_have_two_digits_of_their_interval(numbers, shown):
    assert verdicts.interval(pd.Series(dict(zip(("estimate", "low", "high"), numbers, strict=True)))) == shown


def test_markdown_has_a_line_per_reading_and_one_for_what_has_no_number(measured):
    table = claims.verdicts("pocket", data=measured)
    shown = claims.markdown("pocket", measured).splitlines()
    lines = [line.split(" | ") for line in shown if line.startswith("| ")][2:]
    names = [line[1].strip("*") for line in lines]
    assert " ".join(names) == "1a 1b 1c 1d 1e 1f 2a 2b 2c 2d 3a 4a 5a 6a 7a 8a"
    assert {line[1] for line in lines if line[1].startswith("**")} >= {"**1a**", "**8a**"}
    row = lines[names.index("2d")]
    assert row[2] == "completion length, accuracy - base `> 0 tokens`"
    assert row[3:] == ["8.000 [8.000, 8.000]", "12", "2", "supported |"]
    assert claims.show(table).text == claims.text(table)
