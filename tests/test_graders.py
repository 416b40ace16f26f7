"""The cheap ways to a verdict never change it; the corpus says what is right, and where the grader is wrong."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc.evaluation import benchmarks, grading
from egrc.evaluation.graders import WARM_UP, decide, judge

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "data" / "grading_pairs.jsonl").open(encoding="utf-8")]
REAL = Path(os.environ.get(benchmarks.VARIABLE) or "nowhere")
IN_CI = os.environ.get("EGRC_NO_SKIP") == "1"


def golds(pair):
    return (pair["gold"],) if isinstance(pair["gold"], str) else tuple(pair["gold"])


# --- the corpus ---


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair["name"])
def test_verdict(pair):
    """A pair that is `known_wrong` is expected to be: one that comes right must lose its mark."""
    right = judge(pair["completion"], golds(pair)).correct
    assert right == (pair["correct"] != ("known_wrong" in pair))


def test_the_corpus_covers_both_sides_and_explains_what_is_wrong():
    names = [pair["name"] for pair in PAIRS]
    assert len(set(names)) == len(names) >= 80
    assert min(sum(pair["correct"] for pair in PAIRS), sum(not pair["correct"] for pair in PAIRS)) >= 40
    assert all(len(pair.get("known_wrong", "because")) > 5 for pair in PAIRS)
    kinds = "fraction interval set surd percent unit matrix thousands degrees negative.zero scientific mixed text"
    kinds += " ordered.pair plus.or.minus inequality base money time"
    assert [kind for kind in kinds.split() if not any(n.startswith(kind.replace(".", " ")) for n in names)] == []


@pytest.mark.parametrize("pair", PAIRS[:: len(PAIRS) // 20], ids=lambda pair: pair["name"])
def test_a_judgement_is_that_of_grading(pair):
    assert judge(pair["completion"], golds(pair)) == grading.grade(pair["completion"], golds(pair), limit=60)


# --- what is decided by the texts ---


@pytest.mark.parametrize(
    ("gold", "answer", "decided"),
    [
        ("12", "12", True),
        ("12", "13", False),
        ("1234.5", "1,234.50", True),
        ("0", "-0.0", True),
        ("18", "18 dollars", True),
        ("0.123456", "0.1234560", None),  # the seventh place is math-verify's business
        ("1" * 13, "2" * 13, None),
        ("1,23", "123", None),
        ("1,000", "1000", True),
        ("01,000", "1000", None),  # to math-verify a pair, not a number
        ("3/4", "0.75", None),  # a decimal beside a fraction is rounded
        ("3/4", r"\dfrac{6}{8}", True),
        (r"-\frac{3}{4}", r"\frac{-3}{4}", True),
        (r"\frac{3}{4}", r"\frac43", False),
        ("3", r"\frac{6}{2}", True),
        ("3", r"\frac{6}{0}", None),
        ("1/2", "0.5", True),  # math-verify writes both as \frac{1}{2}
        (r"\left(1,\dfrac12\right)", r"(1,\frac{1}{2})", True),
        (r"x^2+1", r"1+x^2", None),
        (r"\text{even}", r"\text{odd}", None),
        ("", "", None),
        ("\\", "\\", None),
        ("1\n2", "1\n2", None),
        ("boxed", "boxed", None),
        ("\u0661", "1", None),  # an Arabic digit
    ],
)
def test_decided(gold, answer, decided):
    assert decide(gold, answer) is decided


def agrees(gold, answer):
    decided = decide(gold, answer)
    return decided is None or decided == grading._equal(gold, answer)


NUMBERS = st.builds(
    "{}{:{}.{}f}{}".format,
    st.sampled_from(["", "-", "$", "0"]),
    st.one_of(st.integers(0, 10**12), st.integers(0, 30)).map(lambda n: n / 100),
    st.sampled_from(["", ","]),
    st.integers(0, 7),
    st.sampled_from(["", "0", " dollars", r"\%", " cm", "."]),
)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(-30, 30), st.integers(1, 12), st.integers(-30, 30), st.integers(1, 12), st.sampled_from(["", "-"])
)
def test_decided_fractions_agree_with_math_verify(a, b, c, d, sign):
    left = rf"\frac{{{a}}}{{{b}}}"
    twice = rf"{sign}\dfrac{{{2 * a}}}{{{2 * b}}}"
    for right in (rf"{sign}\frac{{{c}}}{{{d}}}", twice, f"{c}/{d}", str(a), str(a / b)):
        assert agrees(left, right) and agrees(right, left)


@settings(deadline=None, max_examples=60)
@given(NUMBERS, NUMBERS, st.sampled_from([0, 1, -1]))
def test_decided_numbers_agree_with_math_verify(left, right, step):
    assert agrees(left, left) and agrees(left, right)
    near = left[:-1] + str((int(left[-1]) + step) % 10) if left[-1:].isdecimal() and left[-1:].isascii() else left
    assert agrees(left, near)


SOUP = r"""
0 5 1,234 x i e + - = ^ _8 ( ) [ ] { } , / ! < \le \in \frac \frac{1}{0} \sqrt{2} \sqrt3 \pi \infty \cup \pm ^\circ \%
\$ \text{even} \text{and} \mbox{cm} cm or and \left( \right) \left \ln \binom{5}{2} | \emptyset \mathbb{R} \! \, : ; .
' " ? & ~ $ $5$ \[ \] \( \) \boxed{5} answer \begin{matrix} \end{matrix}
"""
PIECES = [*sum(WARM_UP, ()), *SOUP.split(), " ", "\n", "\\", "\\ ", " [1,2] ", " 5+3", "\x00", "\ud800"]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.sampled_from(["{}", "{} cm", r"{}\text{{ cm}}", "({})", "${}$"]),
)
def test_equal_texts_are_equal_to_math_verify_too(text, form):
    other = form.format(text).replace("(", r"\left(").replace(r"\frac", r"\dfrac")
    assert agrees(form.format(text), other) and agrees(text, other)


# --- real benchmarks, where a folder of them is given ---

if REAL.is_dir() or not IN_CI:  # CI forbids skips, and has no such files: there, this is not a test

    @pytest.mark.skipif(not REAL.is_dir(), reason=f"{benchmarks.VARIABLE} names no folder of published benchmark files")
    @pytest.mark.parametrize("name", [n for n in benchmarks.REGISTRY if (REAL / n).is_dir()] or ["none"])
    def test_every_gold_answer_verifies_against_itself(name):
        problems = benchmarks.load(name, REAL)
        for gold, id in ((gold, problem.id) for problem in problems for gold in problem.gold):
            assert grading.grade(rf"\boxed{{{gold}}}", gold, limit=60) == grading.Grade(True, gold, "equal"), id
