"""`python -m egrc evaluate`: put one benchmark to one model, and record the rows with all that they depend on.

The scales smol and gpu are asked real benchmarks (`evaluation.benchmarks`), pocket its own six kinds of problem.
What is bad
in the settings, the data or the adapter is said before anything is loaded.  A stopped evaluation goes on at the first
problem without rows; a finished one stays, unless --fresh says otherwise.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.evaluation import ask, benchmarks
from egrc.evaluation.ask import Question
from egrc.evaluation.generation import BACKENDS, Backend, Sampling
from egrc.evaluation.problems import Problem, key
from egrc.experiments import evaluations, fingerprint, scales
from egrc.experiments.export import ADAPTER

OnProgress = Callable[[str, int, int], None]
ROOM = 1.2
"""A GPU must have at least so many times the weights' size free.  [ours]"""


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is asked: a scale's defaults, each of which the command can change."""

    samples: int
    """k: answers to each problem."""
    temperature: float
    top_p: float
    cap: int
    problems: int
    """Of each benchmark; 0 for all.  Which ones is decided by a hash of their text, never by an outcome."""
    dtype: str
    """Of the weights."""
    seed: int = 0
    backend: str = BACKENDS[0]
    batch: int = 64
    """Answers that transformers generates side by side; vLLM decides for itself."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"samples={self.samples}: pass@1 is a mean over at least 1 answer a problem")
        if self.problems < 0:
            raise ConfigError(f"problems={self.problems}: how many of the benchmark, or 0 for all")
        if self.temperature == 0 and self.samples > 1:
            raise ConfigError("temperature 0 gives the same answer every time: use --samples 1, or a temperature above")
        if self.batch < 1:
            raise ConfigError(f"batch={self.batch}: at least 1 answer at a time")
        if self.backend not in BACKENDS:
            raise ConfigError(f"no backend {self.backend!r}: choose one of {', '.join(BACKENDS)}")
        self.sampling()

    def sampling(self) -> Sampling:
        """How tokens are drawn.  Raises ConfigError for values out of range."""
        return Sampling(self.temperature, self.top_p, self.cap)


# [ours].  gpu: temperature, top_p and cap are what the models' card recommends (it takes 64 samples on the AIME).
_GPU = Protocol(samples=4, temperature=0.6, top_p=0.95, cap=32768, problems=0, dtype="bfloat16", batch=16)
PROTOCOLS: dict[str, Protocol] = {
    "pocket": Protocol(samples=8, temperature=0.6, top_p=1.0, cap=320, problems=200, dtype="float32"),
    # the weights have four bits, so that bfloat16 loses next to nothing, and takes half the time
    "smol": Protocol(samples=4, temperature=0.6, top_p=0.95, cap=512, problems=100, dtype="bfloat16"),
    "gpu": _GPU,
    "gpu-7b": _GPU,
}


@dataclass(frozen=True)
class Plan:
    """One benchmark and one model, checked, with everything that decides the rows."""

    scale: str
    world: scales.World
    benchmark: str
    adapter: Path | None
    protocol: Protocol
    questions: list[Question]
    settings: dict[str, Any]
    """What is recorded beside the rows; see `egrc.experiments.evaluations.KEYS`."""
    target: Path
    """The rows' file."""
    work: Path
    """Where a stopped evaluation waits."""


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

    Parameters
    ----------
    data : folder with <benchmark>/test.jsonl, for real benchmarks; see `egrc.evaluation.benchmarks.load`.
    adapter : a LoRA's folder; without one the scale's base model answers.
    protocol : default: the scale's, see `PROTOCOLS`.
    out : data folder to write to; default: the committed one.
    fresh : may a finished evaluation be replaced?

    Raises
    ------
    ConfigError
        What is asked for cannot be done.
    RecordError
        A finished evaluation with other settings is in the way.
    """
    check_names(scale, benchmark)
    protocol, world = protocol or PROTOCOLS[scale], scales.world(scale)
    if adapter is not None:
        from egrc.experiments.generate import check_adapter

        check_adapter(adapter, scale)
    problems = chosen(world, benchmark, data, protocol.problems)
    _check_machine(world, protocol)
    tokenizer = _tokenizer(world)
    questions = put(scale, problems, tokenizer)
    _check_length(questions, tokenizer, protocol.cap, context(world))
    name = who(adapter)
    settings = {
        **{"scale": scale, "who": name, "benchmark": benchmark},
        **asdict(protocol),
        **{"problems": len(problems), "model": evaluations.model(scale), "weights": weights(world)},
        **{"adapter": adapter and adapter_hash(adapter), "template": template(scale, benchmark)},
        **{"asked": benchmarks.digest(problems), "prompts": _digest(q.prompt for q in questions)},
        "versions": _versions(protocol),
    }
    target = evaluations.file(scale, name, benchmark, out)
    if target.is_file() and not fresh:
        evaluations.require_same(target, settings)
    work = (out or paths.BUILD) / "work" / "evaluations" / scale / name / benchmark
    return Plan(scale, world, benchmark, adapter, protocol, questions, settings, target, work)


def run(planned: Plan, fresh: bool = False, on_progress: OnProgress | None = None) -> Path:
    """Ask, grade and record, or find it done; goes on where a stopped call was, unless `fresh`.  The rows' file.

    Raises RecordError where another process is at work on the same evaluation, WriteError where the disk is full.
    """
    from egrc.experiments.run import alone

    with alone(planned.work):
        if planned.target.is_file() and not fresh:
            return planned.target
        _prepare(planned, fresh)
        _ask_the_rest(planned, on_progress or (lambda stage, done, total: None))
        _publish(planned)
        shutil.rmtree(planned.work)
    return planned.target


# --- what is asked ------------------------------------------------------------------------------------------------


def names(scale: str) -> tuple[str, ...]:
    """The benchmarks of a scale."""
    if _own(scale):
        from egrc.worlds.pocket.world import BENCHMARKS

        return tuple(BENCHMARKS)
    return tuple(benchmarks.REGISTRY)


def _own(scale: str) -> bool:
    """Does the scale ask problems of its own, and grade them itself?"""
    return scale == "pocket"


def chosen(world: scales.World, benchmark: str, data: Path | None, n: int) -> list[Problem]:
    """The problems that are asked, always the same n (0: all), in the benchmark's order.  Raises BenchmarkError."""
    if _own(world.name):
        table = world.benchmarks(n or 10**6)[benchmark]
        return [Problem(r["id"], r["prompt"], (r["answer"],), "", benchmark) for r in table]
    every = benchmarks.load(benchmark, data)
    drawn = {p.id for p in sorted(every, key=lambda p: (key(p.text), p.id))[: n or len(every)]}
    return [p for p in every if p.id in drawn]


