"""Measurement `interventions`: what happens when connectors are taken away, or asked for, at decoding.  [ours]

The paper's mechanism [summary]: connectors open new steps, so more of them make longer chains and more entropy.  Here
the same policy answers the same held-out problems at T = 1, and one thing is changed (`CONDITIONS`).  Taking connectors
away costs likelihood, so a change may come from the force alone.  Two controls, fixed in advance:

* `random tokens`: in each completion another random set of token types is forbidden that holds the same share of the
  plain rollouts as all connectors do.  It meets words that the procedure needs, and is the harsher control;
* `random places`: what forbidding the connectors WOULD cost at a place, -log(1 - their mass) nats, is noted, and paid
  at the next place where connectors are not in question: a random set of other tokens of the same cost (within
  `TOLERANCE`) is forbidden there.  What it found to remove is recorded (`cost`).

Neither touches `PROTECTED`, without which no completion can end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from egrc.analysis import parts as of
from egrc.entropy import TokenClasses, logit_gradient_norm, token_entropy
from egrc.evaluation.sampling import derived_seed, tokenizer_hash
from egrc.experiments import run, scales
from egrc.experiments.records import load

if TYPE_CHECKING:
    from datasets import Dataset

Rule = Callable[[Tensor, Tensor], Tensor]
"""As transformers' LogitsProcessor: token ids so far [B, T], logits of the next [B, V] -> those to sample from."""

SCALES = ("pocket",)
PROBLEMS, SAMPLES = 40, 2
"""Held-out problems a benchmark, completions of each."""
PLACE = 0.01
"""Connectors are in question where the policy gives them at least this probability."""
FORCED = 0.5
"""Chance that a connector is forced where one is in question: at 1, a completion could not end."""
TOLERANCE = 1.25
"""Factor by which a set's cost may miss the one it stands for."""
PROTECTED = ("#", "<eos>", "<pad>", "<bos>")

CONDITIONS = (
    *("none", "suppressed", "random tokens", "random places"),
    *("logits -1", "logits +1", "logits +2", "random logits +2", "forced"),
)
"""'suppressed': connectors are forbidden; 'logits': theirs, or those of random types, are changed by an amount;
'forced': a connector at half the places where one is in question."""
FEW = ("none", "suppressed", "random places", "logits +2")
OF_ARM = {"base": CONDITIONS, "accuracy": FEW, "compression": FEW}
"""Conditions of the base, and of two trained arms."""
KEPT = ("prompt", "tokens", "entropies", "classes")
"""Kept of the base's plain completions only, which are a rollout table (`egrc.analysis.tokens`); else empty."""
COLUMNS = (
    *("scale", "tokenizer", "arm", "seed", "condition", "benchmark", "id", "sample", "correct", "truncated", "length"),
    *("connectors", "entropy", "entropy_sampled", "cost", "gradient_square", "disagreement", *KEPT),
)
"""One row a completion.  In nats, summed over its tokens: `entropy` of the policy itself (T = 1), `entropy_sampled` of
the distribution that was sampled, `cost` KL(sampled || policy).  `gradient_square`: |d log q(token) / d logits|^2,
`disagreement`: 1 - sum q^2, both summed; q what was sampled from."""


class Vocabulary(NamedTuple):
    """Tokens and their classes; masks bool [V] of the connectors, and of what a control may forbid."""

    words: list[str]
    classes: list[str]
    connector: Tensor
    free: Tensor


def vocabulary(tokenizer: Any, classes: TokenClasses) -> Vocabulary:
    """What the interventions need to know of the tokens."""
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    connector = classes.ids[: len(words)] == classes.names.index("connector")
    free = ~connector & ~torch.tensor([w in PROTECTED for w in words])
    return Vocabulary(words, [classes.names[i] for i in classes.ids[: len(words)].tolist()], connector, free)


# --- interventions ------------------------------------------------------------------------------------------------


def shift(chosen: Tensor, amount: float) -> Rule:
    """Adds an amount to the logits of chosen tokens ([V], or [B, V] by row); -inf forbids them."""
    return lambda input_ids, scores: torch.where(chosen, scores + amount, scores)


def forced(connector: Tensor, chance: float, rng: torch.Generator) -> Rule:
    """Forbids all but connectors with a chance, where they are in question; the policy still says which."""

    def rule(input_ids: Tensor, scores: Tensor) -> Tensor:
        now = torch.rand(len(scores), generator=rng) < chance
        now &= scores.softmax(-1)[:, connector].sum(-1) >= PLACE
        return scores.masked_fill(now[:, None] & ~connector, -torch.inf)

    return rule


