"""Questions to rows: what is graded, what is counted, and that cut answers are wrong unasked."""

import pandas as pd
import pytest
import tiny

from egrc.evaluation.ask import COLUMNS, Question, answer, seed_of
from egrc.evaluation.generation import Sampling
from egrc.evaluation.grading import Grade

WORDS = (*tiny.VOCABULARY, "</think>")
SAMPLING = Sampling(0.6, 0.95, 6)


class Says:
    """A backend that gives prepared answers, in words, by prompt."""

    def __init__(self, answers, at_once=64):
        self.answers, self.at_once, self.calls = answers, at_once, []
        self.tokenizer = tiny.tokenizer()
        self.tokenizer.add_tokens(["</think>"])

    def generate(self, asks, sampling):
        self.calls.append([list(a.seeds) for a in asks])
        return [[self._ids(said) for said in self.answers[self._prompt(a)]] for a in asks]

    def _prompt(self, ask):
        return self.tokenizer.decode(ask.prompt, skip_special_tokens=True)

    def _ids(self, said):
        return self.tokenizer.convert_tokens_to_ids(said.split())


def grader(seen):
    def grade(pairs):
        seen.extend(pairs)
        return [Grade(text.split()[-1:] == list(gold), text.split()[-1], "equal") for text, gold in pairs]

    return grade


def rows(backend, questions, samples=2, seen=None):
    parts = list(answer("sums", questions, backend, grader([] if seen is None else seen), SAMPLING, samples, 0))
    return [row for part in parts for row in part.itertuples(index=False)], parts


def test_one_row_for_each_problem_and_sample():
    backend, seen = Says({"3 + 4 ?": ["so 7 <eos>", "so 8 <eos>"], "1 + 1 ?": ["2 <eos>", "so so so so so 2"]}), []
    questions = [Question("b", "3 + 4 ?", ("7",)), Question("a", "1 + 1 ?", ("2",))]
    found, parts = rows(backend, questions, seen=seen)
    assert list(parts[0].columns) == list(COLUMNS)
    assert [(r.id, r.sample, r.correct, r.reason, r.tokens, r.truncated) for r in found] == [
        ("b", 0, True, "equal", 3, False),
        ("b", 1, False, "equal", 3, False),
        ("a", 0, True, "equal", 2, False),
        ("a", 1, False, "truncated", 6, True),  # although its last word is right
    ]
    assert len(seen) == 3 and {r.benchmark for r in found} == {"sums"} and {r.temperature for r in found} == {0.6}
    assert [r.extracted for r in found[:3]] == ["7", "8", "2"] and pd.isna(found[3].extracted)


def test_thinking_that_the_prompt_began_is_counted_apart_and_graded_as_thinking():
    backend, seen = Says({"1 + 1 ? <think>": ["so </think> 2 <eos>", "so 2 <eos>"]}), []
    backend.tokenizer.add_tokens(["<think>"])
    found, _ = rows(backend, [Question("a", "1 + 1 ? <think>\n", ("2",))], seen=seen)
    assert [(r.tokens, r.thinking_tokens, r.answer_tokens) for r in found] == [(4, 2, 2), (3, 3, 0)]
    assert all(text.startswith("<think>") for text, _ in seen)


def test_a_model_that_does_not_think_only_answers():
    found, _ = rows(Says({"1 + 1 ?": ["so </think> 2 <eos>"]}), [Question("a", "1 + 1 ?", ("2",))], samples=1)
    assert [(r.thinking_tokens, r.answer_tokens) for r in found] == [(0, 4)]


def test_all_samples_of_a_problem_come_together_the_shortest_prompts_first():
    prompts = {"a": "1 + 1 + 1 ?", "b": "1 ?", "c": "1 + 1 ?"}
    backend = Says({p: ["1 <eos>"] * 2 for p in prompts.values()}, at_once=5)
    found, parts = rows(backend, [Question(i, p, ("1",)) for i, p in prompts.items()])
    assert [list(dict.fromkeys(p["id"])) for p in parts] == [["b", "c"], ["a"]]
    assert [len(call) for call in backend.calls] == [2, 1]


def test_more_samples_than_fit_at_once_are_one_problem_a_call():
    backend = Says({"1 ?": ["1 <eos>"] * 9}, at_once=4)
    assert len(rows(backend, [Question("a", "1 ?", ("1",))], samples=9)[0]) == 9


def test_seeds_differ_by_all_that_names_an_answer_and_by_nothing_else():
    names = [(0, "b", "p", 0), (1, "b", "p", 0), (0, "c", "p", 0), (0, "b", "q", 0), (0, "b", "p", 1)]
    seeds = [seed_of(*name) for name in names]
    assert len(set(seeds)) == len(names) and all(0 <= s < 2**31 for s in seeds)
    backend = Says({"1 ?": ["1 <eos>"] * 2})
    rows(backend, [Question("p", "1 ?", ("1",))])
    assert backend.calls == [[[seed_of(0, "sums", "p", 0), seed_of(0, "sums", "p", 1)]]]


def test_a_grader_that_loses_answers_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        list(answer("sums", [Question("a", "1 ?", ("1",))], Says({"1 ?": ["1 <eos>"]}), lambda p: [], SAMPLING, 1, 0))
