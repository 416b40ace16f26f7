r"""Six real benchmarks and a seventh: where they are, how their files are read, and what is asked.

An entry of `REGISTRY` says all that is particular to a set; adding a set is adding an entry.  `load` reads one
from a folder of yours (`--data DIR`, or the variable EGRC_BENCHMARKS; DIR/<name>/test.jsonl, .json, .csv or
.parquet), else from the Hugging Face hub, into the same record, `evaluation.problems.Problem`.  A file may have the
set's native columns, or the registry's own: problem, gold (a list of accepted answers), id, source.

Every row is read before anything is asked of a model.  A *fault* makes a file unusable: `load` refuses it.  A
*doubt* (a repeated problem, a character that no encoding makes) is said and kept, since published sets have some.

Which six benchmarks the paper used is not public in what we could read; these six are [ours].  No revision was
checked against the hub from here (this was written without a network): each was read in stored public pages and
code that pin the same commit.  No code of a data set is run, and nothing that a file names is opened.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pandas as pd

from egrc.evaluation import gold
from egrc.evaluation.contamination import normalise
from egrc.evaluation.problems import SUFFIXES, Problem, ProblemError
from egrc.paths import shown

if TYPE_CHECKING:  # takes seconds, and a local file needs none of it
    from datasets import Dataset

    from egrc.evaluation.pool import Pool

VARIABLE = "EGRC_BENCHMARKS"
"""Environment variable that names a folder with one folder per benchmark."""
PROMPT = "{problem}\n\nPut the final answer in \\boxed{}."
"""What the user's only turn says.  [ours]: no system prompt, and few words, so that little is taught by them."""
COMMIT = "[0-9a-f]{40}"
GOLD = "gold"
"""Column that marks the registry's own schema."""

_MISREAD = re.compile("\ufffd|\u00e2\u20ac|\u00c3[\u0080-\u00bf]")
"""What is left of a character that was read in another encoding than it was written in."""

log = logging.getLogger(__name__)


class BenchmarkError(ProblemError):
    """A benchmark cannot be loaded; the message says where the fault is and what to do."""


# --- the registry -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Benchmark:
    """Where one set is and how it is read."""

    title: str
    hub: str
    """Data set on the Hugging Face hub."""
    revision: str
    """Commit on the hub; a branch's name where none is known (`pinned` is then False)."""
    split: str
    """On the hub.  A local file is called test, or as this is."""
    problem: tuple[str, ...]
    """Names of the problem's column; the first that a row has counts."""
    answer: tuple[str, ...]
    """Names of the answer's column, likewise."""
    read: gold.Reader
    """How the answer is read, one of `egrc.evaluation.gold`."""
    size: int | None
    """Rows; any other number is a fault.  None where it is not known."""
    licence: str
    """As declared at the hub or at the problems' source."""
    config: str | None = None
    """Configuration on the hub, where there are several."""
    id: str | None = None
    """Column of the row's own name; without one the row's number is its name."""
    context: str | None = None
    """Column of text that goes before the problem where it is not empty."""
    prompt: str = PROMPT
    """The user's turn; '{problem}' stands for the problem."""

    def __post_init__(self) -> None:
        if self.prompt.count("{problem}") != 1:
            raise BenchmarkError(f"{self.title}: the prompt needs '{{problem}}' exactly once, found {self.prompt!r}")

    @property
    def pinned(self) -> bool:
        """Is the revision a commit, so that it cannot change?"""
        return re.fullmatch(COMMIT, self.revision) is not None

    def columns(self) -> list[str]:
        """All columns that are read, in the native schema and in the registry's own."""
        named = [*self.problem, *self.answer, self.id, self.context, "is_multiple_answer", "id", "problem", GOLD]
        return list(dict.fromkeys(c for c in [*named, "source"] if c))


UNDECLARED = "none declared"

