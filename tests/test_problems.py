"""Problem files are read alike from four formats, and every fault is named with file, row and column."""

import json
import os
import re
from fractions import Fraction
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.problems import GSM8K, HANDMADE, VARIABLE, Problem, ProblemError, key, load, read_gsm8k, splits
from egrc.paths import ROOT

ROWS = [
    {"question": "How many are 2 and 3?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
    {"question": 'A "large" sum,\nin dollars?', "answer": "#### $1,234.50"},
]


def write(path: Path, rows: list[dict]) -> Path:
    match path.suffix:
        case ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
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
def test_formats_agree(tmp_path: Path, suffix: str) -> None:
    problems = load(write(tmp_path / f"test{suffix}", ROWS))
    assert problems == [
        Problem("gsm8k/test/1", "How many are 2 and 3?", ("5",), "2 + 3 = 5", "gsm8k"),
        Problem("gsm8k/test/2", 'A "large" sum,\nin dollars?', ("1234.50",), "", "gsm8k"),
    ]


@pytest.mark.parametrize(
    ("gold", "read"),
    [
        ("1,234", "1234"),
        (" -3 ", "-3"),
        ("$5", "5"),
        ("50%", "50"),
        (".5", ".5"),
        ("3/4", "3/4"),
        ("7.", "7."),
    ],
)
def test_gold(gold: str, read: str) -> None:
    assert read_gsm8k(f"steps #### 1\n#### {gold}") == ("steps #### 1", (read,))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"answer": "#### 1"}, r"row 3: no column 'question'; found answer"),
        ({"question": "How?"}, r"row 3: no column 'answer'; found question"),
        ({"question": " ", "answer": "#### 1"}, r"row 3, column 'question': expected a text"),
        ({"question": 7, "answer": "#### 1"}, r"row 3, column 'question': expected a text"),
        ({"question": "How?", "answer": 27.0}, r"row 3, column 'answer': .* found float"),
        ({"question": "How?", "answer": ["1"]}, r"row 3, column 'answer': .* found list"),
        (
            {"question": "How?", "answer": "it is 1"},
            r"row 3, column 'answer': .*'#### number', found 'it is 1'",
        ),
        ({"question": "How?", "answer": "####"}, r"row 3, column 'answer'"),
        ({"question": "How?", "answer": "#### many"}, r"row 3, column 'answer'"),
        (["How?", "#### 1"], r"row 3: expected columns and values, found list"),
    ],
)
def test_faults_are_located(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(ProblemError, match=r"train\.jsonl, " + message):
        load(write(tmp_path / "train.jsonl", [*ROWS, bad]))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", r"a\.jsonl: no rows; expected columns 'question' and 'answer'"),
        ("a.jsonl", b"\n\n", "no rows"),
        ("a.json", b"", "no rows"),
        ("a.json", b"[]", "no rows"),
        ("a.csv", b"", "no rows"),
        ("a.csv", b"question,answer\n", "no rows"),
        ("a.csv", b"question,reply\nHow?,#### 1\n", "row 1: no column 'answer'; found question, reply"),
        ("a.csv", b'question,answer\nHow?,"#### 1\n', "cannot be read"),
        ("a.json", b'{"question": "How?"}', "expected a list of problems, found dict"),
        ("a.jsonl", b'{"question": "How?", "answer": "#### 1"}\n{oops}\n', "row 2: not valid JSON"),
        ("a.jsonl", b"[" * 100_000, "row 1: not valid JSON"),
        ("a.jsonl", b'{"question": "\xff"}', "cannot be read"),
        ("a.parquet", b"PAR1 not", "cannot be read"),
        ("a.txt", b"How?", r"unknown kind of file; expected one of \.jsonl"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProblemError, match=message):
        load(tmp_path / name)


def test_missing_places_name_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProblemError, match="cannot be read"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(ProblemError, match="no train or test file"):
        splits(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ProblemError, match=f"nowhere: set {VARIABLE}"):
        splits()


def test_two_files_of_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", ROWS)
    write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(ProblemError, match=r"test\.jsonl and test\.csv are both test"):
        splits(tmp_path)


@pytest.mark.parametrize("inner", ["", "gsm8k"])
def test_folder_with_two_files(tmp_path: Path, inner: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / inner).mkdir(exist_ok=True)
    write(tmp_path / inner / "test.jsonl", numbered(4))
    write(
        tmp_path / inner / "train.csv",
        [*numbered(5, first=3), {"question": "what is  0", "answer": "#### 0"}],
    )
    found = splits(tmp_path)
    assert [p.text for p in found["test"]] == [f"What is {i}?" for i in range(4)]
    assert [p.text for p in found["train"]] == [f"What is {i}?" for i in range(4, 8)]  # 3 and 0 are tested
    assert "2 training problems" in caplog.text


def test_all_training_problems_tested_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "test.jsonl", numbered(4))
    write(tmp_path / "train.jsonl", numbered(4))
    with pytest.raises(ProblemError, match="too few problems"):
        splits(tmp_path)


def test_one_file_is_divided_by_a_stable_hash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    few = splits(write(tmp_path / "mine.jsonl", numbered(40)))
    assert not caplog.text
    many = splits(write(tmp_path / "test.jsonl", [*numbered(200)[::-1], *numbered(5)]).parent)
    assert "must not be compared" in caplog.text  # only a test file was found
    for side, other in (("train", "test"), ("test", "train")):
        assert {p.text for p in few[side]} <= {p.text for p in many[side]}
        assert not {p.text for p in many[side]} & {p.text for p in many[other]}
    assert 70 <= len(many["train"]) <= 135
    assert len(many["train"]) + len(many["test"]) == 205


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_key_ignores_case_and_spacing_of_ascii(text: str) -> None:
    shouted = re.sub(r"[a-z]", lambda m: m[0].upper(), text)
    assert key(shouted) == key(text) == key(f"  {text}\n?")


def test_handmade_problems_are_right() -> None:
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


def test_shipped_problems_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    found = splits()
    assert len(found["test"]) >= 8 and len(found["train"]) >= 8
    assert {p.source for side in found.values() for p in side} == {"handmade"}


def test_real_files_where_there_are_any() -> None:
    """GSM8K as published, from EGRC_PROBLEMS or beside the repository; the shipped problems elsewhere."""
    folder = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "benchmarks")
    path = folder / GSM8K.name / "test.jsonl"
    problems = load(path if path.is_file() else HANDMADE)
    assert len(problems) == (1319 if path.is_file() else 26)
    assert all(
        p.solution and re.fullmatch(r"-?\d+(\.\d+)?", p.gold[0]) and "<<" not in p.solution for p in problems
    )
