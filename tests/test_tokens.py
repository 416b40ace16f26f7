"""Which tokens carry the entropy: answers worked by hand, tables that are refused."""

import pandas as pd
import pytest

from egrc.analysis import tokens


def table(*rows: tuple[str, list[float], list[str]]) -> pd.DataFrame:
    """A rollout table of (problem, entropies, classes), a rollout each; tokens are named after their class."""
    lines = [
        {"benchmark": "b", "id": name, "seed": 0, "sample": i, "tokenizer": "t", "prompt": name, "correct": True,
         "truncated": False, "length": len(nats), "tokens": list(classes), "entropies": nats, "classes": classes}
        for i, (name, nats, classes) in enumerate(rows)
    ]  # fmt: skip
    return pd.DataFrame(lines)


@pytest.mark.parametrize(
    ("nats", "top", "weights"),
    [
        ([2.0, 1.0, 3.0, 2.0, 2.0], 0.4, [1 / 3, 0, 1, 1 / 3, 1 / 3]), ([0.0] * 4, 0.25, [0.25] * 4),
        ([4.0, 3.0, 2.0, 1.0, 0.0], 0.2, [1, 0, 0, 0, 0]), ([4.0, 3.0, 2.0], 0.5, [1, 0.5, 0]),
    ],
)  # fmt: skip
def test_those_at_the_threshold_share_what_room_is_left(nats, top, weights):
    """Every token is a class of its own."""
    found = tokens.top_share(table(("p", nats, list("abcde"[: len(nats)]))), top, n_boot=0).set_index("class")
    assert (found["share"] * top * len(nats)).sort_index().tolist() == pytest.approx(weights)


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
    assert alone == pytest.approx([1, 1 / 3])


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
