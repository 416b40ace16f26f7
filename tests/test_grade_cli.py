"""`python -m egrc grade`: one verdict a line, in order, at once; a bad line is named after those before it."""

import json
import os
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import Future

import pytest

from egrc.__main__ import main
from egrc.evaluation import grade_lines
from egrc.evaluation.answers import Grade
from egrc.evaluation.grade_lines import LineError, _lines, _pair, _pairs
from egrc.evaluation.pool import Pool
from egrc.paths import ROOT

LINES = [
    {"gold": "1/2", "completion": r"so \boxed{\frac{2}{4}}", "ignored": 1},
    {"gold": ["5", r"\text{five}"], "completion": "<think>4</think>The answer is five."},
    {"gold": "16 - 3 = 13\n#### 13", "completion": "#### 14"},
    {"gold": "5", "completion": "\ud800\x00"},
    {"gold": "5", "completion": "#### 9^9^9^9"},
]
VERDICTS = [
    {"correct": True, "extracted": r"\frac{2}{4}", "reason": "equal"},
    {"correct": True, "extracted": "five", "reason": "equal"},
    {"correct": False, "extracted": "14", "reason": "not equal"},
    {"correct": False, "extracted": None, "reason": "no answer"},
    {"correct": False, "extracted": "9^9^9^9", "reason": "too costly"},
]


def command(*arguments):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    full = [sys.executable, "-m", "egrc", "grade", *arguments]
    process = subprocess.Popen(full, cwd=ROOT, env=env, text=True, **pipes)
    patience = threading.Timer(120, process.kill)  # a test that waits for its output fails, instead of waiting on
    patience.daemon = True
    patience.start()
    return process


class Instant(Pool):
    """No workers: every answer is right at once."""

    def __init__(self):
        super().__init__()
        self.ahead = 10

    def _submit(self, completion, gold):
        future = Future()
        future.set_result(Grade(True, completion, "equal"))
        return future, completion, [gold]


# --- the command ---


@pytest.mark.e2e
def test_a_file_is_graded_until_its_first_bad_line(tmp_path, capsys):
    file = tmp_path / "answers.jsonl"
    text = "\ufeff" + "\n\n".join(map(json.dumps, LINES)) + '\n{"gold": "5"}\n' + json.dumps(LINES[0])
    file.write_text(text, encoding="utf-8")
    assert main(["grade", str(file)]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == VERDICTS
    assert err == f"egrc: {file}, line 10: no 'completion'; found 'gold'\n"
    assert out.isascii()


@pytest.mark.e2e
def test_standard_input_is_answered_line_by_line_and_summed_up():
    process = command("-", "--workers", "1")
    for line, verdict in zip(LINES, VERDICTS, strict=True):
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == verdict  # before anything else is written
    out, err = process.communicate()
    assert (out, process.returncode) == ("", 0)
    assert err == "egrc: 5 graded (2 equal, 1 not equal, 1 no answer, 1 too costly), 0 workers replaced\n"


@pytest.mark.e2e
def test_a_reader_who_has_seen_enough_ends_it_quietly():
    process = command("-", "--workers", "1")
    line = json.dumps(LINES[0]) + "\n"
    process.stdin.write(line)
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == VERDICTS[0]
    process.stdout.close()
    process.stdin.write(line)
    process.stdin.close()
    assert process.wait(60) == 1
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.jsonl"], 1, "No such file or directory: 'nowhere.jsonl'"),
        (["."], 1, "Is a directory"),
        (["x.jsonl", "--workers", "0"], 2, "workers=0"),
        (["x.jsonl", "--limit", "nan"], 2, "limit=nan"),
    ],
)
def test_bad_usage_is_one_line(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: ") and message in err and err.count("\n") == 1


# --- lines ---


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "not valid JSON: "),
        (b"[" * 100_000, "not valid JSON: "),
        (b'{"gold": "\xff"}', "byte 0xff is not UTF-8"),
        (b"5", "expected an object with 'gold' and 'completion', found int"),
        (b"{}", "no 'gold'; found nothing"),
        (b'{"completion": "5", "golden": "5"}', "no 'gold'; found 'completion', 'golden'"),
        (b'{"gold": "5"}', "no 'completion'; found 'gold'"),
        (b'{"gold": "5", "completion": 5}', "'completion': expected a text, found int 5"),
        (b'{"gold": "5", "completion": null}', "'completion': expected a text, found NoneType null"),
        (b'{"gold": 5.0, "completion": "5"}', "'gold': expected a text or a list of texts, none of them empty, found"),
        (b'{"gold": ["5", 5], "completion": "5"}', "'gold': expected a text or a list of texts"),
        (b'{"gold": [], "completion": "5"}', "'gold': expected a text or a list of texts"),
        (b'{"gold": " ", "completion": "5"}', "'gold': expected a text or a list of texts"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line, message):
    with pytest.raises(ValueError) as raised:
        _pair(line)
    assert str(raised.value).startswith(message)


def test_a_line_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(grade_lines, "LONGEST_LINE", 1 << 20)
    reader, writer = os.pipe()

    def write():
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(b"x" * (1 << 21))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    with pytest.raises(LineError, match="standard input, line 1: longer than 1 MB"):
        list(_pairs(reader, "standard input"))
    while os.read(reader, 1 << 20):
        pass
    os.close(reader)
    thread.join()


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_put_together_whatever_is_read_at_once(size, tmp_path):
    file = tmp_path / "file"
    file.write_bytes("ä\n\nbb\r\nlast".encode())
    with file.open("rb") as stream:
        assert list(_lines(stream.fileno(), size)) == ["ä".encode(), b"", b"bb\r", b"last"]


def test_a_long_pipe_takes_little_memory():
    count, line = 5000, json.dumps({"gold": "5", "completion": "x" * 1000}).encode() + b"\n"
    reader, writer = os.pipe()

    def write():
        with os.fdopen(writer, "wb") as pipe:
            for _ in range(count):
                pipe.write(line)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    tracemalloc.start()
    graded = sum(grade.correct for grade in Instant().stream(_pairs(reader, "pipe")))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    thread.join()
    os.close(reader)
    assert graded == count
    assert peak < 500_000 < count * len(line) / 10