def template(scale: str, benchmark: str) -> str:
    """What is said around a problem, '{problem}' standing for it; the chat template comes around that."""
    return "{problem}" if _own(scale) else benchmarks.get(benchmark).prompt


def put(scale: str, problems: Sequence[Problem], tokenizer: Any) -> list[Question]:
    """The problems as the model's chat template puts them; pocket's model reads them as they are."""
    match scale:
        case "pocket":
            prompts = [p.text for p in problems]
        case "smol":
            prompts = [
                tokenizer.apply_chat_template(benchmarks.messages(p), tokenize=False, add_generation_prompt=True)
                for p in problems
            ]
        case _:  # the template as `Gpu.check_tokenizer` holds it against the tokenizer's own
            from egrc.worlds.deepseek import prompt

            prompts = [prompt(p.text, benchmarks.get(p.source).prompt) for p in problems]
    return [Question(p.id, text, p.gold) for p, text in zip(problems, prompts, strict=True)]


# --- checks -------------------------------------------------------------------------------------------------------


def check_names(scale: str, benchmark: str) -> None:
    """Raises ConfigError, which lists the valid names."""
    if scale not in PROTOCOLS:
        raise ConfigError(f"no scale {scale!r}: choose one of {', '.join(PROTOCOLS)}")
    if benchmark not in names(scale):
        raise ConfigError(f"no benchmark {benchmark!r} at scale {scale}: choose one of {', '.join(names(scale))}")


def _check_machine(world: scales.World, protocol: Protocol) -> None:
    if protocol.backend == "vllm" and find_spec("vllm") is None:
        from egrc.worlds.deepseek import INSTALL

        raise ConfigError(
            f"vLLM is not installed: make an environment that has it, `{INSTALL}`, and activate it; or leave out "
            "--backend vllm and let transformers generate"
        )
    if protocol.cap >= (most := context(world)):
        raise ConfigError(f"cap={protocol.cap}: the model of scale {world.name} reads {most} tokens, prompt included")
    if hasattr(world, "REVISION"):  # a model of the hub
        from egrc.worlds import deepseek as gpu
        from egrc.worlds import hub

        gpu.require_gpu(world.name)
        _check_memory(world.weights_gb())
        hub.require(world.HUB, world.REVISION)


def _check_memory(weights: float) -> None:
    """Raises ConfigError where the weights (GB, in bfloat16) leave no room on the GPU for the answers' cache."""
    import torch

    free = torch.cuda.mem_get_info()[0] / 1e9
    if ROOM * weights > free:
        raise ConfigError(
            f"too little memory: the weights take {weights:.0f} GB, the answers more, and {free:.0f} GB are free: free "
            "the GPU, or use a larger one"
        )


def context(world: scales.World) -> int:
    """Tokens that the model can read, prompt and answer together."""
    if hasattr(world, "model_config"):
        return world.model_config().max_position_embeddings
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(world.policy_path()).max_position_embeddings


def _check_length(questions: Sequence[Question], tokenizer: Any, cap: int, most: int) -> None:
    longest = max((len(tokenizer(q.prompt)["input_ids"]), q.id) for q in questions)
    if longest[0] + cap > most:
        raise ConfigError(
            f"cap={cap}: with the {longest[0]} tokens of problem {longest[1]} that is more than the {most} which the "
            f"model reads: at most --cap {most - longest[0]}"
        )
    if any(q.thinks for q in questions) and ask.END not in tokenizer.get_vocab():
        raise ConfigError(f"the tokenizer has no token {ask.END}, so thinking and answer cannot be counted apart")


