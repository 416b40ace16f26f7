"""Search for each arm's settings: as many trials for every arm, on training problems, with a seed no record uses.

`python -m egrc search --scale pocket` runs the trials that `data/<scale>/search.csv` does not hold yet, two side by
side, and prints what the rule chooses:

* `accuracy` takes the highest accuracy at T=1;
* every other arm, the highest accuracy among trials that remove at least REMOVED of the removable length (the bound of
  the headline), both at the base's best temperature; where no trial does, the fewest tokens there.

The rule for the other arms is the second one.  The first, written before the trials, took the fewest tokens among
trials at most 2 points below the base; one seed's accuracy is no surer than that, so it preferred settings with no
accuracy to spare.  It was replaced after the trials (training problems, seed 100) and before any recorded run.

Before the trials, pilots on seed 90 (compression, accuracy and egrc at 3e-3; egrc at 1e-3) set what all arms share: the
gate's band, from how entropy per token falls under compression, and a rate below 3e-3, at which exploring diverged.

Peers and candidates for `egrc-plus` came later, at the rate that all the first arms had chosen; each gets as many
trials: a peer as it is, and pressed harder; a candidate as it is, and with smaller updates, twice as many, on the same
rollouts.  search.csv says which of them have been made; no settings there: the arm as `egrc.methods` has it.

`plus` says which candidate is called `egrc-plus`; its rule was written before its trials.  So `egrc-plus` is the choice
among the trials of ALL candidates, several times as many as a peer has.  `egrc-selective` joined them after the trials
of `egrc-reliable` and one pilot of its own on seed 90, and before any recorded run of a candidate.

The choices are the defaults of `egrc.config` and `experiments.scales` wherever they agree with them (in pocket those
of the
first arms do), else they stand in `per_arm`; a test compares the two.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis.headline import REMOVED
from egrc.atomic import write_csv, write_json
from egrc.checks import ConfigError
from egrc.experiments import scales
from egrc.experiments.jobs import Job, run_jobs
from egrc.methods import OURS

BY_BENCHMARK = "accuracy_best_"
"""Columns of the accuracy on one benchmark each, at the base's best temperature."""
SEED = 100
"""Of every trial; records use 0, 1, 2, ..."""
PROBLEMS = 150
"""Training problems a benchmark on which a trial is judged."""

RATES: tuple[dict[str, Any], ...] = ({"learning_rate": 1e-3}, {"learning_rate": 2e-3})
FIRST: dict[str, Any] = {"prompts_per_step": 16, "steps": 100}
"""The first arms' batch; where trials of `OURS` are recorded with no settings, this was it."""
OF_OURS = (FIRST, scales.MORE_UPDATES)
HARDER: dict[str, dict[str, Any]] = {
    "truncation": {"compress_budget": 90},
    "dler": {"compress_budget": 90},
    "da-dler": {"truncate": {"cut_at": 0.25}},
    "dot": {"truncate": {"cut_at": 0.5}},
    "arora-zanette": {"train": {"length_weight": 0.8}},
    "laser-d": {"train": {"length_weight": 1.0}},
    "lc-r1": {"train": {"length_weight": 2.0}},
    "deepcompress": {"train": {"length_weight": 0.4}},
    "tokensqueeze": {"squeeze": {"length_weight": 3.0}},
    "entropy-floor": {"joint": {"tokens_at": 0.25}},
    "kl-cov": {"joint": {"tokens_at": 0.02}},
    "adaptive-entropy": {"trl": {"entropy_target": 0.25}},
    "top-entropy": {"trl": {"top_entropy_quantile": 0.4}},
}
"""A second setting of each peer: of its length, or of how strongly it holds on to entropy."""
FIRST_OF_PEERS: dict[str, dict[str, Any]] = {
    "truncation": {"compress_budget": 160},
    "dler": {"compress_budget": 160},
    "da-dler": {"truncate": {"cut_at": 0.5}},
    "entropy-floor": {"joint": {"tokens_at": 0.5}},
    "arora-zanette": {"train": {"length_weight": 0.2}},
    "lc-r1": {"train": {"length_weight": 1.0}},
}
"""The first setting of peers whose second one was chosen; search.csv has it as no settings, which it then was."""
TRIALS: dict[str, dict[str, tuple[dict[str, Any], ...]]] = {
    "pocket": {
        **dict.fromkeys(("accuracy", "compression", "joint", "egrc", "egrc-reversed"), RATES),
        **{arm: (FIRST_OF_PEERS.get(arm, {}), harder) for arm, harder in HARDER.items()},
        **dict.fromkeys(OURS, OF_OURS),
    }
}
PLUS_REMOVED = 0.95
"""Share of the removable length that `egrc-plus` is to remove."""
WORST = -0.05
"""Accuracy against the base below which a benchmark counts as collapsed."""


def chosen(table: pd.DataFrame, arm: str) -> int:
    """Number of the trial that the rule takes; `table` as in search.csv, the base among its rows."""
    trials = table[table.arm == arm].set_index("trial")
    if arm == "accuracy":
        return int(trials["accuracy_t1"].idxmax())
    base = table[table.arm == "base"].iloc[0]
    removed = (base["tokens_best"] - trials["tokens_best"]) / (base["tokens_best"] - base["floor_tokens"])
    good = trials[removed >= REMOVED]
    return int(trials["tokens_best"].idxmin() if good.empty else good["accuracy_best"].idxmax())


