"""`python -m egrc evaluate`: put one benchmark to one model, and record the rows with all that they depend on.

The scales smol, real and gpu are asked real benchmarks (`evaluation.benchmarks`), pocket its own six kinds of problem.
What is bad in the settings, the data or the adapter is said before anything is loaded.  A stopped evaluation goes on at
the first problem without rows; a finished one stays, unless --fresh says otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoTokenizer

from egrc import paths
from egrc.atomic import write_json, write_parquet
from egrc.checks import require
from egrc.evaluation import benchmarks
from egrc.evaluation.evaluate import COLUMNS, ask
from egrc.evaluation.pool import Pool
from egrc.evaluation.problems import Problem, key
from egrc.evaluation.sampling import Backend, Sampling, by_transformers, by_vllm, derived_seed, require_vllm
from egrc.experiments import evaluations, scales
from egrc.experiments.export import ADAPTER, check_adapter
from egrc.experiments.fingerprint import digest, folder_hash, portable, versions
from egrc.experiments.records import RecordError, alone, read
from egrc.experiments.run import adapted, set_up
from egrc.worlds import deepseek, hub
from egrc.worlds.pocket import verdicts

OnProgress = Callable[[str, int, int], None]
BACKENDS = ("transformers", "vllm")


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is asked: a scale's defaults, each of which the command can change.

    `samples` answers to each of so many `problems` (0: all), which a hash of their text decides, never an outcome;
    `dtype` of the weights; `batch`: answers that transformers generates side by side (vLLM decides for itself).
    """

    samples: int
    temperature: float
    top_p: float
    cap: int
    problems: int
    dtype: str
    seed: int = 0
    backend: str = BACKENDS[0]
    batch: int = 64

    def __post_init__(self) -> None:
        require(self.samples >= 1, f"samples={self.samples}: pass@1 is a mean over at least 1 answer a problem")
        require(self.problems >= 0, f"problems={self.problems}: how many of the benchmark, or 0 for all")
        once = self.temperature != 0 or self.samples == 1
        require(once, "temperature 0 gives the same answer every time: use --samples 1, or a temperature above")
        require(self.batch >= 1, f"batch={self.batch}: at least 1 answer at a time")
        require(self.backend in BACKENDS, f"no backend {self.backend!r}: choose one of {', '.join(BACKENDS)}")
        self.sampling()

    def sampling(self) -> Sampling:
        """How tokens are drawn.  Raises ConfigError for values out of range."""
        return Sampling(self.temperature, self.top_p, self.cap)


# [ours].  gpu: temperature, top_p and cap are what the models' card recommends (it takes 64 samples on the AIME).
_GPU = Protocol(samples=4, temperature=0.6, top_p=0.95, cap=32768, problems=0, dtype="bfloat16", batch=16)
ALL = 2_000
"""Problems of a benchmark of a synthetic world, which never ends."""
PROTOCOLS: dict[str, Protocol] = {
    "pocket": Protocol(samples=8, temperature=0.3, top_p=1.0, cap=240, problems=200, dtype="float32"),
    # the weights have four bits, so that bfloat16 loses next to nothing, and takes half the time
    "smol": Protocol(samples=4, temperature=0.6, top_p=0.95, cap=512, problems=100, dtype="bfloat16"),
    "real": Protocol(samples=1, temperature=0.6, top_p=0.95, cap=512, problems=100, dtype="float32"),
    "gpu": _GPU,
    "gpu-7b": _GPU,
}


@dataclass(frozen=True)
class Plan:
    """One benchmark and one model, checked, with everything that decides the rows: the questions (id, prompt, accepted
    answers) in the benchmark's order, what is recorded beside the rows (`evaluations.KEYS`), the rows' file, and
    where a stopped evaluation waits."""

    world: scales.World
    adapter: Path | None
    protocol: Protocol
    questions: list[dict[str, Any]]
    settings: dict[str, Any]
    target: Path
    work: Path


