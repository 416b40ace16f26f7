"""Why a mean entropy moved: another mix of tokens, or another certainty within each kind.  Pure.

Mean entropy per token is a weighted mean over classes, H = sum_c p_c h_c: p_c the class's share of the tokens, h_c its
mean entropy.  With midpoint weights every change splits exactly, and the same way forwards and backwards [ours]:

    H' - H  =  sum_c (p'_c - p_c) (h_c + h'_c)/2     mix: more, or fewer, tokens of the uncertain kinds
             + sum_c (p_c + p'_c)/2 (h'_c - h_c)     certainty: each kind more, or less, sure

A class that is absent on one side has no mean entropy there; it takes that of the other side, so that its coming or
going is all mix.  Class by class, the mix is told against the mean (H + H')/2 (shares add up to 1, so the sum over
classes stays): a class with more than the mean entropy adds by growing, one with less adds by shrinking.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from egrc.entropy import CLASSES
from egrc.evaluation.intervals import N_BOOT, estimate, resample
from egrc.experiments.records import Record, RecordError
from egrc.paths import shown

WINDOW = 5
"""Steps that are pooled along training: one step's rollouts hold few connectors once chains are short."""


class Change(NamedTuple):
    """A change of mean entropy per token, nats; `total` = sum of `mix` + sum of `certainty` over the classes."""

    total: np.ndarray
    """[...]"""
    mix: np.ndarray
    """[..., classes]"""
    certainty: np.ndarray
    """[..., classes]"""


def decompose(
    counts_before: np.ndarray, sums_before: np.ndarray, counts_after: np.ndarray, sums_after: np.ndarray
) -> Change:
    """Split a change of mean entropy between two sets of tokens.

    Counts (or shares) and sums of entropy in nats are [..., classes].  Raises ValueError for a negative or missing
    number, a side without tokens, or entropy in a class without tokens.
    """
    sides = [_checked(*side) for side in ((counts_before, sums_before), (counts_after, sums_after))]
    (p, h), (q, g) = sides
    h, g = np.where(p > 0, h, g), np.where(q > 0, g, h)
    before, after = (p * h).sum(-1), (q * g).sum(-1)
    level = (before + after)[..., None] / 2
    return Change(after - before, (q - p) * ((h + g) / 2 - level), (p + q) / 2 * (g - h))


def _checked(counts: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares and mean entropies [..., classes]; the mean of an absent class is 0, to be replaced."""
    counts, sums = np.asarray(counts, float), np.asarray(sums, float)
    if not (np.isfinite(counts).all() and np.isfinite(sums).all() and (counts >= 0).all()):
        raise ValueError("counts and sums of entropy must be finite, counts not negative")
    if (counts.sum(-1) == 0).any():
        raise ValueError("a side without tokens has no mean entropy")
    if (sums[counts == 0] != 0).any():
        raise ValueError("entropy in a class without tokens: counts and sums are not of the same tokens")
    return counts / counts.sum(-1, keepdims=True), sums / np.where(counts > 0, counts, 1)


# --- of records and measurements ------------------------------------------------------------------


def along(steps: pd.DataFrame, window: int = WINDOW) -> pd.DataFrame:
    """One run's change of entropy per token since its first `window` steps, split, from its steps.csv.

    Tokens of `window` steps are pooled, centred.  Columns step, total, mix, certainty (nats per token), mix_<class> and
    certainty_<class>.
    """
    tokens = steps["tokens_mean"].to_numpy()[:, None]  # every step has as many rollouts
    counts = tokens * steps[[f"share_{c}" for c in CLASSES]].to_numpy()
    sums = np.where(counts > 0, counts * steps[[f"entropy_{c}" for c in CLASSES]].to_numpy(), 0.0)
    pooled = [pd.DataFrame(x).rolling(window, center=True, min_periods=1).sum().to_numpy() for x in (counts, sums)]
    first = [x[:window].sum(0) for x in (counts, sums)]
    return _table(decompose(*first, *pooled)).assign(step=steps["step"].to_numpy())


def of_run(run: Record, window: int = WINDOW) -> pd.DataFrame:
    """`along` of a recorded run.  Raises RecordError, with file and row, where a column or an entropy is missing."""
    file = shown(run.path / "steps.csv")
    lacking = [c for c in (f"{what}_{c}" for what in ("share", "entropy") for c in CLASSES) if c not in run.steps]
    if lacking:
        raise RecordError(f"{file}: no {', '.join(lacking)}; restore the file or train the run again")
    for c in CLASSES:
        bad = ((run.steps[f"share_{c}"] != 0) & run.steps[f"entropy_{c}"].isna()).to_numpy()
        if bad.any():
            raise RecordError(f"{file}, row {int(bad.argmax()) + 1}: entropy_{c} is empty; train the run again")
    return along(run.steps, window)


def _table(change: Change) -> pd.DataFrame:
    columns = {"total": change.total, "mix": change.mix.sum(-1), "certainty": change.certainty.sum(-1)}
    for name in ("mix", "certainty"):
        columns |= {f"{name}_{c}": getattr(change, name)[..., i] for i, c in enumerate(CLASSES)}
    return pd.DataFrame(columns)


def between(before: pd.DataFrame, after: pd.DataFrame, n_boot: int = N_BOOT) -> pd.DataFrame:
    """The same split between two policies, with 95% intervals: rows of `policies`, one arm and one kind a side.

    Units are problems (or prefixes), resampled within their benchmark and paired; samples and seeds are averaged inside
    a unit, and tokens are pooled over all units.  Columns part ('total', 'mix', 'certainty', 'mix_connector', ...),
    estimate, low, high.  Raises ValueError where the two sides were asked different problems.
    """
    columns = [*(f"n_{c}" for c in CLASSES), *(f"entropy_{c}" for c in CLASSES)]
    a, b = (side.groupby(["benchmark", "id"])[columns].mean().sort_index() for side in (before, after))
    if not a.index.equals(b.index):
        raise ValueError(f"different problems, e.g. {a.index.symmetric_difference(b.index)[0]}: pair the same ones")
    strata = a.index.get_level_values("benchmark")
    sizes = np.bincount(pd.factorize(strata, sort=True)[0])  # strata of different sizes, pooled
    both = resample(np.hstack([a, b]), list(strata), n_boot)
    means = [np.tensordot(sizes / sizes.sum(), m, axes=(0, m.ndim - 2)) for m in both]
    observed, drawn = (_table(decompose(*np.split(np.atleast_2d(m), 4, axis=-1))) for m in means)
    found = {part: estimate(observed[part].iloc[0], drawn[part].to_numpy()) for part in observed}
    table = pd.DataFrame.from_dict(found, orient="index", columns=["estimate", "low", "high"])
    return table.rename_axis("part").reset_index()
