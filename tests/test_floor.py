"""The floor: sums by hand, a policy that is the teacher, training that is the base's to the bit, verdicts planted."""

from __future__ import annotations

import random
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from egrc.analysis import floor, limits
from egrc.analysis.floor import COLUMNS, SUMS, Trace
from egrc.entropy import CLASSES
from egrc.worlds.pocket import Pocket, base, exact
from egrc.worlds.pocket.world import VOCABULARY, Problem

TOKENIZER = base.build_tokenizer()


# --- sums -----------------------------------------------------------------------------------------


def test_sums_of_a_completion_by_hand() -> None:
    kinds = np.array([0, 1, 3])  # a connector, a number, another word
    # the second word could not be said by the teacher, the fourth stands after an impossible prefix
    p = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])
    sums = floor.token_sums(np.array([0, 2, 1, 2]), kinds, p, np.full((4, 3), -log(3)), np.full(4, log(3)))
    sums = pd.DataFrame(sums, columns=list(SUMS), index=list(CLASSES)).T
    same = {"tokens": 1, "impossible": 0, "entropy": log(3), "off_entropy": 0, "loss": log(3)}
    near = same | {"floor": log(2), "miss": log(3 / 2), "kl": log(3 / 2)}
    assert sums["connector"].to_dict() == pytest.approx(near | {"slips": 0, "floor_loss": log(2)})
    assert sums["number"].to_dict() == pytest.approx(
        same | {"slips": 0, "floor": 0, "floor_loss": 0, "miss": log(3), "kl": log(3)}
    )
    assert sums["other"].to_dict() == pytest.approx(
        near | {"slips": 1, "floor_loss": 0, "impossible": 1, "off_entropy": log(3)}
    )


