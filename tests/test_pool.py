"""Nothing in a completion hangs or crashes the pool, no process outlives it, and verdicts are those of `grading`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from egrc.__main__ import main
from egrc.checks import ConfigError
from egrc.evaluation.answers import LONGEST, Grade
from egrc.evaluation.grade_lines import pairs
from egrc.evaluation.pool import Pool, _graded
from egrc.paths import ROOT

HOSTILE = {
    r"\boxed{9^9^9^9}": "too costly", r"\boxed{(10^{400000})!}": "too costly", r"\boxed{100000000!}": "time limit",
    "#### " + "(" * 10_000 + "5" + ")" * 10_000: "too long", r"\boxed{" + "{" * 100 + "5" + "}" * 101: "time limit",
    r"\def\x{\x\x}\boxed{\x\x\x}": "not equal as texts", r"\frac{" * 20_000: "no answer",
    r"\boxed{" * 30_000: "no answer", "a" * 200_000: "no answer", "\n" * 100_000: "no answer",
    "**a" * 50_000: "no answer", "<answer>" * 30_000: "no answer", "\\boxed{\ud800}": "not equal as texts",
    "": "no answer",
}  # fmt: skip
RIGHT = (r"so \boxed{\frac{2}{4}}", "1/2")


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=2, limit=0.5) as made:
        yield made


def workers(pool):
    return [worker.pid for worker in pool._pool._pool_manager.worker_manager.workers.values()]


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


def test_a_stream_reads_no_further_than_it_must(pool):
    read = 0

    def pairs():
        nonlocal read
        while read < 1000:
            read += 1
            yield "#### 5", "5"

    stream = pool.stream(pairs())
    assert next(stream).correct and read <= pool.ahead + 2
    assert sum(grade.correct for grade in stream) == 999


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


@pytest.mark.parametrize(("what", "number"), [("fork", None), ("stuck", signal.SIGINT), ("stuck", signal.SIGKILL)])
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


LINES = [
    {"gold": "1/2", "completion": r"so \boxed{\frac{2}{4}}", "ignored": 1},
    {"gold": ["5", r"\text{five}"], "completion": "<think>4</think>The answer is five."},
    {"gold": "16 - 3 = 13\n#### 13", "completion": "#### 14"}, {"gold": "5", "completion": "\ud800\x00"},
    {"gold": "5", "completion": "#### 9^9^9^9"},
]  # fmt: skip
VERDICTS = [
    {"correct": True, "extracted": r"\frac{2}{4}", "reason": "equal"},
    {"correct": True, "extracted": "five", "reason": "equal"},
    {"correct": False, "extracted": "14", "reason": "not equal"},
    {"correct": False, "extracted": None, "reason": "no answer"},
    {"correct": False, "extracted": "9^9^9^9", "reason": "too costly"},
]  # fmt: skip


@pytest.mark.e2e
def test_a_file_is_graded_until_its_first_bad_line(tmp_path, capsys):
    file = tmp_path / "answers.jsonl"
    text = "\ufeff" + "\n\n".join(map(json.dumps, LINES)) + '\n{"gold": "5"}\n' + json.dumps(LINES[0])
    file.write_text(text, encoding="utf-8")
    assert main(["grade", str(file)]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == VERDICTS
    assert err.startswith(f"egrc: {file}, line 10: expected an object with 'gold' and") and err.count("\n") == 1
    assert out.isascii()


@pytest.mark.e2e
def test_standard_input_is_answered_line_by_line_and_summed_up():
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-m", "egrc", "grade", "-", "--workers", "1"], cwd=ROOT, **pipes)
    patience = threading.Timer(120, process.kill)  # a test that waits for its output fails, instead of waiting on
    patience.daemon = True
    patience.start()
    for line, verdict in zip(LINES, VERDICTS, strict=True):
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == verdict  # before anything else is written
    out, err = process.communicate()
    assert (out, process.returncode) == ("", 0)
    assert err == "egrc: 5 graded (2 equal, 1 not equal, 1 no answer, 1 too costly), 0 workers replaced\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "Expecting property name"), (b"[" * 100_000, "recursion"),
        (b'{"gold": "\xff"}', "can't decode byte 0xff"),
        (b"5", "expected an object with 'gold' and a text 'completion', found 5"),
        (b'{"completion": "5", "golden": "5"}', "expected an object with 'gold' and a text"),
        (b'{"gold": "5", "completion": null}', "expected an object with 'gold' and a text 'completion', found .*null"),
        (b'{"gold": 5.0, "completion": "5"}', "'gold': expected a text or texts, none empty, found 5.0"),
        (b'{"gold": [], "completion": "5"}', "'gold': expected a text or texts"),
        (b'{"gold": " ", "completion": "5"}', "'gold': expected a text or texts"),
    ],
)  # fmt: skip
def test_a_bad_line_says_what_is_wrong(line, message):
    with pytest.raises(ConfigError, match=f"^file, line 2: .*{message}"):
        list(pairs([b"\n", line], "file"))


def broken() -> None:
    raise TypeError("as where the package was changed under a running process")


def test_workers_that_do_not_start_are_an_error_and_no_verdict(monkeypatch):
    monkeypatch.setattr("egrc.evaluation.pool._initialise", broken)
    with Pool(workers=1) as pool, pytest.raises(RuntimeError, match="workers do not start"):
        pool("#### 3", "3")
