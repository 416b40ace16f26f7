"""The tug of war on recorded words: sets by hand, gradients and scores against plain autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from peft import get_peft_model

from egrc.analysis import gradients, tug, tug_words
from egrc.entropy import CLASSES
from egrc.experiments import measure, run, scales
from egrc.experiments.records import RecordError
from egrc.worlds import smol

SO, NUMBER, PLUS, AGAIN = (tiny.VOCABULARY.index(word) for word in ("so", "3", "+", "again"))
PAIR = ("connector", tug_words.STRICT)


def rollout(ids: list[int], starts: list[int], classes: list[str], strict: list[str], **facts: Any) -> dict[str, Any]:
    return {
        "benchmark": "handmade", "id": "p", "prompt": "3 + 4 ?", "correct": True, "length": len(ids),
        "subword_ids": np.array(ids), "starts": np.array(starts), "classes": classes, "classes_strict": strict,
        "advantage_accuracy": 0.0, "advantage_compression": 0.0, **facts,
    }  # fmt: skip


def problem(name: str = "p") -> pd.DataFrame:
    """Two rollouts, of which one is correct; the first word of the second has two tokens."""
    good = rollout(
        [SO, NUMBER, AGAIN, 2], [0, 1, 2, 3], ["connector", "number", "connector", "layout"],
        ["connector", "number", "function", "layout"], advantage_accuracy=0.7, advantage_compression=0.5,
    )  # fmt: skip
    bad = rollout(
        [SO, AGAIN, PLUS], [0, 2], ["connector", "operator"], ["connector", "operator"],
        advantage_accuracy=-0.7, correct=False,
    )  # fmt: skip
    return pd.DataFrame([good, bad]).assign(id=name)


def test_classes_by_hand() -> None:
    found = {name: mask.int().tolist() for (_, name), mask in tug_words.classes(problem()).items()}
    assert found["connector"] == [[1, 0, 1, 0], [1, 1, 0, 0]]
    assert found["other"] == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert found[tug_words.STRICT] == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert found["all"] == np.sum([found[name] for name in CLASSES], axis=0).tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_random_sets_are_as_large_and_differ() -> None:
    found = tug_words.permuted(problem(), 0, range(5))
    assert list(found) == [(k, name) for k in range(5) for name in PAIR]
    for name, size in zip(PAIR, (4, 3), strict=True):
        masks = [found[k, name] for k in range(5)]
        assert {int(mask.sum()) for mask in masks} == {size} and not any(mask[1, 3] for mask in masks)
        assert len({tuple(mask.flatten().tolist()) for mask in masks}) > 1
    again = tug_words.permuted(problem(), 0, [3])  # a part's draws do not depend on what else it draws
    assert torch.equal(again[3, "connector"], found[3, "connector"])
    assert not all(torch.equal(mask, found[key]) for key, mask in tug_words.permuted(problem(), 1, range(5)).items())
    drawn = [k for part in tug_words.parts("smol")[1:] for k in tug_words.PERMUTATIONS[part]]
    assert drawn == list(range(len(drawn))) and len(drawn) >= 3


def test_problems_that_were_never_solved_are_left_out() -> None:
    table = pd.concat([problem("a"), problem("b").assign(correct=False), problem("c")])
    assert [rows["id"].iloc[0] for rows in tug_words.problems(table)] == ["a", "c"]
    with pytest.raises(RecordError, match="no rollout is correct"):
        tug_words.problems(table.assign(correct=False))


# --- gradients ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    return get_peft_model(tiny.model(layers=1, width=16), run.lora(scales.config("smol", "accuracy"))).eval()


@pytest.fixture(scope="module")
def table(model: Any, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    solved = [problem("a"), problem("b").iloc[::-1]]
    groups = [tug_words.group(rollouts, tiny.tokenizer()) for rollouts in solved]
    sets = [tug_words.classes(r) | tug_words.permuted(r, i, (0, 1)) for i, r in enumerate(solved)]
    mass = tug_words.connector_tokens(tiny.tokenizer())
    work = tmp_path_factory.mktemp("work")
    return tug.take(model, groups, sets, mass, work).assign(arm="base", seed=0, step=0)


def plain(model: Any, value: torch.Tensor, kind: str = "lora_B") -> torch.Tensor:
    """Gradient of a number with respect to one kind of the adapter's matrices."""
    parameters = [p for name, p in model.named_parameters() if kind in name]
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, retain_graph=True)])


def log_probabilities(model: Any, ids: np.ndarray) -> torch.Tensor:
    """log pi after the prompt and each token, float32 [tokens, V]."""
    whole = torch.tensor([tiny.tokenizer()(smol.prompt("3 + 4 ?")).input_ids + ids.tolist()])
    return model(input_ids=whole).logits[0, -len(ids) - 1 : -1].log_softmax(-1)


def test_gradients_are_those_of_the_objective(model: Any, table: pd.DataFrame) -> None:
    sets = tug_words.classes(problem())
    for name in ("connector", "all"):
        value = sum(
            row.advantage_accuracy
            * (log_probabilities(model, row.subword_ids)[range(row.length), row.subword_ids] * mask[: row.length]).sum()
            for row, mask in zip(problem().itertuples(), sets[-1, name], strict=True)
        )
        assert not plain(model, value, "lora_A").any()  # which is why only B is looked at
        square = plain(model, value).square().sum().item()
        a, b = table[(table["token_class"] == name) & (table["permutation"] == -1)]["gram_accuracy"]
        assert a.tolist() == pytest.approx([square], rel=1e-4) and square > 0
        assert b.tolist() == pytest.approx([square] * 2, rel=1e-4)  # the same rollouts in another order


def test_scores_are_inner_products_with_the_gradient_of_the_mass(model: Any, table: pd.DataFrame) -> None:
    rows = list(problem().itertuples())
    logps = [log_probabilities(model, row.subword_ids) for row in rows]
    each = [logp[range(row.length), row.subword_ids].sum() for logp, row in zip(logps, rows, strict=True)]
    said = [i for i, word in enumerate(tiny.VOCABULARY) if word in tug_words.PENN]
    uphill = plain(model, sum(logp.exp()[:, said].sum() for logp in logps) / 7)  # 7 contexts; the other is alike
    expected = [(plain(model, value) @ uphill).item() for value in each]
    row = table[(table["token_class"] == "all") & (table["id"] == "a")].iloc[0]
    assert row["scores"].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_the_reading_functions_take_it(table: pd.DataFrame) -> None:
    assert set(tug_words.COLUMNS) - set(table) == {"scale", "tokenizer"}
    for name in PAIR:
        estimate, low, high = gradients.norm_ratio(table, token_class=name)
        assert low <= estimate <= high and estimate > 0
    for objective in tug.OBJECTIVES:
        whole = gradients.push(table, objective)[0]
        parts = [gradients.push(table, objective, name)[0] for name in CLASSES]
        assert sum(parts) == pytest.approx(whole, rel=1e-3, abs=1e-6)


def test_measure_needs_the_rollouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure.paths, "DATA", tmp_path)
    with pytest.raises(RecordError, match="measure words --scale smol"):
        tug_words.inputs("smol")
