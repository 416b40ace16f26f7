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
from egrc.evaluation import intervals
from egrc.worlds.pocket import exact

N_BOOT = 2000
ALL = "all"
"""The class that holds all tokens."""
Where = dict[str, Any]
"""Column to value: some rows of the table."""
LAST, STAGE_TWO, TRAINED_ON = 7000, 3500, 256
"""Steps: the base's last, those of its first stage (`egrc.worlds.pocket.base`), the last of `floor.LOOKS`."""


class Quantity(NamedTuple):
    """A ratio of sums: columns of the numerator with their signs, and those of the denominator."""

    title: str
    top: dict[str, int]
    bottom: tuple[str, ...] = ("tokens",)


QUANTITIES = {
    "loss": Quantity("loss (nats/token)", {"loss": 1}),
    "floor_loss": Quantity("the teacher's own loss (nats/token)", {"floor_loss": 1}),
    "excess": Quantity("loss above the teacher's (nats/token)", {"loss": 1, "floor_loss": -1}),
    "calibration": Quantity("teacher's loss - its entropy (nats/token)", {"floor_loss": 1, "floor": -1}),
    "entropy": Quantity("policy entropy (nats/token, T = 1)", {"entropy": 1}),
    "everywhere": Quantity(
        "policy entropy after all prefixes (nats/token)", {"entropy": 1, "off_entropy": 1}, ("tokens", "impossible")
    ),
    "floor": Quantity("teacher's exact entropy (nats/token)", {"floor": 1}),
    "gap": Quantity("policy entropy - teacher's (nats/token)", {"entropy": 1, "floor": -1}),
    "miss": Quantity("|policy entropy - teacher's| (nats/token)", {"miss": 1}),
    "distance": Quantity("loss - teacher's entropy (nats/token)", {"loss": 1, "floor": -1}),
    "kl": Quantity("KL(teacher || policy) (nats/token)", {"kl": 1}),
    "impossible": Quantity("share of tokens after impossible prefixes", {"impossible": 1}, ("tokens", "impossible")),
    "slips": Quantity("tokens the teacher could not have said", {"slips": 1}),
    "accuracy": Quantity("share correct", {"correct": 1}, ("answers",)),
    "length": Quantity("completion length (tokens)", {"tokens": 1}, ("answers",)),
}
"""By name; the last two are of rows `answers`, all others of the other rows."""


def load(scale: str, data: Path | None = None) -> pd.DataFrame:
    """The measurement's table, checked.  Raises RecordError."""
    return checked.load("floor", scale, data)


def pick(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows that have these values.  Raises ValueError where there are none."""
    rows = table
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ValueError(f"no rows with {', '.join(f'{c} {v!r}' for c, v in where.items())}: measure `floor` again")
    return rows


# --- ratios and their intervals -------------------------------------------------------------------


_ARMS = {"stage": "arms", "measured": "rollouts"}


class Ratios(NamedTuple):
    """A quantity of several groups of rows, as observed [groups] and as resampled [n_boot, groups], paired by draw."""

    groups: pd.Index
    observed: np.ndarray
    drawn: np.ndarray


def ratios(rows: pd.DataFrame, keys: Sequence[str], quantity: str, n_boot: int = N_BOOT) -> Ratios:
    """A quantity of each group of rows that has the same `keys`; a group's classes are added up unless 'class' is one.

    Raises ValueError for an unknown quantity.
    """
    if quantity not in QUANTITIES:
        raise ValueError(f"no quantity {quantity!r}: choose one of {', '.join(QUANTITIES)}")
    _, top, bottom = QUANTITIES[quantity]
    rows = rows.assign(answers=1.0)
    parts = pd.DataFrame({"top": sum(sign * rows[c].astype(float) for c, sign in top.items()),
                          "bottom": sum(rows[c].astype(float) for c in bottom)})  # fmt: skip
    by = ["benchmark", "id", *keys]
    sums = parts.groupby([rows[c] for c in by]).sum().unstack(list(keys), fill_value=0.0).sort_index()
    strata = list(sums.index.get_level_values("benchmark"))
    sizes = np.unique(strata, return_counts=True)[1]
    means = intervals.resample(sums.to_numpy(), strata, n_boot)
    totals = (np.tensordot(m, sizes, axes=(m.ndim - 2, 0)) for m in means)
    found = (np.split(t, 2, axis=-1) for t in totals)
    observed, drawn = (np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0) for a, b in found)
    return Ratios(sums["top"].columns, observed, drawn)


def per_token(
    rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str], by_class: bool = False, n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Quantities of groups with 95% intervals: keys, (class,) quantity, estimate, low, high.

    `by_class` gives every class a line, and their sum one with class 'all'.  With n_boot=0 there are no intervals.
    """
    tables = []
    for q in quantities:
        tables.append(_table(ratios(rows, keys, q, max(1, n_boot)), q))
        if by_class:
            tables[-1]["class"] = ALL
            tables.append(_table(ratios(rows, [*keys, "class"], q, max(1, n_boot)), q))
    found = pd.concat(tables, ignore_index=True)
    order = [*keys, *(["class"] if by_class else []), "quantity", "estimate"]
    return found[[*order, "low", "high"] if n_boot else order]


def _table(r: Ratios, quantity: str) -> pd.DataFrame:
    low, high = np.quantile(r.drawn, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2], axis=0)
    return r.groups.to_frame(index=False).assign(quantity=quantity, estimate=r.observed, low=low, high=high)