# --- what it depends on -------------------------------------------------------------------------------------------


def weights(world: scales.World) -> str:
    """The commit of a model of the hub, else a hash of the weights' folder."""
    return getattr(world, "REVISION", None) or fingerprint.folder_hash(world.policy_path())


def _versions(protocol: Protocol) -> dict[str, str]:
    from egrc.experiments.run import versions

    more = ("math-verify", *(["vllm"] if protocol.backend == "vllm" else []))
    return versions() | {name: metadata.version(name) for name in more}


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
    return _digest(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ADAPTER)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()[:16]


# --- asking -------------------------------------------------------------------------------------------------------


def _ask_the_rest(planned: Plan, say: OnProgress) -> None:
    """Rows of the questions that have none yet, a file for each batch."""
    done, everything = _done(planned.work), planned.questions
    rest = [q for q in everything if q.id not in done]
    if not rest:
        return
    from egrc.experiments.run import set_up

    set_up()
    say("evaluating", len(done), len(everything))
    backend, protocol = load_backend(planned), planned.protocol
    began = time.monotonic()
    with grader(planned.scale) as grade:
        settings = (protocol.sampling(), protocol.samples, protocol.seed)
        for rows in ask.answer(planned.benchmark, rest, backend, grade, *settings):
            seconds, began = time.monotonic() - began, time.monotonic()
            write_parquet(planned.work / f"{len(done):06d}.parquet", rows.assign(seconds=seconds / len(rows)))
            done |= set(rows["id"])
            say("evaluating", len(done), len(everything))


def load_backend(planned: Plan) -> Backend:
    """What generates: a model in this process, the adapter merged into it, or vLLM with the adapter beside it."""
    import torch

    from egrc.evaluation import generation

    world, adapter, protocol = planned.world, planned.adapter, planned.protocol
    if protocol.backend == "vllm":
        settings = json.loads((adapter / ADAPTER[0]).read_text(encoding="utf-8")) if adapter else {}
        length = min(context(world), protocol.cap + max(len(q.prompt.encode()) for q in planned.questions))
        return generation.Vllm(
            _folder(world), _tokenizer(world), protocol.dtype, length, adapter and str(adapter), settings.get("r", 0)
        )
    model, tokenizer = world.policy()
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    model.to("cuda" if torch.cuda.is_available() else "cpu", getattr(torch, protocol.dtype))
    return generation.Transformers(model, tokenizer, protocol.batch)


def _folder(world: scales.World) -> str:
    """Of the base model's files; fetched where they come from the hub."""
    if not hasattr(world, "REVISION"):
        return world.policy_path()
    from egrc.worlds import hub

    return str(hub.snapshot(world.HUB, world.REVISION))


def _tokenizer(world: scales.World) -> Any:
    """The tokenizer with its own pad, without loading the weights."""
    if _own(world.name):
        from egrc.worlds.pocket.tokenizer import build_tokenizer

        return build_tokenizer()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(_folder(world), trust_remote_code=False)
    if hasattr(world, "REVISION"):
        from egrc.worlds.deepseek import PAD

        world.check_tokenizer(tokenizer)
        tokenizer.pad_token, tokenizer.padding_side = PAD, "left"
    return tokenizer


@contextmanager
def grader(scale: str) -> Iterator[ask.Grader]:
    """Real answers go to a worker process, each under its time limit; pocket's are words to be compared."""
    if _own(scale):
        from egrc.worlds.pocket.verdicts import grade

        yield grade
    else:
        from egrc.evaluation.pool import Pool

        with Pool(workers=1) as pool:
            yield pool.grade


# --- files --------------------------------------------------------------------------------------------------------


def _prepare(planned: Plan, fresh: bool) -> None:
    """Keep what a stopped evaluation left only if its settings were these."""
    stamp = planned.work / "settings.json"
    if fresh or not stamp.is_file() or json.loads(stamp.read_text(encoding="utf-8")) != planned.settings:
        shutil.rmtree(planned.work, ignore_errors=True)
        write_json(stamp, planned.settings)


def _done(work: Path) -> set[str]:
    """Names of the problems that have rows."""
    return {name for file in work.glob("*.parquet") for name in pd.read_parquet(file, columns=["id"])["id"]}


def _publish(planned: Plan) -> None:
    """Rows in the benchmark's order, and their settings; the settings last, so that no others stand beside them."""
    rows = pd.concat([pd.read_parquet(file) for file in sorted(planned.work.glob("*.parquet"))], ignore_index=True)
    order = {q.id: i for i, q in enumerate(planned.questions)}
    rows = rows.sort_values(["id", "sample"], key=lambda c: c.map(order) if c.name == "id" else c)
    beside = planned.target.with_suffix(".json")
    beside.unlink(missing_ok=True)
    write_parquet(planned.target, rows[list(ask.COLUMNS)].reset_index(drop=True))
    write_json(beside, {**planned.settings, "seconds": round(float(rows["seconds"].sum()), 1), "status": "complete"})
