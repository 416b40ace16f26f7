"""What the measurement `floor` says: quantities per token with intervals, and questions whose predicates came first.

A quantity is a ratio of sums over tokens.  Problems are the units of the bootstrap, drawn within benchmarks; seeds are
added up first, so an interval says how sure a number is over problems GIVEN the seeds.

The questions [ours] and their bounds were fixed before the measurement was made.  One is supported when the whole 95%
interval of its difference lies on the side that it names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from egrc.analysis import rows as checked
from egrc.analysis.verdicts import Answer, Bound, judged
from egrc.evaluation import intervals

N_BOOT = 2000
ALL = "all"
"""The class that holds all tokens."""
Where = dict[str, Any]
"""Column to value: some rows of the table."""
LAST, STAGE_TWO, TRAINED_ON = 7000, 3500, 256
"""Steps: the base's last, those of its first stage (`egrc.worlds.pocket.base`), the last of `floor.LOOKS`."""
QUANTITIES: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "excess": ({"loss": 1, "floor_loss": -1}, ("tokens",)),
    "calibration": ({"floor_loss": 1, "floor": -1}, ("tokens",)),
    "entropy": ({"entropy": 1}, ("tokens",)),
    "everywhere": ({"entropy": 1, "off_entropy": 1}, ("tokens", "impossible")),
    "floor": ({"floor": 1}, ("tokens",)),
    "gap": ({"entropy": 1, "floor": -1}, ("tokens",)),
    "miss": ({"miss": 1}, ("tokens",)),
    "kl": ({"kl": 1}, ("tokens",)),
    "impossible": ({"impossible": 1}, ("tokens", "impossible")),
    "accuracy": ({"correct": 1}, ("answers",)),
    "length": ({"tokens": 1}, ("answers",)),
}
"""Columns of the numerator with their signs, and those of the denominator; the last two are of rows `answers`.

excess: loss above the teacher's; calibration: the teacher's loss - its entropy; everywhere: policy entropy after all
prefixes; gap: policy entropy - the teacher's, miss: its size token by token; impossible: tokens without a floor."""


def load(scale: str, data: Path | None = None) -> pd.DataFrame:
    """The measurement's table, checked.  Raises RecordError."""
    return checked.load("floor", scale, data)


def pick(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows that have these values.  Raises ValueError where there are none."""
    rows = table[np.logical_and.reduce([table[column] == value for column, value in where.items()])]
    if rows.empty:
        raise ValueError(f"no rows with {', '.join(f'{c} {v!r}' for c, v in where.items())}: measure `floor` again")
    return rows


# --- ratios and their intervals -------------------------------------------------------------------


def ratios(
    rows: pd.DataFrame, keys: Sequence[str], quantity: str, n_boot: int
) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """A quantity of each group of rows that has the same `keys`; a group's classes are added up unless 'class' is one.

    Returns the groups, and the quantity as observed [groups] and as resampled [n_boot, groups], paired by draw.
    Raises ValueError for an unknown quantity.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"no quantity {quantity!r}: choose one of {', '.join(QUANTITIES)}")
    top, bottom = QUANTITIES[quantity]
    rows = rows.assign(answers=1.0)
    parts = pd.DataFrame({"top": sum(sign * rows[c].astype(float) for c, sign in top.items()),
                          "bottom": sum(rows[c].astype(float) for c in bottom)})  # fmt: skip
    sums = parts.groupby([rows[c] for c in ("benchmark", "id", *keys)]).sum()
    sums = sums.unstack(list(keys), fill_value=0.0).sort_index()
    strata = list(sums.index.get_level_values("benchmark"))
    sizes = np.unique(strata, return_counts=True)[1]
    means = intervals.resample(sums.to_numpy(), strata, n_boot)
    totals = (np.split(np.tensordot(m, sizes, axes=(m.ndim - 2, 0)), 2, axis=-1) for m in means)
    observed, drawn = (np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0) for a, b in totals)
    return sums["top"].columns, observed, drawn


def per_token(
    rows: pd.DataFrame,
    keys: Sequence[str],
    quantities: Sequence[str],
    by_class: bool = False,
    n_boot: int | None = None,
) -> pd.DataFrame:
    """Quantities of groups with 95% intervals: keys, (class,) quantity, estimate, low, high.

    `by_class` gives every class a line, and their sum one with class 'all'.  With n_boot=0 there are no intervals.
    """
    n_boot, tables = N_BOOT if n_boot is None else n_boot, []
    if by_class:
        rows, keys = pd.concat([rows.assign(**{"class": ALL}), rows], ignore_index=True), [*keys, "class"]
    for quantity in quantities:
        groups, observed, drawn = ratios(rows, keys, quantity, max(1, n_boot))
        low, high = np.quantile(drawn, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2], axis=0)
        found = groups.to_frame(index=False).assign(quantity=quantity, estimate=observed, low=low, high=high)
        tables.append(found if n_boot else found.drop(columns=["low", "high"]))
    return pd.concat(tables, ignore_index=True)


def wide(found: pd.DataFrame, index: str | list[str]) -> pd.DataFrame:
    """What `per_token` found, a column a quantity, as text: 'estimate [low, high]'."""
    shown = [f"{e:.3f} [{low:.3f}, {high:.3f}]" for e, low, high in found[["estimate", "low", "high"]].to_numpy()]
    return found.assign(shown=shown).pivot(index=index, columns="quantity", values="shown")


