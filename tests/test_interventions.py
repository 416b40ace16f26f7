"""Interventions on connectors: what each rule does to logits, one small run of all of it, effects worked by hand."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_tokens import legible
from torch import Tensor

from egrc.analysis import effects, interventions, tokens
from egrc.analysis.interventions import CONDITIONS, OF_ARM, Elsewhere, Forced, Shift, Vocabulary, cost, nearest
from egrc.evaluation import sampling
from egrc.experiments import measure, scales
from egrc.figures import fig8_interventions, style

NAMES = ["<eos>", "so", "wait", "a", "b", "c", "d"]
CONNECTOR = torch.tensor([False, True, True, False, False, False, False])
FREE = torch.tensor([False, False, False, True, True, True, True])
WORDS = Vocabulary(NAMES, ["other", "connector", "connector", *["other"] * 4], CONNECTOR, FREE)
HALF_A_TURN = [0.0, 0.5, 0.25, 0.25, 0, 0, 0]  # three quarters connectors
FOUR_WAYS = [0.0, 0, 0, 0.25, 0.25, 0.25, 0.25]
SURE = [0.0, 0, 0, 1, 0, 0, 0]


def logits(*rows: list[float]) -> Tensor:
    return torch.tensor(rows).log()


def left(rule: Callable[[Tensor, Tensor], Tensor], *rows: list[float]) -> Tensor:
    """Probabilities after a rule, [B, V]."""
    return rule(torch.zeros(len(rows), 1, dtype=torch.long), logits(*rows)).softmax(-1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the rules ---


def test_forbidding_leaves_the_others_in_proportion() -> None:
    p = left(Shift(CONNECTOR, -torch.inf), [0.1, 0.4, 0.2, 0.2, 0.1, 0, 0])[0]
    assert p.tolist() == pytest.approx([0.25, 0, 0, 0.5, 0.25, 0, 0])


def test_raising_multiplies_the_odds() -> None:
    p = left(Shift(CONNECTOR, 2.0), HALF_A_TURN)[0]
    assert (p[1] / p[3]).item() == pytest.approx(2 * np.exp(2))
    assert (p[1] / p[2]).item() == pytest.approx(2)
    assert left(Shift(CONNECTOR, 0.0), HALF_A_TURN)[0].tolist() == pytest.approx(HALF_A_TURN)


def test_a_connector_is_forced_where_one_is_in_question_and_as_often_as_said() -> None:
    always = left(Forced(CONNECTOR, 1.0, rng()), HALF_A_TURN, FOUR_WAYS)
    assert always[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0, 0, 0, 0])
    assert always[1].tolist() == pytest.approx(FOUR_WAYS)
    assert left(Forced(CONNECTOR, 0.0, rng()), HALF_A_TURN)[0].tolist() == pytest.approx(HALF_A_TURN)
    half = left(Forced(CONNECTOR, 0.5, rng()), *[HALF_A_TURN] * 2000)
    assert (half[:, 3] == 0).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_what_connectors_would_cost_is_paid_once_elsewhere_and_at_the_same_price() -> None:
    rule = Elsewhere(WORDS, rng())
    assert left(rule, HALF_A_TURN)[0].tolist() == pytest.approx(HALF_A_TURN)  # never where connectors are in question
    assert left(rule, SURE)[0].tolist() == pytest.approx(SURE)  # nothing here costs log 4
    paid = left(rule, FOUR_WAYS)[0]
    assert sorted(paid.tolist()) == pytest.approx([0] * 6 + [1])  # three of four forbidden: log 4, as it was noted
    assert left(rule, FOUR_WAYS)[0].tolist() == pytest.approx(FOUR_WAYS)  # no debt is left


def test_each_row_pays_its_own_debts_with_a_set_of_its_own() -> None:
    rule = Elsewhere(WORDS, rng())
    rows = 400
    left(rule, *[HALF_A_TURN, FOUR_WAYS] * rows)
    after = left(rule, *[FOUR_WAYS, FOUR_WAYS] * rows)
    assert (after[0::2] > 0).sum(-1).tolist() == [1] * rows
    assert torch.allclose(after[1::2], logits(FOUR_WAYS).exp().expand(rows, -1))
    kept = after[0::2].argmax(-1).bincount(minlength=len(NAMES))[3:] / rows
    assert kept.tolist() == pytest.approx([0.25] * 4, abs=0.08)


def test_the_end_is_never_forbidden() -> None:
    rule = Elsewhere(WORDS, rng())
    ends = [0.75, 0, 0, 0.25, 0, 0, 0]
    left(rule, [0.0, 0.2, 0.05, 0.75, 0, 0, 0])  # costs log 4/3, as 'a' would
    assert left(rule, ends)[0].tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0])
    left(rule, HALF_A_TURN)  # costs log 4, as <eos> would
    assert left(rule, ends)[0].tolist() == pytest.approx(ends)


def test_the_nearest_offer_by_ratio_within_tolerance() -> None:
    offered = torch.tensor([[0.1, 1.0, 9.0], [0.1, 1.0, 9.0], [0.1, 1.0, 9.0]])
    owed = torch.tensor([[torch.nan, 1.2], [8.0, 1.24], [3.0, torch.nan]])
    row, offer, debt = nearest(offered, owed, torch.tensor([True, True, True]))
    assert row.tolist() == [0, 1] and offer.tolist() == [1, 2] and debt.tolist() == [1, 0]
    assert nearest(offered, owed, torch.tensor([False, True, True]))[0].tolist() == [1]
    assert nearest(offered, torch.empty(3, 0), torch.tensor([True] * 3))[0].tolist() == []


@given(st.floats(0.01, 0.99))
def test_the_cost_is_the_divergence_of_what_is_left(mass: float) -> None:
    p = torch.tensor([mass, (1 - mass) / 3, 2 * (1 - mass) / 3], dtype=torch.float64)
    q = torch.tensor([0.0, 1 / 3, 2 / 3], dtype=torch.float64)
    assert cost(p[0]).item() == pytest.approx((q[1:] * (q[1:] / p[1:]).log()).sum().item(), abs=1e-9)


def test_random_types_hold_the_connectors_share_and_differ_by_row() -> None:
    share = np.array([0.1, 0.15, 0.05, 0.1, 0.1, 0.2, 0.3])
    chosen = interventions.random_types(share, WORDS, 200, np.random.default_rng(0))
    assert not chosen[:, ~FREE].any()
    held = chosen.double().numpy() @ share
    assert held == pytest.approx(np.full(200, 0.2))  # 'c' alone, or 'a' with 'b'
    assert set(map(tuple, chosen[:, 3:].tolist())) == {(True, True, False, False), (False, False, True, False)}
    nothing = interventions.random_types(np.where(CONNECTOR, 0, share), WORDS, 3, np.random.default_rng(0))
    assert not nothing.any()  # a policy without connectors


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_has_its_rule(condition: str) -> None:
    share = np.array([0.1, 0.15, 0.05, 0.1, 0.1, 0.2, 0.3])
    rule = interventions.processor(condition, WORDS, share, 2, 0)
    p = left(rule, [0.1, 0.4, 0.1, 0.2, 0.1, 0.05, 0.05], FOUR_WAYS)
    assert p.sum(-1).tolist() == pytest.approx([1, 1])
    connectors = p[0, CONNECTOR].sum().item()
    expected = {
        "none": 0.5,
        "suppressed": 0,
        "logits -1": 1 / (1 + np.e),
        "logits +1": np.e / (1 + np.e),
        "logits +2": np.e**2 / (1 + np.e**2),
        "random places": 0.5,
    }
    if condition in expected:
        assert connectors == pytest.approx(expected[condition], abs=1e-6)
    if condition.startswith("random t"):
        assert connectors > 0.5
        with pytest.raises(ValueError, match="decode 'none' first"):
            interventions.processor(condition, WORDS, None, 2, 0)


def test_conditions_that_are_asked_for_are_known_and_drawn() -> None:
    assert {c for own in OF_ARM.values() for c in own} <= set(CONDITIONS)
    assert all(own[0] == "none" for own in OF_ARM.values())  # its shares are needed by the others
    assert set(fig8_interventions.ORDER) == set(fig8_interventions.NAMES) == set(CONDITIONS)
    assert set(fig8_interventions.SHAPES) == set(OF_ARM)


def test_a_vocabulary_without_connectors_is_refused() -> None:
    world = scales.world("pocket")
    _, tokenizer = world.policy()
    words = interventions.vocabulary(tokenizer, world.token_classes(tokenizer))
    assert {w for w, c in zip(words.words, words.connector.tolist(), strict=True) if c} == {
        *("so", "then", "thus", "therefore", "hence", "next", "wait", "hmm", "but", "alternatively", "maybe")
    }
    assert not words.free[[words.words.index(w) for w in interventions.PROTECTED]].any()
    with pytest.raises(ValueError, match="none is called connector"):
        interventions.vocabulary(tokenizer, type("Classes", (), {"names": ("a", "b")})())


# --- all of it, small ---


class Small:
    """The pocket world with one short benchmark."""

    name = "pocket"

    def __init__(self) -> None:
        self.world = scales.world("pocket")

    def benchmarks(self, n: int) -> dict[str, Any]:
        return {"forward-3": self.world.benchmarks(n)["forward-3"]}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


@pytest.fixture(scope="module")
def run() -> Callable[[str], pd.DataFrame]:
    """Rows of one condition of the base."""
    world = Small()
    policy = world.policy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interventions, "PROBLEMS", 6)
        made: dict[str, pd.DataFrame] = {}

        def rows(condition: str, again: bool = False) -> pd.DataFrame:
            if condition not in made or again:
                made[condition] = interventions.completions(policy, world, "base", 0, condition, None)
            return made[condition]

        yield rows


def test_a_table_has_its_columns_and_every_answer_once(run: Callable[[str], pd.DataFrame]) -> None:
    rows = run("none")
    assert tuple(rows) == interventions.COLUMNS
    assert len(rows) == 6 * interventions.SAMPLES
    assert not rows.duplicated(["id", "sample"]).any()
    assert tokens.check(rows, "x") is not None  # the plain ones are a rollout table
    assert rows["length"].tolist() == rows["tokens"].map(len).tolist()
    assert rows["entropy"].to_numpy() == pytest.approx(
        rows["entropies"].map(lambda nats: float(np.sum(nats))), rel=1e-5
    )
    assert (rows["tokens"].map(lambda t: t[-1] == "<eos>") == ~rows["truncated"]).all()


def test_entropies_are_those_of_a_second_pass(run: Callable[[str], pd.DataFrame]) -> None:
    """The logits kept while generating, left padding and cache included, are those of the completion as a whole."""
    model, tokenizer = scales.world("pocket").policy()
    rows = run("none")
    ids = [tokenizer.convert_tokens_to_ids(list(t)) for t in rows["tokens"]]
    scores = sampling.score(model, sampling.batch(tokenizer(list(rows["prompt"])).input_ids, ids, pad=0))
    for nats, again, n in zip(rows["entropies"], scores.entropy, rows["length"], strict=True):
        assert nats == pytest.approx(again[:n].numpy(), abs=2e-4)


def test_plain_decoding_costs_nothing_and_repeats(run: Callable[[str], pd.DataFrame]) -> None:
    rows = run("none")
    assert rows["cost"].to_numpy() == pytest.approx(0, abs=1e-3) and (rows["touched"] == 0).all()
    assert rows["entropy"].to_numpy() == pytest.approx(rows["entropy_sampled"], rel=1e-3)
    first = rows["tokens"].map(list).tolist()
    assert run("none", again=True)["tokens"].map(list).tolist() == first


def test_forbidden_connectors_do_not_occur_and_their_price_is_recorded(run: Callable[[str], pd.DataFrame]) -> None:
    rows = run("suppressed")
    assert (rows["connectors"] == 0).all() and (run("none")["connectors"] > 0).any()
    assert (rows["cost"] > 0).all() and (rows["touched"] >= 1).all()
    assert (rows["entropy_sampled"] < rows["entropy"]).all()


def test_sums_over_a_completion_by_hand() -> None:
    """Two tokens: an even choice between two, of which one is forbidden; then no choice at all."""
    own = logits([0, 0.5, 0, 0.5, 0, 0, 0], SURE)
    sampled = own.clone()
    sampled[0, 1] = -torch.inf
    found = interventions.score([3, 3], own, sampled, WORDS)
    assert found["entropy"] == pytest.approx(np.log(2)) and found["entropy_sampled"] == pytest.approx(0)
    assert found["cost"] == pytest.approx(np.log(2)) and found["touched"] == 1
    assert found["gradient_square"] == pytest.approx(0) and found["disagreement"] == pytest.approx(0)
    plain = interventions.score([1, 3], own, own, WORDS)
    assert plain["gradient_square"] == pytest.approx(0.5) and plain["disagreement"] == pytest.approx(0.5)
    assert (plain["connectors"], plain["length"], plain["cost"]) == (1, 2, 0)
    assert (plain["tokens"], plain["classes"]) == (["so", "a"], ["connector", "other"])


def test_it_is_a_measurement() -> None:
    assert measure.module("interventions") is interventions
    assert interventions.parts("pocket")[:2] == ["base/seed-0", "base/seed-1"]
    assert len(interventions.parts("pocket")) == 9


def test_shares_of_token_types() -> None:
    plain = pd.DataFrame({"tokens": [["a", "so"], ["a", "a"]]})
    assert interventions.shares(plain, NAMES).tolist() == [0, 0.25, 0, 0.75, 0, 0, 0]


# --- effects ---


def answered(condition: str, lengths: dict[str, list[int]], seed: int = 0, **more: float) -> pd.DataFrame:
    lines = [
        {"arm": "base", "seed": seed, "condition": condition, "benchmark": name[0], "id": name, "length": n,
         "entropy": 0.5 * n, "entropy_sampled": 0.25 * n, "correct": True, "truncated": False, "connectors": 1,
         "cost": 0.0} | more
        for name, of in lengths.items() for n in of
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_effects_by_hand() -> None:
    plain = answered("none", {"a1": [10, 20], "a2": [15], "b1": [45]})
    less = answered("suppressed", {"a1": [5], "a2": [5], "b1": [25]}, correct=0.0, entropy=10.0, cost=5.0)
    found = effects.effects(pd.concat([plain, less]), n_boot=200).set_index(["condition", "quantity"])
    at = found.loc["suppressed"]
    assert at.loc["length", ["value", "change"]].tolist() == [15, -15]  # benchmarks alike: (5 + 25)/2, (15 + 45)/2
    assert at.loc["length", ["change_low", "change_high"]].tolist() == [-15, -15]  # every problem of a lost as much
    assert at.loc["per_token", "value"] == pytest.approx(10 / 15)
    assert at.loc["per_token", "change"] == pytest.approx(10 / 15 - 0.5)
    assert at.loc["accuracy", ["value", "change"]].tolist() == [0, -1]
    assert at.loc["cost", "value"] == pytest.approx(5 / 15)
    assert found.loc[("none", "length"), ["value", "change", "change_low"]].tolist() == [30, 0, 0]
    assert at.loc["length", ["problems", "seeds"]].tolist() == [3, 1]


def test_sides_of_an_effect_must_be_comparable() -> None:
    plain, less = answered("none", {"a1": [10]}), answered("suppressed", {"a2": [10]})
    with pytest.raises(ValueError, match="suppressed: other problems .*a1|suppressed: other problems .*a2"):
        effects.effects(pd.concat([plain, less]))
    with pytest.raises(ValueError, match="base: no condition 'none'"):
        effects.effects(less)


def test_each_seed_alone() -> None:
    rows = pd.concat([answered("none", {"a1": [10 * (s + 1)]}, s) for s in range(2)])
    lengths = effects.each_seed(rows).query("quantity == 'length'")
    assert lengths[["seed", "value"]].to_numpy().tolist() == [[0, 10], [1, 20]]
    assert effects.effects(rows).query("quantity == 'length'")["value"].tolist() == [15]


# --- figures ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("name", "scale"), [("fig7_push", "smol"), ("fig8_interventions", "pocket")])
def test_figures_are_legible_and_repeat(name: str, scale: str, data: Path, tmp_path: Path) -> None:
    module = import_module(f"egrc.figures.{name}")
    drawn = [module.draw(scale, data) for _ in range(2)]
    legible(drawn[0][0])
    once, again = (style.save(*d, tmp_path / str(i) / name) for i, d in enumerate(drawn))
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


def test_missing_arms_and_few_seeds_are_said(tmp_path: Path) -> None:
    table = made_up.interventions(seeds=2)
    measure.file("interventions", "pocket", tmp_path).parent.mkdir(parents=True)
    table[table["arm"] == "base"].to_parquet(measure.file("interventions", "pocket", tmp_path))
    figure, drawn = fig8_interventions.draw("pocket", tmp_path)
    said = " ".join(t.get_text() for t in figure.texts)
    assert "Missing: accuracy, compression." in said and "Only 2 seeds." in said
    assert drawn["seed"].nunique() == 2


def test_push_along_training_shows_every_seed(data: Path) -> None:
    figure, drawn = import_module("egrc.figures.fig7_push").draw("pocket", data)
    legible(figure)
    assert len(figure.axes) == 8
    for ax in figure.axes[2:]:
        thin = [line for line in ax.lines if line.get_linewidth() == 0.6]
        assert len(thin) == 3 * 2  # seeds, objectives
    own = drawn[(drawn["arm"] == "base") & (drawn["quantity"] == "push") & drawn["seed"].isna()]
    parts = own[own["token_class"] != "all"].groupby("objective")["value"].sum()
    assert set(parts.index) == {"accuracy", "compression"}
