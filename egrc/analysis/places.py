"""Is it the connector that is uncertain, or its place?  A control of claim 4 on real text.  Pure.  [ours]

Connectors like to open a sentence, and whatever opens a sentence is hard to predict: the step itself is undecided
there.  So connectors are compared with other words at the same kind of place: words that open a sentence or a line,
and words inside.  This control was thought of after the classes' entropies had been seen; claim 4's readings do not
depend on it.

Reads rollout tables by word (`egrc.analysis.tokens`).
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from egrc.analysis import tokens
from egrc.evaluation.intervals import estimate

PLACES = {"opening": "the first word of a sentence or a line", "inside": "any later word"}
OTHERS = ("function", "content")
"""Words that connectors are compared with: no numbers, signs or line breaks."""
_ENDS = re.compile(r"[.!?:;][\"'”’)*\]]*\s*$|\n\s*$")


def opens(words: list[str]) -> np.ndarray:
    """Which words of a completion open a sentence or a line, the first one included: bool [words].

    A sentence ends with one of . ! ? : ; and what closes behind it.
    """
    return np.array([i == 0 or bool(_ENDS.search(words[i - 1])) for i in range(len(words))], bool)


def at(rollouts: pd.DataFrame, place: str) -> pd.DataFrame:
    """The rollout table with only the words at one place: `tokens`' functions then speak of that place.

    Raises ValueError for an unknown place.
    """
    if place not in PLACES:
        raise ValueError(f"no place {place!r}: choose one of {', '.join(PLACES)}")
    kept = [opens(list(words)) == (place == "opening") for words in rollouts["tokens"]]
    lists = {
        name: pd.Series([np.asarray(v)[k] for v, k in zip(rollouts[name], kept, strict=True)], rollouts.index)
        for name in tokens.LISTS
    }
    return rollouts.assign(**lists)


def against_others(rollouts: pd.DataFrame, n_boot: int = tokens.N_BOOT) -> pd.DataFrame:
    """Mean entropy of connectors less that of `OTHERS`, nats, at each place: place, connectors, others (means),
    difference, low, high (95% over problems), units (connectors), problems."""
    lines = []
    for place in PLACES:
        long = tokens.units(at(rollouts, place))
        long = long[long["class"].isin(("connector", *OTHERS))]
        long = long.assign(kind=long["class"].where(long["class"] == "connector", "others"))
        sums = long.groupby(["benchmark", "id", "kind"])["entropy"].agg(["sum", "size"]).unstack(fill_value=0)
        observed, drawn = tokens.multiplicities(long, n_boot)
        difference, low, high = estimate(_difference(observed, sums), _difference(drawn, sums))
        means = long.groupby("kind")["entropy"].mean()
        lines.append(
            {"place": place, "connectors": means["connector"], "others": means["others"],
             "difference": difference, "low": low, "high": high,
             "units": int(sums["size"]["connector"].sum()), "problems": len(sums)}
        )  # fmt: skip
    return pd.DataFrame(lines)


def _difference(times: np.ndarray, sums: pd.DataFrame) -> np.ndarray:
    """Connectors' mean less the others' if problems count so many `times` [..., problems]: [...]."""
    total, count = (
        {kind: times @ sums[of][kind].to_numpy() for kind in ("connector", "others")} for of in ("sum", "size")
    )
    return total["connector"] / count["connector"] - total["others"] / count["others"]
