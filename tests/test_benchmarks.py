"""Seven benchmarks in four formats and two schemas, the hub that may fail, and every fault of a file named."""

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from datasets import Dataset, exceptions
from datasets.arrow_writer import ArrowWriter

from egrc.__main__ import main
from egrc.evaluation import benchmarks
from egrc.evaluation.benchmarks import (
    PROMPT,
    REGISTRY,
    SIX,
    VARIABLE,
    Benchmark,
    BenchmarkError,
    digest,
    get,
    load,
    messages,
)
from egrc.evaluation.gold import balanced, number
from egrc.evaluation.problems import Problem

IN_CI = os.environ.get("EGRC_NO_SKIP") == "1"
REAL = Path(os.environ.get(VARIABLE) or "nowhere")

NATIVE: dict[str, tuple[list[dict[str, Any]], list[tuple[str, tuple[str, ...]]]]] = {
    "gsm8k": (
        [
            {"question": "Ana has 1,000 plums and buys 234. How many?", "answer": "<<1000+234=1234>>\n#### 1,234"},
            {"question": "A pen costs $2.\nFour?", "answer": "4 * 2 = $<<4*2=8>>8\n#### 8"},
        ],
        [("gsm8k/1", ("1234",)), ("gsm8k/2", ("8",))],
    ),
    "math500": (
        [
            {"problem": "Half of $\\pi$?", "solution": "...", "answer": "\\frac{\\pi}{2}", "subject": "Algebra",
             "level": 2, "unique_id": "test/algebra/7.json"},
            {"problem": "Which roots has $x^2+x-2$?", "solution": "...", "answer": "1,-2", "subject": "Algebra",
             "level": 5, "unique_id": "test/algebra/8.json"},
        ],
        [("math500/test/algebra/7.json", (r"\frac{\pi}{2}",)), ("math500/test/algebra/8.json", ("1,-2",))],
    ),
    "amc23": (
        [
            {"id": 0, "answer": 27.0, "url": "https://example.org/1", "question": "What is $3^3$?"},
            {"id": 1, "answer": -1.0, "url": "https://example.org/2", "question": "What is $2-3$?"},
        ],
        [("amc23/0", ("27",)), ("amc23/1", ("-1",))],
    ),
    "aime24": (
        [
            {"id": 60, "problem": "How many?", "solution": "\\boxed{025}", "answer": "025", "url": "u", "year": "2024"},
            {"id": 61, "problem": "How many more?", "solution": "...", "answer": "902", "url": "u", "year": "2024"},
        ],
        [("aime24/60", ("25",)), ("aime24/61", ("902",))],
    ),
    "aime25": (
        [{"problem": "Sum of bases?", "answer": "70", "id": "0"}, {"problem": "Area?", "answer": "588", "id": "1"}],
        [("aime25/0", ("70",)), ("aime25/1", ("588",))],
    ),
    "olympiadbench": (
        [
            {"id": 1606, "question": "How long is it?", "solution": ["a", "b"], "final_answer": ["$2^{10}$"],
             "context": "A ladder leans.", "image_1": None, "modality": "Text-only", "is_multiple_answer": False,
             "unit": "cm", "answer_type": "Numerical", "error": None, "question_type": "Open-ended"},
            {"id": 1607, "question": "Which $x$?", "solution": ["a"], "final_answer": ["$1$", "$-2$"],
             "context": None, "image_1": None, "modality": "Text-only", "is_multiple_answer": True,
             "unit": None, "answer_type": "Numerical", "error": None, "question_type": "Open-ended"},
        ],
        [("olympiadbench/1606", ("2^{10}",)), ("olympiadbench/1607", ("1, -2",))],
    ),
    "minerva": (
        [
            {"question": "How bright, in erg/s?", "answer": "4.49e33"},
            {"question": "Which angle?", "answer": "\\arcsin{1.3 \\sin{\\theta_w}}"},
        ],
        [("minerva/1", (r"4.49 \times 10^{33}", "4.49e33")), ("minerva/2", (r"\arcsin{1.3 \sin{\theta_w}}",))],
    ),
}  # fmt: skip
"""Two rows of each set with its native columns, and the names and answers that they must give."""
SUFFIXES = [".jsonl", ".json", ".csv", ".parquet"]
Sized = Callable[..., None]


