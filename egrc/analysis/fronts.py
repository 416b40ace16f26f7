"""Which arm is beaten by which in length and accuracy, and what a mean over benchmarks hides.  Pure.

An arm is *at or above* another if it is no longer and no less accurate, in mean tokens and accuracy (plain means over
benchmarks); an arm that no other is at or above, without being its equal, is on the Pareto front.  All arms are
resampled together, so `share` says in how many of the resamples (over problems, given the seeds) the same holds.

The bounds of `worst` are those of `analysis.confirm`, on the problems that all runs were asked.  The lowest of six
noisy benchmarks is a little too low on average; its interval does not know that it was picked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from egrc.analysis.confirm import NOT_BELOW
from egrc.analysis.dilemma import Means, bounds, frontier, gap
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.evaluation.intervals import estimate

OUTCOMES = {
    (True, True): "at or above",
    (True, False): "shorter, less accurate",
    (False, True): "longer, more accurate",
    (False, False): "beaten",
}
"""By whether an arm is no longer, and whether it is no less accurate."""


def front(found: Means) -> pd.DataFrame:
    """One line per arm, the shortest first: arm, tokens, accuracy, `on` (is it on the front?) and `share`."""
    t, a = found.tokens, found.accuracy
    no_longer, as_good = t[:, None, :] <= t[:, :, None], a[:, None, :] >= a[:, :, None]  # [draws, arm, other]
    equal = (t[:, None, :] == t[:, :, None]) & (a[:, None, :] == a[:, :, None])
    free = ~(no_longer & as_good & ~equal).any(-1)
    table = {"arm": found.arms, "tokens": t[0], "accuracy": a[0], "on": free[0], "share": free[1:].mean(0)}
    return pd.DataFrame(table).sort_values("tokens", ignore_index=True)


def standing(found: Means, focus: str) -> pd.DataFrame:
    """Every other arm against `focus`: differences of tokens and accuracy with intervals, `outcome` and its `share`.

    Empty if there is no such arm.
    """
    lines = []
    at = found.arms.index(focus) if focus in found.arms else None
    for i, arm in enumerate(found.arms):
        if at is None or i == at:
            continue
        longer, better = (side[:, i] - side[:, at] for side in (found.tokens, found.accuracy))
        line: dict[str, object] = {"arm": arm}
        for name, drawn in (("tokens", longer), ("accuracy", better)):
            line |= dict(zip((name, f"{name}_low", f"{name}_high"), estimate(drawn[0], drawn[1:]), strict=True))
        same = ((longer <= 0) == (longer[0] <= 0)) & ((better >= 0) == (better[0] >= 0))
        line |= {"outcome": OUTCOMES[bool(longer[0] <= 0), bool(better[0] >= 0)], "share": same[1:].mean()}
        lines.append(line)
    columns = ["arm", *(n + part for n in ("tokens", "accuracy") for part in ("", "_low", "_high"))]
    return pd.DataFrame(lines, columns=[*columns, "outcome", "share"])


def gaps(found: Means, methods: Mapping[str, Sequence[str]], focus: str) -> pd.DataFrame:
    """Every other method's frontier against that of `focus`: accuracy at equal length, mean over the lengths of both.

    `methods` names the arms that are a method's length settings.  A frontier is straight between its settings
    (`egrc.analysis.dilemma`), which favours a method with several of them a little over one with a single one.
    Columns method, settings, estimate, low, high, apart (share of resamples in which no length is shared; such a one
    counts as the worst for the lower end and as the best for the upper one).  Empty without records of `focus`.
    """
    lines = {}
    for name, arms in methods.items():
        at = [found.arms.index(arm) for arm in arms]
        lines[name] = [frontier(t[at], a[at]) for t, a in zip(found.tokens, found.accuracy, strict=True)]
    table = []
    for name in [name for name in methods if name != focus and focus in methods]:
        drawn = np.array([gap(*mine, *other) for mine, other in zip(lines[name], lines[focus], strict=True)])
        table.append((name, len(methods[name]), drawn[0], *bounds(drawn[1:]), np.isnan(drawn[1:]).mean()))
    return pd.DataFrame(table, columns=["method", "settings", "estimate", "low", "high", "apart"])


def worst(lines: pd.DataFrame) -> pd.DataFrame:
    """Of each trained arm: removed and gain on the mean, its worst benchmark with the change there, those collapsed,
    and `within`: are all three bounds kept?

    `lines` as of `egrc.figures.table3.compare`; a benchmark has collapsed where the change is below `WORST`.
    """
    trained = lines[lines["arm"] != "base"]
    names = [n + part for n in ("removed", "gain_best") for part in ("", "_low", "_high")]
    means = trained[trained["benchmark"] == "mean"].set_index("arm")[names]
    rows = []
    for arm, own in trained[trained["benchmark"] != "mean"].groupby("arm", sort=False):
        lowest = own.loc[own["gain_best"].idxmin()]
        ends = dict(zip(("change", "low", "high"), lowest[names[3:]], strict=True))
        fallen = tuple(own.loc[own["gain_best"] < WORST, "benchmark"])
        rows.append({"arm": arm, **means.loc[arm], "worst": lowest["benchmark"], **ends, "collapsed": fallen})
    table = pd.DataFrame(rows, columns=["arm", *names, "worst", "change", "low", "high", "collapsed"])
    accurate = table["gain_best_low"] > -NOT_BELOW
    return table.assign(within=(table["removed"] >= PLUS_REMOVED) & accurate & (table["change"] >= WORST))
