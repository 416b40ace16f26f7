"""Nothing in a completion hangs or crashes the pool, no process outlives it, and verdicts are those of `grading`."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc.checks import ConfigError
from egrc.evaluation.answers import LONGEST, Grade
from egrc.evaluation.pool import Pool, _graded
from egrc.paths import ROOT

HOSTILE = {
    r"\boxed{9^9^9^9}": "too costly",
    r"\boxed{(10^{400000})!}": "too costly",
    r"\boxed{100000000!}": "time limit",
    "#### " + "(" * 10_000 + "5" + ")" * 10_000: "too long",
    r"\boxed{" + "{" * 100 + "5" + "}" * 101: "time limit",
    r"\def\x{\x\x}\boxed{\x\x\x}": "not equal as texts",
    r"\frac{" * 20_000: "no answer",
    r"\boxed{" * 30_000: "no answer",
    "a" * 200_000: "no answer",
    "\n" * 100_000: "no answer",
    "**a" * 50_000: "no answer",
    "<answer>" * 30_000: "no answer",
    "\\boxed{\ud800}": "not equal as texts",
    "": "no answer",
}
RIGHT = (r"so \boxed{\frac{2}{4}}", "1/2")


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, limit=0.5) as made:
        yield made


def workers(pool):
    return [worker.pid for worker in pool._pool._pool_manager.worker_manager.workers.values()]


# --- verdicts ---


def test_grades_keep_the_order_of_the_pairs(pool):
    pairs = [(rf"\boxed{{{n}}}", str(n - n % 3)) for n in range(150)]
    expected = [Grade(n % 3 == 0, str(n), "not equal" if n % 3 else "equal") for n in range(150)]
    assert pool.grade(pairs) == expected
    assert pool.grade([]) == []


def test_hostile_completions_are_wrong_for_a_reason_and_counted(pool):
    before, replaced = pool.counts.copy(), pool.replaced
    pairs = [pair for text in HOSTILE for pair in ((text, "5"), RIGHT)]
    grades = pool.grade(pairs)
    found = {text[:40]: grade.reason for text, grade in zip(HOSTILE, grades[::2], strict=True)}
    assert found == {text[:40]: reason for text, reason in HOSTILE.items()}
    assert not any(grade.correct for grade in grades[::2])
    assert all(grade == Grade(True, r"\frac{2}{4}", "equal") for grade in grades[1::2])
    assert (pool.counts - before).total() == len(pairs) and pool.replaced - replaced == 2
    assert pool.grade([("#### 200000000!", "5")]) == [Grade(False, "200000000!", "time limit")]
    assert pool.grade([("#### " + "5" * 500, "5")]) == [Grade(False, "5" * LONGEST, "too long")]


def test_several_golds_and_what_a_trainer_passes(pool):
    assert [g.correct for g in pool.grade([("#### 5", ("4", "5")), ("#### 6", ["4", "5"])])] == [True, False]
    assert pool("so 1234", "12 * 100 + 34 = 1234\n#### 1,234")
    assert pool("so 5", 5) and not pool("so 6", 5) and pool("so 6", ["5", 6])
    assert pool.batch(["so 5", "so 6"], [5, "5"]) == [True, False]
    with pytest.raises(ValueError, match="zip"):
        pool.batch(["5"], ["5", "6"])
    with Pool(workers=1, prefix=r"\boxed{") as within:
        assert within.batch(["5}", "6}"], ["5", "5"]) == [True, False]


@settings(deadline=None, max_examples=40)
@given(st.text(st.characters(codec=None), max_size=60), st.sampled_from(["", "#### ", r"\boxed{", "the answer is "]))
def test_any_text_gets_a_verdict(pool, text, before):
    grade = pool.grade([(before + text, "5")])[0]
    assert grade.correct == (grade.reason == "equal")
    assert grade.reason in {"equal", "not equal", "not equal as texts", "no answer", "too costly", "too long"}


def test_a_stream_reads_no_further_than_it_must_and_hands_over_what_is_graded(pool):
    read, given_back = 0, []

    def pairs():
        nonlocal read
        while read < 1000:
            read += 1
            yield "#### 5", "5"

    stream = pool.stream(pairs())
    assert next(stream).correct and read <= pool.ahead + 2
    assert sum(grade.correct for grade in stream) == 999

    def answered():
        for n in range(3):
            deadline = time.monotonic() + 60
            while len(given_back) < n:  # the next comes only when there is a verdict on the last
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield f"so {n}", "1"

    for grade in pool.stream(answered()):
        given_back.append(grade.correct)
    assert given_back == [False, True, False]


# --- workers that die, and pools that cannot be used ---


def test_a_worker_that_was_killed_costs_no_verdict_and_may_wait_between_answers():
    with Pool(workers=1, limit=0.5) as pool:
        assert pool(*RIGHT)
        time.sleep(0.7)  # no processor time
        assert pool(*RIGHT) and pool.replaced == 0
        for pid in workers(pool):
            os.kill(pid, signal.SIGKILL)
        assert all(grade.correct for grade in pool.grade([RIGHT] * 20))


def test_an_answer_that_ends_its_worker_twice_crashed(monkeypatch):
    with Pool(workers=1) as pool:
        monkeypatch.setattr(pool, "_submit", lambda c, g: (pool._started().schedule(os._exit, [3]), c, g))
        assert pool.grade([RIGHT]) == [Grade(False, None, "crashed")]
        assert pool.counts == {"crashed": 1} and pool.replaced == 2


@pytest.mark.parametrize(("error", "reason"), [(MemoryError, "out of memory"), (RecursionError, "crashed")])
def test_errors_of_a_comparison_are_verdicts(error, reason, monkeypatch):
    def fail(completion, golds):
        raise error

    monkeypatch.setattr("egrc.evaluation.grading.grade", fail)
    assert _graded("5", ["5"], 10) == Grade(False, None, reason)


@pytest.mark.parametrize("settings", [{"workers": 0}, {"limit": 0}, {"limit": float("nan")}, {"memory": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError, match=re.escape(f"{next(iter(settings))}={next(iter(settings.values()))}")):
        Pool(**settings)


def test_what_is_no_text_and_a_closed_pool_are_refused(pool):
    with pytest.raises(TypeError, match="found NoneType None"):
        pool.grade([(None, "5")])
    with pytest.raises(TypeError, match="found int 5"):
        pool.grade([("5", [5])])
    other = Pool(workers=1)
    other.close()
    other.close()
    with pytest.raises(ConfigError, match="closed"):
        other.grade([RIGHT])


# --- processes ---

SCRIPT = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put us in the background
import os, sys
print("once", flush=True)
from egrc.evaluation.pool import Pool
pool = Pool(workers=1, limit=0.5)
assert pool("#### 5", "5")
assert not {"torch", "pandas", "sympy"} & set(sys.modules)
print("graded", flush=True)
if sys.argv[1] == "stuck":
    pool.grade([("#### 100000000!", "5")] * 1000)
if sys.argv[1] == "fork":
    if not (child := os.fork()):
        try:
            pool("#### 5", "5")
        except ValueError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and pool("#### 5", "5")
"""


def alive(session):
    """Processes of a session that are not zombies."""
    listed = subprocess.run(["ps", "-A", "-o", "sid=,stat="], capture_output=True, text=True).stdout.split("\n")
    return [line for line in listed if line.split() and line.split()[0] == session and "Z" not in line.split()[1]]


@pytest.mark.parametrize(
    ("what", "number"), [("fork", None), ("stuck", signal.SIGINT), ("stuck", signal.SIGKILL)]
)
def test_no_process_outlives_its_caller(what, number, tmp_path):
    """Without a `with`, without a main guard, in the middle of an answer, and whatever ends the caller."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error::ResourceWarning", str(script), what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    caller = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
    assert [caller.stdout.readline() for _ in "12"] == ["once\n", "graded\n"]
    if number is not None:
        assert len(alive(str(caller.pid))) >= 2
        os.kill(caller.pid, number)
    try:
        out, err = caller.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(caller.pid, signal.SIGKILL)  # a caller that hangs fails the test, and stays no longer than it
        raise
    assert out == ""
    assert (err.count("Traceback") >= 1) == (number == signal.SIGINT), err
    deadline = time.monotonic() + 30
    while alive(str(caller.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
