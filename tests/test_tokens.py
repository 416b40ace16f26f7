"""Which tokens carry the entropy: answers worked by hand, tables that are refused, and the figures that show it."""

from importlib import import_module
from pathlib import Path

import made_up
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import legible, texts

from egrc.analysis import measure, tokens
from egrc.atomic import write_parquet
from egrc.experiments.records import RecordError
from egrc.figures import style


def table(*rows: tuple[str, list[float], list[str]]) -> pd.DataFrame:
    """A rollout table of (problem, entropies, classes), a rollout each; tokens are named after their class."""
    lines = [
        {"benchmark": "b", "id": name, "seed": 0, "sample": i, "tokenizer": "t", "prompt": name, "correct": True,
         "truncated": False, "length": len(nats), "tokens": list(classes), "entropies": nats, "classes": classes}
        for i, (name, nats, classes) in enumerate(rows)
    ]  # fmt: skip
    return pd.DataFrame(lines)


# --- reading ---


def test_a_table_that_is_right_comes_back_as_it_is(tmp_path: Path) -> None:
    written = made_up.rollouts()
    write_parquet(tmp_path / "r.parquet", written)
    read = tokens.read_rollouts(tmp_path / "r.parquet")
    assert read["id"].tolist() == written["id"].tolist()
    assert len(tokens.units(read)) == written["length"].sum()


def broken(rollouts: pd.DataFrame, column: str, value: object, row: int = 2) -> pd.DataFrame:
    values = rollouts[column].astype(object).tolist()
    values[row] = value(values[row]) if callable(value) else value
    return rollouts.assign(**{column: values})


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("entropies", lambda nats: [float("nan"), *nats[1:]], "row 3: entropies holds NaN"),
        ("entropies", lambda nats: [*nats[:-1], -0.1], "row 3: entropies holds NaN, infinity or a negative"),
        ("entropies", lambda nats: [*nats[:-1], float("inf")], "row 3: entropies holds NaN, infinity"),
        ("entropies", lambda nats: nats[:-1], "row 3: entropies has not as many entries as tokens"),
        ("classes", lambda names: [*names, "other"], "row 3: classes has not as many entries as tokens"),
        ("classes", None, "row 3: classes is empty"),
        ("prompt", None, "row 3: prompt is empty"),
        ("tokenizer", "another", "row 3: tokenizer 'another' beside 'made up'"),
        ("sample", 1, "row 3: sample is there twice"),
    ],
)
def test_a_bad_rollout_is_refused_by_file_row_and_column(column: str, value: object, said: str, tmp_path: Path) -> None:
    rollouts = broken(made_up.rollouts(), column, value)
    if column == "sample":
        rollouts = broken(rollouts, "id", rollouts["id"][1]).assign(benchmark="b")
    file = tmp_path / "r.parquet"
    write_parquet(file, rollouts)
    with pytest.raises(RecordError, match=f"r.parquet, {said}.*again|r.parquet, {said}.*apart"):
        tokens.read_rollouts(file)


@pytest.mark.parametrize("column", tokens.COLUMNS)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(RecordError, match=f"made up: no {column}; a rollout table has"):
        tokens.check(made_up.rollouts().drop(columns=column), "made up")


def test_rows_are_counted_in_the_file_also_if_some_are_left_out(tmp_path: Path) -> None:
    both = pd.concat([made_up.rollouts().assign(arm="other"), made_up.rollouts().assign(arm="base")], ignore_index=True)
    bad = len(both) - 1
    with pytest.raises(RecordError, match=f"row {bad + 1}: tokens is empty"):
        tokens.check(broken(both, "tokens", None, bad), "x", arm="base")
    assert len(tokens.check(broken(both, "tokens", None, bad), "x", arm="other")) == bad // 2 + 1
    with pytest.raises(RecordError, match="no rollouts with arm 'none such'"):
        tokens.check(both, "x", arm="none such")


def test_a_missing_or_damaged_file_names_the_remedy(tmp_path: Path) -> None:
    for scale, name in (("pocket", "interventions"), ("smol", "words")):
        with pytest.raises(RecordError, match=f"egrc measure {name} --scale {scale}"):
            tokens.load_rollouts(scale, tmp_path)
    file = tmp_path / "r.parquet"
    with pytest.raises(RecordError, match="no .*r.parquet"):
        tokens.read_rollouts(file)
    file.write_text("no parquet")
    with pytest.raises(RecordError, match="damaged"):
        tokens.read_rollouts(file)
    with pytest.raises(RecordError, match="scale gpu"):
        tokens.load_rollouts("gpu", tmp_path)


