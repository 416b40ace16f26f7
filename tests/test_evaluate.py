"""Evaluation: against models whose answers are known by hand, and intervals against their own definition."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tiny import model as tiny_model
from tiny import tokenizer as tiny_tokenizer

from egrc.evaluation.evaluate import (
    KEPT_TEXTS,
    derived_seed,
    evaluate,
    pass_at_k,
    summarise,
)

TOKENIZER = tiny_tokenizer()
MODEL = tiny_model()
PROMPTS = ["3 + 4 * 6 ?", "1 + 1 ?", "2 - 1 * 3 ?", "5 * 5 ?", "6 + 6 ?"]


def problems(prompts=PROMPTS):
    return Dataset.from_dict({"id": prompts, "prompt": prompts, "answer": ["1"] * len(prompts)})


def sampled(benchmarks, temperatures=(1.0, 0.0), samples=3, cap=12, seed=0, batch=4, **kwargs):
    grader = kwargs.pop("correct", lambda text, answer: len(text.split()) % 2 == 0)
    arguments = (benchmarks, grader, temperatures, samples, cap, seed)
    return evaluate(MODEL, TOKENIZER, *arguments, batch=batch, **kwargs)


class Scripted(torch.nn.Module):
    """Always says the same tokens; only `generate` is asked of it."""

    device = torch.device("cpu")

    def __init__(self, said):
        super().__init__()
        self.said = TOKENIZER.convert_tokens_to_ids(said.split())

    def generate(self, input_ids, attention_mask, generation_config, **_):
        said = self.said[: generation_config.max_new_tokens]
        padding = [0] * (generation_config.max_new_tokens - len(said))
        return torch.cat([input_ids, torch.tensor([said + padding] * len(input_ids))], 1)


@pytest.mark.parametrize(
    ("said", "cap", "tokens", "truncated", "correct"),
    [
        ("= 1 # 1 <eos>", 8, 5, False, True),
        ("= 1 # 1 <eos>", 5, 5, False, True),
        ("= 1 # 1 <eos>", 4, 4, True, False),  # it says the right thing, but never ends
        ("= 1 # 2 <eos>", 8, 5, False, False),
    ],
)
def test_known_answers_are_counted_and_graded(said, cap, tokens, truncated, correct):
    rows = evaluate(
        *(Scripted(said), TOKENIZER, {"b": problems()}, lambda text, answer: text.endswith(f"# {answer}")),
        *((0.0,), 1, cap, 0),
    )
    assert rows["tokens"].tolist() == [tokens] * len(PROMPTS)
    assert rows["truncated"].tolist() == [truncated] * len(PROMPTS)
    assert rows["correct"].tolist() == [correct] * len(PROMPTS)
    assert rows["text"].notna().sum() == KEPT_TEXTS


def test_each_problem_gets_its_samples_and_greedy_gets_one():
    rows = sampled({"b": problems()})
    assert rows.groupby("temperature").size().to_dict() == {1.0: 15, 0.0: 5}
    assert set(rows.loc[rows["temperature"] == 1.0, "sample"]) == {0, 1, 2}
    assert rows["id"].unique().tolist() == PROMPTS


def test_the_cap_and_the_pad_token_hold():
    rows = sampled({"b": problems()}, cap=7)
    assert rows["tokens"].max() <= 7
    assert (rows["tokens"] == 7)[rows["truncated"]].all()
    assert not rows["text"].dropna().str.contains("pad").any()


def test_results_do_not_depend_on_what_else_is_evaluated():
    alone = sampled({"b": problems()}, temperatures=(1.0,))
    together = sampled({"a": problems(PROMPTS[:2]), "b": problems()}, temperatures=(0.5, 1.0))
    same = together[(together["benchmark"] == "b") & (together["temperature"] == 1.0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)


def test_another_seed_gives_other_samples_and_the_global_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = sampled({"b": problems()}), sampled({"b": problems()}, seed=1)
    assert torch.equal(torch.rand(3), expected)
    hot = first["temperature"] == 1.0
    assert first.loc[hot, "tokens"].tolist() != second.loc[hot, "tokens"].tolist()
    assert first.loc[~hot, "tokens"].tolist() == second.loc[~hot, "tokens"].tolist()


def test_padding_does_not_change_a_greedy_answer():
    one_by_one, batched = (sampled({"b": problems()}, temperatures=(0.0,), batch=n) for n in (1, 5))
    pd.testing.assert_frame_equal(one_by_one, batched)


def test_progress_ends_at_the_total():
    seen = []
    sampled({"b": problems()}, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_empty_benchmark_is_named():
    with pytest.raises(ValueError, match="'nothing' has no problems"):
        sampled({"nothing": problems([])})


def test_derived_seeds_differ():
    seeds = {derived_seed(s, b, t) for s in (0, 1) for b in ("x", "y") for t in (0.0, 1.0)}
    assert len(seeds) == 8


# --- summaries ---


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(case):
    correct, samples, k = case
    answers = [i < correct for i in range(samples)]
    subsets = [any(chosen) for chosen in combinations(answers, k)]
    assert pass_at_k(*case) == pytest.approx(np.mean(subsets))


@pytest.mark.parametrize("k", [0, 4])
def test_pass_at_k_refuses_a_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k={k}"):
        pass_at_k(1, 3, k)


def rows_of(correct, tokens, benchmark="b", temperature=1.0):
    """Rows from [problems][samples] nested lists."""
    return pd.DataFrame(
        [
            (benchmark, f"p{i}", temperature, j, bool(c), t, t >= 100)
            for i, (cs, ts) in enumerate(zip(correct, tokens, strict=True))
            for j, (c, t) in enumerate(zip(cs, ts, strict=True))
        ],
        columns=["benchmark", "id", "temperature", "sample", "correct", "tokens", "truncated"],
    )


def test_a_summary_by_hand():
    a = rows_of([[1, 0], [0, 0]], [[10, 20], [30, 100]])
    b = rows_of([[0, 0]], [[5, 7]], benchmark="c")
    table = summarise(pd.concat([a, b])).set_index("benchmark")
    first, mean = table.loc["b"], table.loc["mean"]
    assert (first["problems"], first["samples"], first["accuracy"], first["pass@k"]) == (2, 2, 0.25, 0.5)
    assert (first["mean_tokens"], first["mean_tokens_correct"], first["truncated"]) == (40, 10, 0.25)
    assert np.isnan(table.loc["c", "mean_tokens_correct"])
    assert (mean["problems"], mean["accuracy"], mean["mean_tokens"]) == (3, 0.125, 23)


def test_pass_at_1_is_the_accuracy():
    table = summarise(rows_of([[1, 0], [1, 1]], [[1, 1], [1, 1]]), k=1)
    assert table["pass@k"].tolist() == table["accuracy"].tolist()