def plan(
    scale: str,
    benchmark: str,
    data: Path | None = None,
    adapter: Path | None = None,
    protocol: Protocol | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> Plan:
    """Check everything before anything is loaded or written.

    `data` holds <benchmark>/test.jsonl (see `benchmarks.load`), `adapter` a LoRA (without one the base answers), `out`
    is the data folder to write to (default: the committed one); `fresh`: may a finished evaluation be replaced?
    Raises ConfigError for what cannot be done, RecordError where a finished evaluation of other settings is in the way.
    """
    protocol, world = protocol or PROTOCOLS[scale], scales.world(scale)
    names = tuple(world.benchmarks(1) if world.synthetic else benchmarks.REGISTRY)
    require(benchmark in names, f"no benchmark {benchmark!r} at scale {scale}: choose one of {', '.join(names)}")
    if adapter is not None:
        world = check_adapter(adapter, scale)
    problems = chosen(world, benchmark, data, protocol.problems)
    if protocol.backend == "vllm":
        require_vllm()
    revision = getattr(world, "REVISION", None)  # of a model of the hub
    if revision:
        deepseek.require_gpu(scale)
        hub.require(world.HUB, revision)
    tokenizer = _tokenizer(world)
    prompts = [prompt(world, p, tokenizer) for p in problems]
    longest, most = max(map(len, tokenizer(prompts)["input_ids"])), context(world)
    above = f"with the {longest} tokens of the longest problem that is more than the {most} which the model reads"
    require(longest + protocol.cap <= most, f"cap={protocol.cap}: {above}: at most --cap {most - longest}")
    name, more = who(adapter), ("math-verify", *["vllm"] * (protocol.backend == "vllm"))
    settings = {
        **{"scale": scale, "who": name, "benchmark": benchmark},
        **asdict(protocol),
        **{"problems": len(problems), "model": portable(world.policy_path())},
        "weights": revision or folder_hash(world.policy_path()),
        "adapter": adapter and adapter_hash(adapter),
        # what is said around a problem; the chat template comes around that
        "template": "{problem}" if world.synthetic else benchmarks.get(benchmark).prompt,
        **{"asked": benchmarks.digest(problems), "prompts": digest(json.dumps(prompts).encode())},
        "versions": versions() | {package: metadata.version(package) for package in more},
    }
    target = evaluations.file(scale, name, benchmark, out)
    if target.is_file() and not fresh:
        then = evaluations.load(target).settings
        if changed := [k for k in settings if k != "versions" and then[k] != settings[k]]:
            each = ", ".join(f"{k}: {then[k]} then, {settings[k]} now" for k in changed)
            where = paths.shown(target)
            raise RecordError(f"{where} was made otherwise ({each}): --fresh replaces it, --out FOLDER keeps both")
    work = (out or paths.BUILD) / "work" / "evaluations" / scale / name / benchmark
    questions = [{"id": p.id, "prompt": text, "answer": p.gold} for p, text in zip(problems, prompts, strict=True)]
    return Plan(world, adapter, protocol, questions, settings, target, work)


def run(planned: Plan, fresh: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Ask, grade and record, or find it done; goes on where a stopped call was, unless `fresh`.  The rows' file.

    Raises RecordError where another process is at work on the same evaluation, WriteError where the disk is full.
    """
    work, target = planned.work, planned.target
    with alone(work):
        if target.is_file() and not fresh:
            return target
        stamp, beside = work / "settings.json", target.with_suffix(".json")
        if fresh or not stamp.is_file() or read(stamp) != planned.settings:
            shutil.rmtree(work, ignore_errors=True)  # what a stopped one left has other settings
            write_json(stamp, planned.settings)
        _ask_the_rest(planned, on_progress or (lambda stage, done, total: None))
        rows = pd.concat([pd.read_parquet(file) for file in sorted(work.glob("*.parquet"))], ignore_index=True)
        order = {q["id"]: i for i, q in enumerate(planned.questions)}
        rows = rows.sort_values(["id", "sample"], key=lambda c: c.map(order) if c.name == "id" else c)
        beside.unlink(missing_ok=True)  # the settings last, so that no others stand beside the rows
        write_parquet(target, rows[list(COLUMNS)].reset_index(drop=True))
        seconds = round(float(rows["seconds"].sum()), 1)
        write_json(beside, {**planned.settings, "seconds": seconds})
        shutil.rmtree(work)
    return target


def chosen(world: scales.World, benchmark: str, data: Path | None, n: int) -> list[Problem]:
    """The problems that are asked, always the same n (0: `ALL`), in the benchmark's order.  Raises ProblemError."""
    if world.synthetic:
        table = world.benchmarks(n or ALL)[benchmark]
        return [Problem(r["id"], r["prompt"], (r["answer"],), "", benchmark) for r in table]
    every = benchmarks.load(benchmark, data)
    drawn = {p.id for p in sorted(every, key=lambda p: (key(p.text), p.id))[: n or len(every)]}
    return [p for p in every if p.id in drawn]


def prompt(world: scales.World, problem: Problem, tokenizer: Any) -> str:
    """A problem as the model's chat template puts it; pocket's model reads it as it is."""
    if world.synthetic:
        return problem.text
    if world.name in ("smol", "real"):
        asked = benchmarks.messages(problem)
        return tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    # the template as `Gpu.check_tokenizer` holds it against the tokenizer's own
    return deepseek.prompt(problem.text, benchmarks.get(problem.source).prompt)


def _tokenizer(world: scales.World) -> Any:
    """The tokenizer with its own pad, without loading the weights."""
    tokenizer = AutoTokenizer.from_pretrained(_folder(world), trust_remote_code=False)
    if hasattr(world, "REVISION"):
        world.check_tokenizer(tokenizer)
        tokenizer.pad_token, tokenizer.padding_side = deepseek.PAD, "left"
    return tokenizer


def _folder(world: scales.World) -> str:
    """Of the base model's files; fetched where they come from the hub."""
    return str(hub.snapshot(world.HUB, world.REVISION)) if hasattr(world, "REVISION") else world.policy_path()


def context(world: scales.World) -> int:
    """Tokens that the model can read, prompt and answer together."""
    known = getattr(world, "CONTEXT", None)
    return known or AutoConfig.from_pretrained(_folder(world)).max_position_embeddings


def who(adapter: Path | None) -> str:
    """Who answers: 'base', the arm and seed of a record's adapter, or another adapter's folder and hash."""
    if adapter is None:
        return "base"
    arm, seed, last = adapter.resolve().parts[-3:]
    if last == "adapter" and re.fullmatch(r"seed-\d+", seed):
        return f"{arm}-{seed}"
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', adapter.resolve().name)}-{adapter_hash(adapter)[:8]}"


def adapter_hash(folder: Path) -> str:
    """Hash of an adapter's weights and settings; a model card beside them does not count."""
    return digest(json.dumps([hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER]).encode())


def _ask_the_rest(planned: Plan, say: OnProgress) -> None:
    """A file of rows for each piece of the questions that has none yet, the shortest prompts first.

    All samples of a question are in one piece.  A piece has a seed of its own, so that a resumed evaluation equals an
    uninterrupted one.
    """
    there = {p.stem: pd.read_parquet(p, columns=["id"])["id"].nunique() for p in planned.work.glob("*.parquet")}
    done, total = sum(there.values()), len(planned.questions)
    if done == total:
        return
    set_up()
    say("evaluating", done, total)
    backend, protocol, name = load_backend(planned), planned.protocol, planned.settings["benchmark"]
    order = sorted(planned.questions, key=lambda q: len(backend.tokenizer(q["prompt"])["input_ids"]))
    at_once = protocol.batch if protocol.backend == "transformers" else 1024  # vLLM makes its own batches
    together, began = max(1, at_once // protocol.samples), time.monotonic()
    with grader(planned.world) as pool:
        for start in range(0, total, together):
            if (piece := f"{start:06d}") not in there:
                some = order[start : start + together]
                seed = derived_seed(protocol.seed, f"{name}/{start}", protocol.temperature)
                rows = ask(name, some, backend, pool.grade, protocol.sampling(), protocol.samples, seed)
                seconds, began = time.monotonic() - began, time.monotonic()
                write_parquet(planned.work / f"{piece}.parquet", rows.assign(seconds=seconds / len(rows)))
                done += len(some)
                say("evaluating", done, total)


def load_backend(planned: Plan) -> Backend:
    """What generates: a model in this process, the adapter merged into it, or vLLM with the adapter beside it."""
    world, adapter, protocol = planned.world, planned.adapter, planned.protocol
    if protocol.backend == "vllm":
        rank = json.loads((adapter / ADAPTER[0]).read_text(encoding="utf-8"))["r"] if adapter else 0
        length = min(context(world), protocol.cap + max(len(q["prompt"].encode()) for q in planned.questions))
        return by_vllm(_folder(world), _tokenizer(world), protocol.dtype, length, adapter and str(adapter), rank)
    model, tokenizer = world.policy()
    model = adapted(model, adapter) if adapter else model
    model.to("cuda" if torch.cuda.is_available() else "cpu", getattr(torch, protocol.dtype))
    return by_transformers(model, tokenizer, protocol.batch)


def grader(world: scales.World) -> Any:
    """Real answers go to worker processes, each under its time limit; pocket's are words to be compared."""
    return nullcontext(verdicts) if world.synthetic else Pool()
