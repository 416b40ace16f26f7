"""The two objectives' gradients by hand, pushes by finite differences, intervals by the jackknife."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from peft import get_peft_model
from torch import Tensor, nn

from egrc.analysis import gradients, measure, tug, tug_words
from egrc.config import Config, Lengths
from egrc.controller import EntropyGate
from egrc.entropy import CLASSES, TokenClasses, lexical_classes
from egrc.evaluation import sampling
from egrc.experiments import run, scales
from egrc.experiments.records import RecordError
from egrc.methods.egrc import accuracy, compress

TWO = TokenClasses(CLASSES, torch.tensor([0, 1]))  # a vocabulary of a connector and a number


class Coin(nn.Module):
    """A policy of two words, with logits B A 1 in every context: A = 1, and B = 0 makes both as likely."""

    def __init__(self) -> None:
        super().__init__()
        a_map, b_map = nn.Linear(1, 1, bias=False), nn.Linear(1, 2, bias=False)
        a_map.weight.data, b_map.weight.data = torch.ones(1, 1), torch.zeros(2, 1)
        maps = {"lora_A": a_map, "lora_B": b_map}
        self.layer = nn.ModuleDict({name: nn.ModuleDict({"default": m}) for name, m in maps.items()})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **_: Any) -> SimpleNamespace:
        a_map, b_map = (self.layer[name]["default"] for name in ("lora_A", "lora_B"))
        return SimpleNamespace(logits=b_map(a_map(torch.ones(len(input_ids), logits_to_keep, 1))))


def take(model: nn.Module, groups: list[tug.Group], classes: TokenClasses, permutations: int, work: Path) -> Any:
    sets = tug.by_class(groups, classes, permutations, 0)
    connectors = classes.ids == CLASSES.index("connector")
    return tug.take(model, groups, sets, connectors, work, lambda done, total: None).assign(arm="base", seed=0, step=0)


def of_coin(work: Path, completions: list[list[int]], permutations: int = 0, **advantage: list[float]) -> pd.DataFrame:
    """One problem's rollouts after a prompt of one token, with advantages as given."""
    rollouts = sampling.batch([[0]] * len(completions), completions, pad=0)
    weighed = {name: torch.tensor(a, dtype=torch.float64) for name, a in advantage.items()}
    return take(Coin(), [tug.Group("hole-2", "p", rollouts, weighed)], TWO, permutations, work)


def one(table: pd.DataFrame, token_class: str, permutation: int = -1) -> pd.Series:
    (found,) = table.query("token_class == @token_class and permutation == @permutation").iloc
    return found


@pytest.fixture
def opposed(tmp_path: Path) -> pd.DataFrame:
    """Two rollouts of one token; accuracy wants the connector, compression the number."""
    return of_coin(tmp_path, [[0], [1]], 1, accuracy=[1, 0], compression=[0, 1])


def test_opposite_gradients_have_cosine_minus_one(opposed):
    # d log p / d B is (1/2, -1/2) for the connector and (-1/2, 1/2) for the number; B = 0 leaves A without a gradient
    found = gradients.summary(opposed).set_index(["permutation", "token_class"])
    assert found.loc[(-1, "all"), "cosine"] == pytest.approx(-1)
    assert found.loc[(-1, "all"), "norm_accuracy"] == pytest.approx(math.sqrt(1 / 2))
    assert found.loc[(-1, "connector"), "norm_compression"] == 0  # compression rewards no connector
    assert math.isnan(found.loc[(-1, "connector"), "cosine"])
    assert gradients.cosine(opposed) == pytest.approx((-1, -1, -1))


def test_a_positive_advantage_takes_mass_from_the_tokens_it_does_not_raise(opposed):
    # M = p(connector) = 1/2, grad M = (1/4, -1/4): s is 1/4 for the connector, -1/4 for the number
    assert one(opposed, "all")["scores"].tolist() == pytest.approx([1 / 4, -1 / 4])
    assert one(opposed, "connector")["scores"].tolist() == pytest.approx([1 / 4, 0])
    assert (one(opposed, "all")["advantage_compression"] >= 0).all()
    assert one(opposed, "connector", 0)["tokens"] == 1 and one(opposed, "other")["tokens"] == 0
    # scores add up to 0, so shuffled advantages push nowhere; per unit of length, gradients being sqrt(1/2) long
    assert gradients.push(opposed, "compression")[0] == pytest.approx(-1 / 4 / math.sqrt(1 / 2))
    assert gradients.push(opposed, "accuracy")[0] == pytest.approx(1 / 4 / math.sqrt(1 / 2))


