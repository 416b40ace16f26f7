"""The tug of war on recorded words: sets by hand, gradients and scores against plain autograd."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from peft import get_peft_model

from egrc.analysis import gradients, measure, tug_words
from egrc.entropy import CLASSES
from egrc.experiments import run, scales
from egrc.experiments.records import RecordError
from egrc.worlds import smol

SO, NUMBER, PLUS, AGAIN = (tiny.VOCABULARY.index(word) for word in ("so", "3", "+", "again"))


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


# --- sets -----------------------------------------------------------------------------------------


def test_classes_by_hand() -> None:
    found = tug_words.classes(problem(), 0)
    assert list(found) == [(-1, name) for name in (*CLASSES, tug_words.STRICT)]
    as_lists = {name: [mask.tolist() for mask in masks] for (_, name), masks in found.items()}
    assert as_lists["connector"] == [[True, False, True, False], [True, True, False]]
    assert as_lists["other"] == [[False, False, False, True], [False] * 3]
    assert as_lists[tug_words.STRICT] == [[True, False, False, False], [True, True, False]]


def test_every_token_has_one_class() -> None:
    found = tug_words.classes(problem(), 0)
    for r, length in enumerate(problem()["length"]):
        assert (np.sum([found[-1, name][r] for name in CLASSES], axis=0) == np.ones(length)).all()


def test_random_sets_are_as_large_and_differ() -> None:
    found, names = tug_words.permuted(problem(), 0, range(5)), ("connector", tug_words.STRICT)
    assert list(found) == [(k, name) for k in range(5) for name in names]
    drawn = {key: tuple(np.concatenate(masks)) for key, masks in found.items()}
    for name, size in zip(names, (4, 3), strict=True):
        assert {sum(drawn[k, name]) for k in range(5)} == {size}
        assert len({drawn[k, name] for k in range(5)}) > 1
    assert [len(mask) for mask in found[0, "connector"]] == problem()["length"].tolist()
    again = tug_words.permuted(problem(), 0, [3])  # a part's draws do not depend on what else it draws
    assert all((a == b).all() for a, b in zip(again[3, "connector"], found[3, "connector"], strict=True))
    other = tug_words.permuted(problem(), 1, range(5))
    assert drawn != {key: tuple(np.concatenate(masks)) for key, masks in other.items()}


def test_parts_draw_each_random_set_once() -> None:
    drawn = [k for part in tug_words.parts("smol")[1:] for k in tug_words.PERMUTATIONS[part]]
    assert drawn == list(range(len(drawn))) and len(drawn) >= 3


def test_problems_that_were_never_solved_are_left_out() -> None:
    table = pd.concat([problem("a"), problem("b").assign(correct=False), problem("c")])
    assert [rows["id"].iloc[0] for rows in tug_words.problems(table)] == ["a", "c"]
    with pytest.raises(RecordError, match="no rollout is correct"):
        tug_words.problems(table.assign(correct=False))


# --- gradients ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def look() -> tug_words.Look:
    torch.manual_seed(0)
    model = get_peft_model(tiny.model(layers=1, width=16), run.lora(scales.config("smol", "accuracy"))).eval()
    found = tug_words.Look(model, tiny.tokenizer())
    # no connector that only the cited list has is among these few words, so another list stands for the strict one
    found.masks["_strict"] = tug_words.connector_tokens(found.tokenizer, ("so",))
    return found


@pytest.fixture(scope="module")
def table(look: tug_words.Look, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    solved = [problem("a"), problem("b").iloc[::-1]]
    made = [
        tug_words.take(look, solved, sets, push, tmp_path_factory.mktemp("work"), lambda done, total: None)
        for sets, push in ((partial(tug_words.permuted, permutations=(0, 1)), False), (tug_words.classes, True))
    ]
    return pd.concat(made, ignore_index=True).assign(arm="base", seed=0, step=0)


def plain(look: tug_words.Look, value: torch.Tensor, kind: str = "lora_B") -> torch.Tensor:
    """Gradient of a number with respect to one kind of the adapter's matrices."""
    parameters = [p for name, p in look.model.named_parameters() if kind in name]
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, retain_graph=True)])


def log_probabilities(look: tug_words.Look, ids: np.ndarray) -> torch.Tensor:
    """log pi after the prompt and each token, float32 [tokens, V]."""
    prompt = look.tokenizer(smol.prompt("3 + 4 ?")).input_ids
    whole = torch.tensor([prompt + ids.tolist()])
    return look.model(input_ids=whole).logits[0, -len(ids) - 1 : -1].log_softmax(-1)


