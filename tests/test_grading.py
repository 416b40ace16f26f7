"""The final answer is found wherever it is stated, and nothing in a completion makes the grader fail."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from math_verify.errors import TimeoutException

from egrc.evaluation.grading import LONGEST, Grade, _within, correct, extract, grade
from egrc.evaluation.problems import HANDMADE, load

EQUAL = [
    ("1234", "#### 1,234"),
    ("1234", "#### $1,234.00"),
    ("18", "She earns 18 dollars."),
    ("18", "#### 18 dollars."),
    ("12", "#### **12** apples"),
    ("12", "**Answer: 12**"),
    ("12", "x = 12"),
    ("12", "#### 12 km"),
    ("8", "The answer is 5 + 3 = 8."),
    ("-3", "It is -3 degrees."),
    ("-3", "#### \u22123"),
    ("3", "3 is what 5-3 is not; 5-2 gives 3"),
    ("0.5", r"\boxed{\frac{1}{2}}"),
    ("0.5", "The answer is 1/2."),
    ("0.5", "so .5"),
    ("27.0", r"\boxed{27}"),
    ("50", "The answer is 50%"),
    (r"\left(3, \frac{\pi}{2}\right)", r"\boxed{(3,\pi/2)}"),
    (r"\{1,2\}", r"\boxed{\{2,1\}}"),
    ("x+1", r"\boxed{1+x}"),
]
UNEQUAL = [
    ("1234", "#### 12,34"),
    ("3", "#### -3"),
    ("5", "#### 5 million"),
    ("5", "#### 5 and 6"),
    ("5", "#### 5x"),
    ("2", "#### 1/2"),
    ("2", "#### 2.001"),
    ("6", "6 at first, and in the end 7."),
    ("[1,2)", r"\boxed{[1,2]}"),
    ("x+1", r"\boxed{x-1}"),
]
HOSTILE = [
    "#### 9^9^9^9",
    r"\boxed{10^{10^{10}}}",
    r"\boxed{2^{100000000000}}",
    r"\boxed{(10^{400000})!}",
    "#### " + "(" * 10_000 + "5" + ")" * 10_000,
    "\\boxed{" * 100_000,
    "#### " + "9" * 1_000_000,
    "the answer is" + " " * 1_000_000,
    "answer " * 100_000,
    r"\frac{" * 60,
    "\x00\x1b[31m#### \x00",
    "####",
    r"\boxed{}",
]


@pytest.mark.parametrize(("gold", "completion"), EQUAL)
def test_equal(gold: str, completion: str) -> None:
    assert grade(completion, gold).reason == "equal"


@pytest.mark.parametrize(("gold", "completion"), UNEQUAL)
def test_unequal(gold: str, completion: str) -> None:
    assert grade(completion, gold).reason == "not equal"


@pytest.mark.parametrize("completion", HOSTILE)
def test_hostile_completions_are_wrong_and_no_error(completion: str) -> None:
    assert not grade(completion, "5").correct


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", None),
        ("no idea", None),
        ("first 3, then 4", "4"),
        ("The answer is 3. I had 4 before.", "3"),
        ("The answer is 3. No: the answer is 5.", "5"),
        ("#### 3\nThe answer is 4", "3"),
        ("#### 3 #### 4", "4"),
        (r"\boxed{3} then #### 4", "4"),
        (r"#### 4, that is \boxed{3}", "3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{1 + \boxed{2}}", "2"),
        (r"\boxed {\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{3} and \boxed{4", "3"),
        ("#### 7\n####", "7"),
        ("<think>it is 3</think> so 4", "4"),
        ("<think>it is 3</think>", None),
        ("<think>it is 3", None),
    ],
)
def test_extract(text: str, answer: str | None) -> None:
    assert extract(text) == answer


def test_verdicts_without_a_comparison() -> None:
    assert grade("#### 5", "5", truncated=True) == Grade(False, None, "truncated")
    assert grade("", "5") == Grade(False, None, "no answer")
    assert grade("#### " + "5" * 500, "5" * 500) == Grade(False, "5" * LONGEST, "too long")
    assert grade("#### 9^9^9", "5").reason == "too costly"
    assert grade("#### " + "(" * 60 + "5" + ")" * 60, "5", limit=0.05).reason == "time limit"


def test_any_of_several_golds_will_do() -> None:
    assert grade("#### 5", ("4", "5")).correct
    assert not grade("#### 6", ("4", "5")).correct


def test_gold_equals_itself() -> None:
    for p in load(HANDMADE):
        assert correct(f"{p.solution}\n#### {p.gold[0]}", p.gold[0]), p.id


@settings(deadline=None, max_examples=60)
@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["#### {}", r"\boxed{{{}}}", "The answer is {}.", "so {}"])
)
def test_integers_in_every_form(n: int, form: str) -> None:
    for written in (str(n), f"{n:,}"):
        assert correct("2 + 2 = 4\n" + form.format(written), str(n))
        assert not correct(form.format(written), str(n + 1))


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=60), st.sampled_from(["", "#### ", r"\boxed{", "the answer is "]))
def test_any_text_gets_a_verdict(text: str, before: str) -> None:
    verdict = grade(before + text, "5")
    assert verdict.correct == (verdict.reason == "equal")
    assert (verdict.extracted is None) == (verdict.reason == "no answer")


@given(st.recursive(st.just("x"), lambda inner: inner.map("{{{}}}".format) | inner.map("{}y".format)))
def test_boxes_nest(content: str) -> None:
    assert extract(rf"so \boxed{{{content}}} }} {{") == content
    assert extract(rf"\boxed{{\boxed{{{content}}}}}") == content


def test_works_off_the_main_thread() -> None:
    verdicts: list[bool] = []
    thread = threading.Thread(
        target=lambda: verdicts.extend([correct("#### 5", "5"), correct("#### 6", "5")])
    )
    thread.start()
    thread.join()
    assert verdicts == [True, False]


def test_a_stuck_comparison_is_stopped() -> None:
    stopped = threading.Event()

    def stuck() -> bool:
        try:
            while True:
                time.sleep(0.001)
        except TimeoutException:
            stopped.set()
            raise

    assert _within(0.05, stuck) is None
    assert stopped.wait(30)


def test_errors_of_a_comparison_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        _within(5, lambda: bool(1 / 0))
