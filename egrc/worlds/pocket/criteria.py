"""What the pocket world must be, written down before any arm was run, and without a look at how EGRC does.  [ours]

`python -m egrc measure world` measures every base model and keeps `data/pocket/world.json`.  Temperatures
are chosen on training problems ('search'), everything else is measured on held-out ones ('test').  Whether the compact
mode can be made reliable, and what compression costs at first, needs training: see `experiments.start`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from operator import ge, le
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from egrc import paths
from egrc.entropy import token_entropy
from egrc.evaluation.evaluate import evaluate, summarise
from egrc.evaluation.sampling import Sampling, generate
from egrc.worlds.pocket import BASES, SEEDS, Pocket
from egrc.worlds.pocket.language import BENCHMARKS, P_COMPACT, Clock, Problem
from egrc.worlds.pocket.tokenizer import word_class

TEMPERATURES = (1.0, 0.6, 0.3, 0.0)
CAP = 240
WANTED = 2_000
MEGABYTES = 2.0  # of the base's weights
ACCURACY = (0.6, 0.9)  # of the base, at its own best temperature, mean of benchmarks
SURVIVAL = 0.8  # tokens at the best temperature over tokens at T=1: the habit survives cooling
FLOOR = 0.20  # compact floor over the base's tokens at its best temperature: the paper's fifth can be reached
READ_OFF = 0.95  # probability of the answer after a compact trace whose steps are right, on every benchmark
COMPACT_DIET, COMPACT_ACCURACY = 0.15, (0.3, 0.7)  # share of compact steps in the diet; accuracy when started compact
LONGER = 1.10  # tokens of the accuracy-trained start over the base's, at T=1
DEARER = 0.05  # accuracy that compression alone loses at first
BRANCHES = 0.8  # share of the entropy at tokens where the chain branches
DECIDES = 0.10  # how far hard steps that were checked are right more often than unchecked ones
CONSTANT = 0.25  # best constant answer
PLATEAU = 0.01  # gain over the last fifth of the accuracy training


def world_hash() -> str:
    """Short hash of all that makes the world: its code, and the weights of its base models and starts."""
    here, folder = Path(__file__).parent, paths.DATA / Pocket.name
    weights = [folder / f"{kind}-{n}" / "model.safetensors" for kind in ("base", "start") for n in range(BASES)]
    files = (here / "language.py", here / "tokenizer.py", *weights)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def read_off(world: Pocket, model: Any, tokenizer: Any, problems: Sequence[Problem]) -> float:
    """Mean probability of the answer after '#', where a compact trace is right in every step."""
    rng, ids = random.Random(0), []
    for p in problems:
        words = world.clock.trace(p, rng, p_compact=1.0, sure=True)
        ids.append(tokenizer.encode(p.text) + tokenizer.convert_tokens_to_ids(words[:-2]))
    batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    with torch.no_grad():
        last = model(**batch, logits_to_keep=1).logits[:, -1].softmax(-1)
    answers = tokenizer.convert_tokens_to_ids([str(p.answer) for p in problems])
    return float(last[torch.arange(len(answers)), answers].mean())


def hard_steps(clock: Clock, problem: Problem, words: Sequence[str]) -> list[tuple[int, bool]]:
    """Of each verbose division of a trace: how often it was checked, and whether its final result is right."""
    out, now = [], None
    body = " ".join(words).split(" again ")[0].split(" . ")
    for sentence in body:
        w = sentence.split()
        if "check" in w:
            if now and len(w) >= 4 and w[3].startswith("*"):
                now[0] += 1
        elif len(w) == 4 and w[2][0] == "/" and w[1].isdigit() and w[3].isdigit():
            a, step, result = int(w[1]), w[2], int(w[3])
            if now and now[2:] == [a, step]:
                now[1] = result == clock.apply(a, step)
            elif clock.is_hard(a, step):
                now = [0, result == clock.apply(a, step), a, step]
                out.append(now)
        else:
            now = None if "#" in w else now
    return [(checks, right) for checks, right, *_ in out]


def branches(words: Sequence[str]) -> list[bool]:
    """Of each token: does the chain branch here?  Connectors, what follows one, and results of divisions."""
    before = ["", *words[:-1]]
    connector = [word_class(w) == "connector" for w in words]
    after = [False, *connector[:-1]]
    quotient = [b[:1] == "/" and w.isdigit() for b, w in zip(before, words, strict=True)]
    return [any(signs) for signs in zip(connector, after, quotient, strict=True)]


def explore(world: Pocket, model: Any, tokenizer: Any, problems: Sequence[Problem], seed: int) -> dict[str, Any]:
    """Sampled at T=1: hard steps right by number of checks, and the share of the entropy at branches."""
    prompts = tokenizer([p.text for p in problems])["input_ids"]
    completions = generate(model, tokenizer, prompts, Sampling(1.0, 1.0, CAP), seed)
    steps, entropy = [], {True: 0.0, False: 0.0}
    for problem, prompt, ids in zip(problems, prompts, completions, strict=True):
        words = tokenizer.convert_ids_to_tokens(ids)
        steps += hard_steps(world.clock, problem, words)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + ids]), logits_to_keep=len(ids) + 1).logits[0, :-1]
        for is_branch, nats in zip(branches(words), token_entropy(logits).tolist(), strict=True):
            entropy[is_branch] += nats
    table = pd.DataFrame(steps, columns=["checks", "right"])
    by_checks = table.assign(checks=table["checks"].clip(upper=3)).groupby("checks")["right"].agg(["mean", "size"])
    return {
        "right_by_checks": by_checks["mean"].round(4).tolist(),
        "steps_by_checks": by_checks["size"].tolist(),
        "unchecked": float(table.loc[table["checks"] == 0, "right"].mean()),
        "checked": float(table.loc[table["checks"] > 0, "right"].mean()),
        "branch_entropy": entropy[True] / sum(entropy.values()),
    }


def sizes(world: Pocket) -> tuple[int, float]:
    """Held-out problems (counted to WANTED) of the smallest benchmark, and the share of the best constant answer."""
    drawn = [list(islice(world.clock.problems(b, True, SEEDS["test"]), WANTED)) for b in BENCHMARKS]
    return min(map(len, drawn)), max(Counter(p.answer for p in ps).most_common(1)[0][1] for ps in drawn) / WANTED


def measure(world: Pocket, n: int = 200, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, Any]:
    """One base model and the start made of it, against the criteria: {number, criteria, rows}."""
    torch.set_num_threads(1)
    raw, start = (type(world)(world.data, world.seed, raw) for raw in (True, False))
    test = raw.first(n)
    floor = fmean(raw.floor_tokens(b) for b in BENCHMARKS)

    def ask(of: Pocket, split: str, temperatures: tuple[float, ...], compact: bool = False) -> pd.DataFrame:
        say(f"world: {split} problems, T in {temperatures}{', started compact' * compact}{'' if of.raw else ', start'}")
        tables = of.benchmarks(n, split)
        if compact:
            for b, drawn in of.first(n, split).items():  # the first token of a compact trace is already written
                started = [f"{p.text} {p.start}" for p in drawn]
                tables[b] = tables[b].remove_columns("prompt").add_column("prompt", started)
        rows = evaluate(*of.policy(), tables, of.correct, temperatures, 1, CAP, seed)
        policy = "base" if of.raw else "start"
        return summarise(rows).assign(policy=policy, split=split, compact=compact)

    search = ask(raw, "search", TEMPERATURES)
    best = float(search[search.benchmark == "mean"].set_index("temperature")["accuracy"].idxmax())
    both = tuple(dict.fromkeys((1.0, best, 0.0)))
    rows = [search, ask(raw, "test", both), ask(raw, "test", (best,), compact=True), ask(start, "test", both),
            ask(start, "test", (best,), compact=True)]  # fmt: skip
    of_base, compact, of_start = (
        t[t.benchmark == "mean"].set_index("temperature") for t in (rows[1], rows[2], rows[3])
    )
    model, tokenizer = raw.policy()
    reads = {b: read_off(raw, model, tokenizer, test[b]) for b in BENCHMARKS}
    seen = explore(raw, model, tokenizer, [p for drawn in test.values() for p in drawn], seed)
    by_checks, (held_out, constant), tokens = seen["right_by_checks"], sizes(raw), of_base.mean_tokens
    gains = [b - a for a, b in zip(by_checks, by_checks[1:], strict=False)] or [float("nan")]  # none was checked
    megabytes = (Path(raw.policy_path()) / "model.safetensors").stat().st_size / 1e6
    checks = [
        ("weights in MB", megabytes, "<=", MEGABYTES),
        ("base accuracy at its best temperature", of_base.accuracy[best], "in", ACCURACY),
        ("tokens at the best temperature over T=1", tokens[best] / tokens[1.0], ">=", SURVIVAL),
        ("compact floor over the base's tokens", floor / tokens[best], "<=", FLOOR),
        ("answer read off a right compact trace, worst", min(reads.values()), ">=", READ_OFF),
        ("compact share in the diet", P_COMPACT, "<=", COMPACT_DIET),
        ("accuracy started compact", compact.accuracy[best], "in", COMPACT_ACCURACY),
        ("a checked hard step over an unchecked one", seen["checked"] - seen["unchecked"], ">=", DECIDES),
        ("the first check's gain over the last one's", gains[0] - gains[-1], ">", "0: diminishing"),
        ("tokens of the start over the base, T=1", of_start.mean_tokens[1.0] / tokens[1.0], ">=", LONGER),
        ("entropy at branches", seen["branch_entropy"], ">=", BRANCHES),
        ("held-out problems", held_out, ">=", WANTED),
        ("best constant answer, worst", constant, "<=", CONSTANT),
    ]
    holds = {"<=": le, ">=": ge, "in": lambda x, ends: ends[0] <= x <= ends[1], ">": lambda x, _: x > 0}
    criteria = [
        {"name": name, "value": float(x), "bound": f"{side} {bound}", "met": bool(holds[side](x, bound))}
        for name, x, side, bound in checks
    ]
    table = pd.concat(rows, ignore_index=True)
    return {"number": world.seed, "best_temperature": best, "criteria": criteria, **seen, "read_off": reads,
            "rows": table.astype(object).where(table.notna(), None).to_dict("records")}  # fmt: skip
