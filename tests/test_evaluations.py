"""Recorded evaluations: how they are read, and their numbers worked by hand."""

import json
from pathlib import Path

import pandas as pd
import pytest

from egrc.atomic import write_json, write_parquet
from egrc.evaluation.evaluate import COLUMNS
from egrc.experiments import evaluations
from egrc.experiments.evaluations import by_problem, estimates, load, load_all, majority
from egrc.experiments.records import RecordError


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
    **{"model": "m", "weights": "w", "adapter": None, "template": "t", "asked": "d", "prompts": "p"},
    **{"versions": {}, "seconds": 1.0, "status": "complete"},
}


def write(data: Path, table=None, **settings):
    """A recorded evaluation under a data folder; returns it."""
    recorded = SETTINGS | settings
    path = evaluations.file(recorded["scale"], recorded["who"], recorded["benchmark"], data)
    write_parquet(path, rows({"a": "r1", "b": "xx"}) if table is None else table)
    write_json(path.with_suffix(".json"), recorded)
    return load(path)


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
        (["x", ""], 0),
    ],
)
def test_majority_vote(answers, expected):
    assert majority(rows({"p": answers})).to_dict() == {"p": pytest.approx(expected)}


def test_samples_are_averaged_first_then_problems():
    table = rows({"a": "rrrr", "b": "r111", "c": "xxxx"}, thinking=4)
    values = by_problem(table)
    assert list(values.index) == ["a", "b", "c"]
    assert values["accuracy"].tolist() == [1, 0.25, 0]
    assert values["mean_tokens"].tolist() == [11.5, 11.5, 100] and values["truncated"].tolist() == [0, 0, 1]
    assert values["answer_tokens"].tolist() == [7.5, 7.5, 96] and (values["thinking_tokens"] == 4).all()
    recorded = estimates(table)
    assert recorded["accuracy"][0] == pytest.approx(1.25 / 3) and recorded["accuracy"][1:] == (0, 1)
    assert recorded["mean_tokens"][0] == pytest.approx(41)


@pytest.mark.parametrize("n", [1, 30])
def test_where_nothing_varies_the_exact_binomial_bound_is_given(n):
    """Of n problems none was solved: the p with (1 - p)^n = 0.025."""
    none, every = (estimates(rows({str(i): a for i in range(n)}))["accuracy"] for a in ("1", "r"))
    assert none[:2] == (0, 0) and (1 - none[2]) ** n == pytest.approx(0.025)
    assert every[::2] == (1, 1) and every[1] ** n == pytest.approx(0.025)
    assert estimates(rows({"a": "r1", "b": "r1"}))["accuracy"] == (0.5, 0.5, 0.5)  # no case for the binomial


def test_what_was_written_is_read(tmp_path):
    write(tmp_path)
    write(tmp_path, benchmark="aime24")
    write(tmp_path, scale="pocket")
    assert [e.name for e in load_all(data=tmp_path)] == ["pocket/base/gsm8k", "smol/base/aime24", "smol/base/gsm8k"]
    recorded = load_all("smol", tmp_path)
    table = evaluations.table(recorded)
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
    with pytest.raises(RecordError, match="no tokens; restore it or evaluate again"):
        _ = write(tmp_path, rows({"a": "r"}).drop(columns="tokens")).rows
    for content, message in (('{"cap": 1}', "gsm8k.json: no adapter, "), ("{", "damaged .Expecting")):
        path.with_suffix(".json").write_text(content)
        with pytest.raises(RecordError, match=message):
            load(path)


@pytest.mark.parametrize("recorded", load_all(), ids=lambda e: e.name)
def test_a_committed_evaluation_is_whole_and_holds_no_texts(recorded):
    rows, settings = recorded.rows, recorded.settings
    assert set(rows.columns) == set(COLUMNS)
    if settings["scale"] != "pocket":
        assert rows["extracted"].dropna().str.len().max() <= 300
        assert rows["id"].str.fullmatch(rf"{settings['benchmark']}/[\w./-]+").all()
    assert (rows.groupby("id").size() == settings["samples"]).all() and rows["id"].nunique() == settings["problems"]
    assert (rows["tokens"] == rows["thinking_tokens"] + rows["answer_tokens"]).all()
    assert not (rows["correct"] & rows["truncated"]).any()
    assert (rows.loc[rows["truncated"], "tokens"] == settings["cap"]).all() and rows["tokens"].max() <= settings["cap"]
    words = json.dumps(settings)
    assert "/work" not in words and "/home" not in words and "/root" not in words