# Where each commit was read: on stored pages of the hub itself (aime24, amc23, minerva), or in several public
# projects that pin the same one (the others).
REGISTRY: dict[str, Benchmark] = {
    "gsm8k": Benchmark(
        "GSM8K", "openai/gsm8k", "740312add88f781978c0658806c59bc2815b9866", "test",
        ("question",), ("answer",), gold.after_hashes, 1319, "MIT", config="main",
    ),
    "math500": Benchmark(
        "MATH-500", "HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", "test",
        ("problem",), ("answer",), gold.latex, 500, f"{UNDECLARED} (MATH, PRM800K: MIT)", id="unique_id",
    ),
    # its problems were rewritten from multiple choice, so that each answer is a whole number
    "amc23": Benchmark(
        "AMC 2023", "math-ai/amc23", "80815d37005feb82cd7f8fbc6901d5d3eff43057", "test",
        ("problem", "question"), ("answer",), gold.number, 40, f"{UNDECLARED} (problems: MAA)", id="id",
    ),
    "aime24": Benchmark(
        "AIME 2024", "HuggingFaceH4/aime_2024", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a", "train",
        ("problem", "question"), ("answer",), gold.integer_to_999, 30, f"{UNDECLARED} (problems: MAA)", id="id",
    ),
    "aime25": Benchmark(
        "AIME 2025", "math-ai/aime25", "563bb8404243c5f09de6ec262f2db674fe5bce9b", "test",
        ("problem", "question"), ("answer",), gold.integer_to_999, 30, f"{UNDECLARED} (problems: MAA)", id="id",
    ),
    # open-ended, text only, mathematics, English, competition.  The tolerance in its column 'error' is not used.
    "olympiadbench": Benchmark(
        "OlympiadBench", "Hothan/OlympiadBench", "91184b52131e7fc9455fef848035173aea8cc01a", "train",
        ("question", "problem"), ("final_answer",), gold.olympiad, 674, "Apache-2.0", config="OE_TO_maths_en_COMP",
        id="id", context="context",
        # its gold answers name no units, and where there are several all are wanted
        prompt="{problem}\n\nPut the final answer in \\boxed{}, without units; separate several answers by commas.",
    ),
    "minerva": Benchmark(
        "Minerva", "math-ai/minervamath", "ee46ddc498933b1977577953250ca5c66be64f96", "test",
        ("question", "problem"), ("answer",), gold.latex, 272, f"{UNDECLARED} (problems: MIT OpenCourseWare)",
    ),
}  # fmt: skip
"""All sets by name, which is also the name of a set's folder inside a data directory."""

SIX = ("gsm8k", "math500", "amc23", "aime24", "aime25", "olympiadbench")
"""The six of our table.  [ours]: the paper's abstract counts six and does not name them."""