@pytest.fixture(autouse=True)
def no_folder_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> Sized:
    """Says how many rows a set has."""

    def say(name: str, size: int | None = 2) -> None:
        monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], size=size))

    return say


def write(folder: Path, name: str, rows: list[Any], suffix: str = ".jsonl") -> Path:
    path = folder / name / f"test{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    match suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(rows), encoding="utf-8")
        case ".csv":
            pd.DataFrame(rows).to_csv(path, index=False)
        case ".parquet":
            pd.DataFrame(rows).to_parquet(path)
    return path


def fails(name: str, folder: Path, message: str) -> None:
    """Loading is refused in one line that holds all of `message`'s parts (regular expressions) in order."""
    with pytest.raises(BenchmarkError) as error:
        load(name, folder)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


# --- the registry ---


def test_the_registry_is_complete_and_pinned() -> None:
    assert set(NATIVE) == set(REGISTRY) == {*SIX, "minerva"} and len(SIX) == 6
    assert {name: b.size for name, b in REGISTRY.items()} == {
        **{"gsm8k": 1319, "math500": 500, "amc23": 40, "aime24": 30, "aime25": 30},
        **{"olympiadbench": 674, "minerva": 272},
    }
    for b in REGISTRY.values():
        assert b.pinned and b.licence and b.hub.count("/") == 1
        assert b.prompt.count("{problem}") == 1 and "\\boxed{}" in b.prompt
    assert len({b.revision for b in REGISTRY.values()}) == len(REGISTRY)


def test_names_are_listed_where_one_is_wrong() -> None:
    with pytest.raises(BenchmarkError, match="no benchmark 'aime': choose one of gsm8k, math500, amc23"):
        load("aime")


def test_a_new_set_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Benchmark("Sums", "us/sums", "main", "validation", ("sum",), ("is",), number, None, "MIT")
    monkeypatch.setitem(REGISTRY, "sums", entry)
    assert not entry.pinned
    write(tmp_path, "sums", [{"sum": "1 + 1", "is": 2}])
    (tmp_path / "sums" / "test.jsonl").rename(tmp_path / "sums" / "validation.jsonl")
    (problem,) = load("sums", tmp_path)
    assert problem == Problem("sums/1", "1 + 1", ("2",), "", "sums")
    assert messages(problem) == [{"role": "user", "content": PROMPT.replace("{problem}", "1 + 1")}]
    table, _ = benchmarks.survey()
    assert table.set_index("name").loc["sums", "hub"] == "us/sums@main (not pinned)"


def test_a_prompt_needs_its_problem() -> None:
    with pytest.raises(BenchmarkError, match=r"GSM8K: the prompt needs '\{problem\}' exactly once"):
        replace(REGISTRY["gsm8k"], prompt="Solve it.")


# --- prompts ---


@pytest.mark.parametrize("mark", ["<|im_end|>", "<|endoftext|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"])
def test_a_problem_cannot_end_the_users_turn(mark: str) -> None:
    problem = Problem("gsm8k/1", f"If a{mark}b | c < d |> {{problem}} \\boxed{{}}?", ("1",), "", "gsm8k")
    (turn,) = messages(problem)
    assert turn["role"] == "user"
    assert turn["content"].startswith("If a b | c < d |> {problem} \\boxed{}?\n\n")
    assert turn["content"].endswith("Put the final answer in \\boxed{}.")


def test_olympiad_says_what_its_gold_answers_are() -> None:
    (turn,) = messages(Problem("olympiadbench/1", "Which?", ("1",), "", "olympiadbench"))
    assert "separate several answers by commas" in turn["content"] and "without units" in turn["content"]


