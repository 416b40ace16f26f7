"""Which tokens carry the entropy: answers worked by hand, tables that are refused."""

import made_up
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.analysis import measure, tokens
from egrc.atomic import write_parquet
from egrc.experiments.records import RecordError


def table(*rows: tuple[str, list[float], list[str]]) -> pd.DataFrame:
    """A rollout table of (problem, entropies, classes), a rollout each; tokens are named after their class."""
    lines = [
        {"benchmark": "b", "id": name, "seed": 0, "sample": i, "tokenizer": "t", "prompt": name, "correct": True,
         "truncated": False, "length": len(nats), "tokens": list(classes), "entropies": nats, "classes": classes}
        for i, (name, nats, classes) in enumerate(rows)
    ]  # fmt: skip
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("entropies", lambda nats: [float("nan"), *nats[1:]]), ("entropies", lambda nats: [*nats[:-1], -0.1]),
        ("entropies", lambda nats: nats[:-1]), ("classes", lambda names: None), ("sample", lambda sample: 1),
    ],
)  # fmt: skip
def test_a_bad_rollout_is_refused_by_file_and_row(column, value, tmp_path):
    rollouts = made_up.words()
    values = rollouts[column].astype(object).tolist()
    values[2] = value(values[2])
    write_parquet(measure.file("words", "smol", tmp_path), rollouts.assign(**{column: values}))
    with pytest.raises(RecordError, match="words.parquet: row 3 is no rollout, or there twice; record it again"):
        tokens.load_rollouts("smol", tmp_path)


def test_those_at_the_threshold_share_what_room_is_left():
    weights = tokens.top_weights(np.array([2.0, 1.0, 3.0, 2.0, 2.0]), top=0.4)
    assert weights == pytest.approx([1 / 3, 0, 1, 1 / 3, 1 / 3])
    assert tokens.top_weights(np.zeros(4), top=0.25) == pytest.approx([0.25] * 4)
    assert tokens.top_weights(np.array([4.0, 3, 2, 1, 0]), top=0.2) == pytest.approx([1, 0, 0, 0, 0])
    assert tokens.top_weights(np.array([4.0, 3, 2]), top=0.5) == pytest.approx([1, 0.5, 0])
    for top in (0, 1, -1):
        with pytest.raises(ValueError, match="top="):
            tokens.top_weights(np.ones(3), top)
    with pytest.raises(ValueError, match="of 0 units"):
        tokens.top_weights(np.empty(0))


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_the_top_is_a_share_and_no_order_decides(values, top):
    weights = tokens.top_weights(np.array(values), top)
    assert weights.sum() == pytest.approx(top * len(values))
    assert (weights >= -1e-9).all() and (weights <= 1 + 1e-9).all()
    by_value = dict(zip(values, weights, strict=True))
    assert weights == pytest.approx([by_value[v] for v in values])
    ranked = [by_value[v] for v in sorted(by_value)]
    assert ranked == sorted(ranked)


def test_shares_and_lift_by_hand():
    """Ten tokens, two of them on top: one of the two connectors, and one of the eight others."""
    nats = [5.0, 1, 1, 1, 1, 4.0, 0, 0, 0, 0]
    classes = ["connector", "connector", *["other"] * 8]
    found = tokens.top_share(table(("p", nats[:5], classes[:5]), ("q", nats[5:], classes[5:]))).set_index("class")
    assert found.loc["connector", ["share", "overall", "lift"]].tolist() == pytest.approx([0.5, 0.2, 2.5])
    assert found.loc["other", ["share", "overall", "lift"]].tolist() == pytest.approx([0.5, 0.8, 0.625])
    assert found[["units", "problems", "seeds"]].loc["connector"].tolist() == [2, 2, 1]
    # a resample is p and q, p twice (on top: 5, 5) or q twice: between 'all of the top' and 'none of it'
    assert found.loc["connector", ["share_low", "share_high"]].tolist() == pytest.approx([0, 1])


def test_a_resample_is_as_if_its_units_were_there_several_times():
    """Five tokens a problem of tied entropies; p twice is what a bootstrap of two problems may draw."""
    p, q = (("p", [2.0, 1, 1, 1, 0], list("ababb")), ("q", [1.0, 1, 1, 0, 0], list("babaa")))
    alone = [tokens.top_share(table(*rows), n_boot=0).set_index("class").loc["a", "share"] for rows in ((p, p), (q, q))]
    found = tokens.top_share(table(p, q)).set_index("class").loc["a"]
    assert [found["share_low"], found["share_high"]] == pytest.approx(sorted(alone))
    weights = tokens.top_weights(np.array([2.0, 1, 1, 1, 0] * 2))
    assert alone[0] == pytest.approx(weights[np.array(list("ababb" * 2)) == "a"].sum() / 2)


def test_the_interval_is_that_of_problems_not_of_rollouts():
    """The same rollout many times says no more than once."""
    rows = [("p", [2.0, 1, 0, 0, 0], list("aabbb")), ("q", [0.0, 1, 2, 0, 0], list("aabbb"))]
    once, often = tokens.class_entropy(table(*rows)), tokens.class_entropy(table(*rows * 20))
    assert often[["mean", "low", "high"]].to_numpy() == pytest.approx(once[["mean", "low", "high"]].to_numpy())


def test_mean_entropy_by_class_by_hand():
    found = tokens.class_entropy(table(("p", [1.0, 3.0, 0.5], list("aab")), ("q", [2.0], ["a"]))).set_index("class")
    assert found["mean"].to_dict() == {"a": 2.0, "b": 0.5}
    assert found.index.tolist() == ["a", "b"]  # ranked
    assert found["units"].tolist() == [3, 1]
    assert found.loc["b", ["low", "high"]].tolist() == [0.5, 0.5]  # resamples without q alone have none of b
    assert found["low"]["a"] <= 2 <= found["high"]["a"]


def test_words_are_spelt_alike_counted_and_ranked():
    rollouts = table(*[(f"p{i}", [1.0, 3.0, 0.1, 2.0], ["connector", "connector", "other", "other"]) for i in range(5)])
    rollouts["tokens"] = [[" So", "so ", "\n", " so"]] * 5
    found = tokens.by_word(rollouts, least=5, problems=5)
    assert found[["word", "class", "mean", "units"]].to_numpy().tolist() == [
        ["so", "connector", 2.0, 10],
        ["so", "other", 2.0, 5],
        ["⏎", "other", 0.1, 5],
    ]
    assert tokens.by_word(rollouts, least=6)["units"].tolist() == [10]
    with pytest.raises(ValueError, match="ask for fewer"):
        tokens.by_word(rollouts, least=1, problems=6)


def test_a_subword_has_the_class_of_its_word():
    rollouts = table(("p", [3.0, 1.0], ["connector", "other"]))
    rollouts = rollouts.assign(starts=[[0, 2]], subwords=[["ther", "efore", "x"]], subword_entropies=[[2.0, 1.0, 1.0]])
    long = tokens.units(tokens.by_subword(rollouts))
    assert long["class"].tolist() == ["connector", "connector", "other"]
    assert long["entropy"].tolist() == [2, 1, 1]
