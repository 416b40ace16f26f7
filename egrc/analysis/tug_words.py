"""Measurement `tug_words`: what the two objectives do to a fresh adapter of the real model, on its connectors.

The rollouts are those that the measurement `words` recorded, with its classes: a subword token is of its word's class.
The rest is that of `egrc.analysis.tug`, with these differences.  The adapter is not yet trained: its B matrices are 0,
so its A matrices have no gradient, and only B is looked at.  A problem that was never solved has advantages of 0 and is
left out; of the others the first `PROBLEMS` are taken.  A group is a problem's rollouts of both seeds.  The connectors'
mass is that of single TOKENS that spell a connector of one word.  The sets are the connectors, all tokens, and random
ones as large as that of the connectors: of other classes nothing is claimed, and each set takes a backward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from egrc.analysis import measure as measurements
from egrc.analysis import parts as of
from egrc.analysis import tug
from egrc.analysis.word_classes import PENN
from egrc.entropy import CLASSES, lexical_classes
from egrc.evaluation import sampling
from egrc.experiments import fingerprint, scales
from egrc.objective import Objective

PROBLEMS = 30
PERMUTATIONS = {"random-0-2": (0, 1, 2)}
"""Which random sets each part draws."""
SEED = 0
COLUMNS = tug.COLUMNS
"""As in `egrc.analysis.tug`.  `permutation` counts the random sets from 0; those are of connectors only."""


def parts(scale: str) -> list[str]:
    """The true sets, which take longest, then the random ones."""
    return ["true", *PERMUTATIONS]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the rollouts, the weights and the adapter's settings.  Raises RecordError without rollouts."""
    measurements.load("words", scale)
    rollouts = fingerprint.digest(measurements.file("words", scale).read_bytes())
    settings = {arm: fingerprint.config_hash(scales.config(scale, arm, SEED)) for arm in tug.OBJECTIVES}
    return of.inputs(scale, ["base/seed-0"]) | {"words": rollouts} | settings


def measure(scale: str, part: str, work: Path, say: tug.Say) -> pd.DataFrame:
    """One part's rows.  Raises RecordError without recorded rollouts, or where no problem was solved."""
    config, world = scales.config(scale, "accuracy", SEED), scales.world(scale)
    model, tokenizer = tug.fresh_adapter(world, config), world.policy()[1]
    table = problems(measurements.load("words", scale))
    groups = [group(rollouts, tokenizer, world, tug.objectives(scale)) for rollouts in table]
    sets = [true(r) if part == "true" else permuted(r, i, PERMUTATIONS[part]) for i, r in enumerate(table)]
    rows = tug.take(model, groups, sets, connector_tokens(tokenizer), work, say)
    facts = {"scale": scale, "tokenizer": sampling.tokenizer_hash(tokenizer), "arm": "base", "seed": SEED, "step": 0}
    return rows.assign(**facts)[list(COLUMNS)]


def problems(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The recorded rollouts of the first problems that were solved at least once, in the order of the table."""
    solved = [rows for _, rows in table.groupby(["benchmark", "id"], sort=False) if rows["correct"].any()]
    if not solved:
        raise measurements.RecordError("words: no rollout is correct, so both objectives' advantages are 0 everywhere")
    return solved[:PROBLEMS]


def group(
    rollouts: pd.DataFrame,
    tokenizer: tug.PreTrainedTokenizerBase,
    world: scales.World,
    phases: dict[str, Objective],
) -> tug.Group:
    """One problem's recorded rollouts, weighed by both objectives."""
    first, ids = rollouts.iloc[0], rollouts["subword_ids"].tolist()
    prompt = tokenizer(world.prompt(first["prompt"])).input_ids
    facts = (torch.tensor(rollouts[column].to_list()) for column in ("correct", "length"))
    batch = sampling.batch([prompt] * len(ids), ids, pad=0)
    return tug.Group(first["benchmark"], first["id"], batch, tug.advantages(phases, *facts))


def connector_tokens(tokenizer: tug.PreTrainedTokenizerBase, phrases: Iterable[str] = PENN) -> torch.Tensor:
    """Which tokens of the vocabulary spell a connector of one word: bool [V]."""
    found = lexical_classes(tokenizer, [phrase for phrase in phrases if " " not in phrase])
    return found.ids == CLASSES.index("connector")


def true(rollouts: pd.DataFrame) -> tug.Sets:
    """One problem's tokens that are of connectors, and all of them."""
    named = _by_token(rollouts)
    return {(-1, "connector"): torch.from_numpy(named == "connector"), (-1, "all"): torch.from_numpy(named != "")}


def permuted(rollouts: pd.DataFrame, number: int, permutations: Sequence[int]) -> tug.Sets:
    """Random sets of as many of the tokens as are connectors; `number` is the problem's."""
    (_, connectors), (_, mask), sets = *true(rollouts).items(), {}
    for k in permutations:
        order = np.random.default_rng([SEED, k, number]).permutation(int(mask.sum()))
        sets[k, "connector"] = torch.zeros_like(mask)
        sets[k, "connector"][mask] = connectors[mask][torch.from_numpy(order)]
    return sets


def _by_token(rollouts: pd.DataFrame) -> np.ndarray:
    """The class of each token's word, str [rollouts, T]; '' behind a rollout's end."""
    named = np.full((len(rollouts), rollouts["length"].max()), "", object)
    for row, out in zip(rollouts.to_dict("records"), named, strict=True):
        out[: row["length"]] = np.repeat(np.asarray(row["classes"], object), np.diff([*row["starts"], row["length"]]))
    return named
