"""Recorded evaluations: how they are read, when they are stale, and their numbers worked by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from egrc.atomic import write_json, write_parquet
from egrc.evaluation.ask import COLUMNS
from egrc.experiments import evaluations, fingerprint
from egrc.experiments.evaluations import (
    by_problem,
    compare,
    cut_at,
    estimates,
    load,
    load_all,
    majority,
    narrower,
    stale,
)
from egrc.experiments.records import RecordError
from egrc.paths import DATA


def rows(answers, cap=100, tokens=10, thinking=0):
    """`answers`: id to samples: 'r' right, 'x' cut, '' without an answer, anything else a wrong answer."""
    return pd.DataFrame(
        [
            ("sums", name, i, 0.6, a == "r", "", None if a in ("x", "") else a, cap if a == "x" else tokens + i,
             thinking, (cap if a == "x" else tokens + i) - thinking, a == "x")
            for name, samples in answers.items()
            for i, a in enumerate(samples)
        ],
        columns=list(COLUMNS),
    )  # fmt: skip


SETTINGS = {
    **{"scale": "smol", "who": "base", "benchmark": "gsm8k", "samples": 2, "temperature": 0.6, "top_p": 0.95},
    **{"cap": 100, "problems": 2, "dtype": "bfloat16", "seed": 0, "backend": "transformers", "batch": 64},
    **{"model": "m", "weights": "w", "adapter": None, "template": "t", "asked": "d", "prompts": "p", "code": {}},
    **{"versions": {}, "seconds": 1.0, "status": "complete"},
}


def write(data: Path, table=None, **settings):
    """A recorded evaluation under a data folder; returns it."""
    found = SETTINGS | {"code": evaluations.code("smol")} | settings
    path = evaluations.file(found["scale"], found["who"], found["benchmark"], data)
    write_parquet(path, rows({"a": "r1", "b": "xx"}) if table is None else table)
    write_json(path.with_suffix(".json"), found)
    return load(path)


# --- numbers ---


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["r", "r", "5"], 1),
        (["r", "5", "5"], 0),
        (["r", "5", "6"], 1 / 3),  # three parties of one
        (["r", "r", "5", "5"], 1 / 2),
        (["r", "x", "x", "x"], 1),  # a cut answer does not vote
        (["r", "", "", "5", "5"], 0),  # nor does one that states nothing
        (["r", "X + 1", "x+1"], 0),  # written alike but for blanks and case
        (["x", "x"], 0),
        ([""], 0),
    ],
)
def test_majority_vote(answers, expected):
    assert majority(rows({"p": answers})).to_dict() == {"p": pytest.approx(expected)}


def test_right_answers_are_one_party_however_they_are_written():
    table = rows({"p": ["r", "r", "5", "5", "5"]})
    table.loc[[0, 1], "extracted"] = ["1/2", "0.5"]
    assert majority(table)["p"] == 0
    table.loc[4, "truncated"] = True
    assert majority(table)["p"] == 0.5


def test_samples_are_averaged_first_then_problems():
    table = rows({"a": "rrrr", "b": "r111", "c": "xxxx"}, thinking=4)
    values = by_problem(table)
    assert list(values.index) == ["a", "b", "c"]
    assert values["accuracy"].tolist() == [1, 0.25, 0]
    assert values["mean_tokens"].tolist() == [11.5, 11.5, 100] and values["truncated"].tolist() == [0, 0, 1]
    assert values["answer_tokens"].tolist() == [7.5, 7.5, 96] and (values["thinking_tokens"] == 4).all()
    found = estimates(table)
    assert found["accuracy"][0] == pytest.approx(1.25 / 3) and found["accuracy"][1:] == (0, 1)
    assert found["mean_tokens"][0] == pytest.approx(41)


def test_an_interval_over_problems_ignores_how_many_samples_agree():
    few, many = (estimates(rows({f"{i}": "r" * k if i % 2 else "1" * k for i in range(40)})) for k in (1, 16))
    assert few["accuracy"] == many["accuracy"]
    assert 0.3 < few["accuracy"][1] < 0.4 and 0.6 < few["accuracy"][2] < 0.7  # 0.5 +- 1.96 * 0.5 / sqrt(40)


@pytest.mark.parametrize("n", [1, 30])
def test_where_nothing_varies_the_exact_binomial_bound_is_given(n):
    """Of n problems none was solved: the p with (1 - p)^n = 0.025."""
    none, every = (estimates(rows({str(i): a for i in range(n)}))["accuracy"] for a in ("1", "r"))
    assert none[:2] == (0, 0) and (1 - none[2]) ** n == pytest.approx(0.025)
    assert every[::2] == (1, 1) and every[1] ** n == pytest.approx(0.025)


def test_all_problems_half_right_is_no_case_for_the_binomial():
    assert estimates(rows({"a": "r1", "b": "r1"}))["accuracy"] == (0.5, 0.5, 0.5)


def test_more_samples_narrow_only_what_sampling_adds():
    rng = np.random.default_rng(0)
    table = rows({str(i): ["r" if rng.random() < 0.5 else "1" for _ in range(16)] for i in range(100)})
    found = narrower(table, [1, 4, 16])
    assert found["samples"].tolist() == [1, 4, 16]
    one, four, sixteen = found["width"]
    assert 0.4 < four / one < 0.6 and 0.4 < sixteen / four < 0.6  # all problems alike: 1 / sqrt(k)
    fixed = narrower(rows({str(i): ("r" if i % 2 else "1") * 16 for i in range(100)}), [1, 16])["width"]
    assert fixed[0] == fixed[1]  # all the spread is between problems
    with pytest.raises(ValueError, match="17 samples are wanted, a problem has 16"):
        narrower(table, [17])


def test_a_lower_cap_cuts_and_what_it_cuts_is_wrong():
    table = rows({"a": "rr11", "b": "rx"})  # lengths 10 to 13, 10 and 100
    found = cut_at(table, [9, 10, 11, 99, 100])
    assert found["truncated"].tolist() == pytest.approx([1, 4 / 6, 3 / 6, 1 / 6, 1 / 6])
    assert found["accuracy"].tolist() == pytest.approx([0, 2 / 6, 3 / 6, 3 / 6, 3 / 6])
    assert np.isnan(found["accuracy_of_whole"][0])
    assert found["accuracy_of_whole"][1:].tolist() == pytest.approx([1, 1, 3 / 5, 3 / 5])
    assert found["mean_tokens"].tolist() == pytest.approx([9, 10, 64 / 6, (56 + 99) / 6, 156 / 6])


def test_two_models_are_compared_problem_by_problem(tmp_path):
    base = write(tmp_path, rows({"a": "r1", "b": "11"}))
    arm = write(tmp_path, rows({"a": "rr", "b": "r1"}), who="egrc-seed-0")
    assert compare(arm, base)[0] == pytest.approx(0.5)  # 0.75 - 0.25; each problem gains 0.5, so
    assert compare(arm, base)[1:] == (0.5, 0.5)
    other = [write(tmp_path, rows({"a": a, "b": b}), who=w, benchmark="aime24") for a, b, w in [
        ("11", "11", "base"), ("11", "r1", "egrc-seed-0")]]  # fmt: skip
    assert evaluations.compare_all([(arm, base), (other[1], other[0])])[0] == pytest.approx((0.5 + 0.25) / 2)
    hotter = write(tmp_path, who="other", temperature=1.0, asked="e")
    with pytest.raises(RecordError, match="smol/other/gsm8k and smol/base/gsm8k differ in temperature, asked: "):
        compare(hotter, base)


# --- files ---


def test_what_was_written_is_read(tmp_path):
    write(tmp_path)
    write(tmp_path, benchmark="aime24")
    write(tmp_path, scale="pocket", code=evaluations.code("pocket"))
    assert [e.name for e in load_all(data=tmp_path)] == ["pocket/base/gsm8k", "smol/base/aime24", "smol/base/gsm8k"]
    found = load_all("smol", tmp_path)
    table = evaluations.table(found)
    assert table["benchmark"].tolist() == ["aime24", "gsm8k"]
    assert table.loc[0, ["accuracy", "accuracy_low", "accuracy_high", "majority"]].tolist() == [0.25, 0, 0.5, 0.25]
    assert load_all("gpu", tmp_path) == [] and evaluations.table([]).empty


def test_damage_is_named(tmp_path):
    path = write(tmp_path).path
    with pytest.raises(RecordError, match="egrc evaluate"):
        load(path.with_name("none.parquet"))
    path.write_bytes(b"PAR1")
    with pytest.raises(RecordError, match=r"gsm8k.parquet: damaged"):
        _ = load(path).rows
    write(tmp_path, rows({"a": "r"}).drop(columns="tokens"))
    with pytest.raises(RecordError, match="no tokens; restore it or evaluate again"):
        _ = load(path).rows
    write(tmp_path, rows({}))
    with pytest.raises(RecordError, match="no rows"):
        _ = load(path).rows
    settings = {k: v for k, v in SETTINGS.items() if k != "cap"}
    write_json(path.with_suffix(".json"), settings)
    with pytest.raises(RecordError, match="gsm8k.json: no cap"):
        load(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(RecordError, match="not JSON"):
        load(path)


def test_a_stale_evaluation_names_the_code_that_changed(tmp_path, monkeypatch):
    found = write(tmp_path)
    assert stale(found) is None
    monkeypatch.setattr(fingerprint, "source_hash", lambda source: "other")
    assert stale(found).startswith("changed since: egrc, egrc.evaluation.ask, egrc.evaluation.generation, egrc.evaluation.graders")  # noqa: E501


def test_its_code_is_what_answers_and_grades_and_no_more():
    reached = evaluations.code("smol")
    assert {"egrc.evaluation.ask", "egrc.evaluation.generation", "egrc.evaluation.pool", "egrc.evaluation.graders", "egrc.evaluation.grading"} <= reached.keys()  # noqa: E501
    assert not {"egrc.trainer", "egrc.experiments.run", "egrc.evaluation.benchmarks", "egrc.worlds.smol", "egrc.experiments.examine"} & reached.keys()  # noqa: E501
    assert {"egrc.evaluation.ask", "egrc.worlds.pocket.verdicts", "egrc.worlds.pocket.world"} <= evaluations.code("pocket").keys()  # noqa: E501


def test_other_settings_do_not_replace_a_finished_evaluation(tmp_path):
    found = write(tmp_path, code={"a": "1", "b": "1"})
    evaluations.require_same(found.path, {"cap": 100, "code": {"a": "1", "b": "1"}, "versions": {"torch": "other"}})
    with pytest.raises(RecordError, match=r"made otherwise \(cap: 100 then, 50 now, code: b\): --fresh replaces it"):
        evaluations.require_same(found.path, {"cap": 50, "code": {"a": "1", "b": "2"}})


# --- what is committed ---

COMMITTED = load_all()


def test_the_committed_evaluations_are_small_and_hold_no_texts():
    files = list((DATA / "evaluations").rglob("*.*"))
    assert sum(f.stat().st_size for f in files) < 3_000_000
    for found in COMMITTED:
        assert set(found.rows.columns) == set(COLUMNS)
        if found.settings["scale"] != "pocket":
            assert found.rows["extracted"].dropna().str.len().max() <= 300
            assert found.rows["id"].str.fullmatch(rf"{found.settings['benchmark']}/[\w./-]+").all()


@pytest.mark.parametrize("found", COMMITTED, ids=lambda e: e.name)
def test_a_committed_evaluation_is_whole_and_fresh(found):
    rows, settings = found.rows, found.settings
    assert stale(found) is None
    assert (rows.groupby("id").size() == settings["samples"]).all() and rows["id"].nunique() == settings["problems"]
    assert (rows["tokens"] == rows["thinking_tokens"] + rows["answer_tokens"]).all()
    assert not (rows["correct"] & rows["truncated"]).any()
    assert (rows.loc[rows["truncated"], "tokens"] == settings["cap"]).all() and rows["tokens"].max() <= settings["cap"]
    words = json.dumps(settings)
    assert "/work" not in words and "/home" not in words and "/root" not in words
