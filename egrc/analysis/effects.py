"""What the interventions on connectors changed, from the rows of the measurement `interventions`.

"Entropy" is the policy's own, at the places that the completion came to, and not that of the distribution which was
sampled: forbidding tokens makes the latter small by definition.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from egrc.evaluation.intervals import estimate, resample

N_BOOT = 1000
PLAIN = "none"
QUANTITIES = {
    "length": ("length",),
    "per_completion": ("entropy",),
    "per_token": ("entropy", "length"),
    "accuracy": ("correct",),
    "truncated": ("truncated",),
    "cost": ("cost", "length"),
}
"""A mean over completions (tokens, nats, shares), or the ratio of two: nats per token."""


def effects(rows: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Every quantity of every arm under every condition, and its change against the same arm's plain decoding.

    Columns arm, condition, quantity, value, change, each of both also _low and _high (95%, over problems), problems,
    seeds.  Benchmarks count alike.  Raises ValueError where conditions were asked different problems.
    """
    lines, columns = [], list(dict.fromkeys(column for columns in QUANTITIES.values() for column in columns))
    for arm, own in rows.groupby("arm", sort=False):
        means = own.groupby(["benchmark", "id", "condition"])[columns].mean().astype(float).unstack("condition")
        if means.isna().any(axis=None) or (columns[0], PLAIN) not in means:
            raise ValueError(f"{arm}: not every problem was asked under every condition, {PLAIN!r} among them")
        observed, drawn = resample(means.to_numpy(), list(means.index.get_level_values("benchmark")), n_boot)
        sums = dict(zip(means.columns, np.vstack([observed.mean(0), drawn.mean(1)]).T, strict=True))
        for condition, here in own.groupby("condition", sort=False):
            counts = {"problems": len(means), "seeds": here["seed"].nunique()}
            for quantity, (top, *bottom) in QUANTITIES.items():
                value, plain = (sums[top, c] / (sums[bottom[0], c] if bottom else 1) for c in (condition, PLAIN))
                line = {"arm": arm, "condition": condition, "quantity": quantity}
                for key, x in (("value", value), ("change", value - plain)):
                    line |= dict(zip((key, f"{key}_low", f"{key}_high"), estimate(x[0], x[1:]), strict=True))
                lines.append(line | counts)
    return pd.DataFrame(lines)


def each_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same quantities of each seed alone: arm, seed, condition, quantity, value, change."""
    tables = [effects(own, n_boot=1).assign(seed=seed) for seed, own in rows.groupby("seed")]
    return pd.concat(tables, ignore_index=True)[["arm", "seed", "condition", "quantity", "value", "change"]]
