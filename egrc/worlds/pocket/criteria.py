"""What the pocket world must be before any arm is compared; measured without a look at how EGRC does.  [ours]

`python -m egrc measure world` keeps it in `data/pocket/world.json`.  Temperatures are chosen on training problems
('search'); everything else is measured on held-out ones ('test').
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset

from egrc.atomic import write_json
from egrc.evaluation.evaluate import evaluate, summarise
from egrc.worlds.pocket import SEEDS, Pocket
from egrc.worlds.pocket.world import BENCHMARKS, CANDIDATES, WORLD_VERSION, problems

TEMPERATURES = (0.3, 0.6, 0.8, 1.0, 0.0)
WANTED = 2_000
WORLD_CHANGED = "2026-11-23"  # when WORLD_VERSION was last raised
HERE = Path(__file__).parent


def world_hash(base: Path | None = None) -> str:
    """Short hash of all that makes the world: its code, and the weights of its base model (default: the package's)."""
    weights = (base or Path(Pocket().policy_path())) / "model.safetensors"
    digest = hashlib.sha256()
    for file in (HERE / "world.py", HERE / "teacher.py", HERE / "tokenizer.py", weights):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def sizes() -> pd.DataFrame:
    """Held-out problems a benchmark (counted to WANTED, or the whole held-out half), and its best constant answer."""
    lines = []
    for name in BENCHMARKS:
        drawn = list(islice(problems(name, held_out=True, seed=SEEDS["test"]), WANTED))
        best, count = Counter(p.answers[0] for p in drawn).most_common(1)[0]
        lines.append({"benchmark": name, "held_out": len(drawn), "whole_half": len(drawn) < WANTED,
                      "constant_answer": best, "constant_accuracy": count / len(drawn)})  # fmt: skip
    return pd.DataFrame(lines)


def started_compact(benchmarks: dict[str, Dataset]) -> dict[str, Dataset]:
    """The same problems with the first token of a compact trace already written."""
    rng = random.Random("compact")

    def start(row: dict[str, Any]) -> dict[str, Any]:
        words = row["prompt"].split()
        after = words[words.index("=") + 1 :] if "=" in words else words  # what is computed first
        first = after[0] if len(after) > 2 else str(rng.choice(CANDIDATES))
        return {"prompt": f"{row['prompt']} {first}"}

    return {name: table.map(start) for name, table in benchmarks.items()}


def measure(
    n: int = 200, samples: int = 1, seed: int = 0, say: Callable[[str], None] = print, data: Path | None = None
) -> dict[str, Any]:
    """All criteria as {criteria, base_best_temperature, version, hash, rows}; kept as pocket/world.json in `data`."""
    torch.set_num_threads(1)
    pocket = Pocket(data)
    base = Path(pocket.policy_path())
    model, tokenizer = pocket.policy()

    def ask(split: str, temperatures: tuple[float, ...], change: Any = lambda tables: tables) -> pd.DataFrame:
        say(f"world: {split} problems, T in {temperatures}")
        tables = change(pocket.benchmarks(n, split))
        return summarise(evaluate(model, tokenizer, tables, pocket.correct, temperatures, samples, 400, seed))

    search = ask("search", TEMPERATURES)
    best = float(search[search.benchmark == "mean"].set_index("temperature")["accuracy"].idxmax())
    test = ask("test", tuple(dict.fromkeys((1.0, best, 0.0))))
    compact = ask("test", (best,), started_compact).set_index("benchmark")
    floor = {name: pocket.floor_tokens(name) for name in BENCHMARKS}
    floor["mean"] = sum(floor.values()) / len(floor)
    test["floor_tokens"] = test["benchmark"].map(floor)
    test["ratio"] = test["mean_tokens"] / test["floor_tokens"]
    at_best = test["temperature"] == best
    test.loc[at_best, "compact_accuracy"] = test.loc[at_best, "benchmark"].map(compact["accuracy"])
    test.loc[at_best, "compact_tokens"] = test.loc[at_best, "benchmark"].map(compact["mean_tokens"]) + 1

    mean, size = test[test.benchmark == "mean"].set_index("temperature"), sizes()
    survival = mean.mean_tokens[best] / mean.mean_tokens[1.0]
    constant, megabytes = float(size.constant_accuracy.max()), (base / "model.safetensors").stat().st_size / 1e6
    checks = [
        ("held-out problems per benchmark, or the whole held-out half", int(size.held_out.min()), "2000 or all",
         bool(((size.held_out >= WANTED) | size.whole_half).all())),
        ("best constant answer, worst benchmark", constant, "<= 0.25", constant <= 0.25),
        ("base accuracy at its best temperature, mean", mean.accuracy[best], "0.6 to 0.9",
         bool(0.6 <= mean.accuracy[best] <= 0.9)),
        ("base tokens over compact floor at its best temperature", mean.ratio[best], "4 to 6, about 5",
         bool(4 <= mean.ratio[best] <= 6)),
        ("verbosity that survives cooling: tokens at the best temperature over tokens at T=1",
         survival, ">= 0.8", bool(survival >= 0.8)),
        ("weights in MB", megabytes, "< 2", megabytes < 2),
    ]  # fmt: skip
    result = {
        "version": WORLD_VERSION,
        "changed": WORLD_CHANGED,
        "hash": world_hash(base),
        "problems": n,
        "samples": samples,
        "base_best_temperature": best,
        "criteria": [dict(zip(("name", "value", "bound", "met"), c, strict=True)) for c in checks],
        "sizes": size.to_dict("records"),
        "search": _records(search),
        "rows": _records(test),
    }
    write_json(base.parent / "world.json", result)
    return result


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values, NaN as null."""
    return table.astype(object).where(table.notna(), None).to_dict("records")
