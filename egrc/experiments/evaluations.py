"""Recorded evaluations of benchmarks: where they are, how they are read, whether they are stale, and their numbers.

    data/evaluations/<scale>/<who>/<benchmark>.parquet    one row for each problem and sample (`evaluation.ask.COLUMNS`)
    data/evaluations/<scale>/<who>/<benchmark>.json       all that decided them (`egrc.experiments.examine`)

`who` is 'base', or an adapter: 'egrc-seed-0'.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc import paths
from egrc.evaluation import intervals
from egrc.evaluation.ask import COLUMNS
from egrc.experiments.records import RecordError

KEYS = (
    *("scale", "who", "benchmark", "samples", "temperature", "top_p", "cap", "problems", "dtype", "seed", "backend"),
    *("batch", "model", "weights", "adapter", "template", "asked", "prompts", "versions", "seconds", "status"),
)
"""Of the settings: `model` and its `weights` (a hub's commit, or a hash), the `adapter`'s hash, `template` of the
prompt, `asked` (`egrc.evaluation.benchmarks.digest`), hash of the `prompts`, hashes of the `code`."""


class NotEvaluated(RecordError):
    """Nothing was evaluated yet; the message names the command."""


@dataclass(frozen=True)
class Evaluation:
    """One benchmark asked of one model."""

    path: Path
    """Of the rows."""
    settings: dict[str, Any]

    @property
    def name(self) -> str:
        return "/".join(self.settings[k] for k in ("scale", "who", "benchmark"))

    @cached_property
    def rows(self) -> pd.DataFrame:
        """See `egrc.evaluation.ask.COLUMNS`.  Raises RecordError where the file is damaged."""
        try:
            table = pd.read_parquet(self.path)
        except (ValueError, OSError) as error:
            raise RecordError(f"{paths.shown(self.path)}: damaged ({error}); restore it or evaluate again") from error
        missing = [c for c in COLUMNS if c not in table]
        if missing or table.empty:
            lacking = ", ".join(missing) or "rows"
            raise RecordError(f"{paths.shown(self.path)}: no {lacking}; restore it or evaluate again")
        return table


def file(scale: str, who: str, benchmark: str, data: Path | None = None) -> Path:
    """Where an evaluation's rows are."""
    return (data or paths.DATA) / "evaluations" / scale / who / f"{benchmark}.parquet"


def load(path: Path) -> Evaluation:
    """One evaluation by its rows' path.  Raises RecordError where settings or rows are missing or damaged."""
    beside = path.with_suffix(".json")
    for needed in (path, beside):
        if not needed.is_file():
            raise RecordError(f"no {paths.shown(needed)}: make it with `python -m egrc evaluate`")
    try:
        settings = json.loads(beside.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{paths.shown(beside)}: not JSON ({error}); restore it or evaluate again") from error
    missing = [key for key in KEYS if key not in settings]
    if missing:
        raise RecordError(f"{paths.shown(beside)}: no {', '.join(missing)}; restore it or evaluate again")
    return Evaluation(path, settings)


def load_all(scale: str | None = None, data: Path | None = None) -> list[Evaluation]:
    """All evaluations (of a scale), by scale, who and benchmark.  Raises RecordError."""
    folder = (data or paths.DATA) / "evaluations"
    return [load(path) for path in sorted(folder.glob(f"{scale or '*'}/*/*.parquet"))]


# --- what it depends on -------------------------------------------------------------------------------------------


def model(scale: str) -> str:
    """The base model's name: a hub id, or the name of its folder."""
    from egrc.experiments import scales
    from egrc.experiments.run import portable

    return portable(scales.world(scale).policy_path())


def require_same(path: Path, settings: dict[str, Any]) -> None:
    """Stop where a finished evaluation is not what these settings would make, other versions of libraries aside.

    Raises RecordError, which names what differs.
    """
    then = load(path).settings
    changed = [key for key in settings if key != "versions" and then[key] != settings[key]]
    if changed:
        said = ", ".join(_changed(key, then[key], settings[key]) for key in changed)
        raise RecordError(
            f"{paths.shown(path)} was made otherwise ({said}): --fresh replaces it, --out FOLDER keeps both"
        )


def _changed(key: str, then: Any, now: Any) -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        return f"{key}: {' '.join(sorted(k for k in then.keys() | now.keys() if then.get(k) != now.get(k)))}"
    return f"{key}: {then} then, {now} now"


# --- numbers ------------------------------------------------------------------------------------------------------

ESTIMATES = ("accuracy", "majority", "mean_tokens", "thinking_tokens", "answer_tokens", "truncated")
SHARES = ("accuracy", "majority", "truncated")
PROTOCOL = ("benchmark", "samples", "temperature", "top_p", "cap", "seed", "asked", "prompts")
"""Of the settings: what two evaluations must share to be compared."""
N_BOOT = 2000


def majority(rows: pd.DataFrame) -> pd.Series:
    """Chance that a vote among each problem's samples is right, by id.

    Correct answers are one party, since all equal the gold one; others are one where they are written alike (blanks and
    case aside), so that wrong answers may split what is one.  Cut answers, and those that state nothing, do not vote.
    The largest party wins; of several that are equally large, each is as likely.  Without votes the problem is lost.
    """
    said = rows["extracted"].astype(object).where(rows["extracted"].notna(), "")
    said = said.map(lambda text: "".join(str(text).lower().split()))
    party = said.where(~rows["correct"], "\0")  # no answer is written so
    votes = rows.assign(party=party)[~rows["truncated"] & (rows["correct"] | (said != ""))]
    sizes = votes.groupby(["id", "party"]).size()
    winners = sizes[sizes == sizes.groupby("id").transform("max")].reset_index()
    won = (winners["party"] == "\0").groupby(winners["id"]).mean()
    return won.reindex(rows["id"].unique(), fill_value=0.0)


def by_problem(rows: pd.DataFrame) -> pd.DataFrame:
    """One line for each problem, by id: means over its samples, columns `ESTIMATES` ('accuracy': share correct)."""
    mean = rows.groupby("id", sort=False)[["correct", *ESTIMATES[3:5], "tokens", "truncated"]].mean()
    named = mean.rename(columns={"correct": "accuracy", "tokens": "mean_tokens"})
    return named.assign(majority=majority(rows))[list(ESTIMATES)]


def estimates(rows: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Each of `ESTIMATES` of one benchmark's rows, with its 95% interval: a bootstrap over problems, given the samples.

    'accuracy' is pass@1: the chance that one answer is right, estimated by the mean over samples, then over problems.
    """
    values = by_problem(rows)
    observed, drawn = intervals.resample(values.to_numpy(float), ["all"] * len(values), N_BOOT)
    found = {name: intervals.estimate(observed[0, i], drawn[:, 0, i]) for i, name in enumerate(ESTIMATES)}
    return found | {name: _share(found[name], values[name]) for name in SHARES}


def _share(found: tuple[float, float, float], values: pd.Series) -> tuple[float, float, float]:
    """A share's interval.  Where every problem has 0, or every one 1, resampling finds no spread at all: then the exact
    binomial bound (Clopper and Pearson) on that many problems, which for 0 of n is near 3.7/n."""
    estimate, _, _ = found
    if values.nunique() > 1 or estimate not in (0, 1):
        return found
    beyond = 1 - ((1 - intervals.LEVEL) / 2) ** (1 / len(values))
    return (0.0, 0.0, beyond) if estimate == 0 else (1.0, 1 - beyond, 1.0)


def table(found: list[Evaluation]) -> pd.DataFrame:
    """One line for each evaluation: scale, who, benchmark, its protocol, then each estimate, its `_low` and `_high`."""
    lines = []
    for evaluation in found:
        kept = ("scale", "who", "benchmark", "problems", "samples", "temperature", "top_p", "cap", "seed")
        line = {key: evaluation.settings[key] for key in kept}
        for name, values in estimates(evaluation.rows).items():
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
        lines.append(line)
    return pd.DataFrame(lines)


def compare(
    a: Evaluation, b: Evaluation, statistic: str | intervals.Statistic = "accuracy"
) -> tuple[float, float, float]:
    """Estimate and 95% interval of a against b on one benchmark; see `egrc.evaluation.intervals.paired_bootstrap`.

    Raises RecordError where they were not asked the same in the same way.
    """
    return compare_all([(a, b)], statistic)


def compare_all(
    pairs: list[tuple[Evaluation, Evaluation]], statistic: str | intervals.Statistic = "accuracy"
) -> tuple[float, float, float]:
    """`compare` of several benchmarks: the statistic of plain means over them.  Raises RecordError."""
    for a, b in pairs:
        other = [key for key in PROTOCOL if a.settings[key] != b.settings[key]]
        if other:
            raise RecordError(f"{a.name} and {b.name} differ in {', '.join(other)}: evaluate both alike")
    sides = (pd.concat([pair[side].rows for pair in pairs], ignore_index=True) for side in (0, 1))
    return intervals.paired_bootstrap(*sides, statistic, n_boot=N_BOOT)


def narrower(rows: pd.DataFrame, samples: list[int], n_boot: int = N_BOOT) -> pd.DataFrame:
    """How wide pass@1's interval is with fewer samples: columns samples, accuracy, low, high, width.

    The first k samples of each problem are used; problems are resampled as always, so what remains as k grows is what
    the problems differ by.  Raises ValueError where a problem has fewer samples.
    """
    lines = []
    for k in samples:
        some = rows[rows["sample"] < k]
        values = some.groupby("id", sort=False)["correct"].agg(["mean", "size"])
        if (values["size"] != k).any():
            raise ValueError(f"{k} samples are wanted, a problem has {int(values['size'].min())}")
        observed, drawn = intervals.resample(values[["mean"]].to_numpy(float), ["all"] * len(values), n_boot)
        estimate, low, high = _share(intervals.estimate(observed[0, 0], drawn[:, 0, 0]), values["mean"])
        lines.append({"samples": k, "accuracy": estimate, "low": low, "high": high, "width": high - low})
    return pd.DataFrame(lines)


def cut_at(rows: pd.DataFrame, caps: list[int]) -> pd.DataFrame:
    """What a lower cap would have done to these very answers: columns cap, truncated, accuracy, accuracy_of_whole,
    mean_tokens.

    An answer longer than the cap is cut, and wrong.  Exact, since what stands before a cap does not depend on it.
    """
    lines = []
    for cap in caps:
        cut = rows["truncated"] | (rows["tokens"] > cap)
        right = rows["correct"] & ~cut
        lines.append(
            {
                **{"cap": cap, "truncated": cut.mean(), "accuracy": right.mean()},
                "accuracy_of_whole": right[~cut].mean() if (~cut).any() else np.nan,
                "mean_tokens": rows["tokens"].clip(upper=cap).mean(),
            }
        )
    return pd.DataFrame(lines)
