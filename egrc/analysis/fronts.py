"""Who is beaten by whom in length and accuracy, and what a mean over benchmarks hides.  Pure.

An arm is *at or above* another if it is no longer and no less accurate, in mean tokens and accuracy (plain means over
benchmarks); an arm that no other is at or above, without being its equal, is on the Pareto front.  All arms are
resampled together, so `share` says in how many of the resamples (over problems, given the seeds) the same holds.

The bounds of `within` are those of `analysis.confirm`, on the problems that all runs were asked.  The lowest of six
noisy benchmarks is a little too low on average; its interval does not know that it was picked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from egrc.analysis import dilemma
from egrc.analysis.confirm import NOT_BELOW
from egrc.analysis.dilemma import Means
from egrc.analysis.search import PLUS_REMOVED, REMOVED, WORST
from egrc.evaluation.intervals import estimate

GAPS = "Accuracy at equal length, minus that of"
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

    Raises ValueError if there is no such arm.
    """
    if focus not in found.arms:
        raise ValueError(f"no arm {focus!r} among {', '.join(found.arms)}")
    lines, at = [], found.arms.index(focus)
    for i, arm in enumerate(found.arms):
        if i == at:
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
    counts as the worst for the lower end and as the best for the upper one).
    """
    at = {name: [found.arms.index(arm) for arm in arms] for name, arms in methods.items()}
    both = list(zip(found.tokens, found.accuracy, strict=True))
    lines = {name: [dilemma.frontier(t[k], a[k]) for t, a in both] for name, k in at.items()}
    table = []
    for name, own in lines.items():
        if name != focus:
            drawn = np.array([dilemma.gap(*mine, *other) for mine, other in zip(own, lines[focus], strict=True)])
            low, high = dilemma.bounds(drawn[1:])
            line = {"method": name, "settings": len(at[name]), "estimate": drawn[0], "low": low, "high": high}
            table.append(line | {"apart": np.isnan(drawn[1:]).mean()})
    return pd.DataFrame(table, columns=["method", "settings", "estimate", "low", "high", "apart"])


def gaps_said(table: pd.DataFrame, focus: str) -> str:
    """`gaps` as text, under a title."""
    return "\n  ".join([f"{GAPS} {focus} [95% interval]", *gap_lines(table, focus)])


def gap_lines(table: pd.DataFrame, focus: str) -> list[str]:
    """`gaps` in a line per method: the difference in points with its interval, or that no length is shared."""
    lines = []
    for row in table.itertuples():
        said = f"{100 * row.estimate:+.1f} points" if np.isfinite(row.estimate) else f"shares no length with {focus}"
        if np.isfinite([row.low, row.high]).all():
            said += f" [{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        elif np.isfinite(row.estimate) or row.apart < 1:
            said += f" (no interval: in {row.apart:.0%} of resamples no length is shared)"
        lines.append(f"{row.method} ({row.settings} setting{'s' if row.settings > 1 else ''}): {said}")
    return lines


def worst(lines: pd.DataFrame) -> pd.DataFrame:
    """Of each trained arm: removed and gain on the mean, its worst benchmark with the change there, those collapsed.

    `lines` as of `egrc.figures.table3.compare`; a benchmark has collapsed where the change is below `WORST`.
    """
    trained = lines[lines["arm"] != "base"]
    names = [n + part for n in ("removed", "gain_best") for part in ("", "_low", "_high")]
    means = trained[trained["benchmark"] == "mean"].set_index("arm")[names]
    rows = []
    for arm, own in trained[trained["benchmark"] != "mean"].groupby("arm", sort=False):
        lowest = own.loc[own["gain_best"].idxmin()]
        ends = {"change": "gain_best", "low": "gain_best_low", "high": "gain_best_high"}
        change = {name: lowest[column] for name, column in ends.items()}
        fallen = tuple(own.loc[own["gain_best"] < WORST, "benchmark"])
        rows.append({"arm": arm, **means.loc[arm], "worst": lowest["benchmark"], **change, "collapsed": fallen})
    return pd.DataFrame(rows, columns=["arm", *names, "worst", "change", "low", "high", "collapsed"])


def within(table: pd.DataFrame) -> pd.Series:
    """Of each line of `worst`: are all three bounds kept?"""
    accurate = table["gain_best_low"] > -NOT_BELOW
    return (table["removed"] >= PLUS_REMOVED) & accurate & (table["change"] >= WORST)


def listed(arms: Iterable[str]) -> str:
    """'a, b', or 'none'."""
    return ", ".join(arms) or "none"


def findings(table: pd.DataFrame, found: Means, families: dict[str, tuple[str, ...]]) -> list[str]:
    """In words, from the rows: where compression goes too far, who meets the bounds, what did not help.

    `table` as of `worst`; `families` names arms that add something to the arm `joint`, to be held against it.
    """
    short, fallen = table["removed"] >= PLUS_REMOVED, table["collapsed"].str.len() > 0
    where = pd.Series([b for names in table.loc[short, "collapsed"] for b in names], dtype=object).value_counts()
    lost = "; ".join(f"{name}: {n}" for name, n in where.items())
    said = [
        f"At least {PLUS_REMOVED:.0%} of the removable length gone, {short.sum()} of {len(table)} trained arms: "
        f"{listed(table.arm[short])}. Of these with a benchmark more than {-100 * WORST:g} points below the base: "
        f"{(short & fallen).sum()}{f' ({lost})' if lost else ''}.",
        f"Without such a benchmark: {listed(table.arm[~fallen])}.",
        f"Within all bounds: {listed(table.arm[within(table)])}.",
        f"Less than {REMOVED:.0%} removed: {listed(table.arm[table['removed'] < REMOVED])}; longer than the base: "
        f"{listed(table.arm[table['removed'] < 0])}.",
        f"Less accurate than the base on the mean: {listed(table.arm[table['gain_best'] < 0])}.",
    ]
    if "joint" in found.arms:
        against = standing(found, "joint").set_index("arm")
        for name, members in families.items():
            there = against.loc[[arm for arm in members if arm in against.index]]
            above = there.index[there["outcome"] == "at or above"]
            said.append(f"{name} (recorded: {listed(there.index)}): at or above `joint` is {listed(above)}.")
    return said


def said(table: pd.DataFrame, focus: str) -> str:
    """`standing` in a sentence for each outcome, each arm with the share of resamples that agree."""
    lines = []
    for outcome in OUTCOMES.values():
        own = table[table["outcome"] == outcome]
        names = listed(f"{arm} ({share:.0%})" for arm, share in zip(own["arm"], own["share"], strict=True))
        lines.append(f"{outcome}: {names}")
    return f"Against {focus}, with the share of resamples that agree\n  " + "\n  ".join(lines)
