"""Nothing in a completion hangs or crashes the pool, no process outlives it, and verdicts are those of `grading`."""

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egrc.checks import ConfigError
from egrc.evaluation import pool as module
from egrc.evaluation.grading import LONGEST, Grade
from egrc.evaluation.pool import Pool, PoolError
from egrc.paths import ROOT

HOSTILE = {
    r"\boxed{9^9^9^9}": "too costly",
    r"\boxed{(10^{400000})!}": "too costly",
    r"\boxed{100000000!}": "time limit",
    "#### " + "(" * 60 + "5" + ")" * 60: "time limit",
    "#### " + "(" * 10_000 + "5" + ")" * 10_000: "too long",
    r"\boxed{" + "{" * 100 + "5" + "}" * 101: "time limit",
    r"\def\x{\x\x}\boxed{\x\x\x}": "not equal",
    r"\boxed{\frac{}{}\sqrt{}^{}_{}}": "not equal",
    r"\frac{" * 100_000: "no answer",
    r"\boxed{" * 30_000: "no answer",
    "a" * 1_000_000: "no answer",
    "{" * 10_000: "no answer",
    "\x00\x1b[m\x07\x7f": "no answer",
    "#### \x00": "not equal",
    "\\boxed{\ud800}": "not equal",
    "\ud800\udfff": "no answer",
    "": "no answer",
}
RIGHT = (r"so \boxed{\frac{2}{4}}", "1/2")


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, limit=0.5) as made:
        yield made


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
    assert [grade.reason for grade in grades[::2]] == list(HOSTILE.values())
    assert not any(grade.correct for grade in grades[::2])
    assert all(grade == Grade(True, r"\frac{2}{4}", "equal") for grade in grades[1::2])
    assert pool.counts - before == {
        **{reason: list(HOSTILE.values()).count(reason) for reason in HOSTILE.values()},
        "equal": len(HOSTILE),
    }
    assert pool.replaced - replaced == 3


def test_an_answer_that_took_too_long_is_still_shown(pool):
    assert pool.grade([("#### 200000000!", "5")]) == [Grade(False, "200000000!", "time limit")]
    assert pool.grade([("#### " + "5" * 500, "5")]) == [Grade(False, "5" * LONGEST, "too long")]


def test_several_golds_and_what_a_trainer_passes(pool):
    assert pool.grade([("#### 5", ("4", "5")), ("#### 6", ["4", "5"])])[0].correct
    assert pool.correct("so 1234", "12 * 100 + 34 = 1234\n#### 1,234")
    assert pool.correct("so 5", 5) and not pool.correct("so 6", 5)
    assert pool.all_correct(["so 5", "so 6"], [5, "5"]) == [True, False]
    with pytest.raises(ValueError, match="zip"):
        pool.all_correct(["5"], ["5", "6"])


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec=None), max_size=60), st.sampled_from(["", "#### ", r"\boxed{", "the answer is "]))
def test_any_text_gets_a_verdict(pool, text, before):
    grade = pool.grade([(before + text, "5")])[0]
    assert grade.correct == (grade.reason == "equal")
    assert grade.reason in {"equal", "not equal", "no answer", "too costly", "too long"}


# --- reading ahead ---


class Instant(Pool):
    """No workers: every answer is right at once."""

    def __init__(self):
        self.ahead = 10

    def submit(self, completion, gold):
        future = Future()
        future.set_result(Grade(True, completion, "equal"))
        return future


def test_a_stream_reads_no_further_than_it_must():
    read = 0

    def pairs():
        nonlocal read
        while read < 5000:
            read += 1
            yield "x" * 10_000, "5"

    tracemalloc.start()
    stream = Instant().stream(pairs())
    assert next(stream).correct and read == 10
    assert sum(grade.correct for grade in stream) == 4999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_pause_hands_over_what_came_before():
    given_back = []

    def pairs():
        yield "a", "5"
        yield "b", "5"
        yield None
        assert given_back == ["a", "b"]
        yield "c", "5"

    for grade in Instant().stream(pairs()):
        given_back.append(grade.extracted)
    assert given_back == ["a", "b", "c"]


# --- workers that die, and pools that cannot be used ---


def test_a_worker_that_was_killed_costs_no_verdict(pool):
    for worker in pool._workers:
        os.killpg(worker._process.pid, signal.SIGKILL)
    assert all(grade.correct for grade in pool.grade([RIGHT] * 20))


