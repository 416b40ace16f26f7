"""Rows of the policies' completions and prefixes: sums by hand, one kind like the other, bad tables refused."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from egrc.analysis import measure, parts, policies, rows
from egrc.atomic import write_parquet
from egrc.entropy import CLASSES, lexical_classes, probe_entropy
from egrc.evaluation import sampling
from egrc.experiments import records
from egrc.scoring import score_tokens

CLASSED = lexical_classes(tiny.tokenizer())
PROBLEMS = [{"benchmark": "a", "id": t, "prompt": t, "answer": ""} for t in ("1 + 2 ?", "3 + 4 * 2 ?")]


def test_a_row_is_the_sum_over_its_tokens():
    model, tokenizer = tiny.model(), tiny.tokenizer()
    ask = (model, tokenizer, PROBLEMS, tiny.even, CLASSED, 4, 20)
    answered = policies.completions(*ask, seed=0)
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
            of_class = CLASSED.ids[torch.tensor(completion)] == i
            assert row[f"n_{name}"] == of_class.sum()
            assert row[f"entropy_{name}"] == pytest.approx(float(entropy[of_class].sum()), rel=1e-4, abs=1e-6)
        assert row["truncated"] == (completion[-1] != tokenizer.eos_token_id)
        text = tokenizer.decode(completion, skip_special_tokens=True)
        assert row["correct"] == (tiny.even(text, "") and not row["truncated"])
    assert not policies.completions(*ask, seed=1)["text_key"].equals(answered["text_key"])


def test_a_batch_pads_prompts_left_and_completions_right():
    b = sampling.batch([[7], [8, 9]], [[1, 2, 3], [4]], pad=0)
    assert b.input_ids.tolist() == [[0, 7, 1, 2, 3], [8, 9, 4, 0, 0]]
    assert b.attention.tolist() == [[0, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert b.tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert b.mask.tolist() == [[True] * 3, [True, False, False]]


def test_prefix_rows_read_like_the_probe_of_the_trainer():
    model, texts = tiny.model(), ["1 ?", "1 + 2 ? so", "3 ?"]
    found = policies.prefixes(model, tiny.tokenizer(), texts, CLASSED)
    probe = probe_entropy(model, tiny.tokenizer(), texts, CLASSED)
    assert found["entropy_sum"].mean() == pytest.approx(probe["mean"])
    for name in CLASSES:
        assert found[f"entropy_{name}"].sum() / found[f"n_{name}"].sum() == pytest.approx(probe[name])
    assert found[[f"n_{c}" for c in CLASSES]].sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert set(found["kind"]) == {"prefix"} and set(found["tokens"]) == {1}


def test_parts_are_runs_and_their_weights_and_models_are_hashed():
    assert parts.named(["a", "b", "a"], (0, 1)) == ["a/seed-0", "a/seed-1", "b/seed-0", "b/seed-1"]
    names = policies.parts("pocket")
    assert len(names) == len(set(names)) == 20 and parts.split(names[-1]) == ("joint", 4)
    asked = ["base/seed-0", "base/seed-3", "base/seed-1"]  # seeds 0 and 3 have one model
    assert list(parts.inputs("pocket", asked)) == ["model start-0", "model start-1"]
    with pytest.raises(records.RecordError, match="egrc/seed-9"):
        parts.inputs("pocket", ["egrc/seed-9"])


def test_bad_rows_are_refused_by_file_and_row(tmp_path):
    table, file = pd.DataFrame(1.0, range(3), policies.COLUMNS), measure.file("policies", "pocket", tmp_path)
    write_parquet(file, table)
    assert rows.load("policies", "pocket", tmp_path).equals(table)
    for spoilt, message in (
        (table.assign(entropy_number=[1.0, np.nan, 1.0]), r"policies.parquet, row 2: entropy_number is not a number"),
        (table.drop(columns="entropy_other"), "policies.parquet: no entropy_other"),
    ):
        write_parquet(file, spoilt)
        with pytest.raises(records.RecordError, match=message):
            rows.load("policies", "pocket", tmp_path)
