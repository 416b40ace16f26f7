"""Rows of the policies' completions and prefixes: sums by hand, one kind like the other, bad tables refused."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from torch import Tensor, nn

from egrc.analysis import measure, mix, parts, policies, rows
from egrc.entropy import CLASSES, lexical_classes, probe_entropy
from egrc.evaluation import sampling
from egrc.experiments import records
from egrc.scoring import score_tokens

CLASSED = lexical_classes(tiny.tokenizer())
PROBLEMS = [{"benchmark": "a", "id": t, "prompt": t, "answer": ""} for t in ("1 + 2 ?", "3 + 4 * 2 ?")]


class Uniform(nn.Module):
    """Every word of the tiny vocabulary is as likely as any other."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, len(tiny.VOCABULARY)))


class Certain(nn.Module):
    """'so' is certain."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: object) -> SimpleNamespace:
        logits = torch.full((*input_ids.shape, len(tiny.VOCABULARY)), -torch.inf)
        logits[..., tiny.VOCABULARY.index("so")] = 0.0
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="module")
def answered() -> pd.DataFrame:
    """Rows of the tiny random model; tokens of the completions are sampled anew in the tests that need them."""
    return policies.completions(tiny.model(), tiny.tokenizer(), PROBLEMS, tiny.even, CLASSED, samples=4, cap=20, seed=0)


def test_a_row_is_the_sum_over_its_tokens(answered: pd.DataFrame) -> None:
    model, tokenizer = tiny.model(), tiny.tokenizer()
    prompts = tokenizer([p["prompt"] for p in PROBLEMS for _ in range(4)])["input_ids"]
    sampled = sampling.sample(model, tokenizer, prompts, 20, (0, "policies"))
    assert len(answered) == 8 and len(set(map(tuple, sampled))) == answered["text_key"].nunique()
    for prompt, completion, (_, row) in zip(prompts, sampled, answered.iterrows(), strict=True):
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            logits = model(ids).logits[:, len(prompt) - 1 : -1]
        entropy = score_tokens(logits, torch.tensor([completion]), 1.0).entropy[0].double()
        assert row["tokens"] == len(completion)
        assert row["entropy_sum"] == pytest.approx(float(entropy.sum()), rel=1e-4)
        for i, name in enumerate(CLASSES):
            own = CLASSED.ids[torch.tensor(completion)] == i
            assert row[f"n_{name}"] == own.sum()
            assert row[f"entropy_{name}"] == pytest.approx(float(entropy[own].sum()), rel=1e-4, abs=1e-6)
        assert row["truncated"] == (completion[-1] != tokenizer.eos_token_id)
        text = tokenizer.decode(completion, skip_special_tokens=True)
        assert row["correct"] == (tiny.even(text, "") and not row["truncated"])


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(answered: pd.DataFrame) -> None:
    ask = (tiny.model(), tiny.tokenizer(), PROBLEMS, tiny.even, CLASSED, 4, 20)
    assert policies.completions(*ask, seed=0).equals(answered)
    assert not policies.completions(*ask, seed=1)["text_key"].equals(answered["text_key"])


def test_uniform_and_certain_policies() -> None:
    b = sampling.batch([[1], [1]], [[5, tiny.VOCABULARY.index("so")], [5]], pad=0)
    n = math.log(len(tiny.VOCABULARY))
    sums = pd.DataFrame(policies._sums(Uniform(), b, CLASSED).numpy(), columns=policies.SUMS)
    assert sums["tokens"].tolist() == [2, 1] and sums["n_connector"].tolist() == [1, 0]  # padding is no token
    assert sums["entropy_sum"].tolist() == pytest.approx([2 * n, n])
    assert sums["entropy_connector"].tolist() == pytest.approx([n, 0])
    assert policies._sums(Certain(), b, CLASSED)[:, 1].tolist() == [0, 0]


def test_prefixes_of_uniform_and_certain_policies() -> None:
    uniform = policies.prefixes(Uniform(), tiny.tokenizer(), ["1 ?", "1 + 2 ?"], CLASSED)
    size = len(tiny.VOCABULARY)
    assert uniform["entropy_sum"].tolist() == pytest.approx([math.log(size)] * 2)
    connectors = int((CLASSED.ids == 0).sum())
    assert uniform["n_connector"].tolist() == pytest.approx([connectors / size] * 2)
    assert uniform["entropy_connector"].tolist() == pytest.approx([connectors / size * math.log(size)] * 2)
    certain = policies.prefixes(Certain(), tiny.tokenizer(), ["1 ?"], CLASSED).iloc[0]
    assert (certain["entropy_sum"], certain["n_connector"], certain["n_number"]) == (0, 1, 0)
    assert (certain["kind"], certain["tokens"], certain["text_key"]) == ("prefix", 1, "")


def test_prefix_rows_read_like_the_probe_of_the_trainer() -> None:
    model, texts = tiny.model(), ["1 ?", "1 + 2 ? so", "3 ?"]
    found = policies.prefixes(model, tiny.tokenizer(), texts, CLASSED)
    probe = probe_entropy(model, tiny.tokenizer(), texts, CLASSED)
    assert found["entropy_sum"].mean() == pytest.approx(probe["mean"])
    for name in CLASSES:
        assert found[f"entropy_{name}"].sum() / found[f"n_{name}"].sum() == pytest.approx(probe[name])
    assert found[[f"n_{c}" for c in CLASSES]].sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_both_kinds_decompose_alike(answered: pd.DataFrame) -> None:
    prefixes = policies.prefixes(tiny.model(), tiny.tokenizer(), ["1 ?", "3 ?"], CLASSED)
    for table in (answered, prefixes):
        parted = mix.between(table, table.assign(entropy_connector=0.0), n_boot=5).set_index("part")["estimate"]
        expected = -table["entropy_connector"].sum() / table["tokens"].sum()
        assert parted["certainty_connector"] == pytest.approx(expected) == pytest.approx(parted["total"])


def test_sampling_leaves_the_random_state() -> None:
    state = torch.get_rng_state()
    sampling.sample(tiny.model(), tiny.tokenizer(), [[1, 4]], 5, (0, "x"))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_pads_prompts_left_and_completions_right() -> None:
    b = sampling.batch([[7], [8, 9]], [[1, 2, 3], [4]], pad=0)
    assert b.input_ids.tolist() == [[0, 7, 1, 2, 3], [8, 9, 4, 0, 0]]
    assert b.attention.tolist() == [[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert b.tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert b.mask.tolist() == [[True] * 3, [True, False, False]]


def test_parts() -> None:
    assert parts.split("egrc-reversed/seed-2") == ("egrc-reversed", 2)
    assert parts.named(["a", "b", "a"], (0, 1)) == ["a/seed-0", "a/seed-1", "b/seed-0", "b/seed-1"]
    names = policies.parts("pocket")
    assert names[:4] == ["accuracy/seed-0", "accuracy/seed-1", "accuracy/seed-2", "base/seed-0"]
    assert len(names) == len(set(names)) == 18
    assert "policies" in measure.MEASUREMENTS


# --- reading --------------------------------------------------------------------------------------------------


def table(n: int = 3) -> pd.DataFrame:
    """Whole rows that mean nothing."""
    numbers = dict.fromkeys(policies.SUMS, 1.0) | {"seed": 0, "sample": 0, "correct": True, "truncated": False}
    words = {"scale": "pocket", "tokenizer": "t", "arm": "base", "kind": "completion", "benchmark": "b"}
    return pd.DataFrame([numbers | words | {"id": f"p{i}", "part": "base/seed-0", "text_key": "k"} for i in range(n)])


def write(data: Path, rows_: pd.DataFrame) -> None:
    file = measure.file("policies", "pocket", data)
    file.parent.mkdir(parents=True)
    rows_.to_parquet(file)


def test_a_whole_table_is_read(tmp_path: Path) -> None:
    write(tmp_path, table())
    assert rows.load("policies", "pocket", tmp_path).equals(table())


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (table().assign(entropy_number=[1.0, np.nan, 1.0]), r"policies.parquet, row 2: entropy_number is not a number"),
        (table().assign(entropy_sum=[1.0, 1.0, np.inf]), r"row 3: entropy_sum is not a number"),
        (table().assign(tokenizer=["t", "t", "u"]), r"row 3: tokenizer 'u' beside 't'"),
        (table().assign(scale=["pocket", "smol", "pocket"]), r"row 2: scale 'smol' beside 'pocket'"),
        (table().assign(scale="smol"), r"row 1: scale 'smol' in the folder of 'pocket'"),
        (table().drop(columns="entropy_other"), "policies.parquet: no entropy_other"),
    ],
)
def test_bad_rows_are_refused_by_file_and_row(spoilt: pd.DataFrame, message: str, tmp_path: Path) -> None:
    write(tmp_path, spoilt)
    with pytest.raises(records.RecordError, match=message):
        rows.load("policies", "pocket", tmp_path)


def test_a_missing_measurement_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(records.RecordError, match="egrc measure policies"):
        rows.load("policies", "pocket", tmp_path)


def test_a_scale_that_is_not_measured_says_so(tmp_path: Path) -> None:
    shown = rows.or_why(lambda: rows.load("policies", "smol", tmp_path))
    assert repr(shown) == "policies is not measured at scale 'smol', only at pocket"
    assert rows.or_why(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):  # only what a reader can mend is said instead of raised
        rows.or_why(lambda: 1 / 0)
