"""Is a stale record still what today's code produces?  Replay its beginning, re-stamp it where that agrees.

What is compared, per record:

* the first steps of training: every column of steps.csv but the seconds, as far as rounding lets them (`egrc.agree`),
  because the last bits of a sum depend on the machine and on the shape of its batch;
* every decision of the gate, replayed from the recorded entropies by today's controller;
* the greedy answers to one benchmark (a different one for each seed), from the recorded adapter.

A slim record (`egrc.records.SLIM`) has only the first of these, and the answers where it keeps its weights.

What this cannot see: a change that acts only later (say, in the second phase's reward).  Re-train then.
"""

from __future__ import annotations

import datetime
import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from egrc import fingerprint, paths, records, scales
from egrc import run as runs
from egrc.agree import STEPS, cells, differing_cell
from egrc.atomic import write_json
from egrc.evaluate import evaluate


def verify(record: records.Record, steps: int = STEPS, say: Callable[[str], None] = print) -> bool:
    """Replay a stale record and re-stamp its run.json if all agrees; True if it is (now) not stale.

    A changed config cannot be verified, because another config is another run.
    """
    reason = records.stale(record)
    if reason is None:
        say(f"{record.name}: not stale")
        return True
    if reason.startswith("config"):
        say(f"{record.name}: {reason}; train it again")
        return False
    runs.set_up()
    found = difference(record, steps)
    if found:
        say(f"{record.name}: {reason}; the replay differs ({found}); train it again")
        return False
    restamp(record, steps)
    say(f"{record.name}: {reason}; the replay agrees, re-stamped")
    return True


def difference(record: records.Record, steps: int = STEPS) -> str | None:
    """The first thing in which a replay by today's code differs from the record, or None."""
    world = scales.world(record.scale)
    asked = record.arm == "base" or record.has_weights
    found = _greedy_difference(record, world) if asked else None
    if record.arm == "base" or found:
        return found
    found = None if record.is_slim else _gate_difference(record)
    return found or _training_difference(record, world, steps)


def _training_difference(record: records.Record, world: scales.World, steps: int) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        runs.train(record.config, world, Path(folder), stop_after=steps)
        new, old = cells(Path(folder) / "steps.csv")[:steps], cells(record.path / "steps.csv")[:steps]
    if len(new) != len(old):
        return f"{len(new)} steps instead of {len(old)}"
    return differing_cell(new, old)


def _gate_difference(record: records.Record) -> str | None:
    from egrc.controller import replay

    entropies, masses = ([d.get(name) for d in record.decisions] for name in ("entropy", "mass"))
    new = [vars(d) for d in replay(record.config.recipe, entropies, masses)]
    for a, b in zip(new, record.decisions, strict=True):
        differing = [key for key in a if key in b and not _same(a[key], b[key])]
        if differing:
            return f"decisions.jsonl, step {b['step']}: {differing[0]} {a[differing[0]]} was {b[differing[0]]}"
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return json.dumps(a) == json.dumps(b)  # a tuple is a list there


def _greedy_difference(record: records.Record, world: scales.World) -> str | None:
    """Whole batches are repeated, because the last bits of a sum depend on what shares the batch."""
    config = record.config
    temperature = min(config.eval_temperatures)
    problems = world.benchmarks(config.eval_problems)
    name = sorted(problems)[config.seed % len(problems)]
    model, tokenizer = runs.policy(config, world, record.path / "adapter")
    new = evaluate(
        *(model, tokenizer, {name: problems[name]}, world.correct),
        *((temperature,), config.eval_samples, config.cap, config.seed),
    )
    rows = record.evaluation
    old = rows[(rows["benchmark"] == name) & (rows["temperature"] == temperature)]
    for column in ("id", "sample", "correct", "tokens", "truncated"):
        if new[column].tolist() != old[column].tolist():
            return f"evaluation of {name} at temperature {temperature}: {column}"
    return None


def restamp(record: records.Record, steps: int) -> None:
    """Give a record today's code hashes, and its log a line that says so.  Raises WriteError."""
    code = fingerprint.code_hashes(record.scale, record.arm)
    line = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "old_hash": record.meta["code_hash"],
        "new_hash": fingerprint.combined(code),
        "changed": sorted(
            k for k in code.keys() | record.meta["code"].keys() if code.get(k) != record.meta["code"].get(k)
        ),
        "steps_compared": 0 if record.arm == "base" else steps,
    }
    meta = {
        **record.meta,
        "config_hash": fingerprint.config_hash(record.config),
        "code_hash": line["new_hash"],
        "code": code,
        "log": [*record.meta.get("log", []), line],
    }
    write_json(record.path / "run.json", meta)


def verify_all(scale: str | None, data: Path | None = None, say: Callable[[str], None] = print) -> bool:
    """Verify every stale record; True if none is stale afterwards.  Raises RecordError without records."""
    found = records.load_all(scale, data, studies=True)
    if not found:
        raise records.RecordError(f"no records under {paths.shown((data or paths.DATA) / 'runs')}: train some first")
    agreed = [verify(record, say=say) for record in found]  # all of them, whatever the first says
    return all(agreed)