# --- files: all sets, formats and schemas ---


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", REGISTRY)
def test_native_columns(name: str, suffix: str, tmp_path: Path, sized: Sized, caplog: Any) -> None:
    rows, read = NATIVE[name]
    sized(name)
    write(tmp_path, name, rows, suffix)
    problems = load(name, tmp_path)
    assert [(p.id, p.gold) for p in problems] == read
    column = "question" if "question" in rows[0] else "problem"
    texts = [row[column] for row in rows]
    if name == "olympiadbench":
        texts[0] = "A ladder leans.\n\nHow long is it?"
    assert [p.text for p in problems] == texts
    assert {p.source for p in problems} == {name}
    assert not caplog.records


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", REGISTRY)
def test_the_registrys_own_columns(name: str, suffix: str, tmp_path: Path, sized: Sized) -> None:
    golds = [["1,234", "\\frac{1}{2}"], ["[1, 2]"]]
    rows = [
        {"id": f"n{i}", "problem": f"What is {i}?", "gold": json.dumps(g) if suffix == ".csv" else g, "source": name}
        for i, g in enumerate(golds)
    ]
    sized(name)
    write(tmp_path, name, rows, suffix)
    assert load(name, tmp_path) == [
        Problem(f"{name}/n0", "What is 0?", ("1,234", "\\frac{1}{2}"), "", name),
        Problem(f"{name}/n1", "What is 1?", ("[1, 2]",), "", name),
    ]


def test_the_variable_names_the_folder_and_the_option_wins(tmp_path: Path, sized: Sized, monkeypatch: Any) -> None:
    sized("aime25")
    rows, _ = NATIVE["aime25"]
    write(tmp_path / "a", "aime25", rows)
    write(tmp_path / "b", "aime25", rows[::-1])
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a"))
    assert [p.id for p in load("aime25")] == ["aime25/0", "aime25/1"]
    assert [p.id for p in load("aime25", tmp_path / "b")] == ["aime25/1", "aime25/0"]


def test_a_byte_order_mark_and_a_line_separator_are_no_harm(tmp_path: Path, sized: Sized) -> None:
    sized("minerva", 1)
    path = write(tmp_path, "minerva", [])
    path.write_text('\n{"question": "A\u2028B?", "answer": "1"}\r\n\n', encoding="utf-8-sig")
    assert load("minerva", tmp_path)[0].text == "A\u2028B?"
    assert load("minerva", tmp_path)[0].id == "minerva/2"  # the line


def test_a_digest_depends_on_names_texts_and_answers(tmp_path: Path, sized: Sized) -> None:
    sized("aime25")
    write(tmp_path, "aime25", NATIVE["aime25"][0])
    problems = load("aime25", tmp_path)
    changed = [
        problems[::-1],
        [replace(problems[0], gold=("71",)), problems[1]],
        [replace(problems[0], text="Sum?"), problems[1]],
        [replace(problems[0], id="x"), problems[1]],
    ]
    assert len({digest(p) for p in (problems, *changed)}) == 5
    assert digest(problems) == digest(load("aime25", tmp_path))


# --- files: faults ---