def test_rewards_that_tell_nothing_push_nothing_beyond_chance(tmp_path):
    # every rollout is rewarded alike, and there are more connectors: the raw push is up, the excess is nothing
    table = of_coin(tmp_path, [[0], [0], [1]], accuracy=[0, 0, 0], compression=[1, 1, 1])
    row = one(table, "all")
    assert row["advantage_compression"] @ row["scores"] == pytest.approx(1 / 4)
    assert gradients.push(table, "compression")[0] == pytest.approx(0, abs=1e-7)


LENGTHS = Lengths(30, 20, 10, 0.1, EntropyGate())
PHASES = {"accuracy": accuracy(LENGTHS).phases[0], "compression": compress(LENGTHS)}
PROBLEMS = [{"benchmark": b, "id": t, "prompt": t, "answer": ""} for b, t in (("a", "1 + 2 ?"), ("b", "3 + 4 * 2 ?"))]


@pytest.fixture(scope="module")
def policy() -> Any:
    """A tiny model whose adapter has moved, in float64 so that differences can be taken."""
    torch.manual_seed(0)
    config = Config("pocket", "accuracy", accuracy(LENGTHS))
    model = get_peft_model(tiny.model(layers=1, width=16), run.lora(config)).eval().double()
    for name, p in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(p, std=0.1)
    return model


@pytest.fixture(scope="module")
def frozen(policy: Any) -> list[tug.Group]:
    """Rollouts of the tiny model: an untrained one hardly ends by itself, so every completion may be right."""
    return tug.freeze(policy, tiny.tokenizer(), PROBLEMS, tiny.even, PHASES, 4, 30, (0, "test"))


def parameters(model: Any) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def log_probabilities(model: Any, g: tug.Group) -> Tensor:
    """Of each rollout: [rollouts]."""
    b = g.rollouts
    every = sampling.logits(model, b).log_softmax(-1).gather(-1, b.tokens.unsqueeze(-1)).squeeze(-1)
    return (every * b.mask).sum(1)


@pytest.mark.parametrize("logits", [tug.LOGITS, 1])  # all rollouts in one pass, or one by one
def test_the_push_is_what_a_small_step_does_to_the_mass(policy, frozen, logits, tmp_path, monkeypatch):
    monkeypatch.setattr(tug, "LOGITS", logits)
    classes = lexical_classes(tiny.tokenizer())
    table = take(policy, frozen, classes, 0, tmp_path)
    scores = np.concatenate(table[table["token_class"] == "all"]["scores"].tolist())
    parts = table[table["token_class"] != "all"].groupby("problem")["scores"].sum()
    np.testing.assert_allclose(np.concatenate(parts.tolist()), scores, rtol=1e-3, atol=1e-6)  # classes add up to all
    wanted = torch.linspace(-1, 1, len(scores)).double()  # any advantages do

    def mass() -> float:
        connectors, masks = classes.ids == CLASSES.index("connector"), [g.rollouts.mask for g in frozen]
        each = [sampling.logits(policy, g.rollouts).softmax(-1)[g.rollouts.mask][:, connectors].sum() for g in frozen]
        return sum(each).item() / int(sum(mask.sum() for mask in masks))

    loss = sum((wanted.view(2, -1)[i] * log_probabilities(policy, g)).sum() for i, g in enumerate(frozen))
    step = torch.autograd.grad(loss, parameters(policy))
    length, readings = 1e-3 / max(float(g.norm()) for g in step), []
    for way in (length, -2 * length, length):
        with torch.no_grad():
            for p, direction in zip(parameters(policy), step, strict=True):
                p += way * direction
        readings.append(mass())
    assert (readings[0] - readings[1]) / (2 * length) == pytest.approx(float(wanted.numpy() @ scores), rel=1e-3)