def wide(found: pd.DataFrame, index: str | list[str]) -> pd.DataFrame:
    """What `per_token` found, a column a quantity, as text: 'estimate [low, high]'."""
    shown = [f"{e:.3f} [{low:.3f}, {high:.3f}]" for e, low, high in found[["estimate", "low", "high"]].to_numpy()]
    return found.assign(shown=shown).pivot(index=index, columns="quantity", values="shown")


def difference(
    table: pd.DataFrame, a: Where, b: Where, quantity: str, n_boot: int = N_BOOT
) -> tuple[float, float, float]:
    """A quantity of the rows `a` minus that of the rows `b`, with its 95% interval, paired by problem."""
    both = pd.concat([pick(table, **a).assign(side="a"), pick(table, **b).assign(side="b")], ignore_index=True)
    r = ratios(both, ["side"], quantity, n_boot)
    return intervals.estimate(r.observed[0] - r.observed[1], r.drawn[:, 0] - r.drawn[:, 1])


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


def leaves(prompt: str, tokens: Sequence[str]) -> str:
    """Where a completion leaves the teacher's language, and what the teacher could have said; '' if it never does."""
    try:
        exact.next_token(exact.read_problem(prompt), tokens)
    except exact.Impossible as error:
        return str(error)
    return ""


# --- what was asked -------------------------------------------------------------------------------


class Question(NamedTuple):
    """Something asked beforehand: a quantity of rows `a` minus that of rows `b`, and the side of 0 it should lie on."""

    words: str
    quantity: str
    a: Where
    b: Where
    side: str


_ANSWERS = {"measured": "answers", "temperature": 1.0}
_ALONG = {"stage": "along", "name": "base"} | _ANSWERS
_BEYOND = {"stage": "beyond", "step": TRAINED_ON} | _ANSWERS

QUESTIONS = {
    "to": Question(
        "on the way to the floor accuracy on unseen problems rises (second stage, first look to last)",
        *("accuracy", _ALONG | {"step": LAST}, _ALONG | {"step": STAGE_TWO}, ">"),
    ),
    "beyond": Question(
        "below the floor accuracy on unseen problems is lost (fixed traces - fresh ones, same steps)",
        *("accuracy", _BEYOND | {"name": "fixed"}, _BEYOND | {"name": "fresh"}, "<"),
    ),
    "limited": Question(
        "keeping to the floor preserves it (limited - fixed, same traces and steps)",
        *("accuracy", _BEYOND | {"name": "limited"}, _BEYOND | {"name": "fixed"}, ">"),
    ),
    "compression": Question(
        "compression makes the policy surer, against the teacher at the same prefixes (compression - base)",
        *("gap", _ARMS | {"name": "compression"}, _ARMS | {"name": "base"}, "<"),
    ),
    "accuracy": Question(
        "the accuracy objective makes it less sure (accuracy - base)",
        *("gap", _ARMS | {"name": "accuracy"}, _ARMS | {"name": "base"}, ">"),
    ),
    "exploration": Question(
        "exploring after compressing makes it less sure than compressing alone (egrc - compression)",
        *("gap", _ARMS | {"name": "egrc"}, _ARMS | {"name": "compression"}, ">"),
    ),
}
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
        estimate, low, high = difference(table, q.a, q.b, q.quantity, n_boot)
        alone = by_seed(table, q.a, q.b, q.quantity)
        verdict = "supported" if (high < 0 if q.side == "<" else low > 0) else "not supported"
        if name in ("beyond", "limited") and not passed(table).query("name == 'fixed'")["below"].all():
            verdict = "not testable: training did not go below the floor on every seed"
        lines.append(
            {
                **{"question": name, "what": q.words, "predicate": f"{q.quantity} {q.side} 0"},
                **{"estimate": estimate, "low": low, "high": high},
                **{"n": len(pick(table, **q.a)[["benchmark", "id"]].drop_duplicates()), "seeds": len(alone)},
                **{"each": [round(x, 3) for x in alone], "verdict": verdict},
            }
        )
    return pd.DataFrame(lines)
