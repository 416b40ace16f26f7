"""Which arm is beaten by which in length and accuracy, and what a mean over benchmarks hides.  Pure.

An arm is *at or above* another if it is no longer and no less accurate, in mean tokens and accuracy (plain means over
benchmarks).  All arms are resampled together, so `share` says in how many of the resamples (over problems, given the
seeds) the same holds.

`bounds` has what was fixed before the runs [ours] for an arm against the base: at least `search.PLUS_REMOVED` of the
removable length is gone; the interval's lower end of the mean difference in accuracy lies above -`NOT_BELOW`; no
benchmark loses more than -`search.WORST`, by its estimate.  The lowest of six noisy benchmarks is a little too low on
average; its interval does not know that it was picked.
"""

from __future__ import annotations

import pandas as pd

from egrc.analysis import tables
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.evaluation.intervals import estimate

NOT_BELOW = 0.02
"""How far below the base the lower end of accuracy's interval may lie."""
OUTCOMES = {
    (True, True): "at or above",
    (True, False): "shorter, less accurate",
    (False, True): "longer, more accurate",
    (False, False): "beaten",
}
"""By whether an arm is no longer, and whether it is no less accurate."""


def standing(rows: pd.DataFrame, focus: str, n_boot: int = tables.N_BOOT) -> pd.DataFrame:
    """Every other arm against `focus`: differences of tokens and accuracy with intervals, `outcome` and its `share`.

    `rows` as of `tables.rows_at`.  Empty if there is no such arm.
    """
    drawn, lines = tables.resampled(rows, n_boot), []
    for arm, means in drawn.items():
        if focus not in drawn or arm == focus:
            continue
        better, longer = (mine.mean(-1) - other.mean(-1) for mine, other in zip(means, drawn[focus], strict=True))
        ends = (*estimate(longer[0], longer[1:]), *estimate(better[0], better[1:]))
        same = ((longer <= 0) == (longer[0] <= 0)) & ((better >= 0) == (better[0] >= 0))
        lines.append((arm, *ends, OUTCOMES[bool(longer[0] <= 0), bool(better[0] >= 0)], same[1:].mean()))
    columns = [name + end for name in ("tokens", "accuracy") for end in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["arm", *columns, "outcome", "share"])


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
        kept = mean["removed"] >= PLUS_REMOVED and mean["gain_best_low"] > -NOT_BELOW and not collapsed
        good = (means["removed"] >= mean["removed"]) & (means["gain_best"] >= mean["gain_best"])
        above = tuple(other for other in means.index[good] if other != arm)
        rows.append((arm, *mean, lowest["benchmark"], *lowest[names[3:]], collapsed, kept, above))
    return pd.DataFrame(rows, columns=["arm", *names, "worst", "change", "low", "high", "collapsed", "within", "above"])
