"""The tug of war on a real model: what the two objectives do to a fresh adapter of SmolLM2, class by class of word.

The rollouts are those that the measurement `words` recorded, with its classes: a subword token is of its word's class.
The gradients are those of `egrc.analysis.tug`, and what reads its rows (`egrc.analysis.gradients`) reads these, too:

    sum_rollouts A_rollout sum_tokens grad log pi(token)         at T=1, of the adapter's parameters

The adapter is the trainer's (LoRA of rank 16 on every linear layer but the head), drawn by `SEED` and not yet trained:
its B matrices are 0, so its A matrices have no gradient at all, and only the B matrices are looked at.  Rollouts that
were sampled at another temperature than 1 are off-policy to that degree.

A problem that was never solved has advantages of 0 under both objectives.  It is left out: it would add nothing to a
gradient, and to the shuffled advantages only problems from which nothing can be learnt.

The connectors' probability mass is that of single TOKENS that spell a connector of one word; those of several words
have no token of their own.  Connectors and their mass are measured by the list as it is cited, and by the strict one.

Parts: the classes, with the push; and random sets of as many tokens as there are connectors, drawn within the problem.
A part keeps each finished problem's gradients in its work folder (about 0.1 GB each, until the part is done).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from egrc.analysis import measure as measurements
from egrc.analysis import tug
from egrc.analysis.word_classes import PENN
from egrc.analysis.word_classes import STRICT as STRICT_LIST
from egrc.atomic import write_bytes
from egrc.entropy import CLASSES, lexical_classes
from egrc.evaluation import sampling
from egrc.experiments import fingerprint, scales
from egrc.scoring import score_tokens
from egrc.worlds import smol

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCALES = ("smol",)
PERMUTATIONS = {"random-0-1": (0, 1), "random-2-3": (2, 3)}
"""Which random sets each part draws."""
SEED = 0
TOGETHER = 2
"""Rollouts in a pass; the graph of one takes about half a gigabyte."""
STRICT = "connector (strict)"
"""Rows of this class hold the strict list's connectors; the other classes are by the cited list."""
LISTS = {"": PENN, "_strict": STRICT_LIST}
"""Whose mass `scores` are about, by the end of the column's name."""
FACTS = ("tokens", "entropy", "logit_gradient", "mass")
COLUMNS = (*tug.COLUMNS, "scores_strict")
"""As in `egrc.analysis.tug`.  `permutation` counts the random sets from 0; those are of connectors only, and have empty
`scores`.  `scores_strict`: the same scores for the mass of the strict list; `mass` is by the cited list."""
Members = dict[tuple[int, str], list[np.ndarray]]
"""Sets of tokens by permutation and class: for each rollout a bool [tokens]."""


def parts(scale: str) -> list[str]:
    """The classes, which take longest, then the random sets."""
    return ["classes", *PERMUTATIONS]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the rollouts, the weights and the adapter's settings.  Raises RecordError without rollouts."""
    measurements.load("words", scale)
    rollouts = hashlib.sha256(measurements.file("words", scale).read_bytes()).hexdigest()[:16]
    settings = fingerprint.config_hash(scales.config(scale, "accuracy", SEED))
    weights = fingerprint.folder_hash(scales.world(scale).policy_path())
    return {"words": rollouts, "base model": weights, "accuracy": settings}


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One part's rows.  Raises RecordError without recorded rollouts, or where no problem was solved."""
    config, world = scales.config(scale, "accuracy", SEED), scales.world(scale)
    model, tokenizer = tug.fresh_adapter(world, config), world.policy()[1]
    solved = problems(measurements.load("words", scale))
    sets = classes if part == "classes" else partial(permuted, permutations=PERMUTATIONS[part])
    rows = take(Look(model, tokenizer), solved, sets, part == "classes", work, say)
    facts = {"scale": scale, "tokenizer": sampling.tokenizer_hash(tokenizer), "arm": "base", "seed": SEED, "step": 0}
    return rows.assign(**facts)[list(COLUMNS)]