def elsewhere(words: Vocabulary, rows: int, rng: torch.Generator) -> Rule:
    """The control `random places`: what forbidding connectors would cost is paid where none is in question."""
    owed = torch.empty(rows, 0)

    def rule(input_ids: Tensor, scores: Tensor) -> Tensor:
        nonlocal owed
        p = scores.softmax(-1)
        mass = p[:, words.connector].sum(-1)
        order = torch.rand(p.shape, generator=rng).masked_fill(~words.free, 2).argsort(-1)
        offered = cost(torch.where(words.free, p, 0).gather(-1, order).cumsum(-1))  # of the first, first two, ...
        row, last, debt = nearest(offered, owed, mass < PLACE)
        owed[row, debt] = torch.nan  # paid
        owed = torch.cat([owed, torch.where(mass >= PLACE, cost(mass), torch.nan)[:, None]], 1)
        forbidden = torch.zeros_like(p, dtype=torch.bool)
        first = torch.arange(p.shape[1]) <= last[:, None]
        forbidden[row] = torch.zeros_like(first).scatter(-1, order[row], first) & words.free
        return scores.masked_fill(forbidden, -torch.inf)

    return rule


def cost(mass: Tensor) -> Tensor:
    """-log(1 - mass): KL, in nats, of a distribution that lacks so much of its mass from the whole one."""
    return -torch.log1p(-mass.clamp(max=1 - 1e-6))