def test_gradients_are_those_of_the_objective(look: tug_words.Look, table: pd.DataFrame) -> None:
    connectors = tug_words.classes(problem(), 0)[-1, "connector"]
    for name, masks in {"connector": connectors, "all": [np.ones(4, bool), np.ones(3, bool)]}.items():
        value = sum(
            row.advantage_accuracy * log_probabilities(look, row.subword_ids)[mask, row.subword_ids[mask]].sum()
            for row, mask in zip(problem().itertuples(), masks, strict=True)
        )
        assert not plain(look, value, "lora_A").any()  # which is why only B is looked at
        square = plain(look, value).square().sum().item()
        a, b = table[(table["token_class"] == name) & (table["permutation"] == -1)]["gram_accuracy"]
        assert a.tolist() == pytest.approx([square], rel=1e-4) and square > 0
        assert b.tolist() == pytest.approx([square] * 2, rel=1e-4)  # the same rollouts in another order


def test_scores_are_inner_products_with_the_gradient_of_the_mass(look: tug_words.Look, table: pd.DataFrame) -> None:
    rows = list(problem().itertuples())
    logps = [log_probabilities(look, row.subword_ids) for row in rows]
    each = [logp[range(row.length), row.subword_ids].sum() for logp, row in zip(logps, rows, strict=True)]
    for column, phrases in (("scores", tug_words.PENN), ("scores_strict", ("so",))):
        said = [i for i, word in enumerate(tiny.VOCABULARY) if word in phrases]
        uphill = plain(look, sum(logp.exp()[:, said].sum() for logp in logps) / 7)  # 7 contexts; the other is alike
        expected = [(plain(look, value) @ uphill).item() for value in each]
        row = table[(table["token_class"] == "all") & (table["id"] == "a")].iloc[0]
        assert row[column].tolist() == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_facts_and_columns(look: tug_words.Look, table: pd.DataFrame) -> None:
    row = table.query("token_class == 'connector' and permutation == -1 and id == 'a'").iloc[0]
    p = [log_probabilities(look, r.subword_ids).exp().detach() for r in problem().itertuples()]
    said = [i for i, word in enumerate(tiny.VOCABULARY) if word in tug_words.PENN]
    places = torch.cat([p[0][[0, 2]], p[1][[0, 1]]])
    assert (row["tokens"], row["correct"]) == (4, 1)
    assert row["mass"] == pytest.approx(float(places[:, said].sum()), rel=1e-5)
    assert row["entropy"] == pytest.approx(float(torch.special.entr(places).sum()), rel=1e-5)
    assert set(tug_words.COLUMNS) - set(table) == {"scale", "tokenizer"}


def test_the_reading_functions_take_it(table: pd.DataFrame) -> None:
    for name in ("connector", tug_words.STRICT):
        estimate, low, high = gradients.norm_ratio(table, token_class=name)
        assert low <= estimate <= high and estimate > 0
    for objective in ("accuracy", "compression"):
        whole = gradients.push(table, objective)[0]
        parts = [gradients.push(table, objective, name)[0] for name in CLASSES]
        assert sum(parts) == pytest.approx(whole, rel=1e-3, abs=1e-6)
    strict = gradients.push(table.assign(scores=table["scores_strict"]), "accuracy")[0]
    assert strict != gradients.push(table, "accuracy")[0]


def test_a_killed_part_goes_on_where_it_was(look: tug_words.Look, tmp_path: Path) -> None:
    solved = [problem("a"), problem("b")]

    def killed(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tug_words.take(look, solved, tug_words.classes, True, tmp_path, killed)
    kept = {file.name: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert set(kept) == {"mass-0.safetensors", "mass-1.safetensors", "sets-0.safetensors"}
    said: list[tuple[int, int]] = []
    again = tug_words.take(look, solved, tug_words.classes, True, tmp_path, lambda *progress: said.append(progress))
    assert said == [(i, 4) for i in range(5)] and len(again) == 2 * 6
    assert {file: (tmp_path / file).stat().st_mtime_ns for file in kept} == kept


def test_connector_tokens() -> None:
    mask = tug_words.connector_tokens(tiny.tokenizer(), ("so", "then", "as a result"))
    assert [word for word, chosen in zip(tiny.VOCABULARY, mask.tolist(), strict=False) if chosen] == ["so", "then"]


def test_measure_needs_the_rollouts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure.paths, "DATA", tmp_path)
    monkeypatch.setitem(measure.MEASUREMENTS, "words", ("smol", "rollouts"))
    with pytest.raises(RecordError, match="measure words --scale smol"):
        tug_words.inputs("smol")
