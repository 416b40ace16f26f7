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

The choices are the defaults of `egrc.config` and `egrc.scales` wherever they agree with them (in pocket all do), else
they stand in `per_arm`; a test compares the two.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths, scales
from egrc.atomic import write_csv, write_json
from egrc.headline import REMOVED
from egrc.jobs import Job, run_jobs

SEED = 100
"""Of every trial; records use 0, 1, 2, ..."""
PROBLEMS = 150
"""Training problems a benchmark on which a trial is judged."""

RATES: tuple[dict[str, Any], ...] = ({"learning_rate": 1e-3}, {"learning_rate": 2e-3})
TRIALS: dict[str, dict[str, tuple[dict[str, Any], ...]]] = {
    "pocket": dict.fromkeys(("accuracy", "compression", "joint", "egrc", "egrc-reversed"), RATES)
}


def chosen(table: pd.DataFrame, arm: str) -> int:
    """Number of the trial that the rule takes; `table` as in search.csv, the base among its rows."""
    trials = table[table.arm == arm].set_index("trial")
    if arm == "accuracy":
        return int(trials["accuracy_t1"].idxmax())
    base = table[table.arm == "base"].iloc[0]
    removed = (base["tokens_best"] - trials["tokens_best"]) / (base["tokens_best"] - base["floor_tokens"])
    good = trials[removed >= REMOVED]
    return int(trials["tokens_best"].idxmin() if good.empty else good["accuracy_best"].idxmax())


def run_trial(scale: str, arm: str, trial: int) -> dict[str, Any]:
    """Train one trial and judge it on training problems: one row of search.csv."""
    import torch

    from egrc.evaluate import evaluate, summarise
    from egrc.run import policy, train
    from egrc.tables import best_temperature

    torch.set_num_threads(1)
    settings = {} if arm == "base" else TRIALS[scale][arm][trial]
    config = scales.config(scale, arm, SEED, **settings)
    world = scales.world(scale)
    best = best_temperature(scale) or 1.0
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        if arm != "base":
            train(config, world, work, lambda stage, done, total: print(stage, f"{done}/{total}", flush=True))
            steps = pd.read_csv(work / "steps.csv")
        model, tokenizer = policy(config, world, work / "adapter")
        benchmarks = world.benchmarks(PROBLEMS, "search")
        rows = evaluate(model, tokenizer, benchmarks, world.correct, (1.0, best), 1, config.cap, SEED)
    table = summarise(rows).query("benchmark == 'mean'").set_index("temperature")
    row = {"arm": arm, "trial": trial, "settings": repr(settings), "seed": SEED}
    row["floor_tokens"] = sum(world.floor_tokens(name) for name in benchmarks) / len(benchmarks)
    for name, temperature in (("t1", 1.0), ("best", best)):
        row[f"accuracy_{name}"] = table.accuracy[temperature]
        row[f"tokens_{name}"] = table.mean_tokens[temperature]
    if arm != "base":
        row["seconds"] = round(float(steps.seconds.iloc[-1]), 1)
        row["generated_tokens"] = int(steps.generated_tokens.iloc[-1])
    write_json(paths.BUILD / "search" / scale / f"{arm}-{trial}.json", row)
    return row


def search_file(scale: str) -> Path:
    """Where the trials' rows are kept."""
    return paths.DATA / scale / "search.csv"


def search(scale: str) -> pd.DataFrame:
    """Run the trials that are missing and return all rows.  Raises JobsError if a trial failed."""
    wanted = [("base", 0)] + [(arm, k) for arm, trials in TRIALS[scale].items() for k in range(len(trials))]
    files = {(arm, k): paths.BUILD / "search" / scale / f"{arm}-{k}.json" for arm, k in wanted}
    if search_file(scale).exists():
        table = pd.read_csv(search_file(scale))
        wanted = [job for job in wanted if job not in set(zip(table.arm, table.trial, strict=True))]
    command = [sys.executable, "-m", "egrc", "search", "--scale", scale]
    run_jobs(
        [
            Job(f"{arm} trial {k}", [*command, "--trial", arm, str(k)], files[arm, k].with_suffix(".log"))
            for arm, k in wanted
            if not files[arm, k].exists()
        ]
    )
    new = pd.DataFrame([json.loads(files[job].read_text()) for job in wanted])
    table = pd.concat([table, new], ignore_index=True) if search_file(scale).exists() else new
    write_csv(search_file(scale), table)
    return table