GOOD = {"id": "n", "problem": "Good?", "answer": "7", "question": "Good?", "final_answer": ["7"], "unique_id": "n"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("minerva", {"answer": ...}, "no column 'answer'; found .*: use a copy that has it, such as math-ai/min"),
        ("minerva", {"question": ..., "problem": ...}, "no column 'question' or 'problem'; found id"),
        ("olympiadbench", {"final_answer": ...}, "no column 'final_answer'"),
        ("minerva", {"answer": None}, "column 'answer': no answer"),
        ("minerva", {"answer": "  "}, "column 'answer': no answer in text '  '"),
        ("minerva", {"answer": {"value": 3}}, "column 'answer': expected a text, a number or a list .* found dict"),
        ("math500", {"answer": []}, "column 'answer': no answer: the list is empty"),
        ("math500", {"answer": ["1", ""]}, "column 'answer': no answer: an entry of the list is empty"),
        ("aime24", {"answer": "2024"}, "column 'answer': expected a whole number from 0 to 999, found 2024"),
        ("aime24", {"answer": "see above"}, "column 'answer': expected a number, found text 'see above'"),
        ("amc23", {"answer": float("nan")}, "column 'answer': no answer"),
        ("amc23", {"answer": True}, "column 'answer': expected .* found bool True"),
        ("gsm8k", {"answer": "18"}, "column 'answer': expected text that ends in '#### number', found text '18'"),
        ("gsm8k", {"answer": 18.0}, "column 'answer': .*, found float 18.0"),
        ("gsm8k", {"answer": "#### 1,23"}, "column 'answer': expected a number, found text ' 1,23'"),
        ("gsm8k", {"answer": "#### 5 million"}, "column 'answer': expected a number"),
        ("aime25", {"problem": " \n"}, r"column 'problem': expected a text, found text ' \\n'"),
        ("aime25", {"problem": None}, "column 'problem': expected a text, found NoneType None"),
        ("aime25", {"problem": ["a"]}, "column 'problem': expected a text, found list"),
        ("aime25", {"id": "good"}, "its name 'aime25/good' stands in row 1, too"),
        ("aime25", {"id": {"a": 1}}, "column 'id': expected the row's name, found dict"),
        ("aime25", {"gold": ["1"], "source": "aime24"}, "column 'source': 'aime24' in a file of 'aime25'"),
        ("aime25", {"gold": []}, "column 'gold': no answer: the list is empty"),
        ("aime25", ["How?", "1"], "expected columns and values, found list"),
    ],
)
def test_a_faulty_row_is_named(name: str, change: Any, message: str, tmp_path: Path, sized: Sized) -> None:
    good = {**GOOD, "answer": "#### 7" if name == "gsm8k" else "7"}
    row: Any = {k: v for k, v in {**good, **change}.items() if v is not ...} if isinstance(change, dict) else change
    sized(name, 3)
    first = {**good, "id": "good", "unique_id": "good"}
    third = {**good, "id": "o", "unique_id": "o", "question": "Other?", "problem": "Other?"}
    write(tmp_path, name, [first, row, third])
    fails(name, tmp_path, rf"{name}/test\.jsonl, row 2: {message}")


def test_units_several_answers_and_floats_are_read_not_refused(tmp_path: Path, sized: Sized) -> None:
    sized("amc23", 4)
    answers = [27.0, "18 dollars", ["1,234", "1234.5"], "50%"]
    write(tmp_path, "amc23", [{"id": i, "question": f"Q{i}?", "answer": a} for i, a in enumerate(answers)])
    assert [p.gold for p in load("amc23", tmp_path)] == [("27",), ("18",), ("1234", "1234.5"), ("50",)]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("test.jsonl", b"", "test.jsonl, 0 rows, 30 expected"),
        ("test.json", b"[]", "test.json, 0 rows, 30 expected"),
        ("test.csv", b"problem,answer\n", "test.csv, 0 rows, 30 expected"),
        ("test.csv", b"", "test.csv, 0 rows, 30 expected"),
        ("test.json", b"", "test.json, cannot be read: Expecting value"),
        ("test.json", b'{"problem": "a"}', "expected a list of rows, found dict"),
        ("test.json", b'[{"problem": "a", "answer": "1"}', "cannot be read: Expecting"),
        ("test.json", b"[" * 100_000, "cannot be read: .*: copy the file again"),
        ("test.csv", b'problem,answer\nHow?,"1\n', "cannot be read: .*EOF inside string"),
        ("test.csv", b"problem,answer\nHow?,1,2,3\nWhy?,1,2,3,4\n", "cannot be read: .*line 3"),
        ("test.parquet", b"PAR1 not", "cannot be read"),
        ("test.parquet", b"", "cannot be read"),
        ("test.jsonl", b'{"problem": "a"}\n{"problem": "caf\xe9"}\n', "line 2: byte 0xe9 is not UTF-8: save it as"),
        ("test.csv", b"problem,answer\ncaf\xe9,1\n", "line 2: byte 0xe9 is not UTF-8"),
        ("test.jsonl", '{"problem": "a"}'.encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
    ],
)  # fmt: skip
def test_unusable_files(file: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "aime25").mkdir()
    (tmp_path / "aime25" / file).write_bytes(content)
    fails("aime25", tmp_path, message)


def test_a_cut_file_is_said_to_be_cut(tmp_path: Path, sized: Sized) -> None:
    sized("aime25")
    path = write(tmp_path, "aime25", NATIVE["aime25"][0])
    path.write_bytes(path.read_bytes()[:-20])
    fails("aime25", tmp_path, "row 2: not valid JSON: .*; the file seems cut: copy it again$")
    path.write_text('{"problem": \n' + path.read_text())
    fails("aime25", tmp_path, r"3 rows, 2 expected \(and 2 more faults\)$")
    assert "row 1: not valid JSON" in benchmarks.check("aime25", tmp_path).faults[1]
    assert "cut" not in benchmarks.check("aime25", tmp_path).faults[1]


