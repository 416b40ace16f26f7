"""What the measurement `egrc.analysis.copying` says: one line a policy, benchmark and style.  [ours]"""

from __future__ import annotations

import pandas as pd

from egrc.evaluation import intervals


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Columns arm, benchmark, style; p_answer with its 95% interval over problems given the seeds (low, high); the
    lowest and the highest seed."""
    lines = []
    for (arm, benchmark, style), own in table.groupby(["arm", "benchmark", "style"], sort=False):
        of_problem = own.groupby("id")["p_answer"].mean().to_numpy()[:, None]
        values = intervals.interval(of_problem, ["all"] * len(of_problem), lambda means: means[..., 0, 0])
        seeds = own.groupby("seed")["p_answer"].mean()
        names = ("p_answer", "low", "high", "lowest", "highest")
        found = dict(zip(names, (*values, seeds.min(), seeds.max()), strict=True))
        lines.append({"arm": arm, "benchmark": benchmark, "style": style, **found})
    return pd.DataFrame(lines)
