"""The command line: `python -m egrc <command>`; every command imports only what it needs."""

from __future__ import annotations

import argparse
import ast
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.checks import ConfigError, require
from egrc.experiments.jobs import Progress

Arguments = argparse.Namespace


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m egrc", description="Entropy-Guided Reasoning Compression")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(action: Any, text: str, scale: str | None = "pocket") -> Any:
        made = commands.add_parser(action.__name__, help=text, description=text)
        made.set_defaults(action=action)
        made.add_argument("--scale", default=scale, help=f"default: {scale or 'all'}")
        return made.add_argument

    option = command(train, "train one arm, or evaluate the arm 'base', and record it")
    option("--arm", help="required, unless --model, --base or --dry-run is given")
    option("--model", help="a model of your own (hub id or folder), to be trained on --data")
    option("--data", type=Path, metavar="FILE", help="your problems: json lines with prompt and answer, or csv")
    option("--base", action="store_true", help="train the scale's base model instead")
    option("--dry-run", action="store_true", help="print the settings and how a run is started; nothing is run")
    option("--seed", type=int, nargs="+", default=[0])
    option("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other settings; needs --out")
    option("--on", nargs="+", default=[], metavar="NAME=VALUE", help="fit the machine: micro_batch, vllm, ...")
    option("--out", type=Path, help="folder for the record; default: the committed records")
    option("--fresh", action="store_true", help="start anew, even if a record or checkpoints are there")
    option = command(sweep, "make every record of a scale that is missing or stale")
    option("--study", nargs="+", default=[], help="those of these studies instead of the main arms")
    for table, text in ((results, "one row per arm, seed, benchmark and temperature"),
                        (claims, "what the records say of each claim of the paper")):  # fmt: skip
        command(table, text, scale=None)("--json", action="store_true", help="JSON on standard output")
    option = command(paper, "figures, tables and notebooks from the records")
    option("--fresh", nargs="?", const="main", choices=["main", "all"],
           help="train the main arms anew ('all': base models, studies and measurements, too)")  # fmt: skip
    option("--arms", nargs="+", help="train these arms anew first, at each of their seeds")
    option("--only", nargs="+", metavar="NAME", help="only these figures, tables or notebooks, such as fig2_frontier")
    option = command(measure, "make the measurements of a scale that are missing or stale")
    option("names", nargs="*", metavar="NAME", help="default: all of the scale; 'world': the pocket world's criteria")
    option("--list", action="store_true", help="only say what there is, and what is missing or stale")
    option("--fresh", action="store_true", help="make them anew")
    option("--part", help="only this part of one measurement, in this process")
    option = command(search, "run the trials that choose each arm's settings")
    option("--arms", nargs="+", help="only the trials of these")
    option = command(evaluate, "put benchmarks to a model, and record the graded answers")
    option("--benchmark", nargs="+", default=[], help="default: list the real ones, and check the local copies of them")
    option("--data", type=Path, help="folder with <benchmark>/test.jsonl; default: EGRC_BENCHMARKS, or the hub")
    option("--adapter", type=Path, help="folder of an adapter; default: the base model alone")
    for name, (kind, text) in PROTOCOL.items():
        option(f"--{name.replace('_', '-')}", type=kind, help=text)
    option("--out", type=Path, help="data folder to write to; default: the committed evaluations")
    option("--fresh", action="store_true", help="anew, even if it is there")
    option = command(grade, "grade JSON lines with 'gold' and 'completion'", scale=None)
    option("file", metavar="FILE.jsonl", help="- for standard input")
    option("--workers", type=int, help="processes (default: one for each core)")
    option("--limit", type=float, default=1.0, help="seconds for one answer (default: %(default)s)")
    option = command(export, "a run's adapter with a model card, in a folder of its own")
    option("--arm", required=True)
    option("--seed", type=int, default=0)
    option("--out", type=Path, required=True, help="a new folder; nothing is overwritten")
    return top


