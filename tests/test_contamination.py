"""Problems are compared by what they say: which spellings are one problem, which are two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.contamination import Contamination, decontaminate, normalise, words
from egrc.evaluation.problems import Problem


def problem(id: str, text: str) -> Problem:
    return Problem(id, text, ("1",), "", id.split("/")[0])


SAME = [
    ("How many eggs?", "  how many\n\tEGGS ?"),
    ("Find $x \\le 1{,}000$.", "Find X <= 1,000"),
    ("Find $x \\leq 1000$", "Find x \u2264 1000"),
    ("$\\dfrac{1}{2}$ of it", "$\\frac12$ of it".replace("12", "{1}{2}")),
    ("$11,\\! 111$", "11,111"),
    ("$x\\,dx$", "x dx"),
    ("$\\left( 3, \\frac{\\pi}{2} \\right)$", "(3,\\frac{\u03c0}{2})"),
    ("\\[x^2 = 4\\]", "$$x^{2}=4$$"),
    ("x\u00b2 = 4", "x^2 = 4"),
    ("$90^\\circ$ and $45^{\\circ}$", "90\u00b0 and 45\u00b0"),
    ("$2 \\times 3 \\cdot 4$", "2 \u00d7 3 * 4"),
    ("$\\text{a fair die}$", "a fair die"),
    ("\u201cIt\u2019s\u201d \u2014 she said", '"It\'s" - she said'),
    ("$5 \u2212 3$", "5 - 3"),
    ("caf\u00e9", "cafe\u0301"),
    ("\uff15 \uff58 \u2102", "5 x c"),
    ("$\\alpha \\ne \\Delta$", "\u03b1 \u2260 \u0394"),
    ("\u00bd", "1/2"),
]
OTHER = [
    ("2 + 3", "2 - 3"),
    ("f(1, 2)", "f(12)"),
    ("1.5 miles", "15 miles"),
    ("1.5 miles", "1 5 miles"),
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
    assert normalise(one) == normalise(two) != ""


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_two_problems(one: str, two: str) -> None:
    assert normalise(one) != normalise(two)


def test_worked_by_hand() -> None:
    assert words(r"Is $x \le 1{,}000$, or 2?") == ["is", "x", "<", "=", "1000", "or", "2"]
    assert normalise("Add 1, 2 and 30.") == "add1;2and30"


@given(st.text())
def test_what_is_normalised_stays(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


pieces = st.sampled_from(["x", "of", "12", "3.5", "+", "=", "$", r"\frac", "{", "}", r"\le", "(", "é", "²", r"\pi"])


@given(st.lists(pieces), st.lists(st.sampled_from([" ", "\n", "\t ", r"\ ", r"\;", r"\quad ", "~", " . ", " , "])))
def test_spacing_and_punctuation_between_words_make_no_difference(parts: list[str], gaps: list[str]) -> None:
    gaps = (gaps or [" "]) * (len(parts) + 1)
    other = "".join(gap + part.upper() if part == "of" else gap + part for gap, part in zip(gaps, parts, strict=False))
    assert normalise(other) == normalise(" ".join(parts))


@given(st.text(st.characters(codec="ascii")))
def test_both_ways_through_ascii_agree(text: str) -> None:
    """ASCII takes a shorter way; a mark that says nothing sends the same text the long way."""
    assert normalise(text) == normalise(text + " \u00ab")


def test_training_problems_of_a_test_set_are_dropped_and_named() -> None:
    train = [problem("t/1", "What is 2+2?"), problem("t/2", "What is $x$?"), problem("t/3", "what is 2 + 2"),
             problem("t/4", "???")]  # fmt: skip
    tests = [problem("a/1", "What is $2 + 2$"), problem("b/9", "What is 2+2?"), problem("b/3", "...")]
    found = decontaminate(iter(train), iter(tests))
    assert found == Contamination((train[1], train[3]), (("t/1", "a/1"), ("t/3", "a/1")), None)
    assert str(found).splitlines() == [
        "2 of 4 training problems stand in a test set and are dropped", "  t/1 is a/1", "  t/3 is a/1",
    ]  # fmt: skip


def test_overlap_is_counted_and_drops_nothing() -> None:
    test = problem("a/1", "one two three four five six")
    train = [
        problem("t/1", "Say: Two, three; FOUR five!"),  # four words in a row
        problem("t/2", "two three four and five six"),  # three
        problem("t/3", "one two three"),  # too short
        problem("t/4", test.text),
    ]
    found = decontaminate(train, [test], ngram=4)
    assert found.kept == tuple(train[:3])
    assert found.overlapping == ("t/1",)
    assert "1 of 4" in str(found) and "; 1 more share" in str(found)
    assert decontaminate(train, [test], ngram=3).overlapping == ("t/1", "t/2", "t/3")
    with pytest.raises(ValueError, match="ngram=0"):
        decontaminate(train, [test], ngram=0)


def test_nothing_in_nothing() -> None:
    assert decontaminate([], []) == Contamination((), (), None)
