"""Problems overlap where they share 13 words, or all of fewer: which spellings are one word, and who is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.contamination import Contamination, N, decontaminate, words
from egrc.evaluation.problems import HANDMADE, Problem, load


def problem(id: str, text: str) -> Problem:
    return Problem(id, text, ("1",), "", id.split("/")[0])


SAME = [
    ("How many eggs?", "  how many\n\tEGGS ?"),
    ("Find $x \\le 1{,}000$.", "Find X <= 1,000"),
    ("Find $x \\leq 1000$", "Find x \u2264 1000"),
    ("$\\dfrac{1}{2}$ of it", "$\\frac{1}{2}$ of it"),
    ("$11,\\! 111$", "11,111"),
    ("$\\left( 3, \\frac{\\pi}{2} \\right)$", "(3,\\frac{\\pi}{2})"),
    ("\\[x^2 = 4\\]", "$$x^{2}=4$$"),
    ("$90^\\circ$ and $45^{\\circ}$", "90\u00b0 and 45\u00b0"),
    ("$2 \\times 3 \\cdot 4$", "2 \u00d7 3 * 4"),
    ("$\\text{a fair die}$", "a fair die"),
    ("$5 \u2212 3$", "5 - 3"),
    ("\uff15 \uff58 \u2102", "5 x c"),
]
OTHER = [
    ("2 + 3", "2 - 3"),
    ("f(1, 2)", "f(12)"),
    ("1.5 miles", "15 miles"),
    ("x < 3", "x > 3"),
    ("x < 3", "x \\le 3"),
    ("50% of 3", "50 of 3"),
    ("$x^2$", "$x2$"),
    ("How many of 40?", "How many of 41?"),
    ("1,23", "123"),
    ("$\\sin x$", "$\\cos x$"),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_spellings_of_one_problem(one: str, two: str) -> None:
    assert words(one) == words(two) != []


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_two_problems(one: str, two: str) -> None:
    assert words(one) != words(two)
    assert decontaminate([problem("t/1", one)], [problem("a/1", two)]).dropped == ()


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 30))
def test_thirteen_words_in_a_row_are_an_overlap(before: int, shared: int, after: int) -> None:
    text = [f"{i} w" for i in range(shared)]  # two words each
    around = " ".join(["a"] * before + text + ["b"] * after)
    whole = shared * 2 < N and not before and not after
    found = decontaminate([problem("t/1", around)], [problem("a/1", " ".join(text))])
    assert bool(found.dropped) == (shared * 2 >= N or whole)


@pytest.mark.parametrize("around", ["3. {p}", "Q: {p}\nA:", "Put the answer within \\boxed{{}}. {p} (10 points)"])
def test_what_stands_around_a_problem_hides_nothing(around: str) -> None:
    tests = load(HANDMADE)
    dropped = decontaminate([problem(f"t/{p.id}", around.format(p=p.text)) for p in tests], tests).dropped
    assert dropped == tuple((f"t/{p.id}", p.id) for p in tests)


def test_training_problems_of_a_test_set_are_dropped_and_named() -> None:
    train = [problem(f"t/{i}", text) for i, text in enumerate(["What is 2+2?", "What is $x$?", "what is 2 + 2", "???"])]
    tests = [problem("a/1", "What is $2 + 2$"), problem("b/3", "...")]
    found = decontaminate(iter(train), iter(tests))
    assert found == Contamination((train[1], train[3]), (("t/0", "a/1"), ("t/2", "a/1")))
    assert str(found) == "2 of 4 training problems stand in a test set and are dropped"
    assert decontaminate([], []) == Contamination((), ())
