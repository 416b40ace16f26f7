"""How many answers a second the pool grades: `python -m egrc.evaluation.bench_grading [FOLDER]` measures, prints and
keeps it.

Workloads of completions (a few sentences, then a box), half of them right, half with another problem's answer:

    numbers    whole numbers and decimals, as in grade-school sets
    mixed      half numbers; fractions, roots, tuples, intervals, polynomials and words make the other half
    samples    `mixed`, eight samples a problem, as in training and in evaluation
    <name>     the gold answers of a real benchmark, where a folder of them is given (default: EGRC_BENCHMARKS)

Each is graded by the pool, warm, and by `evaluation.grading.grade` in one thread; they take turns, each turn with a
new pool
and new problems, because a shared machine drifts.  *Decided* is the share of answers that needed no math-verify.
Processor time (of the caller and the workers) says what free cores would do where the machine is busy.

Of real benchmarks, every gold answer is also given as the answer to its own problem: those that then do not count as
correct are named.
"""

from __future__ import annotations

import os
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from egrc import paths
from egrc.atomic import write_json
from egrc.evaluation import benchmarks, graders, grading
from egrc.evaluation.pool import Pool

TARGET = 500.0
"""Ordinary answers a second, after warm-up, on two cores."""
PROSE = "We add the parts, which gives 12 and 30, and halve the sum; that leaves what was asked for. " * 5
PATIENCE = 60.0
"""Seconds by the clock for an answer in one thread: its default would change verdicts on a busy machine."""
Pair = tuple[str, str]


def bench(folder: Path | None = None, turns: int = 3, n: int = 2000, workers: int = 2, out: Path | None = None) -> str:
    """Measure `n` answers (real benchmarks: as many as they have) in each turn, write a JSON file, return the table.

    The file is data/bench/grading.json unless `out` names another.  Raises `BenchmarkError` for a file in `folder`
    that cannot be used, WriteError.
    """
    report: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()},
        **{"workers": workers, "turns": turns, "target": TARGET, "load_before": os.getloadavg()[0]},
    }
    rows = []
    for turn in range(turns):
        for name, make in workloads(folder, n).items():
            pairs = make(random.Random(turn))
            rows.append({"workload": name, "answers": len(pairs), **_measured(pairs, workers)})
            print(f"bench: turn {turn + 1}/{turns}, {name}", file=sys.stderr, flush=True)
    report["workloads"] = summary(pd.DataFrame(rows))
    report["gold"] = against_itself(folder, workers) if folder else {}
    write_json(out or paths.DATA / "bench" / "grading.json", report)
    return table(report)


def against_itself(folder: Path, workers: int) -> dict[str, Any]:
    """By benchmark of the folder: rows, and the gold answers that do not verify against themselves, with the reason."""
    found = {}
    with Pool(workers) as pool:
        for name in benchmarks.REGISTRY:
            if checked := benchmarks.check(name, folder):
                exceptions = benchmarks.unverified(checked.problems, pool)
                found[name] = {"rows": len(checked.problems), "exceptions": exceptions}
    return found