def test_advantages_are_those_of_the_arms():
    found = tug.advantages(PHASES, torch.tensor([True, True, False, False]), torch.tensor([10, 20, 5, 30]))
    assert found["accuracy"].tolist() == pytest.approx([s * 0.5 / (3**-0.5 + 1e-4) for s in (1, 1, -1, -1)])
    assert found["compression"].tolist() == pytest.approx([0.1**0.5, 0.1, 0, 0])


def test_a_policy_without_adapter_is_refused():
    with pytest.raises(ValueError, match="no LoRA adapter"), tug.adapter_gradients(tiny.model(layers=1, width=16)):
        pass


def rows(vectors: dict[int, list[list[float]]], benchmarks: str = "ab", seed: int = 0) -> pd.DataFrame:
    """Connector rows: per permutation one vector a problem, under accuracy; compression has their negatives."""
    lines = []
    for permutation, given in vectors.items():
        v = np.array(given, float)
        for i in range(len(v)):
            lines.append({
                "arm": "base", "seed": seed, "step": 0, "permutation": permutation, "token_class": "connector",
                "problem": i, "id": f"p{i}", "benchmark": benchmarks[i], "gram_accuracy": v[: i + 1] @ v[i],
                "gram_compression": v[: i + 1] @ v[i], "gram_cross": -(v[: i + 1] @ v[i]),
            })  # fmt: skip
    return pd.DataFrame(lines)


def test_norms_are_of_the_sum_over_problems():
    # (3, 0) + (0, 4) has norm 5; cancelled ones have 0; random sets of norms 1 and 4 have mean 2.5
    table = rows({-1: [[3, 0], [0, 4]], 0: [[1, 0], [0, 0]], 1: [[2, 0], [2, 0]]})
    assert gradients.summary(table)["norm_accuracy"].tolist() == pytest.approx([5, 1, 4])
    assert gradients.norm_ratio(table) == pytest.approx((2, 2, 2))  # one problem a benchmark: no spread
    assert gradients.cosine(table, "connector") == pytest.approx((-1, -1, -1))
    cancelled = rows({-1: [[3, 0], [-3, 0]], 0: [[1, 0], [0, 0]]})
    assert gradients.norm_ratio(cancelled)[0] == 0 and np.isnan(gradients.cosine(cancelled, "connector")).all()