PROTOCOL = {
    "samples": (int, "answers to each problem"),
    "temperature": (float, "0 is greedy"),
    "top_p": (float, None),
    "cap": (int, "tokens after which an answer is cut"),
    "problems": (int, "only so many, chosen by a hash of their text; 0 for all"),
    "seed": (int, None),
    "backend": (str, "transformers or vllm"),
    "batch": (int, "answers that transformers generates side by side"),
}
"""Of `evaluate`: what may differ from the scale's own."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.  Errors that a user can mend are one line."""
    arguments = parser().parse_args(argv)
    # so that whoever ends this process also ends what it started
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        if arguments.scale is not None:
            from egrc.experiments import scales  # loads torch

            scales.runs(arguments.scale)  # is there such a one?
        return arguments.action(arguments) or 0
    except KeyboardInterrupt:
        print("egrc: stopped; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 1
    except Exception as error:
        # of others': disk full, no permission, missing file (OSError), a loss that is no number (FloatingPointError)
        if not type(error).__module__.startswith("egrc.") and not isinstance(error, (OSError, FloatingPointError)):
            raise
        print(f"egrc: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    finally:
        signal.signal(signal.SIGTERM, before)  # this process may not be ours: a test calls us, too


def train(a: Arguments) -> None:
    from egrc.experiments import scales
    from egrc.worlds import launch

    if a.dry_run:
        from egrc.experiments.dryrun import report

        return print(report(a.scale))
    if a.base:
        from egrc.experiments import start

        synthetic = scales.world(a.scale).synthetic
        require(synthetic, f"scale {a.scale!r} starts from a pretrained model; only pocket trains its own")
        for number in a.seed:
            made = start.make(a.scale, number, a.fresh, Progress(f"{a.scale}/start-{number}"))
            print(f"start policy in {paths.shown(made)}")
        return None
    overrides = _overrides(a.set, "--set")
    if a.model:
        require(bool(a.data and a.out), "--model needs --data FILE with prompts and answers, and --out DIR")
        require(not (a.fresh or a.on), "--model takes no --fresh and no --on: to start anew, give another --out")
        from egrc.experiments import own_model

        adapter = own_model.train(a.model, a.data, a.out, Progress(a.out.name), **({"seed": a.seed[0]} | overrides))
        return print(f"egrc: adapter and model card in {paths.shown(adapter)}")
    require(bool(a.arm), "--arm is missing: say which, or give --model and --data, a model and problems of your own")
    replaced = "--set changes the run, so it must not replace a committed record: add --out FOLDER"
    require(not overrides or a.out is not None, replaced)
    configs = [scales.config(a.scale, a.arm, seed, **overrides) for seed in a.seed]
    hardware = scales.hardware(a.scale).on(_overrides(a.on, "--on"))
    from egrc.experiments.run import is_done, run  # after the checks, because it takes seconds

    data = (a.out or paths.DATA).resolve()
    for config in configs:
        name = f"{config.scale}/{config.arm}/seed-{config.seed}"
        there = not a.fresh and is_done(paths.run_folder(data, config.scale, config.arm, config.seed), config)
        folder = run(config, data, a.fresh, Progress(name), hardware)
        if launch.is_main():
            state = "already there (--fresh makes it anew)" if there else "made"
            print(f"{name}: {state}: {paths.shown(folder)}", flush=True)


def _overrides(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """NAME=VALUE pairs; values as Python writes them, anything else as text."""
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        require(bool(equals), f"{option} {pair}: write NAME=VALUE, such as steps=2")
        try:
            out[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            out[name] = value
    return out


def sweep(a: Arguments) -> None:
    from egrc.experiments import scales
    from egrc.experiments.sweep import sweep

    runs = {run: None for name in a.study for run in scales.study_runs(a.scale, name)}  # each once, in order
    sweep(a.scale, runs=list(runs) if a.study else None)


def results(a: Arguments) -> None:
    from egrc.experiments.results import results as table

    rows = table(a.scale)
    text = rows.to_string(index=False, float_format="{:.3f}".format, na_rep="-")
    print(rows.to_json(orient="records", indent=1) if a.json else text)


def claims(a: Arguments) -> None:
    import pandas as pd

    from egrc.analysis import claims
    from egrc.experiments import scales

    table = pd.concat([claims.verdicts(scale) for scale in ([a.scale] if a.scale else scales.SCALES)])
    print(table.to_json(orient="records", indent=1) if a.json else claims.show(table))


def paper(a: Arguments) -> None:
    from egrc.paper import paper

    paper(a.scale, a.fresh, arms=a.arms, only=a.only)


def measure(a: Arguments) -> None:
    from egrc.analysis import measure

    if a.part:
        show = Progress(a.part)
        return measure.make_part(a.names[0], a.scale, a.part, lambda *done: show("measuring", *done))
    for name in a.names or measure.names(a.scale):
        if name == "world":
            from egrc.experiments import start

            print(json.dumps(start.measure(a.scale), indent=1))
        elif a.list:
            there = measure.file(name, a.scale).is_file()
            print(f"{name:<14} {(measure.stale(name, a.scale) or 'up to date') if there else 'missing'}")
        else:
            print(f"egrc: {name} is in {paths.shown(measure.make(name, a.scale, a.fresh))}")


def search(a: Arguments) -> None:
    from egrc.analysis import search

    require(a.scale == "pocket", f"scale {a.scale!r} has no search: choose pocket")
    table = search.search(a.scale, a.arms)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    for arm, trials in search.TRIALS.items():
        if len(table[table["arm"] == arm]) == len(trials):
            print(f"{arm}: trial {search.chosen(table, arm)}, {trials[search.chosen(table, arm)]}")


def evaluate(a: Arguments) -> int:
    if not a.benchmark:
        return _benchmarks(a.data)
    from egrc.experiments import examine

    given = {name: getattr(a, name) for name in PROTOCOL if getattr(a, name) is not None}
    protocol = replace(examine.PROTOCOLS[a.scale], **given)
    plans = [examine.plan(a.scale, b, a.data, a.adapter, protocol, a.out, a.fresh) for b in a.benchmark]
    for planned in plans:
        name = "/".join(planned.settings[k] for k in ("scale", "who", "benchmark"))
        there = planned.target.is_file() and not a.fresh
        file = examine.run(planned, a.fresh, Progress(name))
        print(f"egrc: {paths.shown(file)}{' is already there (--fresh makes it anew)' * there}", flush=True)
    return 0


def _benchmarks(data: Path | None) -> int:
    """List them, and what is wrong with the local copies; 1 where something is."""
    from egrc.evaluation import benchmarks
    from egrc.evaluation.pool import Pool

    table, copies = benchmarks.survey(data)
    print(table.to_string(index=False))
    print("\nThe hub is not asked here, no revision was ever checked against it: see egrc/evaluation/benchmarks.py.")
    if copies:
        with Pool() as pool:
            lines = [line for problems in copies.values() for line in benchmarks.unverified(problems, pool)]
        print("\nGold answers that the grader does not take for equal to themselves:", *(lines or ["none"]), sep="\n")
    return int(table["fault"].any())


def grade(a: Arguments) -> None:
    from egrc.evaluation.grade_lines import main as grade_lines

    grade_lines(a.file, a.workers, a.limit)


def export(a: Arguments) -> None:
    from egrc.experiments import records
    from egrc.experiments.export import export

    print(f"egrc: {export(records.load(a.scale, a.arm, a.seed), a.out)}")


if __name__ == "__main__":
    sys.exit(main())
