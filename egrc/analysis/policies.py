"""What trained policies do, one row for each sampled completion: length, correctness, entropy by class of token.

Every main arm and the base, all seeds, on the same held-out problems, at temperature 1 and the cap of the scale: what
claims 1 and 2 are judged on.  A second kind of row is the policy's next-token entropy after each of the fixed probe
prefixes, where contexts cannot move.  Such a row has one token; its classes hold the probabilities that this token is
of the class, so rows of both kinds add up in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch.nn.functional import one_hot

from egrc.analysis import parts as of
from egrc.entropy import CLASSES, TokenClasses, token_entropy
from egrc.evaluation import sampling
from egrc.experiments import records, run, scales

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBLEMS, SAMPLES = 40, 8
"""Held-out problems per benchmark, completions of each."""
SCORED = 128
"""Completions in a scoring pass."""
SUMS = ("tokens", "entropy_sum", *(f"n_{c}" for c in CLASSES), *(f"entropy_{c}" for c in CLASSES))
COLUMNS = (
    *("scale", "tokenizer", "arm", "seed", "kind", "benchmark", "id", "sample", "correct", "truncated"),
    *SUMS,
    "text_key",
)
"""`kind`: 'completion' or 'prefix'.  `entropy_sum` and `entropy_<class>`: nats at T=1, sums over tokens.  `n_<class>`:
tokens; in a prefix row probability.  `text_key`: the same for the same completion; '' in prefix rows."""


def parts(scale: str) -> list[str]:
    """The base and the main arms with all seeds, those with the longest completions first."""
    arms, seeds = scales.runs(scale)
    return of.named([arm for arm in ("accuracy", "base", *arms) if arm in arms], seeds)


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, parts(scale))


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One run's rows; see `COLUMNS`.  Raises RecordError if the run is missing."""
    arm, seed = of.split(part)
    world, record = scales.world(scale, seed=seed), records.load(scale, arm, seed)
    model, tokenizer = run.recorded(record)
    classes = world.token_classes(tokenizer)
    asked = [p | {"benchmark": b} for b, ps in world.benchmarks(PROBLEMS).items() for p in ps.to_list()]
    rows = [
        completions(model, tokenizer, asked, world.correct, classes, SAMPLES, record.config.cap, seed, say),
        prefixes(model, tokenizer, world.probe_prefixes(), classes),
    ]
    table = pd.concat(rows, ignore_index=True).assign(arm=arm, seed=seed, scale=scale)
    return table.assign(tokenizer=sampling.tokenizer_hash(tokenizer))[list(COLUMNS)]


def completions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[dict[str, str]],
    correct: Callable[[str, str], bool],
    classes: TokenClasses,
    samples: int,
    cap: int,
    seed: int,
    say: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Rows of `samples` completions of each problem (keys benchmark, id, prompt, answer); a cut one is wrong."""
    asked = [p for p in problems for _ in range(samples)]
    prompts = tokenizer([p["prompt"] for p in asked])["input_ids"]
    sampled = sampling.sample(model, tokenizer, prompts, cap, (seed, "policies"), say=say)
    sums = []
    for i in range(0, len(sampled), SCORED):
        b = sampling.batch(prompts[i : i + SCORED], sampled[i : i + SCORED], tokenizer.pad_token_id)
        member = one_hot(classes.ids, len(CLASSES)).double()[b.tokens] * b.mask.unsqueeze(-1)  # [B, T, classes]
        n, nats = member.sum(1), (sampling.score(model, b).entropy.double().unsqueeze(-1) * member).sum(1)
        sums.append(torch.cat([n.sum(1, keepdim=True), nats.sum(1, keepdim=True), n, nats], dim=1))
    texts = tokenizer.batch_decode(sampled, skip_special_tokens=True)
    rows = [
        {"kind": "completion", "benchmark": p["benchmark"], "id": p["id"], "sample": i % samples,
         "correct": ids[-1] == tokenizer.eos_token_id and bool(correct(text, p["answer"])),
         "truncated": ids[-1] != tokenizer.eos_token_id, "text_key": sampling.short_hash(str(ids))}
        for i, (p, ids, text) in enumerate(zip(asked, sampled, texts, strict=True))
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**dict(zip(SUMS, torch.cat(sums).T.tolist(), strict=True)))


@torch.no_grad()
def prefixes(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], classes: TokenClasses
) -> pd.DataFrame:
    """Rows of the next token after each text.

    Read like completions they give `egrc.entropy.probe_entropy`: the mean of `entropy_sum`, and of a class the sum of
    `entropy_<class>` over that of `n_<class>`.
    """
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False)
    last = model(**inputs).logits[:, -1].double()
    entropy = token_entropy(last).double().unsqueeze(1)
    n = last.softmax(-1) @ one_hot(classes.ids, len(CLASSES)).double()[: last.shape[1]]
    sums = torch.cat([torch.ones_like(entropy), entropy, n, entropy * n], dim=1)
    facts = {"kind": "prefix", "benchmark": "prefix", "sample": 0, "correct": False, "truncated": False, "text_key": ""}
    names = [f"prefix-{i:02}" for i in range(len(texts))]
    return pd.DataFrame(sums.tolist(), columns=list(SUMS)).assign(id=names, **facts)
