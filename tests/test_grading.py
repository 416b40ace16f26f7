"""The final answer is found wherever it is stated and read whole or not at all; nothing makes the grader fail."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc.evaluation.answers import LONGEST, extract, without_unit
from egrc.evaluation.grading import Grade, grade
from egrc.evaluation.reading import read

DATA = Path(__file__).parent / "data"
CASES = [
    json.loads(line)
    for name in ("grading_pairs", "grading_cases")
    for line in (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
]


def test_cases():
    """A case that is `known_wrong` is expected to be: one that comes right must lose its mark."""
    for case in CASES:
        expected = case["correct"] != ("known_wrong" in case)
        assert grade(case["completion"], case["gold"]).correct == expected, case


@pytest.mark.parametrize(
    ("text", "bare"),
    [("20 cm^{2}", "20"), ("12 km/h", "12"), ("9 (apples)", "9"), (r"6 \mathrm{ cm}^2", "6"), ("15 apples", "15")]
    + [(text, text) for text in ("5 million", "5 pi", "5 x", r"3:45 \text{ p.m.}", r"\sqrt{m}", "ABC")],
)
def test_units_are_taken_off_numbers_alone(text, bare):
    assert without_unit(text) == bare


@pytest.mark.parametrize(
    "text",
    [r"1, 2, \ldots, n", r"2 - \frac{3}", "63_8", r"\langle 3 \rangle", "5 apples", "3:45", r"\{x \in A | x\}"],
)
def test_what_would_be_read_in_part_is_not_read(text):
    assert read(text) is None


def test_where_one_is_not_read_whole_texts_are_compared_and_the_reason_says_so():
    assert grade(r"\boxed{1, 3, \ldots, n}", r"1, 2, \ldots, n").reason == "not equal as texts"
    assert grade(r"\boxed{1,2,\ldots,n}", r"1, 2, \ldots, n").reason == "equal"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", None), ("no idea", None), ("first 3, then 4", "4"), ("The answer is 3. I had 4 before.", "3"),
        ("The answer is 3. No: the answer is 5.", "5"), ("#### 3\nThe answer is 4", "3"), ("#### 3 #### 4", "4"),
        (r"\boxed{3} then #### 4", "4"), (r"#### 4, that is \boxed{3}", "3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"), (r"\boxed{1 + \boxed{2}}", "2"),
        (r"\boxed {\{1, 2\}}", r"\{1, 2\}"), (r"\boxed{3} and \boxed{4", "3"), ("#### 7\n####", "7"),
        ("<think>it is 3</think> so 4", "4"), ("<think>it is 3</think>", None), ("<think>it is 3", None),
    ],
)  # fmt: skip
def test_extract(text, answer):
    assert extract(text) == answer


def test_verdicts_without_a_comparison():
    assert grade("", "5") == Grade(False, None, "no answer")
    assert grade("#### " + "5" * 500, "5" * 500) == Grade(False, "5" * LONGEST, "too long")
    for tower in ("9^9^9", r"10^{-10^{10}}", r"2^{100000000000}", "(10^{400000})!"):
        assert grade(rf"\boxed{{{tower}}}", "5").reason == "too costly"


@settings(deadline=None, max_examples=60)
@given(st.integers(-(10**9), 10**9), st.sampled_from(["#### {}", r"\boxed{{{}}}", "The answer is {}.", "so {}"]))
def test_integers_in_every_form(n, form):
    for written in (str(n), f"{n:,}"):
        assert grade("2 + 2 = 4\n" + form.format(written), str(n)).correct
        assert not grade(form.format(written), str(n + 1)).correct


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60), st.sampled_from(["", "#### ", r"\boxed{", "the answer is "]))
def test_any_text_gets_a_verdict(text, before):
    verdict = grade(before + text, "5")
    assert verdict.correct == (verdict.reason == "equal")
    assert (verdict.extracted is None) == (verdict.reason == "no answer")


@given(st.recursive(st.just("x"), lambda inner: inner.map("{{{}}}".format) | inner.map("{}y".format)))
def test_boxes_nest(content):
    assert extract(rf"so \boxed{{{content}}} }} {{") == content
    assert extract(rf"\boxed{{\boxed{{{content}}}}}") == content
