"""Measurement `words`: rollouts of a real pretrained model with the entropy of every word (claim 4 on real text).

SmolLM2-135M-Instruct, untrained by us, answers grade-school problems written for this project, eight times each.  The
lists have one entry per WORD (`egrc.analysis.word_classes`), and are read as the pocket world's are; the subword tokens
stand beside them.  Sampling is at `TEMPERATURE`; entropies are those of the policy at T=1, always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from egrc.analysis import parts as of
from egrc.analysis.tug import OBJECTIVES, advantages, objectives
from egrc.analysis.word_classes import classify, split, texts, word_entropies
from egrc.atomic import write_parquet
from egrc.evaluation import problems, sampling
from egrc.evaluation.problems import Problem
from egrc.experiments import fingerprint, scales
from egrc.worlds import smol

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCALES = ("smol",)
FILES = (problems.HANDMADE, problems.HANDMADE.with_name("easy.jsonl"))
"""Two- and three-step problems, and easier ones: only a problem that the model solves sometimes but not always teaches
a group-relative objective anything (see `tug_words`)."""
GROUP = 8
"""Rollouts of each problem: a group of the accuracy objective."""
SEED = 0
TEMPERATURE = 0.7
"""Decided before any entropy was looked at: at 1 the model drifts into word salad and solves next to nothing."""
SCORED = 2
"""Rollouts in a scoring pass: logits over 49152 tokens take 0.2 MB a position."""
IN_A_PART = 11
"""Problems; a part takes a few minutes."""
COLUMNS = (
    *("scale", "benchmark", "id", "seed", "sample", "tokenizer", "prompt", "answer", "text", "temperature"),
    *("correct", "truncated", "length", "tokens", "entropies", "entropies_first", "classes", "classes_strict"),
    *("starts", "subwords", "subword_ids", "subword_entropies", "advantage_accuracy", "advantage_compression"),
)
"""`length` in subword tokens, end token included.  Lists by word: `tokens` (with the blanks before them; joined:
`text` and the end token), `entropies` (nats at T=1) and `entropies_first`, `classes`, `classes_strict` (by the strict
list), `starts` (number of its first subword token).  Lists by subword token: `subwords`, `subword_ids`,
`subword_entropies`.  Advantages: under both objectives of `tug`, a group being the problem's rollouts."""


def asked() -> list[Problem]:
    """The problems, in the order of their files."""
    return [p for file in FILES for p in problems.load(file, source=file.stem)]


def parts(scale: str) -> list[str]:
    """'problems-1-11' and so on: runs of problems in their order."""
    n = len(asked())
    return [f"problems-{i + 1}-{min(i + IN_A_PART, n)}" for i in range(0, n, IN_A_PART)]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the weights, of the problems, and of the settings of both objectives."""
    hashes = of.inputs(scale, ["base/seed-0"]) | {"problems": fingerprint.folder_hash(str(problems.HANDMADE.parent))}
    return hashes | {arm: fingerprint.config_hash(scales.config(scale, arm)) for arm in OBJECTIVES}


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """The rollouts of one part; those of a finished problem are kept in `work` and not made again."""
    first, last = map(int, part.split("-")[1:])
    world, chosen = scales.world(scale), asked()[first - 1 : last]
    model, tokenizer = world.policy()
    tables = []
    for done, problem in enumerate(chosen, 1):
        file = work / f"{first + done}.parquet"
        if not file.is_file():
            rows = group(model, tokenizer, problem, world.correct, scales.config(scale, "base").cap)
            write_parquet(file, rows.assign(scale=scale)[list(COLUMNS)])
        tables.append(pd.read_parquet(file))
        say(done, len(chosen))
    return pd.concat(tables, ignore_index=True)


def group(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problem: Problem,
    correct: Callable[[str, str], bool],
    cap: int,
    size: int = GROUP,
) -> pd.DataFrame:
    """One problem's rollouts, without `scale`.  The same seed, machine and versions give the same rows."""
    prompt, rows = tokenizer(smol.prompt(problem.text)).input_ids, []
    rollouts = sampling.sample(model, tokenizer, [prompt] * size, cap, (SEED, problem.id), TEMPERATURE)
    for i in range(0, size, SCORED):
        some = rollouts[i : i + SCORED]
        scores = sampling.score(model, sampling.batch([prompt] * len(some), some, pad=0))
        for ids, nats in zip(some, scores.entropy, strict=True):
            ended, text = ids[-1] == tokenizer.eos_token_id, tokenizer.decode(ids, skip_special_tokens=True)
            right = ended and bool(correct(text, problem.gold[0]))
            facts = {"text": text, "correct": right, "truncated": not ended, "length": len(ids)}
            rows.append(facts | by_word(ids, nats[: len(ids)].numpy(), tokenizer))
    same = {"benchmark": problem.source, "id": problem.id, "prompt": problem.text, "answer": problem.gold[0]}
    same |= {"seed": SEED, "temperature": TEMPERATURE, "tokenizer": sampling.tokenizer_hash(tokenizer)}
    table = pd.DataFrame(rows).assign(**same, sample=range(size))
    facts = (torch.tensor(table[column].to_numpy()) for column in ("correct", "length"))
    weighed = advantages(objectives(SCALES[0]), *facts)
    return table.assign(**{f"advantage_{name}": values.numpy() for name, values in weighed.items()})


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
