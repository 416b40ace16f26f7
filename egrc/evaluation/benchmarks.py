r"""Six real benchmarks and a seventh: where they are, how their files are read, and what is asked.

An entry of `REGISTRY` says all that is particular to a set; adding a set is adding an entry.  `load` reads one from a
folder of yours (`--data DIR`, or the variable EGRC_BENCHMARKS; DIR/<name>/test.jsonl, .json, .csv or .parquet), else
from the Hugging Face hub.  Which six the paper used is not public in what we could read; these are [ours].  No revision
was checked against the hub from here: each was read in stored public pages and code that pin the same commit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from egrc.evaluation import gold, problems
from egrc.evaluation.problems import SUFFIXES, Format, Problem, ProblemError
from egrc.paths import shown

if TYPE_CHECKING:  # takes seconds, and a local file needs none of it
    from datasets import Dataset

    from egrc.evaluation.pool import Pool

VARIABLE = "EGRC_BENCHMARKS"
"""Environment variable that names a folder with one folder per benchmark."""
PROMPT = "{problem}\n\nPut the final answer in \\boxed{}."
"""What the user's turn says.  [ours]: no system prompt, and few words, so that little is taught by them."""
COMMIT = "[0-9a-f]{40}"
MARK = re.compile(r"<[|\uff5c][^<>|\uff5c]{1,40}[|\uff5c]>")
"""A chat template's mark, such as <|im_end|>."""


@dataclass(frozen=True)
class Benchmark:
    """Where one set is and how it is read: its data set, commit, split and configuration on the Hugging Face hub (a
    local file is called test, or as the split is), how many rows it has, its licence as declared at the hub or at the
    problems' source, and the user's turn, in which '{problem}' stands for the problem."""

    title: str
    hub: str
    revision: str
    split: str
    size: int
    licence: str
    form: Format
    config: str | None = None
    prompt: str = PROMPT


MAA = "none declared (problems: MAA)"
AIME = Format(("problem", "question"), ("answer",), gold.integer_to_999, id="id")
MATH500 = Format(("problem",), ("answer",), gold.latex, id="unique_id")
OLYMPIAD = Format(("question", "problem"), ("final_answer",), gold.olympiad, id="id", context="context")
MINERVA = Format(("question", "problem"), ("answer",), gold.latex)
REGISTRY: dict[str, Benchmark] = {
    "gsm8k": Benchmark(
        "GSM8K", "openai/gsm8k", "740312add88f781978c0658806c59bc2815b9866", "test", 1319, "MIT", problems.GSM8K, "main"
    ),
    "math500": Benchmark(
        "MATH-500", "HuggingFaceH4/MATH-500", "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be", "test", 500,
        "none declared (MATH, PRM800K: MIT)", MATH500),
    # its problems were rewritten from multiple choice, so that each answer is a whole number
    "amc23": Benchmark(
        "AMC 2023", "math-ai/amc23", "80815d37005feb82cd7f8fbc6901d5d3eff43057", "test", 40, MAA,
        replace(AIME, read=gold.number)),
    "aime24": Benchmark(
        "AIME 2024", "HuggingFaceH4/aime_2024", "2fe88a2f1091d5048c0f36abc874fb997b3dd99a", "train", 30, MAA, AIME),
    "aime25": Benchmark(
        "AIME 2025", "math-ai/aime25", "563bb8404243c5f09de6ec262f2db674fe5bce9b", "test", 30, MAA, AIME),
    # open-ended, text only, mathematics, English, competition.  The tolerance in its column 'error' is not used.  Its
    # gold answers name no units, and where there are several all are wanted.
    "olympiadbench": Benchmark(
        "OlympiadBench", "Hothan/OlympiadBench", "91184b52131e7fc9455fef848035173aea8cc01a", "train", 674, "Apache-2.0",
        OLYMPIAD, "OE_TO_maths_en_COMP", f"{PROMPT[:-1]}, without units; separate several answers by commas."),
    "minerva": Benchmark(
        "Minerva", "math-ai/minervamath", "ee46ddc498933b1977577953250ca5c66be64f96", "test", 272,
        "none declared (problems: MIT OpenCourseWare)", MINERVA),
}  # fmt: skip
"""All sets by name, which is also the name of a set's folder inside a data directory."""
SIX = ("gsm8k", "math500", "amc23", "aime24", "aime25", "olympiadbench")
"""The six of our table.  [ours]: the paper's abstract counts six and does not name them."""