def workloads(folder: Path | None, n: int) -> dict[str, Callable[[random.Random], list[Pair]]]:
    """Name to a maker of (completion, gold) pairs."""
    made: dict[str, Callable[[random.Random], list[Pair]]] = {
        "numbers": lambda draw: answered([_number(draw) for _ in range(n)], draw),
        "mixed": lambda draw: answered([_mixed(draw) for _ in range(n)], draw),
        "samples": lambda draw: answered([gold for _ in range(n // 8) for gold in [_mixed(draw)] * 8], draw),
    }
    for name in benchmarks.REGISTRY if folder else ():
        checked = benchmarks.check(name, folder)
        if checked and not checked.faults:
            golds = [problem.gold[0] for problem in checked.problems]
            made[name] = lambda draw, golds=golds: answered(golds, draw)
    return made


def answered(golds: Sequence[str], draw: random.Random) -> list[Pair]:
    """A completion for each gold answer, right or with some other's answer, with equal chances."""
    given = [gold if draw.random() < 0.5 else draw.choice(golds) for gold in golds]
    return [(rf"{PROSE}So the answer is \boxed{{{answer}}}.", gold) for gold, answer in zip(golds, given, strict=True)]


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """By workload: answers, share decided, processor ms an answer of the pool (median over turns), answers a second
    (median with extremes)."""
    found: dict[str, Any] = {}
    for name, group in rows.groupby("workload", sort=False):
        rates = {
            kind: {"median": round(s.median(), 1), "low": round(s.min(), 1), "high": round(s.max(), 1)}
            for kind, s in ((kind, group["answers"] / group[kind]) for kind in ("pool", "one_thread"))
        }
        decided = round(float(group["decided"].mean()), 3)
        cpu = round(float(1000 * (group["processor"] / group["answers"]).median()), 2)
        found[str(name)] = {"answers": int(group["answers"].iloc[0]), "decided": decided, "cpu_ms": cpu, **rates}
    return found


def table(report: dict[str, Any]) -> str:
    """The report as text."""

    def spread(rate: dict[str, float]) -> str:
        return f"{rate['median']:.0f} ({rate['low']:.0f} to {rate['high']:.0f})"

    rows = {
        name: {
            "answers": w["answers"],
            "decided (%)": f"{100 * w['decided']:.0f}",
            f"pool of {report['workers']}": spread(w["pool"]),
            "math-verify, one thread": spread(w["one_thread"]),
            # a few answers take less than the system's clock can tell
            "pool: processor ms an answer": f"{w['cpu_ms']:.1f}" if w["cpu_ms"] else "-",
        }
        for name, w in report["workloads"].items()
    }
    said = f"Answers a second, median of {report['turns']} turns (extremes); target {report['target']:.0f}; "
    said += f"load of the machine before: {report['load_before']:.1f} on {report['machine']['cpus']} cores."
    return f"{said}\n\n{pd.DataFrame(rows).T.to_markdown()}\n\n{_gold(report['gold'])}"


def _gold(found: dict[str, Any]) -> str:
    if not found:
        return "No real benchmarks were given."
    rows = ", ".join(f"{name} {of['rows']}" for name, of in found.items())
    exceptions = [f"\n* `{line}`" for of in found.values() for line in of["exceptions"]]
    said = f"Gold answers against themselves, every row ({rows}): "
    return f"{said}{'these do not verify:' if exceptions else 'all verify.'}{''.join(exceptions)}"


def _measured(pairs: list[Pair], workers: int) -> dict[str, float]:
    """Seconds of each grader, and the share of answers that texts decide.  Raises RuntimeError if they differ."""
    with Pool(workers) as pool:
        pool.grade([(rf"\boxed{{{gold}}}", gold) for gold, _ in graders.WARM_UP] * workers)
        began, used = time.perf_counter(), _processor_seconds()
        ours = pool.grade(pairs)
        seconds = {"pool": time.perf_counter() - began, "processor": _processor_seconds() - used}
    began = time.perf_counter()
    theirs = [grading.grade(completion, gold, limit=PATIENCE) for completion, gold in pairs]
    seconds["one_thread"] = time.perf_counter() - began
    if ours != theirs:
        raise RuntimeError(next(f"{a} in the pool, {b} without" for a, b in zip(ours, theirs, strict=True) if a != b))
    both = zip(pairs, ours, strict=True)
    decided = [graders.decide(gold, grade.extracted or "") is not None for (_, gold), grade in both]
    return seconds | {"decided": sum(decided) / len(pairs)}


def _processor_seconds() -> float:
    """Of this process and all that it started and that still run."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def _number(draw: random.Random) -> str:
    whole = draw.randint(-200, 10 ** draw.randint(2, 5))
    return str(whole) if draw.random() < 0.9 else f"{whole / 100:.2f}"


def _mixed(draw: random.Random) -> str:
    """An answer such as MATH has, in about its proportions; numbers are drawn, so that most texts are new."""
    a, b, c = (draw.randint(2, 99) for _ in range(3))
    others = (
        *(rf"\frac{{{a}}}{{{b}}}", rf"-\frac{{{a}}}{{{b}}}", rf"\frac{{{a}}}{{{b}}}", rf"{a}\sqrt{{{b}}}"),
        *(rf"{a} + {b}\sqrt{{{c}}}", rf"\frac{{{a}\pi}}{{{b}}}", f"({a},-{b})", f"[{a},{a + b})", f"{a},{b},{c}"),
        *(f"{a}x^2-{b}x+{c}", f"(x+{a})(x-{b})", rf"{a}^\circ", rf"\text{{{draw.choice(('even', 'odd', 'Ada'))}}}"),
        *(f"x^{{{a}}}", rf"\frac{{{a}}}{{{b}}}"),
    )
    return _number(draw) if draw.random() < 0.5 else draw.choice(others)


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(benchmarks.VARIABLE)
    print(bench(Path(given) if given else None))