def test_every_fault_is_found_not_only_the_first(tmp_path: Path) -> None:
    write(tmp_path, "minerva", [{"problem": f"What is {i}?", "solution": "...", "idx": i} for i in range(272)])
    fails("minerva", tmp_path, r"row 1: no column 'answer'; found problem, solution, idx: .* \(and 271 more faults\)$")
    checked = benchmarks.check("minerva", tmp_path)
    assert len(checked.faults) == 272 and checked.problems == []
    assert len(checked.report()) == 11 and checked.report()[-1].endswith("test.jsonl, and 262 more")


def test_a_csvs_words_for_nothing_are_answers(tmp_path: Path, sized: Sized) -> None:
    sized("minerva")
    rows = [{"question": "Which element has Z=11?", "answer": "Na"}, {"question": "Which gate?", "answer": "NA"}]
    write(tmp_path, "minerva", rows, ".csv")
    assert [p.gold for p in load("minerva", tmp_path)] == [("Na",), ("NA",)]


@pytest.mark.parametrize(("size", "said"), [(1, r"2 rows, 1 expected$"), (3, r"2 rows, 3 expected$")])
def test_another_number_of_rows_is_a_fault(size: int, said: str, tmp_path: Path, sized: Sized) -> None:
    sized("aime25", size)
    write(tmp_path, "aime25", NATIVE["aime25"][0])
    fails("aime25", tmp_path, said)


def test_a_repeated_problem_explains_a_row_too_many_else_is_a_doubt(tmp_path: Path, sized: Sized, caplog: Any) -> None:
    rows = [*NATIVE["minerva"][0], {"question": "how bright in ERG/S", "answer": "1"}]
    sized("minerva", 2)
    write(tmp_path, "minerva", rows)
    fails("minerva", tmp_path, r"3 rows, 2 expected \(row 3: repeats the problem of row 1\)")
    sized("minerva", 4)  # then it explains nothing
    fails("minerva", tmp_path, r"3 rows, 4 expected$")
    sized("minerva", 3)
    with caplog.at_level(logging.WARNING):
        assert len(load("minerva", tmp_path)) == 3
    assert "minerva/test.jsonl, row 3: repeats the problem of row 1" in caplog.text


@pytest.mark.parametrize(
    ("row", "doubt"),
    [
        ({"question": "How?", "answer": "\frac{1}{2}"}, r"row 1: control character '\x0c' in its answer: a backslash"),
        ({"question": "How?", "answer": "\text{a}"}, r"row 1: control character '\t' in its answer"),
        ({"question": "\frac{1}{2}?", "answer": "1"}, r"row 1: control character '\x0c' in its problem"),
        ({"question": "How \x00?", "answer": "1"}, r"row 1: control character '\x00' in its problem"),
        ({"question": "Janet\u00e2\u20ac\u2122s?", "answer": "1"}, r"row 1: '\xe2\u20ac' in its problem: read in"),
        ({"question": "caf\u00c3\u00a9?", "answer": "1"}, r"row 1: '\xc3\xa9' in its problem"),
        ({"question": "caf\ufffd?", "answer": "1"}, r"row 1: '\ufffd' in its problem"),
        ({"question": "How?", "answer": "\\frac{1}{2"}, r"row 1: the braces of its answer '\\frac{1}{2' do"),
    ],
)
def test_doubts_are_said_and_kept(row: dict, doubt: str, tmp_path: Path, sized: Sized, caplog: Any) -> None:
    sized("minerva", 1)
    write(tmp_path, "minerva", [row])
    with caplog.at_level(logging.WARNING):
        assert len(load("minerva", tmp_path)) == 1
    assert f"test.jsonl, {doubt}" in caplog.text


def test_missing_places_say_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "amc23", [])
    fails("aime25", tmp_path, r"no .*/aime25/test\.jsonl \(or \.json, .*\); benchmarks in that folder: amc23\. .* hub")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(BenchmarkError, match=f"no folder .*nowhere: name one .* in --data or {VARIABLE}"):
        load("aime25")


