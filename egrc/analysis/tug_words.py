"""Measurement `tug_words`: what the two objectives do to a fresh adapter of SmolLM2, class by class of word.

The rollouts are those that the measurement `words` recorded, with its classes: a subword token is of its word's class.
The rest is that of `egrc.analysis.tug`, with these differences.  The adapter is not yet trained: its B matrices are 0,
so its A matrices have no gradient, and only B is looked at.  Rollouts were sampled at `words.TEMPERATURE`, so they are
off-policy to that degree.  A problem that was never solved has advantages of 0 and is left out.  The connectors' mass
is that of single TOKENS that spell a connector of one word.  Random sets have as many tokens as there are connectors.
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
from egrc.worlds import smol

SCALES = ("smol",)
PERMUTATIONS = {"random-0-1": (0, 1), "random-2-3": (2, 3)}
"""Which random sets each part draws."""
SEED = 0
STRICT = "connector (strict)"
"""Rows of this class hold the strict list's connectors; the other classes are by the cited list."""
COLUMNS = tug.COLUMNS
"""As in `egrc.analysis.tug`.  `permutation` counts the random sets from 0; those are of connectors only."""


def parts(scale: str) -> list[str]:
    """The classes, which take longest, then the random sets."""
    return ["classes", *PERMUTATIONS]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the rollouts, the weights and the adapter's settings.  Raises RecordError without rollouts."""
    measurements.load("words", scale)
    rollouts = fingerprint.digest(measurements.file("words", scale).read_bytes())
    settings = fingerprint.config_hash(scales.config(scale, "accuracy", SEED))
    return of.inputs(scale, ["base/seed-0"]) | {"words": rollouts, "accuracy": settings}


def measure(scale: str, part: str, work: Path, say: tug.Say) -> pd.DataFrame:
    """One part's rows.  Raises RecordError without recorded rollouts, or where no problem was solved."""
    config, world = scales.config(scale, "accuracy", SEED), scales.world(scale)
    model, tokenizer = tug.fresh_adapter(world, config), world.policy()[1]
    table = problems(measurements.load("words", scale))
    groups = [group(rollouts, tokenizer) for rollouts in table]
    sets = [classes(r) if part == "classes" else permuted(r, i, PERMUTATIONS[part]) for i, r in enumerate(table)]
    rows = tug.take(model, groups, sets, connector_tokens(tokenizer), work, say)
    facts = {"scale": scale, "tokenizer": sampling.tokenizer_hash(tokenizer), "arm": "base", "seed": SEED, "step": 0}
    return rows.assign(**facts)[list(COLUMNS)]


def problems(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The recorded rollouts of each problem that was solved at least once, in the order of the table."""
    solved = [rows for _, rows in table.groupby(["benchmark", "id"], sort=False) if rows["correct"].any()]
    if not solved:
        raise measurements.RecordError("words: no rollout is correct, so both objectives' advantages are 0 everywhere")
    return solved


def group(rollouts: pd.DataFrame, tokenizer: tug.PreTrainedTokenizerBase) -> tug.Group:
    """One problem's recorded rollouts."""
    first, ids = rollouts.iloc[0], rollouts["subword_ids"].tolist()
    prompt = tokenizer(smol.prompt(first["prompt"])).input_ids
    advantage = {o: torch.tensor(rollouts[f"advantage_{o}"].to_list()) for o in tug.OBJECTIVES}
    return tug.Group(first["benchmark"], first["id"], sampling.batch([prompt] * len(ids), ids, pad=0), advantage)


def connector_tokens(tokenizer: tug.PreTrainedTokenizerBase, phrases: Iterable[str] = PENN) -> torch.Tensor:
    """Which tokens of the vocabulary spell a connector of one word: bool [V]."""
    found = lexical_classes(tokenizer, [phrase for phrase in phrases if " " not in phrase])
    return found.ids == CLASSES.index("connector")


def classes(rollouts: pd.DataFrame) -> tug.Sets:
    """One problem's tokens by their words' classes; what has no class in `CLASSES` is 'other'."""
    cited, strict = (_by_token(rollouts, column) for column in ("classes", "classes_strict"))
    masks = {name: cited == name for name in CLASSES[:-1]}
    masks["other"] = (cited != "") & ~np.any(list(masks.values()), axis=0)
    masks |= {STRICT: strict == "connector", "all": cited != ""}
    return {(-1, name): torch.from_numpy(mask) for name, mask in masks.items()}


def permuted(rollouts: pd.DataFrame, number: int, permutations: Sequence[int]) -> tug.Sets:
    """Random sets of as many of the tokens as are connectors; `number` is the problem's."""
    true, sets = classes(rollouts), {}
    mask = true[-1, "all"]
    for k in permutations:
        order = np.random.default_rng([SEED, k, number]).permutation(int(mask.sum()))
        for name in ("connector", STRICT):
            sets[k, name] = torch.zeros_like(mask)
            sets[k, name][mask] = true[-1, name][mask][torch.from_numpy(order)]
    return sets


def _by_token(rollouts: pd.DataFrame, column: str) -> np.ndarray:
    """The class of each token's word, str [rollouts, T]; '' behind a rollout's end."""
    found = np.full((len(rollouts), rollouts["length"].max()), "", object)
    for row, out in zip(rollouts.to_dict("records"), found, strict=True):
        out[: row["length"]] = np.repeat(np.asarray(row[column], object), np.diff([*row["starts"], row["length"]]))
    return found
