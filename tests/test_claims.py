"""Claims: readings on rows whose verdict is known by hand, and the tables that are made of verdicts."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import synthetic

from egrc import paths
from egrc.__main__ import main
from egrc.analysis import changes, claims, measure, tables, tokens, verdicts
from egrc.analysis.claims import CLAIMS, COLUMNS
from egrc.analysis.verdicts import Answer, judged
from egrc.atomic import write_csv, write_json, write_parquet
from egrc.experiments import scales
from egrc.experiments.records import RecordError

SEEDS = (0, 1)
CROSSES, OPPOSITE = "the interval crosses the bound", "the opposite holds"


@pytest.mark.parametrize(
    ("bound", "low", "high", "verdict", "note"),
    [
        ("< 0", -2, -1, "supported", ""),
        ("< 0", -2, 0, "not supported", CROSSES),  # the bound itself is not below it
        ("< 0 nats", 0, 1, "not supported", OPPOSITE), ("> 1", 0.9, 2, "not supported", CROSSES),
        (">= 0.2", 0.2, 0.3, "supported", ""), (">= 0.2 tokens", 0.1, 0.19, "not supported", OPPOSITE),
    ],
)  # fmt: skip
def test_the_whole_interval_has_to_lie_on_the_claimed_side(bound, low, high, verdict, note):
    assert judged(Answer((low + high) / 2, low, high, 9, 3), bound) == (verdict, note)


def test_a_seed_on_the_other_side_is_told_and_where_there_is_no_number_the_note_is_the_reason():
    found = Answer(-1, -2, -0.5, 9, 3, by_seed=(-2.0, 0.5, -1.5), note="by construction")
    assert judged(found, "< 0") == ("supported", "seeds differ: -2, 0.5, -1.5; by construction")
    assert judged(found._replace(by_seed=(-2.0, -0.5)), "< 0")[1] == "by construction"
    assert judged(found._replace(by_seed=(0.5, np.nan)), "< 0")[1] == "seeds differ: 0.5; by construction"
    for ends in ((np.nan, np.nan), (-np.inf, np.inf), (1, 2)):
        found = Answer(np.nan, *ends, 9, 3, by_seed=(np.nan, np.nan, 1.0), note="one lies wholly elsewhere")
        assert judged(found, "> 0") == ("not supported", "one lies wholly elsewhere")


def test_the_bounds_are_those_that_were_fixed():
    bounds = {f"{n}{'abcdefghij'[i]}": b for n, c in CLAIMS.items() for i, b in enumerate(c.readings.values())}
    assert bounds == {
        **{"1a": "< 0 nats", "1b": "< 0 nats", "1c": "< 0 nats", "1d": "< 0 tokens", "1e": "< 0", "1f": "< 0"},
        **{"2a": "> 0 nats", "2b": "> 0 nats", "2c": "> 0 nats", "2d": "> 0 tokens"},
        **{"3a": "> 0", "3b": "> 0 tokens", "4a": "> 1", "4b": ">= 0.2", "5a": "> 1", "5b": "> 0", "6a": "< 0"},
        **{f"7{letter}": "> 0" for letter in "abcdefghij"},
        **{"8a": ">= 0.95", "8b": ">= 0", "8c": "> -0.02", "8d": "< 0.2", "8e": ">= -0.05"},
    }
    assert {n: c.deciding for n, c in CLAIMS.items()} == dict.fromkeys(range(1, 7), 1) | {7: 4, 8: 2}
    assert [n for n, c in CLAIMS.items() if not c.of_training] == [4, 5, 6]


PROBLEMS, SAMPLES = 12, 4
BY_HAND = {"per_token": 0.25, "per_completion": 5, "prefix": 5, "tokens": 8, "distinct": 0.75, "coverage": 0.75}
"""What the arm has more than the base of the quantity that moved, in the rows of `policies`."""


def policies(quantity: str, arm: str = "accuracy") -> pd.DataFrame:
    """Rows of base and arm, two benchmarks: the arm has more of a quantity, everything else is alike."""

    def line(i: int, name: str, seed: int, number: int) -> dict:
        up = {q: q == quantity and name == arm for q in BY_HAND}
        correct = number == 0 or (quantity == "coverage" and not up["coverage"])
        same = quantity == "distinct" and not up["distinct"]
        nats = 10.0 + 5 * (up["per_token"] or up["per_completion"] or up["prefix"])
        return {
            "kind": "prefix" if quantity == "prefix" else "completion", "benchmark": "ab"[i % 2], "id": str(i),
            "arm": name, "seed": seed, "sample": number, "entropy_sum": nats, "tokens": 20 + 8 * up["tokens"],
            "correct": correct, "text_key": "0" if same else str(number),
        }  # fmt: skip

    runs = [(i, name, seed) for i in range(PROBLEMS) for name in (arm, "base") for seed in SEEDS]
    return pd.DataFrame([line(*run, k) for run in runs for k in range(SAMPLES)])


@pytest.mark.parametrize("quantity", BY_HAND)
def test_a_policy_that_moved(quantity):
    found = changes.change(policies(quantity), "accuracy", quantity, n_boot=50)
    assert found[:3] == pytest.approx([BY_HAND[quantity]] * 3) and (found.n, found.seeds) == (PROBLEMS, len(SEEDS))
    assert found.by_seed == pytest.approx([found.estimate] * len(SEEDS))


def test_a_seed_alone_is_compared_with_all_of_the_base():
    rows = policies("tokens")
    rows.loc[(rows["arm"] == "accuracy") & (rows["seed"] == 1), "tokens"] -= 10
    rows.loc[(rows["arm"] == "base") & (rows["seed"] == 1), "tokens"] -= 4
    found = changes.change(rows, "accuracy", "tokens", n_boot=10)
    assert found.by_seed == (8 + 2, 8 - 10 + 2)
    assert found.estimate == 8 - 5 + 2


def test_entropy_per_token_is_one_sum_by_another():
    """A problem of 30 tokens at 1 nat and three of 10 at 0: (30 + 0)/60, although benchmarks and problems differ."""
    rows = policies("per_token").query("id in ['0', '1', '2', '4'] and seed == 0")
    mine, long = rows["arm"] == "accuracy", rows["id"] == "1"
    rows.loc[mine, "entropy_sum"], rows.loc[mine, "tokens"] = np.where(long, 30, 0)[mine], np.where(long, 30, 10)[mine]
    assert changes.change(rows, "accuracy", "per_token", n_boot=10).estimate == pytest.approx(30 / 60 - 10 / 20)


def test_entropy_per_token_falls_by_mix_or_by_certainty():
    """Of 10 tokens 5 connectors at 2 nats and 5 others at 0; the arm writes 2 connectors at 1 nat and 8 others at 0:
    shares move by -0.3 at 1.5 nats, and connectors by -1 nat at a share of 0.35."""
    base, arm = np.array([5.0, 5, 10, 0]), np.array([2.0, 8, 2, 0])
    mix, certainty = changes.mix_and_certainty(arm, base)
    assert (mix, certainty) == pytest.approx((-0.45, -0.35)) and mix + certainty == pytest.approx(0.2 - 1)
    none = np.array([0.0, 10, 0, 0])  # a class that is gone has not become surer
    assert changes.mix_and_certainty(none, base) == pytest.approx((-1, 0))
    both = changes.mix_and_certainty(np.stack([arm, none]), np.stack([base, base]))
    assert both[0] == pytest.approx([-0.45, -1])


def test_rows_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="no rows of arm 'egrc'.*accuracy"):
        changes.change(policies("tokens"), "egrc", "tokens")
    with pytest.raises(ValueError, match="not asked the same.*'0'"):
        changes.change(policies("tokens").iloc[2 * SAMPLES :], "accuracy", "tokens")


def study(staged):
    """Two settings of each way, tokens to accuracy, on 20 problems."""
    ways = {"joint": {10: 0.3, 20: 0.7}, "egrc": staged}
    runs = [(way, k, tokens, right, seed) for way, of in ways.items()
            for k, (tokens, right) in enumerate(of.items()) for seed in SEEDS]  # fmt: skip
    return pd.DataFrame(
        [
            {"arm": way + ("-r0.8" if k else ""), "seed": seed, "r": 0.8 if k else 0.05, "benchmark": "ab"[i % 2],
             "id": str(i), "tokens": tokens, "correct": i < 20 * right}
            for way, k, tokens, right, seed in runs for i in range(20)
        ]
    )  # fmt: skip


def test_the_frontier_of_the_staged_way():
    """Parallel lines, 0.2 or 5 tokens apart."""
    for found, expected in zip(claims.frontier(study({10: 0.5, 20: 0.9})), (0.2, 5), strict=True):
        assert found.estimate == pytest.approx(expected) and found.by_seed == pytest.approx((expected,) * 2)
        assert (found.n, found.seeds, found.note) == (20, 2, "both swept over r = 0.05, 0.8")
    apart = claims.frontier(study({30: 0.5, 40: 0.9}))[0]
    assert np.isnan(apart.estimate) and apart.note.count("share no length") == 1


def test_a_study_is_all_there_at_the_seeds_that_it_asks_for(tmp_path):
    """The main arms have more seeds than its other arms."""
    asked = scales.study_runs("pocket", "dilemma")
    for arm, seed in [("base", 0), *asked]:
        synthetic.write_run(tmp_path, arm, seed, like=arm.split("-r")[0])
    write_json(tmp_path / "pocket" / "world.json", {"base_best_temperature": synthetic.BEST})
    assert not set(claims.verdicts("pocket", 3, tmp_path)["verdict"]) & {"not measured"}
    shutil.rmtree(paths.run_folder(tmp_path, "pocket", *asked[-1]))
    assert set(claims.verdicts("pocket", 3, tmp_path)["verdict"]) == {"not measured"}


def rollouts(on_top=range(20)):
    """Problems of ten tokens, two of them connectors; two have the highest entropy: the connectors, or two others."""
    nats = {True: [2.0] * 2 + [0.1] * 8, False: [0.1] * 2 + [2.0] * 2 + [0.1] * 6}
    return pd.DataFrame(
        [
            {"benchmark": "ab"[i % 2], "id": str(i), "seed": seed, "sample": 0, "tokens": ["x"] * 10,
             "entropies": nats[i in on_top], "classes": ["connector"] * 2 + ["number"] * 8, "correct": i % 4 == 0}
            for i in range(20) for seed in SEEDS
        ]
    )  # fmt: skip


def test_connectors_among_the_tokens_of_highest_entropy():
    for found, at_most in zip(claims.on_top(rollouts([0, 1, 5, 8]), "pocket"), (5, 1), strict=True):
        assert found.estimate == pytest.approx(at_most * 4 / 20) and found.low < found.estimate < found.high
        assert (found.n, found.seeds, found.note) == (20, 2, "true by construction")


def test_what_pulls_on_connectors_is_told_of_each_seed():
    """The numbers themselves: see `test_tug`."""
    rows = pd.DataFrame({"seed": [0, 0, 1], "problem": [0, 1, 0], "value": [1.0, 2.0, 6.0]})
    found = claims.pull(rows, lambda own, objective: (own["value"].mean(), 0.0, 9.0), objective="accuracy")
    assert found == Answer(3.0, 0.0, 9.0, 2, 2, (1.5, 6.0))


def answers(correct, tokens):
    """Ten problems of each benchmark: functions of the problem's number, tokens beyond the floor."""
    frame = synthetic.evaluation("base", 0, problems=10, samples=1)
    problem = frame["id"].str.split("/").str[1].astype(int)
    floor = frame["benchmark"].map(tables.floors("pocket", synthetic.BENCHMARKS))
    return frame.assign(tokens=floor + problem.map(tokens), correct=problem.map(correct).astype(bool))


