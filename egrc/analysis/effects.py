"""What the interventions on connectors changed, from the rows of the measurement `interventions`.  Pure.

"Entropy" is the policy's own, at the places that the completion came to, and not that of the distribution which was
sampled: forbidding tokens makes the latter small by definition.  Both are here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.evaluation.intervals import LEVEL, resample

N_BOOT = 1000
PLAIN = "none"
SUMMED = ("length", "entropy", "entropy_sampled", "correct", "truncated", "connectors", "cost")


class Quantity(NamedTuple):
    """A label with its unit, and the number that means over completions make: {column: [...]} -> [...]."""

    label: str
    of: Callable[[dict[str, np.ndarray]], np.ndarray]


QUANTITIES = {
    "length": Quantity("completion length (tokens)", lambda m: m["length"]),
    "per_completion": Quantity("entropy (nats per completion)", lambda m: m["entropy"]),
    "per_token": Quantity("entropy (nats per token)", lambda m: m["entropy"] / m["length"]),
    "per_token_sampled": Quantity("of what was sampled (nats per token)", lambda m: m["entropy_sampled"] / m["length"]),
    "accuracy": Quantity("accuracy (share correct)", lambda m: m["correct"]),
    "truncated": Quantity("truncated (share)", lambda m: m["truncated"]),
    "connectors": Quantity("connectors (per completion)", lambda m: m["connectors"]),
    "cost": Quantity("cost (nats per token)", lambda m: m["cost"] / m["length"]),
}


def effects(rows: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Every quantity of every arm under every condition, and its change against the same arm's plain decoding.

    Columns arm, condition, quantity, value, change, each of both also _low and _high (95%, problems drawn within their
    benchmark, both sides the same), problems, seeds.  Samples and seeds are averaged inside a problem; benchmarks count
    alike.  Raises ValueError where an arm has no plain decoding, or two conditions were asked different problems.
    """
    lines = []
    for arm, own in rows.groupby("arm", sort=False):
        means = {c: _per_problem(g) for c, g in own.groupby("condition", sort=False)}
        if PLAIN not in means:
            raise ValueError(f"{arm}: no condition {PLAIN!r} to compare with")
        for condition, table in means.items():
            if not table.index.equals(means[PLAIN].index):
                lonely = table.index.symmetric_difference(means[PLAIN].index)[0]
                raise ValueError(f"{arm}, {condition}: other problems than plain decoding, e.g. {lonely}")
            counts = {"problems": len(table), "seeds": own.loc[own["condition"] == condition, "seed"].nunique()}
            for line in _compared(table, means[PLAIN], n_boot):
                lines.append({"arm": arm, "condition": condition, **line, **counts})
    return pd.DataFrame(lines)


def each_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same quantities of each seed alone: arm, seed, condition, quantity, value."""
    tables = [effects(own, n_boot=1).assign(seed=seed) for seed, own in rows.groupby("seed")]
    return pd.concat(tables, ignore_index=True)[["arm", "seed", "condition", "quantity", "value", "change"]]


def _per_problem(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.groupby(["benchmark", "id"])[list(SUMMED)].mean().sort_index()


def _compared(table: pd.DataFrame, plain: pd.DataFrame, n_boot: int) -> list[dict[str, object]]:
    strata = list(table.index.get_level_values("benchmark"))
    both = resample(np.hstack([table.to_numpy(float), plain.to_numpy(float)]), strata, n_boot)
    sides = [np.split(m.mean(-2), 2, axis=-1) for m in both]  # [observed, resampled] of [condition, plain]
    lines = []
    for name, quantity in QUANTITIES.items():
        (value, base), (values, bases) = (
            [quantity.of(dict(zip(SUMMED, np.moveaxis(side, -1, 0), strict=True))) for side in pair] for pair in sides
        )
        line: dict[str, object] = {"quantity": name}
        for key, observed, drawn in (("value", value, values), ("change", value - base, values - bases)):
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            line |= {key: float(observed), f"{key}_low": float(low), f"{key}_high": float(high)}
        lines.append(line)
    return lines