def test_problems_are_left_out_within_their_benchmark():
    w = gradients.weights(["a", "b", "a", "a"])
    assert w.tolist() == [[1, 1, 1, 1], [0, 1, 1.5, 1.5], [1, 1, 1, 1], [1.5, 1, 0, 1.5], [1.5, 1, 1.5, 0]]
    table = rows({-1: [[1, 0], [3, 0]], 0: [[1, 0], [1, 0]]}, benchmarks="aa")
    # over random sets of norm 2: (1 + 3) / 2 = 2; without one 3 + 3 or 1 + 1, so 3 or 1: variance 1/2 (1 + 1) = 1
    assert gradients.norm_ratio(table) == pytest.approx((2, 2 - 1.959964, 2 + 1.959964))
    other = rows({-1: [[3, 0], [1, 0]], 0: [[1, 0], [1, 0]]}, "aa", seed=1)
    assert gradients.norm_ratio(pd.concat([table, other])) == pytest.approx((2, 2, 2))  # seeds leave out the same one


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.iloc[1:], "not one row for each problem"),
        (lambda t: pd.concat([t, t.assign(step=10)]), "one arm at one step"),
        (lambda t: t.iloc[:0], "one arm at one step"),
        (lambda t: pd.concat([t, t.assign(seed=1, id="q")]), "different problems"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        gradients.cosine(spoil(rows({-1: [[3, 0], [0, 4]]})), "connector")


SO, NUMBER, PLUS, AGAIN = (tiny.VOCABULARY.index(word) for word in ("so", "3", "+", "again"))


def rollout(ids: list[int], starts: list[int], classes: list[str], **facts: Any) -> dict[str, Any]:
    return {
        "benchmark": "svamp", "id": "p", "prompt": "3 + 4 ?", "correct": True, "length": len(ids),
        "subword_ids": np.array(ids), "starts": np.array(starts), "classes": classes, **facts,
    }  # fmt: skip


def problem(name: str = "p") -> pd.DataFrame:
    """Two rollouts, of which one is correct; the first word of the second has two tokens."""
    good = rollout([SO, NUMBER, AGAIN, 2], [0, 1, 2, 3], ["connector", "number", "connector", "layout"])
    bad = rollout([SO, AGAIN, PLUS], [0, 2], ["connector", "operator"], correct=False)
    return pd.DataFrame([good, bad]).assign(id=name)


def test_sets_by_hand():
    sets = {name: mask.int().tolist() for (_, name), mask in tug_words.true(problem()).items()}
    assert sets == {"connector": [[1, 0, 1, 0], [1, 1, 0, 0]], "all": [[1, 1, 1, 1], [1, 1, 1, 0]]}


def test_random_sets_are_as_large_and_differ():
    found = tug_words.permuted(problem(), 0, range(5))
    assert list(found) == [(k, "connector") for k in range(5)]
    masks = list(found.values())
    assert {int(mask.sum()) for mask in masks} == {4} and not any(mask[1, 3] for mask in masks)
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 1
    again = tug_words.permuted(problem(), 0, [3])  # a part's draws do not depend on what else it draws
    assert torch.equal(again[3, "connector"], found[3, "connector"])
    assert not all(torch.equal(mask, found[key]) for key, mask in tug_words.permuted(problem(), 1, range(5)).items())
    drawn = [k for part in tug_words.parts("real")[1:] for k in tug_words.PERMUTATIONS[part]]
    assert drawn == list(range(len(drawn))) and len(drawn) >= 3


def test_the_first_problems_that_were_solved_are_taken(monkeypatch):
    table = pd.concat([problem("a"), problem("b").assign(correct=False), problem("c")])
    assert [rows["id"].iloc[0] for rows in tug_words.problems(table)] == ["a", "c"]
    monkeypatch.setattr(tug_words, "PROBLEMS", 1)
    assert [rows["id"].iloc[0] for rows in tug_words.problems(table)] == ["a"]
    with pytest.raises(RecordError, match="no rollout is correct"):
        tug_words.problems(table.assign(correct=False))


def test_the_reading_functions_take_it(tmp_path):
    torch.manual_seed(0)
    model = get_peft_model(tiny.model(layers=1, width=16), run.lora(scales.config("smol", "accuracy"))).eval()
    solved, world = [problem("a"), problem("b").iloc[::-1]], SimpleNamespace(prompt=str)
    groups = [tug_words.group(r, tiny.tokenizer(), world, tug.objectives("real")) for r in solved]
    right, wrong = groups[0].advantage["accuracy"].tolist()  # a group is the problem's rollouts
    assert right == -wrong > 0
    sets = [tug_words.true(r) | tug_words.permuted(r, i, (0, 1)) for i, r in enumerate(solved)]
    mass = tug_words.connector_tokens(tiny.tokenizer())
    table = tug.take(model, groups, sets, mass, tmp_path, lambda done, total: None).assign(arm="base", seed=0, step=0)
    assert set(tug_words.COLUMNS) - set(table) == {"scale", "tokenizer"}
    a, b = table[(table["token_class"] == "connector") & (table["permutation"] == -1)]["gram_accuracy"]
    assert b.tolist() == pytest.approx([*a, *a], rel=1e-4) and a[0] > 0  # the same rollouts in another order
    estimate, low, high = gradients.norm_ratio(table, token_class="connector")
    assert low <= estimate <= high and estimate > 0
    alone = [tug_words.permuted(r, i, (0, 1)) for i, r in enumerate(solved)]
    rows = tug.take(model, groups, alone, mass, tmp_path, lambda done, total: None)  # as the part of random sets does
    there = table[table["permutation"] >= 0].reset_index(drop=True)
    for column in ("gram_accuracy", "gram_compression"):
        assert np.concatenate(rows[column].to_list()) == pytest.approx(np.concatenate(there[column].to_list()))
    assert not any(scores.any() for scores in rows["scores"])


def test_measure_needs_the_rollouts(monkeypatch, tmp_path):
    monkeypatch.setattr(measure.paths, "DATA", tmp_path)
    with pytest.raises(RecordError, match="measure words --scale real"):
        tug_words.inputs("real")