def test_the_bases_plain_completions_are_the_pocket_rollouts(tmp_path: Path) -> None:
    made_up.write(tmp_path)
    rollouts = tokens.load_rollouts("pocket", tmp_path)
    assert set(rollouts["arm"]) == {"base"} and set(rollouts["condition"]) == {"none"}
    assert rollouts["seed"].nunique() == 3


# --- the tokens of highest entropy ---


def test_those_at_the_threshold_share_what_room_is_left() -> None:
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
def test_the_top_is_a_share_and_no_order_decides(values: list[float], top: float) -> None:
    weights = tokens.top_weights(np.array(values), top)
    assert weights.sum() == pytest.approx(top * len(values))
    assert (weights >= -1e-9).all() and (weights <= 1 + 1e-9).all()
    by_value = dict(zip(values, weights, strict=True))
    assert weights == pytest.approx([by_value[v] for v in values])
    ranked = [by_value[v] for v in sorted(by_value)]
    assert ranked == sorted(ranked)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.integers(0, 3)), min_size=2, max_size=20))
def test_a_resample_is_as_if_the_units_were_there_several_times(drawn: list[tuple[float, int]]) -> None:
    values, times = (np.array(x, float) for x in zip(*sorted(drawn, reverse=True), strict=True))
    if not times.sum():
        return
    ranks = tokens._ranks(values)
    (threshold,), (part,) = tokens._threshold(ranks[:, None], times[None], 0.2)
    weights = np.select([ranks < threshold, ranks == threshold], [1.0, part], 0.0)
    repeated = tokens.top_weights(values.repeat(times.astype(int)), 0.2)
    assert weights.repeat(times.astype(int)) == pytest.approx(repeated)


def test_shares_and_lift_by_hand() -> None:
    """Ten tokens, two of them on top: one of the two connectors, and one of the eight others."""
    nats = [5.0, 1, 1, 1, 1, 4.0, 0, 0, 0, 0]
    classes = ["connector", "connector", *["other"] * 8]
    found = tokens.top_share(table(("p", nats[:5], classes[:5]), ("q", nats[5:], classes[5:]))).set_index("class")
    assert found.loc["connector", ["share", "overall", "lift"]].tolist() == pytest.approx([0.5, 0.2, 2.5])
    assert found.loc["other", ["share", "overall", "lift"]].tolist() == pytest.approx([0.5, 0.8, 0.625])
    assert found[["units", "problems", "seeds"]].loc["connector"].tolist() == [2, 2, 1]
    # a resample is p and q, p twice (on top: 5, 5) or q twice: between 'all of the top' and 'none of it'
    assert found.loc["connector", ["share_low", "share_high"]].tolist() == pytest.approx([0, 1])


def test_the_interval_is_that_of_problems_not_of_rollouts() -> None:
    """The same rollout many times says no more than once."""
    rows = [("p", [2.0, 1, 0, 0, 0], list("aabbb")), ("q", [0.0, 1, 2, 0, 0], list("aabbb"))]
    once, often = tokens.class_entropy(table(*rows)), tokens.class_entropy(table(*rows * 20))
    assert often[["mean", "low", "high"]].to_numpy() == pytest.approx(once[["mean", "low", "high"]].to_numpy())


def test_mean_entropy_by_class_by_hand() -> None:
    found = tokens.class_entropy(table(("p", [1.0, 3.0, 0.5], list("aab")), ("q", [2.0], ["a"]))).set_index("class")
    assert found["mean"].to_dict() == {"a": 2.0, "b": 0.5}
    assert found.index.tolist() == ["a", "b"]  # ranked
    assert found["units"].tolist() == [3, 1]
    assert found.loc["b", ["low", "high"]].tolist() == [0.5, 0.5]  # resamples without q alone have none of b
    assert found["low"]["a"] <= 2 <= found["high"]["a"]


def test_benchmarks_of_different_size_count_by_their_problems() -> None:
    rows = table(*[(f"p{i}", [1.0], ["a"]) for i in range(3)], ("q", [5.0], ["a"])).assign(benchmark=["b"] * 3 + ["c"])
    found = tokens.class_entropy(rows).iloc[0]
    assert found["mean"] == 2 and (found["low"], found["high"]) == (2, 2)  # b holds nothing but 1, c nothing but 5


def test_words_are_spelt_alike_counted_and_ranked() -> None:
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


def test_a_subword_has_the_class_of_its_word() -> None:
    rollouts = table(("p", [3.0, 1.0], ["connector", "other"]))
    rollouts = rollouts.assign(starts=[[0, 2]], subwords=[["ther", "efore", "x"]], subword_entropies=[[2.0, 1.0, 1.0]])
    long = tokens.units(tokens.by_subword(rollouts))
    assert long["class"].tolist() == ["connector", "connector", "other"]
    assert long["entropy"].tolist() == [2, 1, 1]


