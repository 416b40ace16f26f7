"""Which arms keep what was fixed before the runs, and what a mean over benchmarks hides.  Pure.  [ours]

An arm against the base: at least `REMOVED` of the removable length is gone; the lower end of the interval of the mean
difference in accuracy lies above -`NOT_BELOW`; no benchmark changes by less than `WORST`, by its estimate.  The lowest
of six noisy benchmarks is a little too low on average; its interval does not know that it was picked.
"""

from __future__ import annotations

import pandas as pd

REMOVED, NOT_BELOW, WORST = 0.95, 0.02, -0.05


def bounds(lines: pd.DataFrame) -> pd.DataFrame:
    """Of each trained arm: removed and gain_best on the mean, its worst benchmark with the change there, those that
    collapsed (lost more than the bound), `within`: are all three bounds kept?, and `above`: the other arms that remove
    at least as much at an accuracy at least as high (estimates).

    `lines` as of `tables.compare`, at one temperature.
    """
    trained = lines[lines["arm"] != "base"]
    names = [name + end for name in ("removed", "gain_best") for end in ("", "_low", "_high")]
    means = trained[trained["benchmark"] == "mean"].set_index("arm")[names]
    rows = []
    for arm, own in trained[trained["benchmark"] != "mean"].groupby("arm", sort=False):
        lowest, mean = own.loc[own["gain_best"].idxmin()], means.loc[arm]
        collapsed = tuple(own.loc[own["gain_best"] < WORST, "benchmark"])
        kept = mean["removed"] >= REMOVED and mean["gain_best_low"] > -NOT_BELOW and not collapsed
        good = (means["removed"] >= mean["removed"]) & (means["gain_best"] >= mean["gain_best"])
        above = tuple(other for other in means.index[good] if other != arm)
        rows.append((arm, *mean, lowest["benchmark"], *lowest[names[3:]], collapsed, kept, above))
    return pd.DataFrame(rows, columns=["arm", *names, "worst", "change", "low", "high", "collapsed", "within", "above"])