def write_pair(data, correct, tokens):
    """Records of the base (right on five of ten problems, 100 tokens beyond the floor) and of egrc."""
    for seed in scales.runs("pocket")[1]:
        synthetic.write_run(data, "base", seed, answers(lambda i: i < 5, lambda i: 100))
        synthetic.write_run(data, "egrc", seed, answers(correct, tokens))
    write_json(data / "pocket" / "world.json", {"base_best_temperature": synthetic.BEST})


@pytest.mark.parametrize(
    ("correct", "tokens", "removed", "gain", "judgement"),
    [
        (lambda i: i < 6, lambda i: 4, 0.96, 0.1, ("supported", "")),
        (lambda i: i < 4, lambda i: 30, 0.7, -0.1, ("not supported", OPPOSITE)),
        (lambda i: i % 2 == 0, lambda i: 10 * (i % 2), 0.95, 0.0, ("not supported", CROSSES)),
    ],
)
def test_the_headline_of_claim_8(correct, tokens, removed, gain, judgement, tmp_path):
    write_pair(tmp_path, correct, tokens)
    shorter, right, near, left, _ = claims.verdicts("pocket", 8, tmp_path).to_dict("records")
    assert (shorter["estimate"], right["estimate"]) == (pytest.approx(removed), pytest.approx(gain))
    assert (near["estimate"], near["predicate"], near["primary"]) == (right["estimate"], "> -0.02", False)
    for line in (shorter, right):
        assert line["verdict"] == judgement[0] and line["note"].startswith(judgement[1])
        assert (line["n"], line["seeds"], line["primary"]) == (60, 5, True)
    floor = np.mean(list(tables.floors("pocket", synthetic.BENCHMARKS).values()))
    share = (floor + 100 * (1 - removed)) / (floor + 100)
    assert f"{share:.0%} of the base's tokens are left" in shorter["note"]
    assert left["estimate"] == pytest.approx(share) and (left["verdict"] == "supported") == (share < 0.2)
    assert left["note"].endswith(f"the compact floor is {floor / (floor + 100):.0%} of the base's tokens")