def test_other_definitions_of_word_entropy_and_connectors_can_be_taken() -> None:
    readings = tokens.connector_readings(made_up.words()).set_index("reading")
    assert list(readings.index) == list(tokens.READINGS)
    assert readings.loc["strict list", "overall"] < readings.loc["as claimed", "overall"]
    # here a word is one token
    assert readings.loc["subword tokens", "lift"] == pytest.approx(readings.loc["as claimed", "lift"])
    assert list(tokens.connector_readings(made_up.rollouts())["reading"]) == ["as claimed"]


def test_each_seed_alone() -> None:
    both = pd.concat([made_up.rollouts(0), made_up.rollouts(1)], ignore_index=True)
    found = tokens.each_seed(tokens.class_entropy, both).set_index(["seed", "class"])["mean"]
    for seed in (0, 1):
        alone = tokens.class_entropy(made_up.rollouts(seed)).set_index("class")["mean"]
        assert found[seed].to_dict() == pytest.approx(alone.to_dict())


# --- the logit gradient ---


@pytest.mark.parametrize("size", [2, 7, 50])
def test_the_square_of_the_logit_gradient_when_all_tokens_are_alike(size: int) -> None:
    assert tokens.expected_square(torch.zeros(size)).item() == pytest.approx(1 - 1 / size)


def test_a_deterministic_policy_has_no_logit_gradient() -> None:
    certain = torch.tensor([[100.0, 0, 0], [0, 0, 100.0]])
    assert tokens.expected_square(certain).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert tokens.disagreement(certain).tolist() == pytest.approx([0, 0], abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-6, 6), min_size=2, max_size=9))
def test_it_is_the_chance_that_two_draws_differ(logits: list[float]) -> None:
    """By autograd, token by token, and by no closed form."""
    squares = []
    for token in range(len(logits)):
        x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        x.log_softmax(-1)[token].backward()
        squares.append(x.grad.square().sum())
    p = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    expected = (p * torch.stack(squares)).sum().item()
    assert tokens.expected_square(torch.tensor(logits)).item() == pytest.approx(expected, abs=1e-5)
    assert tokens.disagreement(torch.tensor(logits)).item() == pytest.approx(expected, abs=1e-5)


# --- the figures ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", ["fig6_connectors", "fig9_words"])
def test_a_second_drawing_gives_the_same_bytes(name: str, data: Path, tmp_path: Path) -> None:
    draw = import_module(f"egrc.figures.{name}").draw
    once, again = (style.save(*draw("smol", data), tmp_path / part / name) for part in ("once", "again"))
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


@pytest.mark.parametrize("name", ["fig6_connectors", "fig9_words"])
@pytest.mark.parametrize("scale", ["pocket", "smol"])
def test_every_text_is_legible_inside_and_apart(name: str, scale: str, data: Path) -> None:
    legible(import_module(f"egrc.figures.{name}").draw(scale, data)[0])


def test_the_pocket_column_says_that_it_is_by_construction(data: Path, tmp_path: Path) -> None:
    for name in ("fig6_connectors", "fig9_words"):
        both, _ = import_module(f"egrc.figures.{name}").draw("pocket", data)
        titles = [ax.get_title() for ax in both.axes if ax.get_title()]
        assert titles == ["pocket world: by construction", "SmolLM2-135M-Instruct: by word"]
        write_parquet(measure.file("interventions", "pocket", tmp_path), made_up.interventions())
        alone, _ = import_module(f"egrc.figures.{name}").draw("pocket", tmp_path)
        assert "measure words --scale smol" in " ".join(t.get_text() for t in texts(alone))


def test_words_are_ordered_by_value(data: Path) -> None:
    figure, drawn = import_module("egrc.figures.fig9_words").draw("pocket", data)
    for ax, (_, own) in zip(figure.axes, drawn[drawn["ranked"].notna()].groupby("scale", sort=False), strict=True):
        assert own["mean"].is_monotonic_decreasing and (own["units"] >= tokens.LEAST).all()
        assert [t.get_text() for t in ax.get_yticklabels()] == own["word"].tolist()


def test_every_seed_of_the_pocket_world_is_a_dot(data: Path) -> None:
    _, drawn = import_module("egrc.figures.fig6_connectors").draw("pocket", data)
    counts = drawn[drawn["seed"].notna()].groupby(["scale", "class"]).size()
    assert counts.to_dict() == {("pocket", c): 3 for c in made_up.CLASSES}
