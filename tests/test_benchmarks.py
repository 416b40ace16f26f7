"""Seven benchmarks in their native columns and in ours, the hub that may fail, and every fault of a row named."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, exceptions
from datasets.arrow_writer import ArrowWriter
from test_problems import write as write_file

from egrc.evaluation import benchmarks
from egrc.evaluation.benchmarks import REGISTRY, SIX, VARIABLE, digest, load, messages
from egrc.evaluation.problems import Problem, ProblemError

NATIVE: dict[str, tuple[list[dict[str, Any]], list[tuple[str, tuple[str, ...]]]]] = {
    "gsm8k": ([{"question": "Ana buys 234. How many?", "answer": "<<1000+234=1234>>\n#### 1,234"},
               {"question": "A pen costs $2.\nFour?", "answer": "4 * 2 = $<<4*2=8>>8\n#### 8"}],
              [("gsm8k/1", ("1234",)), ("gsm8k/2", ("8",))]),
    "math500": ([{"problem": "Half of $\\pi$?", "answer": "\\frac{\\pi}{2}", "unique_id": "test/algebra/7.json"},
                 {"problem": "Which roots has $x^2+x-2$?", "answer": "1,-2", "unique_id": "test/algebra/8.json"}],
                [("math500/test/algebra/7.json", (r"\frac{\pi}{2}",)), ("math500/test/algebra/8.json", ("1,-2",))]),
    "amc23": ([{"id": 0, "answer": 27.0, "url": "u", "question": "What is $3^3$?"},
               {"id": 1, "answer": -1.0, "url": "u", "question": "What is $2-3$?"}],
              [("amc23/0", ("27",)), ("amc23/1", ("-1",))]),
    "aime24": ([{"id": 60, "problem": "How many?", "solution": "\\boxed{025}", "answer": "025", "year": "2024"},
                {"id": 61, "problem": "How many more?", "solution": "...", "answer": "902", "year": "2024"}],
               [("aime24/60", ("25",)), ("aime24/61", ("902",))]),
    "aime25": ([{"problem": "Sum of bases?", "answer": "70", "id": "0"}, {"problem": "?", "answer": "588", "id": "1"}],
               [("aime25/0", ("70",)), ("aime25/1", ("588",))]),
    "olympiadbench": ([{"id": 1606, "question": "How long is it?", "solution": ["a", "b"], "context": "A ladder leans.",
                        "final_answer": ["$2^{10}$"], "image_1": None, "is_multiple_answer": False, "unit": "cm"},
                       {"id": 1607, "question": "Which $x$?", "solution": ["a"], "context": None,
                        "final_answer": ["$1$", "$-2$"], "image_1": None, "is_multiple_answer": True, "unit": None}],
                      [("olympiadbench/1606", ("2^{10}",)), ("olympiadbench/1607", ("1, -2",))]),
    "minerva": ([{"question": "How bright, in erg/s?", "answer": "4.49e33"},
                 {"question": "Which angle?", "answer": "\\arcsin{1.3 \\sin{\\theta_w}}"}],
                [("minerva/1", ("4.49e33",)), ("minerva/2", (r"\arcsin{1.3 \sin{\theta_w}}",))]),
}  # fmt: skip
"""Two rows of each set with its native columns, and the names and answers that they must give."""
Sized = Callable[..., None]


@pytest.fixture(autouse=True)
def no_folder_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> Sized:
    """Says how many rows a set has."""
    return lambda name, size=2: monkeypatch.setitem(REGISTRY, name, replace(REGISTRY[name], size=size))


def write(folder: Path, name: str, rows: list[Any], suffix: str = ".jsonl") -> Path:
    return write_file(folder / name / f"test{suffix}", rows)


def fails(name: str, folder: Path, message: str) -> None:
    """Loading is refused in one line in which `message`, a regular expression, is found."""
    with pytest.raises(ProblemError) as error:
        load(name, folder)
    assert re.search(message, str(error.value)), str(error.value)
    assert "\n" not in str(error.value)


def test_the_registry_is_complete_and_pinned():
    assert set(NATIVE) == set(REGISTRY) == {*SIX, "minerva"} and len(SIX) == 6
    for b in REGISTRY.values():
        assert re.fullmatch(benchmarks.COMMIT, b.revision) and b.licence and b.hub.count("/") == 1
        assert b.prompt.count("{problem}") == 1 and "\\boxed{}" in b.prompt
    assert len({b.revision for b in REGISTRY.values()}) == len(REGISTRY)
    with pytest.raises(ProblemError, match="no benchmark 'aime': choose one of gsm8k, math500, amc23"):
        load("aime")


@pytest.mark.parametrize("mark", ["<|im_end|>", "<\uff5cend\u2581of\u2581sentence\uff5c>"])
def test_a_problem_cannot_end_the_users_turn(mark):
    problem = Problem("gsm8k/1", f"If a{mark}b | c < d |> {{problem}} \\boxed{{}}?", ("1",), "", "gsm8k")
    (turn,) = messages(problem)
    assert turn["role"] == "user"
    assert turn["content"].startswith("If a b | c < d |> {problem} \\boxed{}?\n\n")
    assert turn["content"].endswith("Put the final answer in \\boxed{}.")
    (turn,) = messages(Problem("olympiadbench/1", "Which?", ("1",), "", "olympiadbench"))
    assert "separate several answers by commas" in turn["content"] and "without units" in turn["content"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("name", REGISTRY)
def test_native_columns(name, suffix, tmp_path, sized):
    rows, read = NATIVE[name]
    sized(name)
    write(tmp_path, name, rows, suffix)
    problems = load(name, tmp_path)
    assert [(p.id, p.gold) for p in problems] == read
    texts = [row.get("question", row.get("problem")) for row in rows]
    if name == "olympiadbench":
        texts[0] = "A ladder leans.\n\nHow long is it?"
    assert [p.text for p in problems] == texts
    assert {p.source for p in problems} == {name}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_our_own_columns(suffix, tmp_path, sized):
    sized("gsm8k", 1)
    golds = ["1,234", "\\frac{1}{2}"]
    row = {"id": "n", "problem": "What?", "gold": str(golds) if suffix == ".csv" else golds, "source": "gsm8k"}
    write(tmp_path, "gsm8k", [row], suffix)
    assert load("gsm8k", tmp_path) == [Problem("gsm8k/n", "What?", ("1,234", "\\frac{1}{2}"), "", "gsm8k")]


def test_the_variable_names_the_folder_and_the_option_wins(tmp_path, sized, monkeypatch):
    sized("aime25")
    rows, _ = NATIVE["aime25"]
    write(tmp_path / "a", "aime25", rows)
    write(tmp_path / "b", "aime25", rows[::-1])
    monkeypatch.setenv(VARIABLE, str(tmp_path / "a"))
    first, other = load("aime25"), load("aime25", tmp_path / "b")
    assert [p.id for p in first] == ["aime25/0", "aime25/1"] == [p.id for p in other[::-1]]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ProblemError, match=f"no folder .*nowhere: name one .* in --data or {VARIABLE}"):
        load("aime25")
    changed = [other, [replace(first[0], gold=("71",)), first[1]], [replace(first[0], text="Sum?"), first[1]]]
    assert len({digest(p) for p in (first, *changed, [replace(first[0], id="x"), first[1]])}) == 5


GOOD = {"id": "n", "problem": "Good?", "answer": "7", "question": "Good?", "final_answer": ["7"], "unique_id": "n"}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("minerva", {"answer": ...}, "no column 'answer'; found id, problem"),
        ("minerva", {"answer": "  "}, "column 'answer': no answer in text '  '"),
        ("minerva", {"answer": {"value": 3}}, "column 'answer': expected a text, a number or a list .* found dict"),
        ("math500", {"answer": ["1", ""]}, "column 'answer': no answer: an entry of the list is empty"),
        ("aime24", {"answer": "2024"}, "column 'answer': expected a whole number from 0 to 999, found 2024"),
        ("gsm8k", {"answer": "18"}, "column 'answer': expected text that ends in '#### number', found text '18'"),
        ("aime25", {"problem": " \n"}, r"column 'problem': expected a text, found text ' \\n'"),
        ("aime25", {"id": "good"}, "its name 'aime25/good' stands in row 1, too"),
        ("aime25", {"id": {"a": 1}}, "column 'id': expected the row's name, found dict"),
        ("aime25", ["How?", "1"], "expected columns and values, found list"),
    ],
)
def test_a_faulty_row_is_named(name, change, message, tmp_path, sized):
    good = {**GOOD, "answer": "#### 7" if name == "gsm8k" else "7"}
    row: Any = {k: v for k, v in {**good, **change}.items() if v is not ...} if isinstance(change, dict) else change
    sized(name, 3)
    others = [{**good, "id": id, "unique_id": id} for id in ("good", "o")]
    write(tmp_path, name, [others[0], row, others[1]])
    fails(name, tmp_path, rf"{name}/test\.jsonl, row 2: {message}")


def test_another_number_of_rows_is_a_fault(tmp_path, sized):
    sized("aime25", 3)
    path = write(tmp_path, "aime25", NATIVE["aime25"][0])
    fails("aime25", tmp_path, "2 rows, 3 expected$")
    path.write_text("")
    fails("aime25", tmp_path, "0 rows, 3 expected$")


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
def test_from_the_hub_by_its_pinned_revision_and_without_code(name, hub, sized):
    rows, read = NATIVE[name]
    sized(name)
    calls, b = hub(Dataset.from_list(rows)), REGISTRY[name]
    assert [(p.id, p.gold) for p in load(name)] == read
    assert calls == [((b.hub, b.config), {"split": b.split, "revision": b.revision})]


def test_what_rows_name_is_not_opened(hub, sized, tmp_path):
    """A picture's path would be opened as soon as its row is read."""
    sized("olympiadbench")
    rows = [{**row, "image_1": str(tmp_path / "secret.png")} for row in NATIVE["olympiadbench"][0]]
    hub(Dataset.from_list(rows).cast_column("image_1", datasets.Image()))
    assert len(load("olympiadbench")) == 2


