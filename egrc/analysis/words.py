"""Measurement `words`: rollouts of a real pretrained model with the entropy of every word (claims 4 to 6 on real text).

The model of scale real, untrained by us, answers `worlds.real.SVAMP` at T = 1, each problem once with every seed.  The
lists have one entry per WORD (`egrc.analysis.word_classes`), and are read as the pocket world's are; the subword tokens
stand beside them.  Both objectives weigh a problem's rollouts, of all seeds, as one group.

The set was chosen by a criterion fixed beforehand: 20 to 80% right, so that both objectives have something to say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from egrc.analysis import parts as of
from egrc.analysis.interventions import decode
from egrc.analysis.word_classes import classify, split, texts, word_entropies
from egrc.atomic import write_parquet
from egrc.evaluation.problems import Problem, load
from egrc.evaluation.sampling import derived_seed, tokenizer_hash
from egrc.experiments import fingerprint, scales
from egrc.worlds.real import SVAMP

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEEDS = (0, 1, 2)
TOGETHER = 100
"""Problems that are answered as one batch."""
COLUMNS = (
    *("scale", "benchmark", "id", "seed", "sample", "tokenizer", "prompt", "answer", "text"),
    *("correct", "truncated", "length", "tokens", "entropies", "entropies_first", "classes", "classes_strict"),
    *("starts", "subwords", "subword_ids", "subword_entropies"),
)
"""`length` in subword tokens, end token included.  Lists by word: `tokens` (with the blanks before them; joined:
`text` and the end token), `entropies` (nats at T=1) and `entropies_first`, `classes`, `classes_strict` (by the strict
list), `starts` (number of its first subword token).  Lists by subword token: `subwords`, `subword_ids`,
`subword_entropies`."""


def parts(scale: str) -> list[str]:
    """One for each seed of sampling."""
    return of.named(["base"], SEEDS)


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the weights and of the problems."""
    return of.inputs(scale, parts(scale)) | {"problems": fingerprint.digest(SVAMP.read_bytes())}


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """The rollouts of one seed; those of a finished batch are kept in `work` and not made again."""
    (_, seed), world, asked, tables = of.split(part), scales.world(scale), load(SVAMP, SVAMP.stem), []
    model, tokenizer = world.policy()
    for start in range(0, len(asked), TOGETHER):
        file = work / f"{start:03d}.parquet"
        if not file.is_file():
            rows = rollouts((model, tokenizer), world, asked[start : start + TOGETHER], seed, start)
            write_parquet(file, rows)
        tables.append(pd.read_parquet(file))
        say(min(start + TOGETHER, len(asked)), len(asked))
    return pd.concat(tables, ignore_index=True)


def rollouts(
    policy: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    world: scales.World,
    asked: Sequence[Problem],
    seed: int,
    number: int,
    cap: int | None = None,
) -> pd.DataFrame:
    """A row for each problem of one batch.  The same seed, number, machine and versions give the same rows."""
    model, tokenizer = policy
    prompts, rows = [world.prompt(problem.text) for problem in asked], []
    cap, start = cap or scales.config(world.name, "base").cap, derived_seed(seed, f"words/{number}", 1.0)
    made = decode(model, tokenizer, prompts, lambda rows, logits: logits, cap, start)
    for problem, (ids, seen) in zip(asked, made, strict=True):
        ended, text = ids[-1] == tokenizer.eos_token_id, tokenizer.decode(ids, skip_special_tokens=True)
        facts = {"benchmark": problem.source, "id": problem.id, "prompt": problem.text, "answer": problem.gold[0]}
        facts |= {"text": text, "truncated": not ended, "length": len(ids)}
        facts["correct"] = ended and bool(world.correct(text, list(problem.gold)))
        rows.append(facts | by_word(ids, seen["entropy"].numpy(), tokenizer))
    same = {"scale": world.name, "seed": seed, "sample": 0, "tokenizer": tokenizer_hash(tokenizer)}
    return pd.DataFrame(rows).assign(**same)[list(COLUMNS)]


def by_word(ids: Sequence[int], nats: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The lists of one rollout's row: words and subword tokens, classes and entropies."""
    pieces, names = texts(ids, tokenizer), tokenizer.convert_ids_to_tokens(ids)
    words = split(pieces)
    total, first = word_entropies(nats, words)
    said = [word.text for word in words]
    return {
        "tokens": [names[word.start] if pieces[word.start] is None else word.text for word in words],
        "entropies": total.astype(np.float32),
        "entropies_first": first.astype(np.float32),
        "classes": classify(said),
        "classes_strict": classify(said, strict=True),
        "starts": np.array([word.start for word in words], np.int32),
        "subwords": [name if piece is None else piece for name, piece in zip(names, pieces, strict=True)],
        "subword_ids": np.array(ids, np.int32),
        "subword_entropies": nats,
    }