def difference(
    table: pd.DataFrame, a: Where, b: Where, quantity: str, n_boot: int = N_BOOT
) -> tuple[float, float, float]:
    """A quantity of the rows `a` minus that of the rows `b`, with its 95% interval, paired by problem."""
    both = pd.concat([pick(table, **a).assign(side="a"), pick(table, **b).assign(side="b")], ignore_index=True)
    _, observed, drawn = ratios(both, ["side"], quantity, n_boot)
    return intervals.estimate(observed[0] - observed[1], drawn[:, 0] - drawn[:, 1])


def by_seed(table: pd.DataFrame, a: Where, b: Where, quantity: str) -> list[float]:
    """The difference seed by seed; where only one side has several seeds, it is compared with the other's one."""
    seeds = [sorted(pick(table, **side)["seed"].unique()) for side in (a, b)]
    pairs = zip(*([s * (max(map(len, seeds)) // len(s)) for s in seeds]), strict=True)
    return [difference(table, a | {"seed": i}, b | {"seed": j}, quantity, n_boot=1)[0] for i, j in pairs]


def moved(table: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """Each arm's entropy per token minus the base's, and two parts of it: arm, quantity, estimate, low, high.

    `floor`: the policy goes to places where the teacher is more, or less, sure; `gap`: it is less, or more, sure than
    the teacher there.  The two add up to the change of `entropy`, which like them is of the prefixes that the teacher
    could have written; that after all prefixes (`everywhere`) stands beside.
    """
    arms = [arm for arm in pick(table, stage="arms")["name"].unique() if arm != "base"]
    lines = [
        (arm, quantity, *difference(table, _ARMS | {"name": arm}, _ARMS | {"name": "base"}, quantity, n_boot))
        for arm in arms
        for quantity in ("everywhere", "entropy", "floor", "gap")
    ]
    return pd.DataFrame(lines, columns=["arm", "quantity", "estimate", "low", "high"])


# --- what was asked -------------------------------------------------------------------------------


_ARMS = {"stage": "arms", "measured": "rollouts"}
_ANSWERS = {"measured": "answers", "temperature": 1.0}
_ALONG = {"stage": "along", "name": "base"} | _ANSWERS
_BEYOND = {"stage": "beyond", "step": TRAINED_ON} | _ANSWERS


class Question(NamedTuple):
    """Asked beforehand: of rows `where`, is a quantity larger ('>'), or smaller, if `key` is `a` than if it is `b`?"""

    where: Where
    quantity: str
    key: str
    a: Any
    side: str
    b: Any
    words: str


QUESTIONS = {
    "to": Question(
        _ALONG, "accuracy", "step", LAST, ">", STAGE_TWO,
        "on the way to the floor accuracy on unseen problems rises (second stage, first look to last)"),
    "beyond": Question(
        _BEYOND, "accuracy", "name", "fixed", "<", "fresh",
        "below the floor accuracy on unseen problems is lost (fixed traces - fresh ones, same steps)"),
    "limited": Question(
        _BEYOND, "accuracy", "name", "limited", ">", "fixed",
        "keeping to the floor preserves it (limited - fixed, same traces and steps)"),
    "compression": Question(
        _ARMS, "gap", "name", "compression", "<", "base",
        "compression makes the policy surer, against the teacher at the same prefixes (compression - base)"),
    "accuracy": Question(
        _ARMS, "gap", "name", "accuracy", ">", "base",
        "the accuracy objective makes it less sure (accuracy - base)"),
    "exploration": Question(
        _ARMS, "gap", "name", "egrc", ">", "compression",
        "exploring after compressing makes it less sure than compressing alone (egrc - compression)"),
}  # fmt: skip
"""By name.  Accuracies are at T=1; at the other temperature they stand beside, without a predicate."""


def passed(table: pd.DataFrame) -> pd.DataFrame:
    """On the fixed traces after the last step, by diet and seed: loss per token, and the teacher's exact entropy there;
    `below` says whether the floor was passed."""
    rows = pick(table, stage="beyond", measured="fixed", step=TRAINED_ON)
    sums = rows.groupby(["name", "seed"])[["loss", "floor", "tokens"]].sum().astype(float)
    found = sums[["loss", "floor"]].div(sums["tokens"], axis=0)
    return found.assign(below=found["loss"] < found["floor"]).reset_index()


def verdicts(table: pd.DataFrame, n_boot: int = intervals.N_BOOT) -> pd.DataFrame:
    """A line per question: question, predicate, estimate, low, high, n (problems), seeds, each seed, verdict."""
    lines = []
    for name, q in QUESTIONS.items():
        a, b = q.where | {q.key: q.a}, q.where | {q.key: q.b}
        estimate, low, high = difference(table, a, b, q.quantity, n_boot)
        alone = by_seed(table, a, b, q.quantity)
        n, bound = len(pick(table, **a)[["benchmark", "id"]].drop_duplicates()), Bound(q.side, 0)
        verdict, _ = judged(Answer(estimate, low, high, n, len(alone)), bound)
        if name in ("beyond", "limited") and not passed(table).query("name == 'fixed'")["below"].all():
            verdict = "not testable: training did not go below the floor on every seed"
        line = (name, q.words, f"{q.quantity} {bound}", estimate, low, high, n, len(alone))
        lines.append((*line, [round(x, 3) for x in alone], verdict))
    columns = ["question", "what", "predicate", "estimate", "low", "high", "n", "seeds", "each", "verdict"]
    return pd.DataFrame(lines, columns=columns)
