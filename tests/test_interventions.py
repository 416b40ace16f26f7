"""Interventions on connectors: what each rule does to logits, one small run of all of it, effects worked by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from egrc.analysis import effects, interventions, tokens
from egrc.analysis.interventions import CONDITIONS, Vocabulary, cost, elsewhere, forced, nearest
from egrc.entropy import logit_gradient_norm
from egrc.evaluation import sampling
from egrc.experiments import scales

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
    return rule(torch.arange(len(rows)), logits(*rows)).softmax(-1)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_connector_is_forced_where_one_is_in_question_and_as_often_as_said():
    always = left(forced(CONNECTOR, 1.0, rng()), HALF_A_TURN, FOUR_WAYS)
    assert always[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0, 0, 0, 0])
    assert always[1].tolist() == pytest.approx(FOUR_WAYS)
    assert left(forced(CONNECTOR, 0.0, rng()), HALF_A_TURN)[0].tolist() == pytest.approx(HALF_A_TURN)
    half = left(forced(CONNECTOR, 0.5, rng()), *[HALF_A_TURN] * 2000)
    assert (half[:, 3] == 0).float().mean().item() == pytest.approx(0.5, abs=0.04)


def test_what_connectors_would_cost_is_paid_once_elsewhere_and_at_the_same_price():
    rule = elsewhere(WORDS, 1, rng())
    assert left(rule, HALF_A_TURN)[0].tolist() == pytest.approx(HALF_A_TURN)  # never where connectors are in question
    assert left(rule, SURE)[0].tolist() == pytest.approx(SURE)  # nothing here costs log 4
    paid = left(rule, FOUR_WAYS)[0]
    assert sorted(paid.tolist()) == pytest.approx([0] * 6 + [1])  # three of four forbidden: log 4, as it was noted
    assert left(rule, FOUR_WAYS)[0].tolist() == pytest.approx(FOUR_WAYS)  # no debt is left


def test_the_end_is_never_forbidden():
    rule = elsewhere(WORDS, 1, rng())
    ends = [0.75, 0, 0, 0.25, 0, 0, 0]
    left(rule, [0.0, 0.2, 0.05, 0.75, 0, 0, 0])  # costs log 4/3, as 'a' would
    assert left(rule, ends)[0].tolist() == pytest.approx([1, 0, 0, 0, 0, 0, 0])
    left(rule, HALF_A_TURN)  # costs log 4, as <eos> would
    assert left(rule, ends)[0].tolist() == pytest.approx(ends)


def test_the_nearest_offer_by_ratio_within_tolerance():
    offered = torch.tensor([[0.1, 1.0, 9.0], [0.1, 1.0, 9.0], [0.1, 1.0, 9.0]])
    owed = torch.tensor([[torch.nan, 1.2], [8.0, 1.24], [3.0, torch.nan]])
    row, offer, debt = nearest(offered, owed, torch.tensor([True, True, True]))
    assert row.tolist() == [0, 1] and offer.tolist() == [1, 2] and debt.tolist() == [1, 0]
    assert nearest(offered, owed, torch.tensor([False, True, True]))[0].tolist() == [1]
    assert nearest(offered, torch.empty(3, 0), torch.tensor([True] * 3))[0].tolist() == []


@given(st.floats(0.01, 0.99))
def test_the_cost_is_the_divergence_of_what_is_left(mass):
    p = torch.tensor([mass, (1 - mass) / 3, 2 * (1 - mass) / 3], dtype=torch.float64)
    q = torch.tensor([0.0, 1 / 3, 2 / 3], dtype=torch.float64)
    assert cost(p[0]).item() == pytest.approx((q[1:] * (q[1:] / p[1:]).log()).sum().item(), abs=1e-9)


def test_random_types_hold_the_connectors_share_and_differ_by_row():
    share = np.array([0.1, 0.15, 0.05, 0.1, 0.1, 0.2, 0.3])
    chosen = interventions.random_types(share, WORDS, 200, np.random.default_rng(0))
    assert not chosen[:, ~FREE].any()
    held = chosen.double().numpy() @ share
    assert held == pytest.approx(np.full(200, 0.2))  # 'c' alone, or 'a' with 'b'
    assert set(map(tuple, chosen[:, 3:].tolist())) == {(True, True, False, False), (False, False, True, False)}
    nothing = interventions.random_types(np.where(CONNECTOR, 0, share), WORDS, 3, np.random.default_rng(0))
    assert not nothing.any()  # a policy without connectors


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_has_its_rule(condition):
    share = np.array([0.1, 0.15, 0.05, 0.1, 0.1, 0.2, 0.3])
    rule = interventions.processor(condition, WORDS, share, 2, 0)
    p = left(rule, [0.1, 0.4, 0.1, 0.2, 0.1, 0.05, 0.05], FOUR_WAYS)
    assert p.sum(-1).tolist() == pytest.approx([1, 1])
    connectors = p[0, CONNECTOR].sum().item()
    expected = {"none": 0.5, "suppressed": 0, "random places": 0.5}
    expected |= {f"logits {n:+d}": np.exp(n) / (1 + np.exp(n)) for n in (-1, 1, 2)}
    if condition in expected:
        assert connectors == pytest.approx(expected[condition], abs=1e-6)
        assert (p[0, 3] / p[0, 4]).item() == pytest.approx(2)  # the others stay in proportion
    if condition.startswith("random t"):
        assert connectors > 0.5
        with pytest.raises(ValueError, match="decode 'none' first"):
            interventions.processor(condition, WORDS, None, 2, 0)


def test_one_small_run_of_all_of_it(monkeypatch):
    monkeypatch.setattr(interventions, "PROBLEMS", {"pocket": 6})
    world, benchmarks = scales.world("pocket"), scales.world("pocket").benchmarks
    monkeypatch.setattr(type(world), "benchmarks", lambda self, n: {"hole-2": benchmarks(n)["hole-2"]})
    model, tokenizer = world.policy()
    words = interventions.vocabulary(tokenizer, world.token_classes(tokenizer))
    assert {w for w, c in zip(words.words, words.connector.tolist(), strict=True) if c} == {
        *("so", "then", "thus", "therefore", "hence", "next", "wait", "hmm", "but", "alternatively", "maybe")
    }
    assert not words.free[[words.words.index(w) for w in ("#", "<eos>", "<pad>", "<bos>")]].any()
    rows, again, without = (
        interventions.completions((model, tokenizer), world, "base", 0, condition, None)
        for condition in ("none", "none", "suppressed")
    )
    assert rows["tokens"].map(list).tolist() == again["tokens"].map(list).tolist()
    assert tuple(rows) == interventions.COLUMNS and len(rows) == 6 * interventions.SAMPLES["pocket"]
    assert len(tokens.units(rows)) == rows["length"].sum()  # the plain ones are a rollout table
    assert rows["length"].tolist() == rows["tokens"].map(len).tolist()
    assert (rows["tokens"].map(lambda t: t[-1] == "<eos>") == ~rows["truncated"]).all()
    assert rows["cost"].to_numpy() == pytest.approx(0, abs=1e-3)
    assert rows["entropy"].to_numpy() == pytest.approx(rows["entropy_sampled"], rel=1e-3)
    # the logits kept while generating, left padding and cache included, are those of the completion as a whole
    ids = [tokenizer.convert_tokens_to_ids(list(t)) for t in rows["tokens"]]
    scores = sampling.score(model, sampling.batch(tokenizer(list(rows["prompt"])).input_ids, ids, pad=0))
    for nats, whole, n in zip(rows["entropies"], scores.entropy, rows["length"], strict=True):
        assert nats == pytest.approx(whole[:n].numpy(), abs=2e-4)
    # forbidden connectors do not occur, and their price is recorded
    assert (without["connectors"] == 0).all() and (rows["connectors"] > 0).any()
    assert (without["cost"] > 0).all() and (without["entropy_sampled"] < without["entropy"]).all()


def test_what_is_seen_of_a_token_by_hand():
    """An even choice between two tokens, of which one is forbidden; and no choice at all."""
    policy = logits([0, 0.5, 0, 0.5, 0, 0, 0], SURE)
    sampled = policy.clone()
    sampled[0, 1] = -torch.inf
    seen = interventions.seen(policy, sampled, torch.tensor([3, 3]))
    assert seen["entropy"].tolist() == pytest.approx([np.log(2), 0])
    assert seen["entropy_sampled"].tolist() == pytest.approx([0, 0])
    assert seen["cost"].tolist() == pytest.approx([np.log(2), 0])
    assert seen["gradient_square"].tolist() == seen["disagreement"].tolist() == pytest.approx([0, 0])
    plain = interventions.seen(policy, policy, torch.tensor([1, 3]))
    assert plain["gradient_square"].tolist() == plain["disagreement"].tolist() == pytest.approx([0.5, 0])
    assert plain["cost"].tolist() == [0, 0] and plain["entropy_sampled"].tolist() == plain["entropy"].tolist()
    norm = logit_gradient_norm(logits(FOUR_WAYS), torch.tensor([4]))
    assert interventions.seen(logits(FOUR_WAYS), logits(FOUR_WAYS), torch.tensor([4]))["gradient_square"] == norm**2


def answered(condition: str, lengths: dict[str, list[int]], seed: int = 0, **more: float) -> pd.DataFrame:
    lines = [
        {"arm": "base", "seed": seed, "condition": condition, "benchmark": name[0], "id": name, "length": n,
         "entropy": 0.5 * n, "entropy_sampled": 0.25 * n, "correct": True, "truncated": False, "connectors": 1,
         "cost": 0.0} | more
        for name, of in lengths.items() for n in of
    ]  # fmt: skip
    return pd.DataFrame(lines)


def test_effects_by_hand():
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


def test_each_seed_alone_and_sides_that_cannot_be_compared():
    rows = pd.concat([answered("none", {"a1": [10 * (s + 1)]}, s) for s in range(2)])
    lengths = effects.each_seed(rows).query("quantity == 'length'")
    assert lengths[["seed", "value"]].to_numpy().tolist() == [[0, 10], [1, 20]]
    assert effects.effects(rows).query("quantity == 'length'")["value"].tolist() == [15]
    plain, less = answered("none", {"a1": [10]}), answered("suppressed", {"a2": [10]})
    with pytest.raises(ValueError, match="not every problem was asked"):
        effects.effects(pd.concat([plain, less]))
    with pytest.raises(ValueError, match="base: not every .* 'none' among them"):
        effects.effects(less)
