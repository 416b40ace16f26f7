"""Gradients on recorded words: sets by hand, and rows that the reading functions take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from peft import get_peft_model

from egrc.analysis import gradients, measure, tug, tug_words
from egrc.entropy import CLASSES
from egrc.experiments import run, scales
from egrc.experiments.records import RecordError

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


def test_the_reading_functions_take_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_peft_model(tiny.model(layers=1, width=16), run.lora(scales.config("smol", "accuracy"))).eval()
    solved = [problem("a"), problem("b").iloc[::-1]]
    groups = [tug_words.group(rollouts, tiny.tokenizer()) for rollouts in solved]
    sets = [tug_words.classes(r) | tug_words.permuted(r, i, (0, 1)) for i, r in enumerate(solved)]
    mass = tug_words.connector_tokens(tiny.tokenizer())
    table = tug.take(model, groups, sets, mass, tmp_path, lambda done, total: None).assign(arm="base", seed=0, step=0)
    assert set(tug_words.COLUMNS) - set(table) == {"scale", "tokenizer"}
    a, b = table[(table["token_class"] == "connector") & (table["permutation"] == -1)]["gram_accuracy"]
    assert b.tolist() == pytest.approx([*a, *a], rel=1e-4) and a[0] > 0  # the same rollouts in another order
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
