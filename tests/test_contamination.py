"""Problems are compared by what they say: which spellings are one problem, which are two, and what may stand around."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.contamination import Contamination, decontaminate, normalise, words
from egrc.evaluation.problems import HANDMADE, Problem, load


def problem(id: str, text: str) -> Problem:
    return Problem(id, text, ("1",), "", id.split("/")[0])


SAME = [
    ("How many eggs?", "  how many\n\tEGGS ?"), ("Find $x \\le 1{,}000$.", "Find X <= 1,000"),
    ("Find $x \\leq 1000$", "Find x \u2264 1000"), ("$\\dfrac{1}{2}$ of it", "$\\frac{1}{2}$ of it"),
    ("$11,\\! 111$", "11,111"), ("$x\\,dx$", "x dx"),
    ("$\\left( 3, \\frac{\\pi}{2} \\right)$", "(3,\\frac{\u03c0}{2})"), ("\\[x^2 = 4\\]", "$$x^{2}=4$$"),
    ("x\u00b2 = 4", "x^2 = 4"), ("$90^\\circ$ and $45^{\\circ}$", "90\u00b0 and 45\u00b0"),
    ("$2 \\times 3 \\cdot 4$", "2 \u00d7 3 * 4"), ("$\\text{a fair die}$", "a fair die"),
    ("\u201cIt\u2019s\u201d \u2014 she said", '"It\'s" - she said'), ("$5 \u2212 3$", "5 - 3"),
    ("caf\u00e9", "cafe\u0301"), ("\uff15 \uff58 \u2102", "5 x c"),
    ("$\\pi \\ne 3$", "\u03c0 \u2260 3"), ("\u00bd", "1/2"),
]  # fmt: skip
OTHER = [
    ("2 + 3", "2 - 3"), ("f(1, 2)", "f(12)"), ("1.5 miles", "15 miles"), ("1.5 miles", "1 5 miles"),
    ("x < 3", "x > 3"), ("x < 3", "x \\le 3"), ("50% of 3", "50 of 3"), ("$x^2$", "$x2$"),
    ("How many of 40?", "How many of 41?"), ("1,23", "123"), ("$\\sin x$", "$\\cos x$"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), SAME)
def test_spellings_of_one_problem(one, two):
    assert normalise(one) == normalise(two) != ""


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_two_problems(one, two):
    assert normalise(one) != normalise(two)
    assert decontaminate([problem("t/1", one)], [problem("a/1", two)]).dropped == ()


def test_worked_by_hand():
    assert words(r"Is $x \le 1{,}000$, or 2?") == ["is", "x", "<", "=", "1000", "or", "2"]
    assert normalise("Add 1, 2 and 30.") == "add1;2and30"


@given(st.text())
def test_what_is_normalised_stays(text):
    assert normalise(normalise(text)) == normalise(text)


pieces = st.sampled_from(["x", "of", "12", "3.5", "+", "=", "$", r"\frac", "{", "}", r"\le", "(", "\u00e9", "\u00b2"])


@given(st.lists(pieces), st.lists(st.sampled_from([" ", "\n", "\t ", r"\ ", r"\;", r"\quad ", "~", " . ", " , "])))
def test_spacing_and_punctuation_between_words_make_no_difference(parts, gaps):
    gaps = (gaps or [" "]) * (len(parts) + 1)
    other = "".join(gap + part.upper() if part == "of" else gap + part for gap, part in zip(gaps, parts, strict=False))
    assert normalise(other) == normalise(" ".join(parts))


AROUND = [
    "3. {p}", "(12) {p}", "Problem: {p}", "**Problem 3.** {p}", "### Question\n{p}\n\n### Answer\n", "Q: {p}\nA:",
    "2024 AIME I, problem 3. {p}", "{p} (10 points)",
    "Solve the following math problem. {p}\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
    "Imagine you teach a class of gifted pupils. {p} Answer with an integer between 0 and 999.",
    "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n",
    "<\uff5cUser\uff5c>{p}<\uff5cAssistant\uff5c><think>\n", "<s>[INST] {p} [/INST]",
    "<start_of_turn>user\n{p}<end_of_turn>\n<start_of_turn>model\n", "Human: {p}\n\nAssistant:",
]  # fmt: skip


@pytest.mark.parametrize("around", AROUND)
def test_what_stands_around_and_inside_a_problem_hides_nothing(around):
    tests = load(HANDMADE)
    train = [replace(p, id=f"t/{p.id}", text=around.format(p=p.text.replace(". ", ". <|sep|> "))) for p in tests]
    dropped = decontaminate(train, tests).dropped
    assert len(dropped) == len(tests) and all(a == f"t/{b}" for a, b in dropped)
    inside = [replace(p, text=p.text.replace(". ", ". Think hard about this one! ")) for p in tests]
    assert len(decontaminate(inside, tests).dropped) == len(tests)


@pytest.mark.parametrize(
    ("test", "after"), [("Compute the sum of the terms 1 + 2 + 3", " + 4"), ("Solve for $x$.", " Then add 3 to $x$")]
)
def test_a_problem_that_goes_on_is_another(test, after):
    found = decontaminate([problem("t/1", test.rstrip(".") + after)], [problem("a/1", test)])
    assert found.dropped == ()


def test_training_problems_of_a_test_set_are_dropped_and_named():
    train = [problem("t/1", "What is 2+2?"), problem("t/2", "What is $x$?"), problem("t/3", "what is 2 + 2"),
             problem("t/4", "???")]  # fmt: skip
    tests = [problem("a/1", "What is $2 + 2$"), problem("b/9", "What is 2+2?"), problem("b/3", "...")]
    found = decontaminate(iter(train), iter(tests))
    assert found == Contamination((train[1], train[3]), (("t/1", "a/1"), ("t/3", "a/1")))
    assert str(found).splitlines() == [
        "2 of 4 training problems stand in a test set and are dropped", "  t/1 is a/1", "  t/3 is a/1",
    ]  # fmt: skip
    assert decontaminate([], []) == Contamination((), ())