def test_the_worst_benchmark_of_claim_8(tmp_path):
    """Ten of ten problems right instead of five everywhere, but on hole-2 only one, and on one seed none."""
    write_pair(tmp_path, lambda i: True, lambda i: 0)
    for seed in range(5):
        file = paths.run_folder(tmp_path, "pocket", "egrc", seed) / "evaluation.parquet"
        rows = pd.read_parquet(file)
        lost = (rows["benchmark"] == "hole-2") & ((rows["id"] != "hole-2/0") | (seed == 4))
        write_parquet(file, rows.assign(correct=rows["correct"] & ~lost))
    line = claims.verdicts("pocket", 8, tmp_path).set_index("reading").loc["8e"]
    assert line["estimate"] == pytest.approx(4 / 5 * 0.1 - 0.5)
    assert (line["n"], line["seeds"], line["verdict"]) == (10, 5, "not supported")
    assert line["note"] == f"{OPPOSITE}; the worst is hole-2" and not line["primary"]


def test_the_gate_against_its_controls(tmp_path):
    """EGRC is right on the even ones of ten problems, in floor + 20 tokens (0.8 removed); a control never, in + 60.  It
    has two seeds, switches elsewhere on one of them, and one control is missing."""
    write_pair(tmp_path, lambda i: i % 2 == 0, lambda i: 20)
    synthetic.write_run(tmp_path, "egrc", 0, answers(lambda i: True, lambda i: 20))  # has no counterpart
    for arm in claims.CONTROLS:
        for seed in (1, 2):
            synthetic.write_run(tmp_path, arm, seed, answers(lambda i: False, lambda i: 60), like="egrc")
    file = paths.run_folder(tmp_path, "pocket", "egrc-fixed", 2) / "steps.csv"
    steps = pd.read_csv(file)
    write_csv(file, steps.assign(phase=np.where(steps["step"] <= 60, "compress", "explore")))
    shutil.rmtree(tmp_path / "runs" / "pocket" / "egrc-shuffled")
    lines = claims.verdicts("pocket", 7, tmp_path).set_index("reading")
    assert lines.index[lines["verdict"] == "not measured"].tolist() == ["7c", "7g", "7i", "7j"]
    assert lines["note"]["7c"] == "`python -m egrc sweep --scale pocket --study ablations` makes it"
    there = lines.drop(["7c", "7g", "7i", "7j"])
    assert there["estimate"].tolist() == pytest.approx([0.5] * 3 + [0.4] * 3) and (there["seeds"] == 2).all()
    assert (there["verdict"] == "supported").all() and lines["primary"].tolist() == [True] * 4 + [False] * 6
    said = "control: fixed step, not looking; it switched at another step on"
    assert lines["note"]["7a"] == f"{said} 1 of 2 seeds" and "stages reversed" in lines["note"]["7d"]
    write_csv(file, steps.assign(phase="compress"))
    assert claims.verdicts("pocket", 7, tmp_path).iloc[0]["note"] == f"{said} 0 of 2 seeds, never on 1"
    rises = (0.0, 0.1, 0.2, 0.3, 0.4)  # mean 0.2; 2.7764 deviations of 0.1581 by the root of five: 0.1963 to each side
    for lift, absent in ((0.0, False), (-0.1, True)):
        for seed, rise in enumerate(rises):
            file = paths.run_folder(tmp_path, "pocket", "egrc", seed) / "steps.csv"
            steps = pd.read_csv(file)
            last = (steps["step"] > 112) & (steps["phase"] == "explore")
            write_csv(file, steps.assign(entropy=np.where(last, 0.5 + rise + lift, 0.5)))
        lines = claims.verdicts("pocket", 7, tmp_path).dropna(subset="estimate")
        assert set(lines["verdict"]) == {"premise absent" if absent else "supported"}
    assert lines["note"].str.startswith("entropy changed by +0.100 [-0.096, +0.296] nats in phase 2 (over seeds)").all()
    assert lines["estimate"].tolist() == pytest.approx([0.5] * 3 + [0.4] * 3)  # the numbers stand all the same
    assert np.isnan(claims.of_mean([0.1, np.nan])).all()  # one seed says nothing of seeds


