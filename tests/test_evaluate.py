"""Evaluation: against models and backends whose answers are known by hand; a summary by hand."""

import pandas as pd
import pytest
from datasets import Dataset
from tiny import model as tiny_model
from tiny import tokenizer as tiny_tokenizer

from egrc.evaluation.answers import Grade
from egrc.evaluation.evaluate import COLUMNS, KEPT_TEXTS, RUN_COLUMNS, ask, count, evaluate, summarise
from egrc.evaluation.sampling import Backend, Sampling

TOKENIZER = tiny_tokenizer()
TOKENIZER.add_tokens(["<think>", "</think>"])
MODEL = tiny_model()
PROMPTS = ["3 + 4 * 6 ?", "1 + 1 ?", "2 - 1 * 3 ?", "5 * 5 ?", "6 + 6 ?"]
END, CLOSE = 2, 7  # of thinking


# --- one benchmark, by a backend ---


def asked(answers, samples=2):
    """Rows of `ask` where each prompt gets prepared answers, and the texts that were graded."""
    problems = [{"id": p, "prompt": p, "answer": ("7",)} for p in answers]
    flat = [TOKENIZER.convert_tokens_to_ids(text.split()) for p in answers for text in answers[p]]
    seen = []

    def grade(pairs):
        seen.extend(text for text, _ in pairs)
        return [Grade(text.split()[-1:] == list(gold), text.split()[-1], "equal") for text, gold in pairs]

    backend = Backend(TOKENIZER, [END], lambda *_: flat)
    return ask("sums", problems, backend, grade, Sampling(0.6, 1.0, 6), samples, 0), seen


def test_one_row_for_each_problem_and_sample_and_a_cut_answer_is_wrong_unasked():
    rows, seen = asked({"3 + 4 ?": ["so 7 <eos>", "so 8 <eos>"], "1 + 6 ?": ["7 <eos>", "so so so so so 7"]})
    assert list(rows.columns) == [*COLUMNS, "text"]
    assert rows[["id", "sample", "correct", "reason", "tokens", "truncated"]].values.tolist() == [
        ["3 + 4 ?", 0, True, "equal", 3, False],
        ["3 + 4 ?", 1, False, "equal", 3, False],
        ["1 + 6 ?", 0, True, "equal", 2, False],
        ["1 + 6 ?", 1, False, "truncated", 6, True],  # although its last word is right
    ]
    assert seen == ["so 7", "so 8", "7"] and rows["extracted"].fillna("-").tolist() == ["7", "8", "7", "-"]
    assert set(rows["benchmark"]) == {"sums"} and set(rows["temperature"]) == {0.6}


def test_thinking_that_the_prompt_began_is_counted_apart_and_graded_as_thinking():
    rows, seen = asked({"1 ? <think>\n": ["so </think> 7 <eos>", "so 7 <eos>"], "1 ?": ["so </think> 7 <eos>"] * 2})
    counts = rows[["tokens", "thinking_tokens", "answer_tokens"]].values.tolist()
    assert counts == [[4, 2, 2], [3, 3, 0], *[[4, 0, 4]] * 2]
    assert [text.startswith("<think>") for text in seen] == [True, True, False, False]


@pytest.mark.parametrize(
    ("ids", "thinks", "expected"),
    [
        ([5, 6, END], False, (3, 0, 3, False)),
        ([5, 6], False, (2, 0, 2, True)),
        ([5, CLOSE, 6, CLOSE, 8, 9, END], True, (7, 4, 3, False)),  # the last one counts
        ([5, 6, 8], True, (3, 3, 0, True)),
        ([5, 6, END], True, (3, 3, 0, False)),  # ended without an answer
        ([], True, (0, 0, 0, True)),
    ],
)
def test_tokens_of_thinking_and_answer(ids, thinks, expected):
    assert count(ids, [END, 99], CLOSE if thinks else None) == expected


# --- several benchmarks, by a model ---


def problems(prompts=PROMPTS):
    return Dataset.from_dict({"id": prompts, "prompt": prompts, "answer": ["1"] * len(prompts)})


def sampled(benchmarks, temperatures=(1.0, 0.0), samples=3, cap=12, seed=0, batch=4, **kwargs):
    arguments = (benchmarks, lambda text, answer: len(text.split()) % 2 == 0, temperatures, samples, cap, seed)
    return evaluate(MODEL, TOKENIZER, *arguments, batch=batch, **kwargs)


def test_each_problem_gets_its_samples_and_greedy_gets_one():
    seen = []
    rows = sampled({"b": problems()}, on_progress=lambda done, total: seen.append((done, total)), cap=7)
    assert list(rows.columns) == list(RUN_COLUMNS) and rows.loc[rows["text"].notna(), "id"].nunique() == KEPT_TEXTS
    right = rows["text"].str.split().str.len() % 2 == 0
    assert (rows["correct"] == right & ~rows["truncated"])[rows["text"].notna()].all()
    assert rows.groupby("temperature").size().to_dict() == {1.0: 15, 0.0: 5}
    assert set(rows.loc[rows["temperature"] == 1.0, "sample"]) == {0, 1, 2}
    assert rows["id"].unique().tolist() == PROMPTS
    assert rows["tokens"].max() <= 7 and (rows["tokens"] == 7)[rows["truncated"]].all()
    assert seen[-1] == (20, 20) and seen == sorted(seen)


def test_results_depend_on_the_seed_and_not_on_what_else_is_evaluated():
    alone = sampled({"b": problems()}, temperatures=(1.0,))
    together = sampled({"a": problems(PROMPTS[:2]), "b": problems()}, temperatures=(0.5, 1.0))
    same = together[(together["benchmark"] == "b") & (together["temperature"] == 1.0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, same)
    assert alone["tokens"].tolist() != sampled({"b": problems()}, temperatures=(1.0,), seed=1)["tokens"].tolist()
    with pytest.raises(ValueError, match="'nothing' has no problems"):
        sampled({"nothing": problems([])})


# --- summaries ---


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
    assert (first["problems"], first["samples"], first["accuracy"]) == (2, 2, 0.25)
    assert (first["mean_tokens"], first["truncated"]) == (40, 0.25)
    assert (mean["problems"], mean["accuracy"], mean["mean_tokens"]) == (3, 0.125, 23)
