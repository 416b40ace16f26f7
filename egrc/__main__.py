"""The command line: `python -m egrc <command>`; every command imports only what it needs."""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.checks import ConfigError

Arguments = argparse.Namespace


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(prog="python -m egrc", description="Entropy-Guided Reasoning Compression")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, action: Any, text: str, scale: str | None = "pocket") -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(action=action)
        made.add_argument("--scale", default=scale, help=f"default: {scale or 'all'}")
        return made

    c = command("train", train, "train one arm, or evaluate the arm 'base', and record it")
    c.add_argument("--arm", required=True)
    c.add_argument("--seed", type=int, nargs="+", default=[0])
    c.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings; needs --out")
    c.add_argument("--on", nargs="+", default=[], metavar="NAME=VALUE", help="fit the machine: micro_batch, vllm, ...")
    c.add_argument("--out", type=Path, help="folder for the record; default: the committed records")
    c.add_argument("--fresh", action="store_true", help="start anew, even if a record or checkpoints are there")
    c = command("results", results, "one row per arm, seed, benchmark and temperature", scale=None)
    c.add_argument("--json", action="store_true", help="JSON on standard output")
    c = command("claims", claims_, "what the records say of each claim of the paper", scale=None)
    c.add_argument("--json", action="store_true", help="JSON on standard output")
    command("records", records_, "list the records", scale=None)
    command("base", base, "train the scale's base model")
    c = command("sweep", sweep_, "make every record of a scale that is missing or stale")
    c.add_argument("--study", nargs="+", default=[], help="those of these studies instead of the main arms")
    c = command("measure", measure_, "make the measurements of a scale that are missing or stale")
    c.add_argument("names", nargs="*", metavar="NAME", help="default: all of the scale")
    c.add_argument("--list", action="store_true", help="only say what there is, and what is missing or stale")
    c.add_argument("--fresh", action="store_true", help="make them anew")
    c.add_argument("--part", help="only this part of one measurement, in this process")
    c = command("paper", paper_, "figures, tables and notebooks from the records")
    c.add_argument(
        "--fresh", nargs="?", const="main", choices=["main", "all"],
        help="train the base model and the main arms anew ('all': the studies and measurements, too)",
    )  # fmt: skip
    c.add_argument("--arms", nargs="+", help="train these arms anew first, at each of their seeds")
    command("figures", figures, "only the figures and tables")
    command("bench", bench_, "measure time and memory")
    command("world", world_, "measure the world's own criteria")
    c = command("search", search_, "run the trials that choose each arm's settings")
    c.add_argument("--arms", nargs="+", help="only the trials of these")
    c = command("benchmarks", benchmarks_, "list the real benchmarks, and check the local copies of them", scale=None)
    c.add_argument("--data", type=Path, help="folder with <benchmark>/test.jsonl; default: EGRC_BENCHMARKS")
    command("dry-run", dry_run, "what a run would need, estimated, and how it is started; nothing is run")
    c = command("export", export_, "a run's adapter with a model card, in a folder of its own")
    c.add_argument("--arm", required=True)
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--out", type=Path, required=True, help="a new folder; nothing is overwritten")
    c.add_argument("--merge", action="store_true", help="the whole model with the adapter merged into it")
    c = command("generate", generate_, "ask one question, of the base and of an adapter")
    c.add_argument("problem")
    c.add_argument("--adapter", type=Path, help="folder of an adapter: a record's, or one that was exported")
    c.add_argument("--temperature", type=float, default=0.6, help="default: 0.6; 0 is greedy")
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--cap", type=int, default=0, help="tokens after which the answer is cut; default: the scale's")
    c = command("evaluate", evaluate_, "put benchmarks to a model, and record the graded answers")
    c.add_argument("--benchmark", required=True, nargs="+")
    c.add_argument("--data", type=Path, help="folder with <benchmark>/test.jsonl; default: EGRC_BENCHMARKS, or the hub")
    c.add_argument("--adapter", type=Path, help="folder of an adapter; default: the base model alone")
    c.add_argument("--samples", type=int, metavar="K", help="answers to each problem")
    c.add_argument("--temperature", type=float, help="0 is greedy")
    c.add_argument("--top-p", type=float)
    c.add_argument("--cap", type=int, help="tokens after which an answer is cut")
    c.add_argument("--problems", type=int, metavar="N", help="only so many, chosen by a hash of their text; 0 for all")
    c.add_argument("--seed", type=int)
    c.add_argument("--backend", help="transformers or vllm")
    c.add_argument("--batch", type=int, help="answers that transformers generates side by side")
    c.add_argument("--out", type=Path, help="data folder to write to; default: the committed evaluations")
    c.add_argument("--fresh", action="store_true", help="anew, even if it is there")
    c = command("grade", grade_, "grade JSON lines with 'gold' and 'completion'", scale=None)
    c.add_argument("file", metavar="FILE.jsonl", help="- for standard input")
    c.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    c.add_argument("--limit", type=float, default=1.0, help="seconds for one answer (default: %(default)s)")
    command("clean", clean, "remove build products")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.  Errors that a user can mend show no traceback."""
    arguments = parser().parse_args(argv)
    # so that whoever ends this process also ends what it started
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        _check_scale(arguments.scale)
        return arguments.action(arguments) or 0
    except ConfigError as error:
        print(f"egrc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("egrc: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 1
    except USER_ERRORS as error:
        print(f"egrc: {error}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if not isinstance(error, _own_errors()):
            raise
        print(f"egrc: {error}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)  # this process may not be ours: a test calls us, too


# OSError: disk full, no permission, missing file; FloatingPointError: the loss is not a number
USER_ERRORS = (OSError, FloatingPointError)


def _own_errors() -> tuple[type[RuntimeError], ...]:
    """Only of modules that were loaded: an error of another cannot have been raised."""
    names = (("egrc.experiments.records", "RecordError"), ("egrc.experiments.jobs", "JobsError"))
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)


def _check_scale(scale: str | None) -> None:
    from egrc.experiments import scales

    if scale is not None and scale not in scales.SCALES:
        raise ConfigError(f"no scale {scale!r}: choose one of {', '.join(scales.SCALES)}")


def say(line: str) -> None:
    """Print at once, also into a pipe."""
    print(line, flush=True)


# --- commands -------------------------------------------------------------------------------------


def train(a: Arguments) -> None:
    from egrc.experiments import scales
    from egrc.worlds import launch

    overrides = _overrides(a.set)
    if overrides and a.out is None:
        raise ConfigError("--set changes the run, so it must not replace a committed record: add --out FOLDER")
    configs = [scales.config(a.scale, a.arm, seed, **overrides) for seed in a.seed]
    fitted = {"hardware": scales.hardware(a.scale).on(_overrides(a.on, "--on"))} if a.on else {}
    from egrc.experiments.run import is_done, run  # after the checks, because it takes seconds

    data = (a.out or paths.DATA).resolve()
    for config in configs:
        name = f"{config.scale}/{config.arm}/seed-{config.seed}"
        there = not a.fresh and is_done(paths.run_folder(data, config.scale, config.arm, config.seed), config)
        began = time.monotonic()
        folder = run(config, data, a.fresh, Progress(name), **fitted)
        state = "already there (--fresh makes it anew)" if there else f"made in {time.monotonic() - began:.0f} s"
        if launch.is_main():
            print(f"{name}: {state}: {paths.shown(folder)}", flush=True)


class Progress:
    """Prints 'name training 12/200, 3 min left', at most every two seconds and at the end of each stage."""

    def __init__(self, name: str, every: float = 2.0) -> None:
        self.name, self.every = name, every
        self.stage, self.began, self.first, self.said = "", 0.0, 0, -float("inf")

    def __call__(self, stage: str, done: int, total: int) -> None:
        from egrc.experiments.jobs import duration

        now = time.monotonic()
        if stage != self.stage:  # a resumed run does not start at 0
            self.stage, self.began, self.first, self.said = stage, now, done, -float("inf")
        if now - self.said < self.every and done < total:
            return
        self.said = now
        rate = (now - self.began) / (done - self.first) if done > self.first else None
        left = f", {duration(rate * (total - done))} left" if rate is not None else ""
        print(f"{self.name} {stage} {done}/{total}{left}", flush=True)


def _overrides(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """NAME=VALUE pairs; values as Python writes them, anything else as text."""
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            example = "steps=2" if option == "--set" else "micro_batch=1"
            raise ConfigError(f"{option} {pair}: write NAME=VALUE, for example {option} {example}")
        try:
            out[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            out[name] = value
    return out


def results(a: Arguments) -> None:
    from egrc.experiments.results import results as table

    rows = table(a.scale)
    if a.json:
        print(rows.to_json(orient="records", indent=1))
    else:
        print(rows.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))


def claims_(a: Arguments) -> None:
    import pandas as pd

    from egrc.analysis import claims
    from egrc.experiments import scales

    table = pd.concat([claims.verdicts(scale) for scale in ([a.scale] if a.scale else scales.SCALES)])
    print(table.to_json(orient="records", indent=1) if a.json else claims.show(table))


def records_(a: Arguments) -> int:
    from egrc.experiments import records

    for record in records.load_all(a.scale, studies=True):
        minutes = record.meta["seconds"] / 60
        print(f"{record.name:<32} {minutes:6.1f} min  {records.stale(record) or 'up to date'}")
    return 0


def base(a: Arguments) -> None:
    from egrc.paper import has_own_base

    if not has_own_base(a.scale):
        raise ConfigError(f"scale {a.scale!r} starts from a pretrained model; only pocket trains its own")
    from egrc.atomic import publish_folder
    from egrc.worlds.pocket.base import train_base

    finished = train_base(paths.BUILD / "work" / a.scale / "base-model")
    target = paths.DATA / a.scale / "base"
    publish_folder(finished, target)
    shutil.rmtree(finished)
    print(f"base model in {paths.shown(target)}")


def sweep_(a: Arguments) -> None:
    from egrc.experiments import scales
    from egrc.experiments.sweep import sweep

    runs = {run: None for name in a.study for run in scales.study_runs(a.scale, name)}  # each once, in order
    sweep(a.scale, runs=list(runs) if a.study else None)


def measure_(a: Arguments) -> int:
    from egrc.experiments import measure

    wanted = a.names or measure.names(a.scale)
    if a.part:
        measure.make_part(wanted[0], a.scale, a.part, lambda done, total: say(f"training {done}/{total}"))
        return 0
    if a.list:
        for name in wanted:
            there = measure.file(name, a.scale).is_file()
            print(f"{name:<14} {(measure.stale(name, a.scale) or 'up to date') if there else 'missing'}")
        return 0
    for name in wanted:
        print(f"egrc: {name} is in {paths.shown(measure.make(name, a.scale, a.fresh))}")
    return 0


def paper_(a: Arguments) -> None:
    from egrc.paper import paper

    paper(a.scale, a.fresh, arms=a.arms)


def figures(a: Arguments) -> None:
    from egrc.paper.products import draw

    draw(a.scale)


def bench_(a: Arguments) -> None:
    from egrc.paper.bench import bench

    print(bench(a.scale))


def world_(a: Arguments) -> None:
    if a.scale != "pocket":
        raise ConfigError(f"scale {a.scale!r} has no criteria of its own; only pocket is a world made here")
    from egrc.worlds.pocket import criteria

    print(json.dumps(criteria.measure(), indent=1))


def search_(a: Arguments) -> None:
    from egrc.analysis import search

    if a.scale not in search.TRIALS:
        raise ConfigError(f"scale {a.scale!r} has no search: choose one of {', '.join(search.TRIALS)}")
    table = search.search(a.scale, a.arms)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    for arm, trials in search.TRIALS[a.scale].items():
        if set(range(len(trials))) <= set(table.trial[table.arm == arm]):
            print(f"{arm}: trial {search.chosen(table, arm)}, {trials[search.chosen(table, arm)]}")
    print(f"egrc-plus: {search.plus(table) or 'not all candidates were tried yet'}")


def benchmarks_(a: Arguments) -> int:
    from egrc.evaluation import benchmarks

    table, copies = benchmarks.survey(a.data)
    print(table.to_string(index=False))
    print("\nThe hub is not asked here, and no revision was ever checked against it: see egrc/evaluation/benchmarks.py.")  # noqa: E501
    for line in (line for copy in copies for line in copy.report()):
        print(line)
    if copies:
        from egrc.evaluation.pool import Pool

        with Pool() as pool:
            lines = [line for copy in copies for line in benchmarks.unverified(copy.problems, pool)]
        print("\nGold answers that the grader does not take for equal to themselves:", *(lines or ["none"]), sep="\n")
    return 1 if any(copy.faults for copy in copies) else 0


def dry_run(a: Arguments) -> None:
    from egrc.experiments.dryrun import report

    print(report(a.scale))


def export_(a: Arguments) -> None:
    from egrc.experiments import records
    from egrc.experiments.export import export

    print(f"egrc: {export(records.load(a.scale, a.arm, a.seed), a.out, a.merge)}")


def generate_(a: Arguments) -> None:
    from egrc.experiments.generate import before_and_after

    answers = before_and_after(a.scale, a.problem, a.adapter, a.temperature, a.seed, a.cap)
    print("\n\n".join(f"{who}: {answer}" for who, answer in answers.items()))


def evaluate_(a: Arguments) -> None:
    from dataclasses import replace

    from egrc.experiments import examine

    asked = ("samples", "temperature", "top_p", "cap", "problems", "seed", "backend", "batch")
    given = {name: getattr(a, name) for name in asked if getattr(a, name) is not None}
    protocol = replace(examine.PROTOCOLS[a.scale], **given)
    plans = [examine.plan(a.scale, b, a.data, a.adapter, protocol, a.out, a.fresh) for b in a.benchmark]
    for planned in plans:
        name = "/".join(planned.settings[k] for k in ("scale", "who", "benchmark"))
        there = planned.target.is_file() and not a.fresh
        file = examine.run(planned, a.fresh, Progress(name))
        print(f"egrc: {paths.shown(file)}{' is already there (--fresh makes it anew)' * there}", flush=True)


def grade_(a: Arguments) -> None:
    from egrc.evaluation.grade_lines import main as grade_lines

    grade_lines(a.file, a.workers, a.limit)


def clean(a: Arguments) -> None:
    if not paths.BUILD.exists():
        print("egrc: nothing to clean")
        return
    shutil.rmtree(paths.BUILD)
    print(f"egrc: removed {paths.shown(paths.BUILD)}")


if __name__ == "__main__":
    sys.exit(main())
