"""What the interventions on connectors changed, from the rows of the measurement `interventions`.

"Entropy" is the policy's own, at the places that the completion came to, and not that of the distribution which was
sampled: forbidding tokens makes the latter small by definition.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from egrc.evaluation import intervals

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
_SUMMED = list(dict.fromkeys(column for columns in QUANTITIES.values() for column in columns))


def effects(rows: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Every quantity of every arm under every condition, and its change against the same arm's plain decoding.

    Columns arm, condition, quantity, value, change, each of both also _low and _high (95%, problems drawn within their
    benchmark, both sides the same), problems, seeds.  Samples and seeds are averaged inside a problem; benchmarks count
    alike.  Raises ValueError where an arm has no plain decoding, or two conditions were asked different problems.
    """
    lines = []
    for arm, of_arm in rows.groupby("arm", sort=False):
        groups = dict(iter(of_arm.groupby("condition", sort=False)))
        means = {name: own.groupby(["benchmark", "id"])[_SUMMED].mean() for name, own in groups.items()}
        if PLAIN not in means:
            raise ValueError(f"{arm}: no condition {PLAIN!r} to compare with")
        for name, table in means.items():
            if not table.index.equals(means[PLAIN].index):
                lonely = table.index.symmetric_difference(means[PLAIN].index)[0]
                raise ValueError(f"{arm}, {name}: other problems than plain decoding, e.g. {lonely}")
            both = np.hstack([table.to_numpy(float), means[PLAIN].to_numpy(float)])
            resampled = intervals.resample(both, list(table.index.get_level_values("benchmark")), n_boot)
            sides = [np.split(m.mean(-2), 2, axis=-1) for m in resampled]  # [observed, resampled] of [condition, plain]
            counts = {"problems": len(table), "seeds": groups[name]["seed"].nunique()}
            for quantity, columns in QUANTITIES.items():
                top, *bottom = (_SUMMED.index(column) for column in columns)
                pairs = [[x[..., top] / (x[..., bottom[0]] if bottom else 1) for x in side] for side in sides]
                line = {"arm": arm, "condition": name, "quantity": quantity}
                for key, drawn in (("value", [x for x, _ in pairs]), ("change", [x - plain for x, plain in pairs])):
                    line |= dict(zip((key, f"{key}_low", f"{key}_high"), intervals.estimate(*drawn), strict=True))
                lines.append(line | counts)
    return pd.DataFrame(lines)


def each_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """The same quantities of each seed alone: arm, seed, condition, quantity, value, change."""
    tables = [effects(own, n_boot=1).assign(seed=seed) for seed, own in rows.groupby("seed")]
    return pd.concat(tables, ignore_index=True)[["arm", "seed", "condition", "quantity", "value", "change"]]