def nearest(offered: Tensor, owed: Tensor, eligible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each eligible row [B] the offer [B, V] that comes nearest, as a ratio, to any of its debts [B, D] (NaN: none).

    Returns (row, offer, debt), each [matches]; only those within `TOLERANCE`.
    """
    if not owed.shape[1]:
        return (torch.empty(0, dtype=torch.long),) * 3
    miss = (offered.log()[:, :, None] - owed.log()[:, None, :]).abs().nan_to_num(nan=torch.inf)
    least, where = miss.flatten(1).min(-1)
    row = torch.nonzero(eligible & (least <= np.log(TOLERANCE))).flatten()
    return row, where[row] // owed.shape[1], where[row] % owed.shape[1]


def random_types(share: np.ndarray, words: Vocabulary, rows: int, rng: np.random.Generator) -> Tensor:
    """For each row a random set of free token types: in random order, each that still fits into the connectors' share.

    `share` [V]: of all tokens in plain rollouts.  Returns bool [rows, V].
    """
    room, free = share[words.connector.numpy()].sum(), np.flatnonzero(words.free.numpy() & (share > 0))
    chosen = np.zeros((rows, len(share)), bool)
    for row in chosen:
        left = room
        for i in rng.permutation(free):
            if share[i] <= left:
                row[i], left = True, left - share[i]
    return torch.from_numpy(chosen)


def processor(condition: str, words: Vocabulary, share: np.ndarray | None, rows: int, seed: int) -> Rule:
    """The intervention of a name, for a batch of so many rows.  `share`: see `random_types`."""
    if condition == "forced":
        return forced(words.connector, FORCED, torch.Generator().manual_seed(seed))
    if condition == "random places":
        return elsewhere(words, rows, torch.Generator().manual_seed(seed))
    amounts = {"none": 0.0, "suppressed": -torch.inf, "random tokens": -torch.inf}
    amount = amounts[condition] if condition in amounts else float(condition.split()[-1])
    if not condition.startswith("random"):
        return shift(words.connector, amount)
    if share is None:
        raise ValueError(f"{condition!r} needs the shares of token types in plain rollouts: decode 'none' first")
    return shift(random_types(share, words, rows, np.random.default_rng(seed)), amount)


# --- decoding -----------------------------------------------------------------------------------------------------


def decode(
    model: Any, tokenizer: Any, problems: Dataset, rule: Rule, cap: int, seed: int
) -> Iterator[tuple[dict[str, Any], list[int], Tensor, Tensor]]:
    """`SAMPLES` completions of each problem at T = 1, as one batch, under an intervention.

    Yields problem, token ids [T] (end token included), the policy's own logits [T, V] and those sampled from [T, V].
    """
    from transformers import GenerationConfig, LogitsProcessorList

    asked = [p for p in problems.to_list() for _ in range(SAMPLES)]
    inputs = tokenizer([p["prompt"] for p in asked], padding=True, padding_side="left", return_tensors="pt",
                       return_token_type_ids=False)  # fmt: skip
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    settings = GenerationConfig(
        max_new_tokens=cap, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, eos_token_id=eos, pad_token_id=pad,
        suppress_tokens=[pad], return_dict_in_generate=True, output_logits=True, output_scores=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        out = model.generate(**inputs, generation_config=settings, logits_processor=LogitsProcessorList([rule]))
    own, sampled = torch.stack(out.logits, 1), torch.stack(out.scores, 1)
    for i, ids in enumerate(out.sequences[:, inputs["input_ids"].shape[1] :].tolist()):
        n = ids.index(eos) + 1 if eos in ids else len(ids)
        yield asked[i], ids[:n], own[i, :n], sampled[i, :n]


def score(ids: list[int], own: Tensor, sampled: Tensor, words: Vocabulary) -> dict[str, Any]:
    """Sums over one completion, and its tokens' entropies: the numbers of `COLUMNS`."""
    p, q, tokens = own.log_softmax(-1), sampled.log_softmax(-1), torch.tensor(ids)
    entropies = token_entropy(own)
    sums = {
        "entropy": entropies,
        "entropy_sampled": token_entropy(sampled),
        "cost": torch.where(q > -torch.inf, q.exp() * (q - p), 0.0).sum(-1),
        "gradient_square": logit_gradient_norm(sampled, tokens).double().square(),
        "disagreement": 1 - q.exp().square().sum(-1),
    }
    return {
        "length": len(ids),
        "connectors": int(words.connector[tokens].sum()),
        **{name: float(values.double().sum()) for name, values in sums.items()},
        "tokens": [words.words[i] for i in ids],
        "entropies": entropies.numpy(),
        "classes": [words.classes[i] for i in ids],
    }


def completions(
    policy: tuple[Any, Any], world: Any, arm: str, seed: int, condition: str, share: np.ndarray | None
) -> pd.DataFrame:
    """One condition's rows, with everything that is kept, whatever `KEPT` says of it later."""
    model, tokenizer = policy
    words, rows = vocabulary(tokenizer, world.token_classes(tokenizer)), []
    cap = scales.config(world.name, arm, seed).cap
    for benchmark, problems in world.benchmarks(PROBLEMS).items():
        start = derived_seed(seed, f"{benchmark}/{condition}", 1.0)
        rule = processor(condition, words, share, len(problems) * SAMPLES, start)
        for i, (problem, ids, own, sampled) in enumerate(decode(model, tokenizer, problems, rule, cap, start)):
            ended = ids[-1] == tokenizer.eos_token_id
            right = ended and bool(world.correct(tokenizer.decode(ids, skip_special_tokens=True), problem["answer"]))
            place = {"benchmark": benchmark, "id": problem["id"], "sample": i % SAMPLES, "prompt": problem["prompt"]}
            rows.append(place | {"correct": right, "truncated": not ended} | score(ids, own, sampled, words))
    same = {"scale": world.name, "tokenizer": tokenizer_hash(tokenizer), "arm": arm, "seed": seed}
    return pd.DataFrame(rows).assign(**same, condition=condition)[list(COLUMNS)]


# --- the measurement ----------------------------------------------------------------------------------------------


def parts(scale: str) -> list[str]:
    """Arm by arm, each at a scale's first three seeds; the base first, which takes longest."""
    return of.named(OF_ARM, scales.runs(scale)[1][:3])


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, parts(scale))


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """All conditions of one arm and seed.  Raises RecordError without the arm's record."""
    arm, seed = of.split(part)
    world, record = scales.world(scale, seed=seed), load(scale, arm, seed)
    policy, tables, share = run.policy(record.config, world, record.path / "adapter"), [], None
    for done, condition in enumerate(OF_ARM[arm], 1):
        rows = completions(policy, world, arm, seed, condition, share)
        if condition == "none":  # shares of token types among all tokens of plain completions
            counts = pd.Series(np.concatenate(rows["tokens"].to_list())).value_counts(normalize=True)
            share = counts.reindex(policy[1].convert_ids_to_tokens(range(len(policy[1]))), fill_value=0.0).to_numpy()
        tables.append(rows if (arm, condition) == ("base", "none") else rows.assign(**dict.fromkeys(KEPT)))
        say(done, len(OF_ARM[arm]))
    return pd.concat(tables, ignore_index=True)