@pytest.mark.parametrize("files", [("test.csv", "test.jsonl"), ("train.parquet", "test.json")])
def test_two_files_of_one_set_are_refused(files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "aime24").mkdir()
    for file in files:
        (tmp_path / "aime24" / file).write_text("")
    fails("aime24", tmp_path, "are both the test set; keep one")


# --- the hub ---


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list]:
    """Puts a table, or an error, in the place of the hub; returns the calls."""

    def serve(what: Any) -> list:
        calls: list[tuple[tuple, dict]] = []

        def load_dataset(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            if isinstance(what, Exception):
                raise what
            return what

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return serve


@pytest.mark.parametrize("name", REGISTRY)
def test_from_the_hub_by_its_pinned_revision_and_without_code(name: str, hub: Any, sized: Sized) -> None:
    rows, read = NATIVE[name]
    sized(name)
    calls = hub(Dataset.from_list(rows))
    assert [(p.id, p.gold) for p in load(name)] == read
    b = get(name)
    assert calls == [((b.hub, b.config), {"split": b.split, "revision": b.revision})]


def test_what_rows_name_is_not_opened(hub: Any, sized: Sized, tmp_path: Path) -> None:
    """A picture's path would be opened as soon as its row is read."""
    sized("olympiadbench")
    rows = [{**row, "image_1": str(tmp_path / "secret.png")} for row in NATIVE["olympiadbench"][0]]
    table = Dataset.from_list(rows).cast_column("image_1", datasets.Image())
    with pytest.raises(FileNotFoundError):
        table[0]
    hub(table)
    assert len(load("olympiadbench")) == 2


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (
            exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub. You must be authenticated."),
            ("gated dataset", "accept its terms at https://huggingface.co/datasets/math-ai/aime25", "hf auth login"),
        ),
        (
            exceptions.DatasetNotFoundError("Revision '563b' doesn't exist for dataset 'math-ai/aime25' on the Hub."),
            ("Revision '563b' doesn't exist", "put a commit that exists in the place of 563bb84"),
        ),
        (
            exceptions.DatasetNotFoundError("Dataset 'math-ai/aime25' doesn't exist on the Hub or cannot be accessed."),
            ("doesn't exist on the Hub", "compare id, configuration and split"),
        ),
        (ConnectionError("Couldn't reach 'math-ai/aime25' on the Hub (ConnectError)"), ("reach", "check the network")),
        (ValueError("BuilderConfig 'x' not found. Available: ['default']"), ("Available: ['default']", "compare id")),
        (ValueError('Unknown split "test". Should be one of [\'train\'].'), ("['train']", "compare id")),
        (RuntimeError("Dataset scripts are no longer supported, but found aime25.py"), ("scripts are no longer",)),
        (exceptions.DatasetGenerationError("An error occurred\nwhile generating"), ("An error occurred while",)),
        (OSError(28, "No space left on device"), ("No space left on device",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_hub_that_fails_is_one_line_and_a_way_out(error: Exception, parts: tuple, hub: Any, monkeypatch: Any) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub(error)
    with pytest.raises(BenchmarkError) as raised:
        load("aime25")
    said = str(raised.value)
    assert said.startswith("math-ai/aime25 cannot be loaded from the hub: ") and "\n" not in said and len(said) < 500
    assert "put a copy at DIR/aime25/test.jsonl and give --data DIR" in said
    assert [part for part in parts if part not in said] == []
    assert raised.value.__cause__ is not None and raised.value.__cause__.__cause__ is error


def test_a_bug_of_ours_is_no_failing_hub(hub: Any) -> None:
    hub(TypeError("load_dataset() got an unexpected keyword argument"))
    with pytest.raises(TypeError):
        load("aime25")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`datasets` itself without a network; returns its cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_without_a_network_datasets_own_error_is_met(offline: Path) -> None:
    said = r"reach 'math-ai/aime25' .* HF_HUB_OFFLINE is set: unset it, or run `hf download --repo-type dataset "
    with pytest.raises(BenchmarkError, match=said + r"math-ai/aime25 --revision \w+` .*; or "):
        load("aime25")


@pytest.mark.parametrize("held", [True, False])
def test_a_cached_copy_counts_only_at_the_pinned_revision(held: bool, offline: Path, sized: Sized) -> None:
    """Without a network, `datasets` takes whatever revision it has."""
    revision = REGISTRY["aime25"].revision if held else "a" * 40
    folder = offline / "math-ai___aime25" / "default" / "0.0.0" / revision
    folder.mkdir(parents=True)
    rows = Dataset.from_list(NATIVE["aime25"][0])
    with ArrowWriter(features=rows.features, path=str(folder / "aime25-test.arrow")) as writer:
        for row in rows:
            writer.write(row)
        n, size = writer.finalize()
    split = {"name": "test", "num_bytes": size, "num_examples": n, "dataset_name": "aime25"}
    names = {"builder_name": "json", "dataset_name": "aime25", "config_name": "default", "version": "0.0.0"}
    datasets.DatasetInfo(features=rows.features, splits={"test": split}, **names).write_to_directory(str(folder))
    sized("aime25")
    if held:
        assert len(load("aime25")) == 2
    else:
        with pytest.raises(BenchmarkError, match="its cache holds revision aaaaaaa, not 563bb84, .*: HF_HUB_OFFLINE"):
            load("aime25")


# --- the command ---


def test_the_command_lists_the_registry(capsys: Any) -> None:
    assert main(["evaluate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "rows", "licence", "hub", "local", "read", "problems", "found"]
    assert [line.split()[0] for line in lines[1:8]] == list(REGISTRY)
    assert all(b.hub in line and str(b.size) in line for b, line in zip(REGISTRY.values(), lines[1:8], strict=True))
    assert "no revision was ever checked" in lines[-1]


def test_the_command_reads_local_copies_and_fails_if_one_is_faulty(tmp_path: Path, sized: Sized, capsys: Any) -> None:
    for name in ("aime25", "minerva"):
        sized(name)
        write(tmp_path, name, NATIVE[name][0])
    assert main(["evaluate", "--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"aime25 .* \S+/aime25/test\.jsonl +2 +none", shown)
    assert shown.endswith("Gold answers that the grader does not take for equal to themselves:\nnone\n")
    write(tmp_path, "minerva", [NATIVE["minerva"][0][0], {"question": "\ufffd", "answer": "\\frac{1"}, {}])
    assert main(["evaluate", "--data", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert re.search(r"minerva .* 2 +2 faults, 2 doubts", shown)
    lines = [line for line in shown.splitlines() if re.match("fault|doubt", line)]
    said = [re.sub(r" \S+/minerva/test\.jsonl,", "", line) for line in lines]
    starts = ["fault: 3 rows, 2 expected", "fault: row 3: no col", "doubt: row 2: '\\ufffd'", "doubt: row 2: the br"]
    assert all(map(str.startswith, said, starts)) and len(said) == len(starts), said


def test_the_command_refuses_a_folder_that_is_none(tmp_path: Path, capsys: Any) -> None:
    assert main(["evaluate", "--data", str(tmp_path / "no")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: no folder") and err.count("\n") == 1


# --- published files, where there are any ---

if REAL.is_dir() or not IN_CI:  # CI forbids skips, and has no such files: there, this is not a test

    @pytest.mark.skipif(not REAL.is_dir(), reason=f"{VARIABLE} names no folder of published benchmark files")
    @pytest.mark.parametrize("name", [n for n in REGISTRY if (REAL / n).is_dir()] or ["none"])
    def test_published_files(name: str) -> None:
        checked = benchmarks.check(name, REAL)
        assert checked.report() == []
        problems = checked.problems
        assert len(problems) == REGISTRY[name].size
        assert all(p.text and p.gold and all(map(balanced, p.gold)) for p in problems)
        numeric = {"gsm8k": r"-?\d+(\.\d+)?", "amc23": r"-?\d+", "aime24": r"\d{1,3}", "aime25": r"\d{1,3}"}
        assert all(re.fullmatch(numeric.get(name, ".+"), gold, re.DOTALL) for p in problems for gold in p.gold)
        assert not any("$" in re.sub(r"\\\$", "", gold) for p in problems for gold in p.gold)