def test_the_gate_against_the_clock_at_other_rates(tmp_path):
    """At each rate the gated arm is right on the even ones of ten problems in floor + 20 tokens (0.8 removed), that of
    the clock on none in + 60: but at the last rate it is right on all."""
    write_pair(tmp_path, lambda i: i % 2 == 0, lambda i: 20)
    last = scales.RATES[-1]
    for arm, seed in scales.study_runs("pocket", "transfer"):
        rows = answers(lambda i: i % 2 == 0, lambda i: 20)
        if "fixed" in arm:
            right = arm.endswith(f"{last:g}")
            rows = answers(lambda i, right=right: right, lambda i: 60)
        synthetic.write_run(tmp_path, arm, seed, rows, like="egrc")
    lines = claims.verdicts("pocket", 7, tmp_path).set_index("reading")
    assert lines.loc[["7i", "7j"], "estimate"].tolist() == pytest.approx([(0.5 + 0.5 - 0.5) / 3, 0.4])
    assert lines.loc[["7i", "7j"], "seeds"].tolist() == [9, 9] and lines["verdict"]["7j"] == "supported"
    assert f"at {last:g} the gate switched after step " in lines["note"]["7j"]


def test_nothing_measured_is_no_verdict_but_names_the_command(tmp_path):
    table = claims.verdicts("pocket", data=tmp_path)
    assert list(table.columns) == list(COLUMNS) and len(table) == sum(len(c.readings) for c in CLAIMS.values())
    assert set(table["verdict"]) == {"not measured"}
    assert table[["estimate", "low", "high", "n", "seeds"]].isna().all(axis=None)
    notes = table.set_index("reading")["note"]
    assert notes["3a"] == "`python -m egrc sweep --scale pocket --study dilemma` makes it"
    assert notes["7a"] == "`python -m egrc sweep --scale pocket --study ablations` makes it"
    assert notes["8c"] == "`python -m egrc sweep --scale pocket` makes it"
    for name, reading in {"policies": "1a", "interventions": "4a", "tug": "5a"}.items():
        assert notes[reading].endswith(f"make it with `python -m egrc measure {name} --scale pocket`")