def test_a_worker_that_dies_of_the_same_answer_twice_crashed(monkeypatch):
    started = []

    def start(worker):
        started.append(worker)
        worker._ready, worker.connection = True, Gone()

    monkeypatch.setattr(module._Worker, "_start", start)
    monkeypatch.setattr(module._Worker, "_kill", lambda worker: None)
    with Pool(workers=1) as pool:
        assert pool.grade([RIGHT]) == [Grade(False, None, "crashed")]
        assert pool.counts == {"crashed": 1} and len(started) == 3


class Gone:
    """A connection whose other end has closed."""

    def send_bytes(self, content):
        raise BrokenPipeError

    def close(self):
        pass


def test_a_worker_that_cannot_start_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool(workers=1) as pool, pytest.raises(PoolError, match="did not start"):
        pool.grade([RIGHT])


@pytest.mark.parametrize("settings", [{"workers": 0}, {"limit": 0}, {"limit": float("nan")}, {"memory": 0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ConfigError, match=re.escape(f"{next(iter(settings))}={next(iter(settings.values()))}")):
        Pool(**settings)


def test_what_is_no_text_is_refused(pool):
    with pytest.raises(TypeError, match="found NoneType None"):
        pool.grade([(None, "5")])
    with pytest.raises(TypeError, match="found int 5"):
        pool.grade([("5", [5])])


def test_a_forked_child_is_refused(pool, monkeypatch):
    monkeypatch.setattr(pool, "_home", -1)
    with pytest.raises(PoolError, match="forked"):
        pool.grade([RIGHT])


def test_a_closed_pool_is_refused_and_may_be_closed_again(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = Pool(workers=1)
    pool.close()
    pool.close()
    with pytest.raises(PoolError, match="closed"):
        pool.grade([RIGHT])


def test_a_worker_may_wait_between_answers():
    limit = 0.1
    with Pool(workers=1, limit=limit) as pool:
        assert pool.grade([RIGHT])[0].correct
        time.sleep(module.SLACK * limit + 0.2)
        assert pool.grade([RIGHT])[0].correct and pool.replaced == 0


def test_a_worker_that_grew_is_renewed_between_answers():
    with Pool(workers=1, memory=110 << 20) as pool:  # about twice what a worker starts with
        assert [grade.correct for grade in pool.grade([RIGHT, ("5", "6"), RIGHT])] == [True, False, True]
        assert pool.replaced == 0


def test_memory_is_bounded():
    code = "from egrc.evaluation.pool import _bound; _bound(200 << 20); print(len(bytearray(10 << 20))); bytearray(300 << 20)"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.strip() == str(10 << 20)
    assert "MemoryError" in ran.stderr or sys.platform == "darwin"


# --- processes ---

SCRIPT = """
import signal

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put us in the background
import sys, time
print("once", flush=True)
from egrc.evaluation.pool import Pool
pool = Pool(workers=1, limit=0.5)
assert pool.correct("#### 5", "5")
print(*(worker._process.pid for worker in pool._workers), flush=True)
if sys.argv[1] == "stuck":
    pool.grade([("#### 100000000!", "5")] * 1000)
"""


def alive(groups):
    """Processes of these groups that are not zombies."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True).stdout.split("\n")
    return [line for line in listed if line.split() and line.split()[0] in groups and "Z" not in line.split()[1]]


@pytest.mark.parametrize(("what", "number"), [("done", None), ("stuck", signal.SIGINT), ("stuck", signal.SIGKILL)])
def test_no_process_outlives_its_caller(what, number, tmp_path):
    """Without a `with`, without a main guard, in the middle of an answer, and whatever ends the caller."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    caller = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
    assert caller.stdout.readline() == "once\n"
    groups = caller.stdout.readline().split()
    assert len(groups) == 1
    if number is not None:
        assert len(alive(groups)) >= 2
        os.killpg(caller.pid, number)  # as a terminal does, to all of its group
    out, err = caller.communicate(timeout=60)
    assert out == ""
    assert err.count("Traceback") == (number == signal.SIGINT)
    deadline = time.monotonic() + 60
    while alive(groups):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_imports_neither_torch_nor_pandas():
    code = "import egrc.evaluation.pool, egrc.evaluation.graders, sys; print({'torch', 'pandas', 'numpy'} & set(sys.modules))"  # noqa: E501
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ran.stdout.strip() == "set()", ran.stderr