class Fake:
    """A model whose logits are a function of the words it has read."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, len(VOCABULARY))
        for i, (ids, attended) in enumerate(zip(input_ids, attention_mask, strict=True)):
            words = TOKENIZER.convert_ids_to_tokens(ids[attended.bool()])[1:]
            mark = words.index("?") + 1
            rows = self.of(exact.read_problem(" ".join(words[:mark])), words[mark:])
            start = int(attended.nonzero()[0]) + mark
            logits[i, start : start + len(rows)] = torch.from_numpy(rows).float()
        return SimpleNamespace(logits=logits)


def test_a_policy_that_is_the_teacher_stands_on_the_floor_and_one_that_knows_nothing_above_it() -> None:
    teacher = Fake(lambda problem, words: np.log(np.maximum(exact.score(problem, words), 1e-30)))
    seen = floor.compare(teacher, TOKENIZER, floor.held_out(2)[1])
    assert len(seen) == 12 * len(CLASSES) and seen["floor"].sum() > 1 and (seen["impossible"] == 0).all()
    for a, b in (("entropy", "floor"), ("loss", "floor_loss")):
        np.testing.assert_allclose(seen[a], seen[b], atol=1e-4)
    np.testing.assert_allclose(seen[["kl", "miss"]], 0, atol=1e-4)
    blank = Fake(lambda problem, words: np.zeros((len(words), len(VOCABULARY))))
    seen = floor.compare(blank, TOKENIZER, floor.held_out(2)[1])
    for column in ("entropy", "loss"):
        np.testing.assert_allclose(seen[column], seen["tokens"] * log(len(VOCABULARY)), rtol=1e-6)
    np.testing.assert_allclose(seen["kl"], seen["loss"] - seen["floor"], rtol=1e-6)


def test_what_follows_a_wrong_sum_is_counted_and_left_out() -> None:
    said = ("so", "3", "+4", "=", "1", ".", "#", "1", "<eos>")  # 3 + 4 is 0 on this clock
    trace = Trace(Problem("forward-3", 3, ("+4", "*2", "-1")), said)
    seen = floor.compare(*Pocket().policy(), [trace]).set_index("class")
    assert seen["tokens"].sum() == 5 and seen["impossible"].sum() == 4
    assert seen["slips"].to_dict() == {"connector": 0, "number": 1, "operator": 0, "other": 0}
    assert seen.loc["other", "tokens"] == 0 and seen.loc["other", "entropy"] == 0


# --- training -------------------------------------------------------------------------------------


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: w.detach().clone() for name, w in model.named_parameters()}


def test_a_base_that_is_looked_at_is_the_base_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor.scales, "config", lambda *names: SimpleNamespace(cap=8))
    for folder, look in (("plain", None), ("seen", lambda step, model: floor.look(model, TOKENIZER, 0, 1))):
        base.train_base(tmp_path / folder, steps=3, look=look)
    plain, seen = ((tmp_path / folder / "model.safetensors").read_bytes() for folder in ("plain", "seen"))
    assert plain == seen


def test_a_token_pulls_only_where_the_policy_is_less_sure_than_the_teacher() -> None:
    model, tokenizer = Pocket().policy()
    traces = floor.training_traces(4, random.Random(0))
    batch = floor.padded(tokenizer, traces)
    plain = floor.limited_loss(model, batch).item()
    assert plain > 0
    assert floor.limited_loss(model, batch, torch.full(batch.tokens.shape, 9.0)).item() == 0
    assert floor.limited_loss(model, batch, torch.full(batch.tokens.shape, -1.0)).item() == pytest.approx(plain)
    exactly = floor.floors(traces)
    assert exactly.shape == batch.tokens.shape and (exactly[~batch.mask] == 0).all()
    assert exactly[0, : len(traces[0].words)].numpy() == pytest.approx(exact.entropy(floor.known(traces[0])), abs=1e-6)
    assert 0 < floor.limited_loss(model, batch, exactly).item() < plain


@pytest.mark.parametrize("diet", floor.LOOKS)
def test_diets(diet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = floor.training_traces(4, random.Random(0))
    model, tokenizer = Pocket().policy()
    before, plain, fed = weights(model), floor.padded, []
    monkeypatch.setattr(floor, "padded", lambda t, traces: fed.append(frozenset(traces)) or plain(t, traces))
    assert list(floor.train_on(model, tokenizer, diet, fixed, random.Random(1), (0, 2))) == [0, 2]
    assert any(not torch.equal(before[name], w) for name, w in weights(model).items())
    assert not any(t.problem.held_out for t in {*fixed, *fed[0], *fed[1]})
    if diet == "fresh":
        assert len(fed[0] | fed[1]) == 8 and not (fed[0] | fed[1]) & set(fixed)
    else:
        assert fed == [frozenset(fixed)] * 2


def test_every_stage_makes_the_columns_and_the_same_rows_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor.scales, "config", lambda scale, arm, seed=0: SimpleNamespace(cap=20, arm=arm, seed=seed))
    for name, value in {"ALONG": (1,), "LOOKS": {"fixed": (0, 1), "fresh": (1,)}, "FIXED": 2}.items():
        monkeypatch.setattr(floor, name, value)
    monkeypatch.setattr(base, "STEPS", 1)
    expected = {
        "along": {"base": 6 * (4 + 2)},
        "beyond/seed-1": {"fixed": 2 * (6 * (4 + 2) + 2 * 4), "fresh": 6 * (4 + 2) + 2 * 4},
        "arms/egrc/seed-2": {"egrc": 6 * (4 + 1)},
    }
    assert set(expected) <= set(floor.parts("pocket")) and "pocket/egrc/seed-2" in floor.inputs("pocket")
    for part, sizes in expected.items():
        one, two = (floor.measure("pocket", part, tmp_path, lambda *done: None, n=1) for _ in range(2))
        assert list(one.columns) == list(COLUMNS) and one["name"].value_counts().to_dict() == sizes
        assert two.equals(one) and limits.checked.check(one, part) is one
    lengths = one.query("measured == 'rollouts'").groupby("id")[["tokens", "impossible"]].sum().sum(axis=1)
    assert lengths.to_dict() == one.query("measured == 'answers'").set_index("id")["tokens"].to_dict()


# --- what the table says --------------------------------------------------------------------------


def planted(rng: np.random.Generator, below: tuple[int, ...] = (0, 1, 2), problems: int = 4) -> pd.DataFrame:
    """A table of the measurement's shape whose answers are known; on the seeds `below` training passes the floor."""
    lines = []

    def add(stage: str, name: str, seed: int, step: int, measured: str, accuracy: float, shift: float) -> None:
        for b in floor.BENCHMARKS:
            for i in range(problems):
                common = {"scale": "pocket", "tokenizer": "t", "stage": stage, "name": name, "seed": seed, "step": step,
                          "benchmark": b, "id": f"{b}/{i}", "temperature": 1.0}  # fmt: skip
                for k, c in enumerate(CLASSES):
                    n = 10 + k
                    nats = {"entropy": n * (0.3 + shift), "floor": n * 0.3, "miss": n * abs(shift), "kl": n * 0.01,
                            "loss": n * (0.31 + shift + 0.01 * rng.random()), "floor_loss": n * 0.305}  # fmt: skip
                    sums = {"tokens": n, "impossible": 1, "slips": 0, "off_entropy": 0.5} | nats
                    lines.append(common | {"measured": measured, "class": c, "correct": 0} | sums)
                    if measured != "rollouts" and stage == "beyond":
                        lines.append(lines[-1] | {"measured": "fixed", "id": ""})
                for t in floor.TEMPERATURES if measured == "traces" else (1.0,):
                    answer = dict.fromkeys(SUMS, 0.0) | {"tokens": 50.0 + i, "correct": int(rng.random() < accuracy)}
                    lines.append(common | {"measured": "answers", "class": "answer", "temperature": t} | answer)

    for step in floor.ALONG:
        add("along", "base", 0, step, "traces", 0.05 + 0.9 * step / limits.LAST, 10 / step)
    for seed in range(3):
        for diet, steps in floor.LOOKS.items():
            slope = {"fixed": -0.15 if seed in below else 0.0, "limited": -0.02, "fresh": 0.0}[diet]
            for step in steps:
                lost = {"fixed": 0.5, "limited": 0.05, "fresh": 0.0}[diet] * step / limits.TRAINED_ON
                add("beyond", diet, seed, step, "traces", 0.95 - lost, slope * step / limits.TRAINED_ON)
        for k, arm in enumerate(("base", "accuracy", "compression", "joint", "egrc", "egrc-reversed")):
            add("arms", arm, seed, 0, "rollouts", 0.7, (0.02, 0.05, -0.1, -0.05, -0.02, 0.0)[k])
    return pd.DataFrame(lines)[list(COLUMNS)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return planted(np.random.default_rng(0))


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    rows = pd.DataFrame({"benchmark": "b", "id": ["x", "y"], "name": "n", "class": "number", "seed": 0,
                         "entropy": [2.0, 4.0], "floor": [1.0, 0.0], "tokens": [1.0, 3.0]})  # fmt: skip
    found = limits.per_token(rows, ["name"], ["entropy", "gap"], n_boot=0).set_index("quantity")["estimate"]
    assert found.to_dict() == {"entropy": 6 / 4, "gap": 5 / 4}
    _, _, drawn = limits.ratios(rows, ["name"], "entropy", n_boot=4000)
    assert set(np.round(np.unique(drawn), 12)) == {round(x, 12) for x in (2.0, 1.5, 4 / 3)}  # xx, xy or yx, yy
    with pytest.raises(ValueError, match="no quantity 'mood'"):
        limits.ratios(rows, ["name"], "mood", 1)


def test_classes_and_their_sum(table: pd.DataFrame) -> None:
    arms = limits.pick(table, stage="arms", measured="rollouts")
    found = limits.per_token(arms, ["name"], ["gap", "impossible"], by_class=True, n_boot=50)
    one = found.query("name == 'compression' and quantity == 'gap'").set_index("class")
    assert set(one.index) == {limits.ALL, *CLASSES}
    np.testing.assert_allclose(one[["estimate", "low", "high"]], -0.1)
    assert limits.wide(one.reset_index(), "class").loc["number", "gap"] == "-0.100 [-0.100, -0.100]"
    shares = found.query("name == 'base' and quantity == 'impossible'").set_index("class")["estimate"]
    assert shares["connector"] == pytest.approx(1 / 11) and shares[limits.ALL] == pytest.approx(4 / 50)


def test_a_change_of_entropy_is_the_floors_plus_the_gaps(table: pd.DataFrame) -> None:
    elsewhere = table.assign(floor=np.where(table["name"] == "joint", 2 * table["floor"], table["floor"]))
    found = limits.moved(elsewhere, n_boot=20).pivot(index="arm", columns="quantity", values="estimate")
    everywhere = 0.03 * 46 / 50  # one token in each class has no floor: 4 of the 50 of a problem
    assert found.loc["accuracy"].to_dict() == pytest.approx(
        {"everywhere": everywhere, "entropy": 0.03, "floor": 0.0, "gap": 0.03}
    )
    joint = found.loc["joint", ["entropy", "floor", "gap"]].tolist()
    assert joint == pytest.approx([-0.07, 0.3, -0.37])


def test_verdicts_find_what_was_planted(table: pd.DataFrame) -> None:
    found = limits.verdicts(table, n_boot=200).set_index("question")
    assert list(found.index) == list(limits.QUESTIONS)
    assert (found["verdict"] == "supported").all(), found[["estimate", "low", "high", "verdict"]]
    assert found.loc["exploration", ["estimate", "low", "high"]].tolist() == pytest.approx([0.08] * 3)  # paired
    assert found.loc["exploration", "each"] == [0.08] * 3
    assert found["n"].eq(24).all() and found["seeds"].to_list() == [1, 3, 3, 3, 3, 3]
    mirrored = table.assign(entropy=table["floor"] - (table["entropy"] - table["floor"]), correct=1 - table["correct"])
    assert (limits.verdicts(mirrored, n_boot=50)["verdict"] == "not supported").all()


def test_where_a_seed_does_not_go_below_the_floor_nothing_is_said_of_beyond() -> None:
    found = limits.verdicts(planted(np.random.default_rng(0), below=(0, 2)), n_boot=50).set_index("question")["verdict"]
    assert found["beyond"].startswith("not testable") and found["limited"].startswith("not testable")
    assert found["compression"] == "supported"


def test_the_steps_that_questions_name_are_measured() -> None:
    assert limits.LAST == base.STEPS == floor.ALONG[-1]
    assert limits.STAGE_TWO == base.MIXED_STEPS and limits.STAGE_TWO in floor.ALONG
    assert all(points[-1] == limits.TRAINED_ON for points in floor.LOOKS.values())
