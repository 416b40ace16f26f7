"""Recorded evaluations of benchmarks: where they are, how they are read, and their numbers.

data/evaluations/<scale>/<who>/<benchmark>.parquet has one row for each problem and sample (`evaluate.COLUMNS`), and the
.json beside it all that decided them (`egrc.experiments.examine`).  `who` is 'base', or an adapter: 'egrc-seed-0'.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.evaluation import intervals
from egrc.evaluation.evaluate import COLUMNS
from egrc.experiments.records import read

KEYS = (
    *("scale", "who", "model", "weights", "adapter", "benchmark", "problems", "samples", "temperature", "top_p", "cap"),
    *("seed", "asked", "prompts", "template", "dtype", "backend", "batch", "versions", "seconds"),
)
"""All settings: `model` and its `weights` (a hub's commit, or a hash), the `adapter`'s hash, `template` of the prompt,
`asked` (`egrc.evaluation.benchmarks.digest`), hash of the `prompts`."""
ESTIMATES = ("accuracy", "majority", "mean_tokens", "thinking_tokens", "answer_tokens", "truncated")
SHARES = ("accuracy", "majority", "truncated")
N_BOOT = 2000
REMEDY = "restore it or evaluate again"


@dataclass(frozen=True)
class Evaluation:
    """One benchmark asked of one model."""

    path: Path
    settings: dict[str, Any]
    name = property(lambda self: "/".join(self.settings[k] for k in ("scale", "who", "benchmark")))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """See `egrc.evaluation.evaluate.COLUMNS`.  Raises RecordError where the file is damaged."""
        return read(self.path, COLUMNS, REMEDY)


def file(scale: str, who: str, benchmark: str, data: Path | None = None) -> Path:
    return (data or paths.DATA) / "evaluations" / scale / who / f"{benchmark}.parquet"


def load(path: Path) -> Evaluation:
    """One evaluation by its rows' path.  Raises RecordError where settings or rows are missing or damaged."""
    return Evaluation(path, read(path.with_suffix(".json"), KEYS, "make it with `python -m egrc evaluate`"))


def load_all(scale: str | None = None, data: Path | None = None) -> list[Evaluation]:
    """All evaluations (of a scale), by scale, who and benchmark.  Raises RecordError."""
    folder = (data or paths.DATA) / "evaluations"
    return [load(path) for path in sorted(folder.glob(f"{scale or '*'}/*/*.parquet"))]


def majority(rows: pd.DataFrame) -> pd.Series:
    """Chance that a vote among each problem's samples is right, by id.

    Correct answers are one party, since all equal the gold one; others are one where they are written alike (blanks and
    case aside), so that wrong answers may split what is one.  Cut answers, and those that state nothing, do not vote.
    The largest party wins; of several that are equally large, each is as likely.  Without votes the problem is lost.
    """
    stated = rows["extracted"].astype(object).where(rows["extracted"].notna(), "")
    stated = stated.map(lambda text: "".join(str(text).lower().split()))
    party = stated.where(~rows["correct"], "\0")  # no answer is written so
    votes = rows.assign(party=party)[~rows["truncated"] & (rows["correct"] | (stated != ""))]
    sizes = votes.groupby(["id", "party"]).size()
    winners = sizes[sizes == sizes.groupby("id").transform("max")].reset_index()
    won = (winners["party"] == "\0").groupby(winners["id"]).mean()
    return won.reindex(rows["id"].unique(), fill_value=0.0)


def by_problem(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each problem, by id: means over its samples, columns `ESTIMATES`."""
    named = rows.rename(columns={"correct": "accuracy", "tokens": "mean_tokens"})
    mean = named.groupby("id", sort=False)[[name for name in ESTIMATES if name != "majority"]].mean()
    return mean.assign(majority=majority(rows))[list(ESTIMATES)]


def estimates(rows: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Each of `ESTIMATES` of one benchmark's rows, with its 95% interval: a bootstrap over problems, given the samples.

    'accuracy' is pass@1: the chance that one answer is right, estimated by the mean over samples, then over problems.
    Where every problem has a share of 0, or every one of 1, resampling finds no spread at all: then it is the exact
    binomial bound (Clopper and Pearson) on that many problems, which for 0 of n is near 3.7/n.
    """
    values = by_problem(rows)
    observed, drawn = intervals.resample(values.to_numpy(float), ["all"] * len(values), N_BOOT)
    estimated = {name: intervals.estimate(observed[0, i], drawn[:, 0, i]) for i, name in enumerate(ESTIMATES)}
    beyond = 1 - ((1 - intervals.LEVEL) / 2) ** (1 / len(values))
    for name in SHARES:
        if (values[name] == 0).all():
            estimated[name] = (0.0, 0.0, beyond)
        elif (values[name] == 1).all():
            estimated[name] = (1.0, 1 - beyond, 1.0)
    return estimated


def table(evaluations: list[Evaluation]) -> pd.DataFrame:
    """One line for each evaluation: scale, who, benchmark, its protocol, then each estimate, its `_low` and `_high`."""
    kept = ("scale", "who", "benchmark", "problems", "samples", "temperature", "top_p", "cap", "seed", "seconds")
    lines = [{key: evaluation.settings[key] for key in kept} for evaluation in evaluations]
    for line, evaluation in zip(lines, evaluations, strict=True):
        for name, values in estimates(evaluation.rows).items():
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return pd.DataFrame(lines)