def plus(table: pd.DataFrame) -> tuple[str, int] | None:
    """The candidate for `egrc-plus` and its trial; None before all trials of all candidates were made.

    Among trials without a collapsed benchmark the most accurate one that removes `PLUS_REMOVED`, else the one that
    removes most; if every trial has one, the trial that loses least there.
    """
    trials = table[table.arm.isin(OURS)]
    planned = {(arm, k) for arm in OURS for k in range(len(OF_OURS))}
    if set(zip(trials.arm, trials.trial, strict=True)) != planned or table.filter(like=BY_BENCHMARK).empty:
        return None
    base, worst = table[table.arm == "base"].iloc[-1], _worst(table, trials)
    removed = (base["tokens_best"] - trials["tokens_best"]) / (base["tokens_best"] - base["floor_tokens"])
    good, short = worst >= WORST, removed >= PLUS_REMOVED
    if (good & short).any():
        row = trials["accuracy_best"][good & short].idxmax()
    else:
        row = removed[good].idxmax() if good.any() else worst.idxmax()
    return str(trials.arm[row]), int(trials.trial[row])


def strongest(table: pd.DataFrame) -> list[str]:
    """Peers by the share that their best trial removes without a collapsed benchmark, the largest first; at equal
    shares, in their order.  Peers whose every trial has one are left out."""
    trials = table[table.arm.isin(HARDER)]
    good = trials[_worst(table, trials) >= WORST]
    return list(good.groupby("arm")["tokens_best"].min().sort_values(kind="stable").index)


def _worst(table: pd.DataFrame, trials: pd.DataFrame) -> pd.Series:
    """Of each trial: accuracy against the base on the benchmark that lost most."""
    columns = [name for name in table if name.startswith(BY_BENCHMARK)]
    return (trials[columns] - table[table.arm == "base"].iloc[-1][columns].astype(float)).min(axis=1)


def run_trial(scale: str, arm: str, trial: int) -> dict[str, Any]:
    """Train one trial and judge it on training problems: one row of search.csv."""
    import torch

    from egrc.analysis.tables import compared_at
    from egrc.evaluation.evaluate import evaluate, summarise
    from egrc.experiments.run import policy, train

    torch.set_num_threads(1)
    settings = {} if arm == "base" else TRIALS[scale][arm][trial]
    config = scales.config(scale, arm, SEED, **settings)
    world = scales.world(scale)
    best = compared_at(scale)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        if arm != "base":
            train(config, world, work, lambda stage, done, total: print(stage, f"{done}/{total}", flush=True))
            steps = pd.read_csv(work / "steps.csv")
        model, tokenizer = policy(config, world, work / "adapter")
        benchmarks = world.benchmarks(PROBLEMS, "search")
        rows = evaluate(model, tokenizer, benchmarks, world.correct, (1.0, best), 1, config.cap, SEED)
    summary = summarise(rows)
    table = summary.query("benchmark == 'mean'").set_index("temperature")
    row = {"arm": arm, "trial": trial, "settings": repr(settings), "seed": SEED}
    row["floor_tokens"] = sum(world.floor_tokens(name) for name in benchmarks) / len(benchmarks)
    for name, temperature in (("t1", 1.0), ("best", best)):
        row[f"accuracy_{name}"] = table.accuracy[temperature]
        row[f"tokens_{name}"] = table.mean_tokens[temperature]
    at_best = summary[summary.temperature == best].set_index("benchmark").accuracy
    row |= {f"{BY_BENCHMARK}{name}": at_best[name] for name in benchmarks}
    if arm != "base":
        row["seconds"] = round(float(steps.seconds.iloc[-1]), 1)
        row["generated_tokens"] = int(steps.generated_tokens.iloc[-1])
    write_json(paths.BUILD / "search" / scale / f"{arm}-{trial}.json", row)
    return row


def search_file(scale: str) -> Path:
    """Where the trials' rows are kept."""
    return paths.DATA / scale / "search.csv"


def search(scale: str, arms: Collection[str] | None = None) -> pd.DataFrame:
    """Run the trials (of some arms) that are missing and return all rows.

    Raises ConfigError for unknown arms, JobsError if a trial failed: after the others, which are kept.
    """
    trials = TRIALS[scale]
    if unknown := sorted(set(arms or ()) - set(trials)):
        raise ConfigError(f"no trials of {', '.join(unknown)}: choose from {', '.join(trials)}")
    asked = [arm for arm in trials if arms is None or arm in arms]
    wanted = [("base", 0)] + [(arm, k) for arm in asked for k in range(len(trials[arm]))]
    files = {(arm, k): paths.BUILD / "search" / scale / f"{arm}-{k}.json" for arm, k in wanted}
    old = _old_rows(scale)
    wanted = [job for job in wanted if old.empty or job not in set(zip(old.arm, old.trial, strict=True))]
    command = [sys.executable, "-m", "egrc", "search", "--scale", scale]
    try:
        run_jobs(
            [
                Job(f"{arm} trial {k}", [*command, "--trial", arm, str(k)], files[arm, k].with_suffix(".log"))
                for arm, k in wanted
                if not _row(files[arm, k])
            ]
        )
    finally:
        new = pd.DataFrame([row for job in wanted if (row := _row(files[job]))])
        table = pd.concat([old, new], ignore_index=True)
        if not new.empty:
            write_csv(search_file(scale), table)
    return table


def _row(file: Path) -> dict[str, Any] | None:
    """A finished trial's row; None if there is none, or an older one that lacks the benchmarks."""
    row = json.loads(file.read_text()) if file.exists() else {}
    return row if any(name.startswith(BY_BENCHMARK) for name in row) else None


def _old_rows(scale: str) -> pd.DataFrame:
    """What was tried; the base's row only if it says how it did on each benchmark."""
    if not search_file(scale).exists():
        return pd.DataFrame()
    table = pd.read_csv(search_file(scale))
    whole = table.filter(like=BY_BENCHMARK).notna().any(axis=1)
    return table[(table.arm != "base") | whole].reset_index(drop=True)
