"""Problem files are read alike from four formats, every fault is named, and training and test stay apart."""

import json
import re
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest

from egrc.evaluation.problems import HANDMADE, VARIABLE, Problem, ProblemError, key, load, splits

ROWS = [
    {"question": "How many are 2 and 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
    {"question": 'A "large" sum,\nin dollars?', "answer": "#### $1,234.50"},
]


def write(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
    return path


def numbered(n: int, first: int = 0) -> list[dict]:
    return [{"question": f"What is {i}?", "answer": f"#### {i}"} for i in range(first, first + n)]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_formats_agree(tmp_path, suffix):
    problems = load(write(tmp_path / f"test{suffix}", ROWS))
    assert problems == [
        Problem("gsm8k/test/1", "How many are 2 and 3?", ("5",), "2 + 3 = 5", "gsm8k"),
        Problem("gsm8k/test/2", 'A "large" sum,\nin dollars?', ("1234.5",), "", "gsm8k"),
    ]


def refused(path: Path, content: bytes | None, message: str) -> None:
    """A file of this content (None: no file) is refused in one line that matches the message."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProblemError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", r"a\.jsonl: no rows; expected columns question and answer"), ("a.jsonl", b"\n\n", "no rows"),
        ("a.json", b"", "no rows"), ("a.json", b"[]", "no rows"), ("a.csv", b"question,answer\n", "no rows"),
        ("a.csv", b'question,answer\nHow?,"#### 1\n', "cannot be read: .*EOF inside string"),
        ("a.csv", b"question,answer\nHow?,1,2,3\nWhy?,1,2,3,4\n", "cannot be read: .*line 3"),
        ("a.csv", b"question,answer\ncaf\xe9,1\n", "line 2: byte 0xe9 is not UTF-8: save it as UTF-8"),
        ("a.json", b'{"question": "How?"}', "row 1: no column 'answer'; found question"),
        ("a.json", b'[{"question": "a", "answer": "1"}', "cannot be read: Expecting"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.jsonl", b'{"question": "How?", "answer": "#### 1"}\n{oops}\n', "row 2: cannot be read: Expecting"),
        ("a.jsonl", b'{"question": "How?", "answer": "#### 1"}\n{"question"', "row 2: cannot be read: "),
        ("a.jsonl", b'{"question": "\xff"}', "line 1: byte 0xff is not UTF-8"),
        ("a.jsonl", '{"question": "a"}'.encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        ("a.parquet", b"PAR1 not", "cannot be read"),
        ("a.txt", b"How?", r"unknown kind of file; expected one of \.jsonl"),
        ("none.jsonl", None, "cannot be read: .*No such file"),
    ],
)  # fmt: skip
def test_unusable_files(tmp_path, name, content, message):
    refused(tmp_path / name, content, message)


@pytest.mark.parametrize("start", [b"version https://git-lfs.github.com/", b"\n<HTML lang=en>", b"\x1f\x8b\x08"])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_that_is_something_else(start, suffix, tmp_path):
    refused(tmp_path / f"a{suffix}", start, r"cannot be read: it is a Git LFS pointer, a web page or compressed")


def test_missing_places_name_the_variable(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    for folder in (tmp_path, None):
        with pytest.raises(ProblemError, match=f"no .*, or no train or test file .*: set {VARIABLE}"):
            splits(folder)


@pytest.mark.parametrize("inner", ["", "gsm8k"])
def test_folder_with_two_files(tmp_path, inner, caplog):
    write(tmp_path / inner / "test.jsonl", numbered(4))
    repeated = {"question": "what is  0", "answer": "#### 0"}
    write(tmp_path / inner / "train.csv", [*numbered(5, first=3), repeated])
    found = splits(tmp_path)
    assert [p.text for p in found["test"]] == [f"What is {i}?" for i in range(4)]
    assert [p.text for p in found["train"]] == [f"What is {i}?" for i in range(4, 8)]  # 3 and 0 are tested
    assert "2 training problems" in caplog.text
    write(tmp_path / inner / "train.csv", numbered(4))
    with pytest.raises(ProblemError, match="too few problems"):
        splits(tmp_path)


def test_one_file_is_divided_by_a_stable_hash(tmp_path, caplog):
    few = splits(write(tmp_path / "mine.jsonl", numbered(40)))
    assert not caplog.text
    many = splits(write(tmp_path / "test.jsonl", [*numbered(200)[::-1], *numbered(5)]).parent)
    assert "must not be compared" in caplog.text  # only a test file was found
    for side, other in (("train", "test"), ("test", "train")):
        assert {p.text for p in few[side]} <= {p.text for p in many[side]}
        assert not {p.text for p in many[side]} & {p.text for p in many[other]}
    assert 70 <= len(many["train"]) <= 135
    assert len(many["train"]) + len(many["test"]) == 205


def test_handmade_problems_are_right_and_suffice(monkeypatch):
    """Every equation in the worked steps holds, and the last one gives the answer."""
    problems = load(HANDMADE)
    assert len({key(p.text) for p in problems}) == len(problems) >= 24
    for p in problems:
        equations = re.findall(r"(-?[\d.]+) ([-+*/]) ([\d.]+) = (-?\d+(?:\.\d+)?)", p.solution)
        assert len(equations) >= 2, p.id
        for a, operator, b, result in equations:
            x, y = Fraction(a), Fraction(b)
            value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[operator]
            assert value == Fraction(result), (p.id, a, operator, b, result)
        assert Fraction(p.gold[0]) == Fraction(equations[-1][3]), p.id
    monkeypatch.delenv(VARIABLE, raising=False)
    found = splits()
    assert len(found["test"]) >= 8 and len(found["train"]) >= 8
    assert {p.source for side in found.values() for p in side} == {"handmade"}
