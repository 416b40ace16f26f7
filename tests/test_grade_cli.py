"""`python -m egrc grade`: one verdict a line, in order, at once; a bad line is named after those before it."""

import json
import os
import subprocess
import sys
import threading

import pytest

from egrc.__main__ import main
from egrc.checks import ConfigError
from egrc.evaluation.grade_lines import pairs
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
        (["x.jsonl", "--workers", "0"], 2, "workers=0"),
        (["x.jsonl", "--limit", "nan"], 2, "limit=nan"),
    ],
)
def test_bad_usage_is_one_line(arguments, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["grade", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "Expecting property name"),
        (b"[" * 100_000, "recursion"),
        (b'{"gold": "\xff"}', "can't decode byte 0xff"),
        (b"5", "expected an object with 'gold' and 'completion', found 5"),
        (b'{"completion": "5", "golden": "5"}', "expected an object with 'gold' and 'completion'"),
        (b'{"gold": "5", "completion": null}', "'completion': expected a text, found null"),
        (b'{"gold": 5.0, "completion": "5"}', "'gold': expected a text or texts, none empty, found 5.0"),
        (b'{"gold": [], "completion": "5"}', "'gold': expected a text or texts"),
        (b'{"gold": " ", "completion": "5"}', "'gold': expected a text or texts"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line, message):
    with pytest.raises(ConfigError, match=f"^file, line 2: .*{message}"):
        list(pairs([b"\n", line], "file"))