def get(name: str) -> Benchmark:
    """The entry of that name.  Raises `ProblemError`, which lists the names."""
    if name not in REGISTRY:
        raise ProblemError(f"no benchmark {name!r}: choose one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def messages(problem: Problem) -> list[dict[str, str]]:
    """A problem as the user's only turn."""
    return [{"role": "user", "content": asked(problem.text, get(problem.source).prompt)}]


def asked(problem: str, template: str) -> str:
    """A problem in its template; marks inside it, written by others, are blanked: they must not end the turn."""
    return template.replace("{problem}", MARK.sub(" ", problem))


def digest(asked: Sequence[Problem]) -> str:
    """Hash (16 hex digits) of names, texts and answers: what an evaluation was asked."""
    parts = [[p.id, p.text, list(p.gold)] for p in asked]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def load(name: str, data: Path | str | None = None) -> list[Problem]:
    """All problems of a benchmark, in its order, from the folder `data` (default: the variable EGRC_BENCHMARKS), or
    where there is neither from the hub.

    Raises `ProblemError`: no such benchmark or file, a copy with a fault, or a hub that does not give the set.
    """
    b, folder = get(name), _folder(data)
    if folder is None:
        try:
            table = fetch(b.hub, b.revision, b.split, b.config)
        except ProblemError as error:
            local = f"put a copy at DIR/{name}/test.jsonl and give --data DIR (or set {VARIABLE})"
            raise ProblemError(f"{error}; or {local}") from error
        read = (*b.form.problem, *b.form.answer, b.form.id, b.form.context, "is_multiple_answer")
        where, rows = f"{b.hub}@{b.revision[:7]}", table.select_columns([c for c in table.column_names if c in read])
        found = problems.read(enumerate(rows, 1), b.form, name, name, where)
    elif path := _file(name, folder):
        where = shown(path)
        found = problems.read(problems.rows(path), b.form, name, name, where)
    else:
        there = f"no {folder}/{name}/test.jsonl (or {', '.join(SUFFIXES[1:])})"
        raise ProblemError(f"{there}: put a copy there, or give no folder to load {b.hub} from the hub")
    if len(found) != b.size:
        raise ProblemError(f"{where}, {len(found)} rows, {b.size} expected")
    return found


def survey(data: Path | str | None = None) -> tuple[pd.DataFrame, dict[str, list[Problem]]]:
    """The registry as a table, with the fault of each copy that a folder holds, and the problems of those without one;
    the hub is not asked.  Raises `ProblemError`."""
    folder, lines, copies = _folder(data), [], {}
    for name, b in REGISTRY.items():
        path, fault = folder and _file(name, folder), ""
        try:
            copies |= {name: load(name, folder)} if path else {}
        except ProblemError as error:
            fault = str(error)
        line = {"name": name, "rows": str(b.size), "licence": b.licence, "hub": f"{b.hub}@{b.revision[:7]}"}
        lines.append(line | {"local": shown(path) if path else "", "fault": fault})
    return pd.DataFrame(lines), copies


def unverified(asked: Sequence[Problem], pool: Pool) -> list[str]:
    """Accepted answers that the grader does not take for correct when they are given as the answer: one line each."""
    answers = [(p, answer) for p in asked for answer in p.gold]
    grades = pool.grade((rf"\boxed{{{answer}}}", p.gold) for p, answer in answers)
    pairs = zip(answers, grades, strict=True)
    return [f"{p.id}: {gold.brief(answer)}: {grade.reason}" for (p, answer), grade in pairs if not grade.correct]


def _folder(data: Path | str | None) -> Path | None:
    given = data or os.environ.get(VARIABLE)
    if given and not Path(given).is_dir():
        raise ProblemError(f"no folder {given}: name one that holds <benchmark>/test.jsonl in --data or {VARIABLE}")
    return Path(given) if given else None


def _file(name: str, folder: Path) -> Path | None:
    return problems.the_file(folder / name, dict.fromkeys(("test", get(name).split)))


def fetch(repo: str, revision: str, split: str, config: str | None = None) -> Dataset:
    """A data set's split from the hub or its cache, at that revision and no other.

    `datasets` itself, where it cannot reach the hub, takes whatever revision its cache holds; that is refused here.
    Nothing is decoded yet: select the columns that you need first, since a picture's path is opened when it is read.
    Raises `ProblemError`, which says why and what to do.
    """
    import datasets

    try:
        # never trust_remote_code: a set that needs code of its own is refused
        table = datasets.load_dataset(repo, config, split=split, revision=revision)
        # the commits that it was made from stand in the addresses it was fetched from, and in its cache's path
        addresses = [*(table.info.download_checksums or {}), *(f["filename"] for f in table.cache_files)]
        served = {commit for address in addresses for commit in re.findall(rf"[@/\\]({COMMIT})(?=[/\\])", address)}
        if served and revision not in served:
            raise ProblemError(f"its cache holds revision {min(served)[:7]}, and the hub was not reached")
    except Exception as error:
        theirs = type(error).__module__.startswith(("datasets.", "huggingface_hub.", "httpx", "httpcore"))
        if not theirs and not isinstance(error, (OSError, ValueError, RuntimeError)):
            raise  # a bug of ours
        raise ProblemError(
            f"{repo} cannot be loaded from the hub: {problems.line_of(error).rstrip('.')}: check the network (and "
            f"HF_HUB_OFFLINE), accept the terms at https://huggingface.co/datasets/{repo} if it is gated (`hf auth "
            f"login`), or run `hf download --repo-type dataset {repo} --revision {revision}` elsewhere and copy the "
            "cache (HF_HOME)"
        ) from error
    return table