def problems(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The recorded rollouts of each problem that was solved at least once, in the order of the table."""
    groups = [rows for _, rows in table.groupby(["benchmark", "id"], sort=False) if rows["correct"].any()]
    if not groups:
        raise measurements.RecordError("words: no rollout is correct, so both objectives' advantages are 0 everywhere")
    return groups


# --- sets of tokens -------------------------------------------------------------------------------


def classes(rollouts: pd.DataFrame, number: int) -> Members:
    """The true classes of the tokens of one problem's rollouts; what has no class in `CLASSES` is 'other'."""
    cited, strict = (_by_token(rollouts, column) for column in ("classes", "classes_strict"))
    named = [np.where(np.isin(c, CLASSES[:-1]), c, CLASSES[-1]) for c in cited]
    return {(-1, name): [c == name for c in named] for name in CLASSES} | {
        (-1, STRICT): [c == "connector" for c in strict]
    }


def permuted(rollouts: pd.DataFrame, number: int, permutations: Sequence[int]) -> Members:
    """Random sets of as many tokens of one problem's rollouts as are connectors; `number` is the problem's."""
    true = classes(rollouts, number)
    cuts = np.cumsum([len(mask) for mask in true[-1, STRICT]])[:-1]
    found: Members = {}
    for k in permutations:
        order = np.random.default_rng([SEED, k, number]).permutation(sum(map(len, true[-1, STRICT])))
        for name in (CLASSES[0], STRICT):
            found[k, name] = np.split(np.concatenate(true[-1, name])[order], cuts)
    return found


def _by_token(rollouts: pd.DataFrame, column: str) -> list[np.ndarray]:
    """Each rollout's word classes, repeated for each subword token."""
    return [
        np.repeat(np.asarray(row[column], object), np.diff([*row["starts"], row["length"]]))
        for row in rollouts.to_dict("records")
    ]


# --- gradients ------------------------------------------------------------------------------------


def take(
    look: Look,
    solved: Sequence[pd.DataFrame],
    sets: Callable[[pd.DataFrame, int], Members],
    push: bool,
    work: Path,
    say: Callable[[int, int], None],
) -> pd.DataFrame:
    """Rows of all problems, set by set; with `push`, the scores, too.  A finished problem stays in `work`."""
    total, uphill = len(solved) * (1 + push), {}
    if push:
        for number, rollouts in enumerate(solved):
            say(number, total)
            mine = _kept(work / f"mass-{number}.safetensors", partial(look.of_mass, rollouts))
            uphill = {end: g + uphill.get(end, 0) for end, g in mine.items()}
        contexts = sum(int(rollouts["length"].sum()) for rollouts in solved)
        uphill = {end: g / contexts for end, g in uphill.items()}
    for number, rollouts in enumerate(solved):
        say(total - len(solved) + number, total)
        _kept(work / f"sets-{number}.safetensors", partial(look.of_sets, rollouts, sets(rollouts, number), uphill))
    say(total, total)
    keys = list(sets(solved[0], 0))
    chosen = {key: [i] for i, key in enumerate(keys)}
    if (-1, CLASSES[0]) in chosen:
        chosen[-1, "all"] = [keys.index((-1, name)) for name in CLASSES]
    return pd.concat([_rows(solved, key, which, work) for key, which in chosen.items()], ignore_index=True)


def _kept(file: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of a file, made first if it is not there."""
    if not file.is_file():
        write_bytes(file, save(make()))
    return load_file(file)


class Look:
    """A policy with an untrained adapter, and the tokens whose probability is the connectors' mass."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.gradients = tug.AdapterGradients(model)
        self.gradients.maps = {name: m for name, m in self.gradients.maps.items() if ".lora_B." in name}
        self.masks = {end: connector_tokens(tokenizer, phrases) for end, phrases in LISTS.items()}

    def passes(self, rollouts: pd.DataFrame) -> Iterator[tuple[slice, sampling.Batch, Tensor]]:
        """A few of one problem's rollouts after the other: which, as a batch, and their logits [B, T, V]."""
        prompt = self.tokenizer(smol.prompt(rollouts["prompt"].iloc[0])).input_ids
        ids = rollouts["subword_ids"].tolist()
        for start in range(0, len(ids), TOGETHER):
            which = slice(start, start + TOGETHER)
            batch = sampling.batch([prompt] * len(ids[which]), ids[which], pad=0)
            yield which, batch, sampling.logits(self.model, batch)

    def of_mass(self, rollouts: pd.DataFrame) -> dict[str, Tensor]:
        """Gradient [parameters] of the sum over the rollouts' contexts of P(connector), by list."""
        found: dict[str, Tensor] = {}
        with self.gradients:
            for _, batch, logits in self.passes(rollouts):
                p = logits.softmax(-1)
                for end, mask in self.masks.items():
                    own = self.gradients.of(p[..., mask].sum(-1) * batch.mask).sum(0)
                    found[f"uphill{end}"] = own + found.get(f"uphill{end}", 0)
        return found

    def of_sets(self, rollouts: pd.DataFrame, members: Members, uphill: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each set: gradients under the objectives [sets, parameters], `scores` [sets, rollouts] for each gradient
        in `uphill`, and sums of `FACTS` [sets, facts]."""
        advantage = {o: torch.tensor(rollouts[f"advantage_{o}"].to_list()) for o in tug.OBJECTIVES}
        found: dict[str, list[Any]] = {name: [0] * len(members) for name in (*tug.OBJECTIVES, "facts")}
        scores = {end: torch.zeros(len(members), len(rollouts)) for end in uphill}
        with self.gradients:
            for which, batch, logits in self.passes(rollouts):
                s = score_tokens(logits, batch.tokens, temperature=1.0)
                mass = logits.detach().softmax(-1)[..., self.masks[""]].sum(-1)
                facts = torch.stack([torch.ones_like(mass), s.entropy, s.gradient, mass]).double()
                for i, masks in enumerate(members.values()):
                    chosen = _padded(masks[which], batch.tokens.shape[1])
                    each = self.gradients.of(s.logp * chosen)
                    found["facts"][i] += (facts * chosen).sum((1, 2))
                    for name, a in advantage.items():
                        found[name][i] += a[which] @ each
                    for end, direction in uphill.items():
                        scores[end][i, which] = each @ direction
        return {name: torch.stack(values) for name, values in found.items()} | {
            end.replace("uphill", "scores"): values for end, values in scores.items()
        }


def connector_tokens(tokenizer: PreTrainedTokenizerBase, phrases: Sequence[str]) -> Tensor:
    """Which tokens of the vocabulary spell a connector of one word: bool [V]."""
    found = lexical_classes(tokenizer, [phrase for phrase in phrases if " " not in phrase])
    return found.ids == found.names.index("connector")


def _padded(masks: Sequence[np.ndarray], length: int) -> Tensor:
    """Bool [rollouts, length], False behind each rollout's end."""
    return torch.stack([torch.from_numpy(np.pad(mask, (0, length - len(mask)))) for mask in masks])


def _rows(solved: Sequence[pd.DataFrame], key: tuple[int, str], which: Sequence[int], work: Path) -> pd.DataFrame:
    """One set's rows, problem by problem: the sum of the sets that are kept under the numbers `which`."""
    lines, gradients = [], []
    for number, rollouts in enumerate(solved):
        with safe_open(work / f"sets-{number}.safetensors", "pt") as file:
            own = {name: sum(file.get_slice(name)[i] for i in which) for name in file.keys()}  # noqa: SIM118
        gradients.append({name: own.pop(name) for name in tug.OBJECTIVES})
        first = rollouts.iloc[0]
        lines.append(
            {
                **{"permutation": key[0], "token_class": key[1], "problem": number},
                **{"benchmark": first["benchmark"], "id": first["id"], "correct": int(rollouts["correct"].sum())},
                **dict(zip(FACTS, own.pop("facts").tolist(), strict=True)),
                **{f"advantage_{o}": rollouts[f"advantage_{o}"].to_numpy(np.float32) for o in tug.OBJECTIVES},
                **{f"scores{end}": own[f"scores{end}"].numpy() if own else np.zeros(0, np.float32) for end in LISTS},
            }
        )
    return pd.DataFrame(lines).astype({"tokens": int}).assign(**tug._grams(gradients))