def get(name: str) -> Benchmark:
    """The entry of that name.  Raises `BenchmarkError`, which lists the names."""
    if name not in REGISTRY:
        raise BenchmarkError(f"no benchmark {name!r}: choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def messages(problem: Problem) -> list[dict[str, str]]:
    """The conversation that asks a problem: one turn of the user's, in the set's template, for a chat template.

    Marks such as <|im_end|> inside a problem, written by others, are blanked: they must not end the turn.
    """
    said = re.sub(r"<[|\uff5c][^<>|\uff5c]{1,40}[|\uff5c]>", " ", problem.text)
    return [{"role": "user", "content": get(problem.source).prompt.replace("{problem}", said)}]


def digest(problems: Sequence[Problem]) -> str:
    """Hash (16 hex digits) of names, texts and answers: what an evaluation was asked."""
    asked = [[p.id, p.text, list(p.gold)] for p in problems]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


# --- loading ----------------------------------------------------------------------------------------------------


@dataclass
class Checked:
    """What one copy of a benchmark holds."""

    where: str
    """The file, or the data set on the hub."""
    problems: list[Problem] = field(default_factory=list)
    """The rows without a fault."""
    faults: list[str] = field(default_factory=list)
    """Why the copy cannot be used; each names row and column."""
    doubts: list[str] = field(default_factory=list)
    """What looks wrong in rows that can be used."""

    def report(self, most: int = 10) -> list[str]:
        """Faults and doubts as lines that begin with the file, at most so many of each."""
        lines = []
        for kind, said in (("fault", self.faults), ("doubt", self.doubts)):
            lines += [f"{kind}: {self.where}, {line}" for line in said[:most]]
            lines += [f"{kind}: {self.where}, and {len(said) - most} more"] if len(said) > most else []
        return lines


def load(name: str, data: Path | str | None = None) -> list[Problem]:
    """All problems of a benchmark, in its order, from a folder or else from the hub.

    `data` (default: the variable EGRC_BENCHMARKS) is the folder; the hub is asked only where neither is given.
    What is doubtful is logged.

    Raises
    ------
    BenchmarkError
        No such benchmark or file, a file with a fault, or a hub that does not give the set.
    """
    get(name)
    folder = _folder(data)
    checked = (check(name, folder) or _missing(name, folder)) if folder else _checked_hub(name)
    for doubt in checked.doubts:
        log.warning("%s, %s", checked.where, doubt)
    if checked.faults:
        first, *others = checked.faults
        raise BenchmarkError(f"{checked.where}, {first}{f' (and {len(others)} more faults)' if others else ''}")
    return checked.problems


def _missing(name: str, folder: Path) -> NoReturn:
    there = ", ".join(other for other in REGISTRY if _file(other, folder)) or "none"
    raise BenchmarkError(
        f"no {folder}/{name}/test.jsonl (or {', '.join(SUFFIXES[1:])}); benchmarks in that folder: {there}. "
        f"Put a copy there, or give no folder to load {get(name).hub} from the hub"
    )


def check(name: str, folder: Path) -> Checked | None:
    """Read a local copy to its end, whatever is wrong in it; None where there is none.

    Raises `BenchmarkError` where two files could be meant.
    """
    path = _file(name, folder)
    if path is None:
        return None
    try:
        return _checked(name, shown(path), list(_rows(path)))
    except BenchmarkError as error:  # no row of it can be read
        return Checked(shown(path), faults=[str(error)])


def survey(data: Path | str | None = None) -> tuple[pd.DataFrame, list[Checked]]:
    """The registry as a table, with what a folder holds of it; the hub is not asked.

    Columns: name, rows (expected), licence, hub (data set and revision), local (the file), read (rows without a
    fault), problems found (faults, then doubts).  Raises `BenchmarkError` for a folder that is none.
    """
    folder = _folder(data)
    lines, found = [], []
    for name, b in REGISTRY.items():
        checked = check(name, folder) if folder else None
        said = f"{len(checked.faults)} faults, {len(checked.doubts)} doubts" if checked else ""
        lines.append(
            {
                **{"name": name, "rows": "unknown" if b.size is None else str(b.size), "licence": b.licence},
                "hub": f"{b.hub}@{b.revision[:7] if b.pinned else b.revision + ' (not pinned)'}",
                **{"local": checked.where if checked else "", "read": str(len(checked.problems)) if checked else ""},
                "problems found": "none" if said == "0 faults, 0 doubts" else said,
            }
        )
        found += [checked] if checked else []
    return pd.DataFrame(lines), found


def unverified(problems: Sequence[Problem], pool: Pool) -> list[str]:
    """Accepted answers that the grader does not take for correct when they are given as the answer: one line each."""
    asked = [(p, answer) for p in problems for answer in p.gold]
    grades = pool.grade((rf"\boxed{{{answer}}}", p.gold) for p, answer in asked)
    pairs = zip(asked, grades, strict=True)
    return [f"{p.id}: {gold.brief(answer)}: {grade.reason}" for (p, answer), grade in pairs if not grade.correct]


def _folder(data: Path | str | None) -> Path | None:
    given = data or os.environ.get(VARIABLE)
    if not given:
        return None
    if not Path(given).is_dir():
        raise BenchmarkError(f"no folder {given}: name one that holds <benchmark>/test.jsonl in --data or {VARIABLE}")
    return Path(given)


def _file(name: str, folder: Path) -> Path | None:
    stems = dict.fromkeys(("test", get(name).split))
    files = [f for stem in stems for suffix in SUFFIXES if (f := folder / name / (stem + suffix)).is_file()]
    if len(files) > 1:
        raise BenchmarkError(f"{folder / name}: {' and '.join(f.name for f in files)} are both the test set; keep one")
    return files[0] if files else None


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(row number, row, or a fault as text) of a file; jsonl counts lines, the others records."""
    try:
        match path.suffix:
            case ".jsonl":
                yield from _json_lines(_text(path))
            case ".json":
                rows = json.loads(_text(path))
                if not isinstance(rows, list):
                    raise BenchmarkError(f"expected a list of rows, found {type(rows).__name__}")
                yield from enumerate(rows, 1)
            case ".csv":
                table = pd.read_csv(io.StringIO(_text(path)), dtype=str, keep_default_na=False)
                yield from enumerate(table.to_dict("records"), 1)
            case _:
                yield from enumerate(pd.read_parquet(path).to_dict("records"), 1)
    except pd.errors.EmptyDataError:
        return  # `_checked` misses the rows
    except BenchmarkError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # cut, damaged, or not what its name says
        raise BenchmarkError(f"cannot be read: {_line(error)}: copy the file again") from error


def _text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise BenchmarkError(f"line {row}: byte {content[error.start]:#04x} is not UTF-8: save it as UTF-8") from error


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    lines = text.split("\n")  # not splitlines: a problem may hold U+2028
    for row, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield row, json.loads(line)
        except (ValueError, RecursionError) as error:
            cut = "; the file seems cut: copy it again" if row == len(lines) else ""
            yield row, f"not valid JSON: {_line(error)}{cut}"


def _checked(name: str, where: str, rows: Iterable[tuple[int, Any]]) -> Checked:
    checked = Checked(where)
    row_of: dict[str, int] = {}
    read = 0
    for number, row in rows:
        read += 1
        try:
            problem = _problem(name, number, row)
            if problem.id in row_of:
                raise ValueError(f"its name {problem.id!r} stands in row {row_of[problem.id]}, too")
        except ValueError as error:
            checked.faults.append(f"row {number}: {error}")
            continue
        row_of[problem.id] = number
        checked.problems.append(problem)
    repeated = list(_repeated(checked.problems, row_of))
    checked.doubts = repeated + [d for p in checked.problems for d in _doubts(p, row_of[p.id])]
    size = get(name).size
    if read != size and (size is not None or not read):
        why = f" ({repeated[0]})" if repeated and read > (size or 0) else ""
        checked.faults.insert(0, f"{read} rows, {size or 'some'} expected{why}")
    return checked


def _problem(name: str, number: int, row: Any) -> Problem:
    """One row as a record.  Raises ValueError that names the column."""
    if isinstance(row, str):
        raise ValueError(row)
    if not isinstance(row, Mapping):
        raise ValueError(f"expected columns and values, found {type(row).__name__}")
    b, ours = get(name), GOLD in row
    column, text = _cell(b, row, ("problem",) if ours else b.problem)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"column {column!r}: expected a text, found {gold.brief(text)}")
    column, cell = _cell(b, row, (GOLD,) if ours else b.answer)
    try:
        golds = gold.latex(cell, row) if ours else b.read(cell, row)
    except ValueError as error:
        raise ValueError(f"column {column!r}: {error}") from error
    if ours and row.get("source", name) != name:
        raise ValueError(f"column 'source': {row['source']!r} in a file of {name!r}")
    before = row.get(b.context) if b.context and not ours else None
    asked = [part.strip(" \n\r") for part in (before, text) if isinstance(part, str) and part.strip()]
    return Problem(f"{name}/{_own_name(row, 'id' if ours else b.id) or number}", "\n\n".join(asked), golds, "", name)


def _cell(b: Benchmark, row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any]:
    for column in names:
        if column in row:
            return column, row[column]
    found = ", ".join(map(str, row)) or "none"
    raise ValueError(
        f"no column {' or '.join(map(repr, names))}; found {found}: use a copy that has it, such as {b.hub}"
    )


def _own_name(row: Mapping[str, Any], column: str | None) -> str:
    value = row.get(column) if column else None
    if value is None:
        return ""
    try:
        own = value.strip() if isinstance(value, str) else gold.numeral(value)
    except ValueError:
        own = ""
    if not own:
        raise ValueError(f"column {column!r}: expected the row's name, found {gold.brief(value)}")
    return own


def _repeated(problems: Sequence[Problem], row_of: Mapping[str, int]) -> Iterator[str]:
    first: dict[str, int] = {}
    for problem in problems:
        row = row_of[problem.id]
        earlier = first.setdefault(normalise(problem.text), row)
        if earlier != row:
            yield f"row {row}: repeats the problem of row {earlier}"


def _doubts(problem: Problem, row: int) -> Iterator[str]:
    """Traces of a wrong encoding, of a backslash taken for an escape, and of an answer that was cut."""
    for what, text in (("problem", problem.text), *(("answer", answer) for answer in problem.gold)):
        allowed = "\n\r\t" if what == "problem" else ""
        control = [c for c in text if unicodedata.category(c) == "Cc" and c not in allowed]
        if control:
            yield f"row {row}: control character {control[0]!r} in its {what}: a backslash taken for an escape?"
        if misread := _MISREAD.search(text):
            yield f"row {row}: {misread[0]!a} in its {what}: read in a wrong encoding?"
        if what == "answer" and not gold.balanced(text):
            yield f"row {row}: the braces of its answer {text[-40:]!r} do not balance"


# --- the hub ----------------------------------------------------------------------------------------------------


def fetch(repo: str, revision: str, split: str, config: str | None = None) -> Dataset:
    """A data set's split from the hub or its cache, at that revision and no other.

    `datasets` itself, where it cannot reach the hub, takes whatever revision its cache holds; that is refused here.
    Nothing is decoded yet: select the columns that you need first, since a picture's path is opened when it is read.

    Raises
    ------
    BenchmarkError
        The hub cannot be reached or does not give the set; the message says why and what to do.
    """
    import datasets

    try:
        # never trust_remote_code: a set that needs code of its own is refused
        table = datasets.load_dataset(repo, config, split=split, revision=revision)
    except Exception as error:
        if not _of_the_hub(error):
            raise
        raise BenchmarkError(_explained(repo, revision, _line(error), isinstance(error, ConnectionError))) from error
    served = _revisions(table)
    if re.fullmatch(COMMIT, revision) and served and revision not in served:
        said = f"its cache holds revision {min(served)[:7]}, not {revision[:7]}, and the hub was not reached"
        raise BenchmarkError(_explained(repo, revision, said, unreachable=True))
    return table


def _checked_hub(name: str) -> Checked:
    b = get(name)
    try:
        table = fetch(b.hub, b.revision, b.split, b.config)
    except BenchmarkError as error:
        local = f"put a copy at DIR/{name}/test.jsonl and give --data DIR (or set {VARIABLE})"
        raise BenchmarkError(f"{error}; or {local}") from error
    wanted = [c for c in b.columns() if c in table.column_names]
    return _checked(name, f"{b.hub}@{b.revision[:7]}", enumerate(table.select_columns(wanted), 1))


def _revisions(table: Dataset) -> set[str]:
    """Commits that a table was made from: they stand in the addresses it was fetched from, and in its cache's path."""
    addresses = [*(table.info.download_checksums or {}), *(f["filename"] for f in table.cache_files)]
    return {commit for address in addresses for commit in re.findall(rf"[@/\\]({COMMIT})(?=[/\\])", address)}


def _of_the_hub(error: Exception) -> bool:
    """Did the libraries that reach the hub raise it?  (Not a bug of ours, such as a TypeError.)"""
    theirs = type(error).__module__.startswith(("datasets.", "huggingface_hub.", "httpx", "httpcore"))
    return theirs or isinstance(error, (OSError, ValueError, RuntimeError))


def _explained(repo: str, revision: str, said: str, unreachable: bool) -> str:
    fetch = f"hf download --repo-type dataset {repo} --revision {revision}"
    elsewhere = f"run `{fetch}` where there is a network and copy the cache (HF_HOME)"
    if "gated" in said:
        remedy = f"accept its terms at https://huggingface.co/datasets/{repo} and log in with `hf auth login`"
    elif "Revision" in said:
        remedy = f"put a commit that exists in the place of {revision[:7]}"
    elif unreachable and os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        remedy = f"HF_HUB_OFFLINE is set: unset it, or {elsewhere}"
    elif unreachable:
        remedy = f"check the network, or {elsewhere}"
    else:
        remedy = f"compare id, configuration and split with https://huggingface.co/datasets/{repo}"
    return f"{repo} cannot be loaded from the hub: {said.rstrip('.')}: {remedy}"


def _line(error: BaseException) -> str:
    """An error of others on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
