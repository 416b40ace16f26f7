"""Search for our arms' settings: as many trials for every arm, on training problems, with a seed no record uses.

`accuracy` takes the highest accuracy at T=1; every other arm, the highest accuracy among trials that remove at least
`REMOVED` of the removable length, both at the base's best temperature; where no trial does, the fewest tokens there.
Rule and trials were written before any of them ran; `data/<scale>/search.csv` holds them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis.tables import compared_at
from egrc.atomic import write_csv
from egrc.checks import ConfigError
from egrc.evaluation.evaluate import evaluate, summarise
from egrc.experiments import run, scales

REMOVED = 0.80
"""Share of the removable length that has to go for a setting to be chosen."""
SEED = 100
"""Of every trial; records use 0, 1, 2, ..."""
PROBLEMS = 150
"""Training problems a benchmark on which a trial is judged."""

TRIALS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = dict.fromkeys(
    ("accuracy", "compression", "joint", "egrc", "egrc-reversed", "egrc-plus"), ({}, {"learning_rate": 1.5e-3})
)
"""Of the scale pocket.  The peers were not searched in this world: see `scales.PEERS_AT`."""


def search_file(scale: str) -> Path:
    """Where the trials' rows are kept."""
    return paths.DATA / scale / "search.csv"


def chosen(table: pd.DataFrame, arm: str) -> int:
    """Number of the trial that the rule takes."""
    (base,), trials = table[table["arm"] == "base"].iloc, table[table["arm"] == arm].set_index("trial")
    if arm == "accuracy":
        return int(trials["accuracy_t1"].idxmax())
    removed = (base["tokens_best"] - trials["tokens_best"]) / (base["tokens_best"] - base["floor_tokens"])
    good = trials[removed >= REMOVED]
    return int(trials["tokens_best"].idxmin() if good.empty else good["accuracy_best"].idxmax())


def search(scale: str, arms: Collection[str] | None = None) -> pd.DataFrame:
    """Run the trials (of some arms) that are missing, and return all rows; each is kept when it is made.  Raises
    ConfigError for unknown arms."""
    file = search_file(scale)
    if unknown := sorted(set(arms or ()) - set(TRIALS)):
        raise ConfigError(f"no trials of {', '.join(unknown)}: choose from {', '.join(TRIALS)}")
    table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["arm", "trial"])
    wanted = [("base", 0), *((arm, k) for arm in arms or TRIALS for k in range(len(TRIALS[arm])))]
    for arm, trial in [one for one in wanted if one not in set(zip(table["arm"], table["trial"], strict=True))]:
        table = pd.concat([table, pd.DataFrame([run_trial(scale, arm, trial)])], ignore_index=True)
        write_csv(file, table)
        print(f"egrc: {arm} trial {trial} is made")
    return table


def run_trial(scale: str, arm: str, trial: int) -> dict[str, Any]:
    """Train one trial and judge it on training problems: one row of search.csv."""
    run.set_up()
    settings = {} if arm == "base" else TRIALS[arm][trial]
    config, world = scales.config(scale, arm, SEED, **settings), scales.world(scale, seed=SEED)
    best = compared_at(scale)
    benchmarks, spent = world.benchmarks(PROBLEMS, "search"), {}
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        if arm != "base":
            run.train(config, world, work)
            last = pd.read_csv(work / "steps.csv").iloc[-1]
            spent = {"seconds": round(float(last["seconds"]), 1), "generated_tokens": int(last["generated_tokens"])}
        model, tokenizer = run.policy(config, world, work / "adapter")
        rows = evaluate(model, tokenizer, benchmarks, world.correct, (1.0, best), 1, config.cap, SEED)
    found = summarise(rows).set_index(["temperature", "benchmark"])
    row = {"arm": arm, "trial": trial, "settings": repr(settings), "seed": SEED}
    row["floor_tokens"] = sum(world.floor_tokens(name) for name in benchmarks) / len(benchmarks)
    for name, temperature in (("t1", 1.0), ("best", best)):
        row[f"accuracy_{name}"], row[f"tokens_{name}"] = found.loc[(temperature, "mean"), ["accuracy", "mean_tokens"]]
    return row | {f"accuracy_best_{name}": found["accuracy"][best, name] for name in benchmarks} | spent