def test_in_short_a_claim_is_what_its_deciding_readings_say_together():
    def line(reading, verdict, note="", primary=True, estimate=2.0):
        numbers = {"estimate": estimate, "low": estimate - 1, "high": estimate + 1}
        where = {"claim": int(reading[0]), "reading": reading, "primary": primary, "scale": "pocket"}
        return where | numbers | {"quantity": f"quantity {reading}", "verdict": verdict, "note": note}

    table = pd.DataFrame(
        [
            line("1a", "supported"), line("1b", "not supported", primary=False),
            line("2a", "supported"), line("2b", "not supported", CROSSES, estimate=0.0),
            line("3a", "supported"), line("3b", "not measured", "`this` makes it", estimate=np.nan),
            line("4a", "not measured", "`that` makes it", estimate=np.nan),
            line("4b", "premise absent", "nothing rose; seeds differ"),
        ]
    )  # fmt: skip
    assert verdicts.sentences(table, dict(enumerate("_abcd"))) == [
        "Claim 1, a: **supported** at scale pocket (quantity 1a: 2.0 [1.0, 3.0]).",
        "Claim 2, b: **not supported** at scale pocket (quantity 2a: 2.0 [1.0, 3.0]; quantity 2b: 0.0 [-1.0, 1.0]).",
        "Claim 3, c: **not measured** at scale pocket (quantity 3a: 2.0 [1.0, 3.0]; `this` makes it).",
        "Claim 4, d: **premise absent** at scale pocket (nothing rose; `that` makes it; quantity 4b: 2.0 [1.0, 3.0]).",
    ]