@pytest.mark.parametrize("error", [exceptions.DatasetGenerationError("An error\noccurred"), OSError(28, "No space")])
def test_a_hub_that_fails_is_one_line_and_a_way_out(error, hub):
    hub(error)
    with pytest.raises(ProblemError) as raised:
        load("aime25")
    said, why = str(raised.value), " ".join(str(error).split()).rstrip(".")
    assert said.startswith(f"math-ai/aime25 cannot be loaded from the hub: {why}: check the net") and "\n" not in said
    assert f"`hf download --repo-type dataset math-ai/aime25 --revision {REGISTRY['aime25'].revision}`" in said
    assert said.endswith(f"or put a copy at DIR/aime25/test.jsonl and give --data DIR (or set {VARIABLE})")
    hub(TypeError("load_dataset() got an unexpected keyword argument"))  # a bug of ours is no failing hub
    with pytest.raises(TypeError):
        load("aime25")


def test_a_cached_copy_counts_only_at_the_pinned_revision(tmp_path, monkeypatch):
    """Without a network, `datasets` takes whatever revision it has."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(ProblemError, match="reach 'math-ai/aime25' .* HF_HUB_OFFLINE"):
        load("aime25")
    folder = tmp_path / "math-ai___aime25" / "default" / "0.0.0" / ("a" * 40)
    folder.mkdir(parents=True)
    rows = Dataset.from_list(NATIVE["aime25"][0])
    with ArrowWriter(features=rows.features, path=str(folder / "aime25-test.arrow")) as writer:
        for row in rows:
            writer.write(row)
        n, size = writer.finalize()
    split = {"name": "test", "num_bytes": size, "num_examples": n, "dataset_name": "aime25"}
    names = {"builder_name": "json", "dataset_name": "aime25", "config_name": "default", "version": "0.0.0"}
    datasets.DatasetInfo(features=rows.features, splits={"test": split}, **names).write_to_directory(str(folder))
    with pytest.raises(ProblemError, match="its cache holds revision aaaaaaa, and the hub was not reached"):
        load("aime25")