@pytest.fixture
def measured(tmp_path):
    """A data folder with the measurement `policies`: both arms' completions are longer than the base's, and no more."""
    rows = policies("tokens").assign(scale="pocket", tokenizer="t")
    rows = pd.concat([rows, rows[rows["arm"] == "accuracy"].assign(arm="compression")])
    prefix = rows.assign(kind="prefix", benchmark="prefix", tokens=1)
    for column in measure.module("policies").COLUMNS:
        rows[column] = rows.get(column, 0.0)
    write_parquet(measure.file("policies", "pocket", tmp_path), pd.concat([rows, prefix]).fillna(0))
    return tmp_path


def test_damaged_rows_are_an_error_and_no_verdict(measured):
    file = measure.file("policies", "pocket", measured)
    table = pd.read_parquet(file)
    table.loc[3, "entropy_sum"] = np.nan
    write_parquet(file, table)
    with pytest.raises(RecordError, match="policies.parquet, row 4: entropy_sum"):
        claims.verdicts("pocket", data=measured)


def test_what_a_scale_cannot_decide_is_not_testable(tmp_path, monkeypatch):
    table = claims.verdicts("real", data=tmp_path)
    reasons = table[table["verdict"] == "not testable"]
    assert set(reasons["claim"]) == {1, 2, 3, 7, 8} and set(reasons["note"]) == {"the model is measured, not trained"}
    notes = set(table["note"][table["verdict"] == "not measured"].str.split(" with ").str[1])
    assert notes == {f"`python -m egrc measure {name} --scale real`" for name in ("words", "tug_words")}
    monkeypatch.setattr(tokens, "load_rollouts", lambda scale, data: rollouts())
    table = claims.verdicts("real", data=tmp_path).set_index("reading")
    assert table.loc["4a", ["estimate", "verdict", "note"]].tolist() == [5, "supported", ""]
    gpu = claims.verdicts("gpu", data=tmp_path)
    assert set(gpu["verdict"]) == {"not testable"} and set(gpu["note"]) == {"not yet run on a GPU"}
    write_json(paths.run_folder(tmp_path, "gpu", "base", 0) / "run.json", {})
    assert set(claims.verdicts("gpu", 3, tmp_path)["note"]) == {"scale gpu has no study of it"}
    notes = set(claims.verdicts("gpu", 1, tmp_path)["note"])
    assert notes == {"policies is not measured at scale 'gpu', only at pocket"}


def test_the_command_prints_a_line_per_reading_and_json_that_comes_back_the_same(measured, monkeypatch, capfd):
    monkeypatch.setattr(paths, "DATA", measured)
    assert main(["claims"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert any("not yet run on a GPU" in line for line in lines)
    (line,) = [line for line in lines if line.startswith("  2d  supported")]
    assert line.endswith("completion length, accuracy - base > 0 tokens; 8.000 [8.000, 8.000] (n = 12, seeds: 2)")
    assert main(["claims", "--scale", "pocket", "--json"]) == 0
    rows, table = json.loads(capfd.readouterr().out), claims.verdicts("pocket")
    again = pd.DataFrame(rows, columns=list(COLUMNS)).astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(again, table)
    assert table.set_index("reading").loc["1d", ["verdict", "note"]].tolist() == ["not supported", OPPOSITE]


def test_markdown_has_a_line_per_reading_and_one_for_what_has_no_number(measured):
    shown = claims.show(claims.verdicts("pocket", data=measured)).markdown.splitlines()
    names = [line.split(" | ")[1] for line in shown if line.startswith("| ")][2:]
    assert " ".join(names) == "**1a** 1b 1c 1d 1e 1f **2a** 2b 2c 2d **3a** **4a** **5a** **6a** **7a** **8a**"
    line = pd.Series({"estimate": 0.8872, "low": 0.8731, "high": 0.9003})  # two digits of the interval's width
    assert [verdicts.interval(x) for x in (line, line * 1e-6)] == ["0.887 [0.873, 0.900]", "8.9e-07 [8.7e-07, 9.0e-07]"]
