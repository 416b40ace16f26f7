"""Measurement `interventions`: what happens when connectors are taken away, or asked for, at decoding.  [ours]

The paper's mechanism [summary]: connectors open new steps, so more of them make longer chains and more entropy.  Here
the same policy answers the same held-out problems at T = 1, and one thing is changed (`CONDITIONS`).  Taking connectors
away costs likelihood, so a change may come from the force alone.  Two controls, fixed in advance:

* `random tokens`: in each completion another random set of token types is forbidden that holds the same share of the
  plain rollouts as all connectors do.  It meets words that the procedure needs, and is the harsher control;
* `random places`: what forbidding the connectors WOULD cost at a place, -log(1 - their mass) nats, is noted, and paid
  at the next place where connectors are not in question: a random set of other tokens of the same cost (within
  `TOLERANCE`) is forbidden there.  What it found to remove is recorded (`cost`).

Neither touches `ANSWER` or special tokens, without which no completion can end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import DynamicCache

from egrc.analysis import parts as of
from egrc.atomic import write_parquet
from egrc.entropy import TokenClasses, token_entropy
from egrc.evaluation.sampling import derived_seed, tokenizer_hash
from egrc.experiments import run, scales
from egrc.experiments.records import load

Rule = Callable[[Tensor, Tensor], Tensor]
"""Numbers of the rows that go on, int64 [B], and their next token's logits [B, V] -> the logits to sample from."""

PROBLEMS, SAMPLES = {"pocket": 40, "real": 60}, {"pocket": 2, "real": 1}
"""Held-out problems a benchmark, and completions of each at every seed."""
PLACE = 0.01
"""Connectors are in question where the policy gives them at least this probability."""
FORCED = 0.5
"""Chance that a connector is forced where one is in question: at 1, a completion could not end."""
TOLERANCE = 1.25
"""Factor by which a set's cost may miss the one it stands for."""
ANSWER = ("#", "boxed")
"""What announces an answer."""

CONDITIONS = (
    *("none", "suppressed", "random tokens", "random places"),
    *("logits -1", "logits +1", "logits +2", "random logits +2", "forced"),
)
"""'suppressed': connectors are forbidden; 'logits': theirs, or those of random types, are changed by an amount;
'forced': a connector at half the places where one is in question."""
FEW = ("none", "suppressed", "random places", "logits +2")
OF_ARM = {
    "pocket": {"base": CONDITIONS, "accuracy": FEW, "compression": FEW},
    "real": {"base": ("none", "suppressed", "random tokens", "forced")},
}
"""By scale, the conditions of the base and of trained arms."""
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
    free = ~connector & ~torch.tensor([w in {*ANSWER, *tokenizer.all_special_tokens} for w in words])
    return Vocabulary(words, [classes.names[i] for i in classes.ids[: len(words)].tolist()], connector, free)


# --- interventions ------------------------------------------------------------------------------------------------


def shift(chosen: Tensor, amount: float) -> Rule:
    """Adds an amount to the logits of chosen tokens ([V], or [rows, V] by row); -inf forbids them."""
    return lambda rows, logits: torch.where(chosen if chosen.ndim == 1 else chosen[rows], logits + amount, logits)


def forced(connector: Tensor, chance: float, rng: torch.Generator) -> Rule:
    """Forbids all but connectors with a chance, where they are in question; the policy still says which."""

    def rule(rows: Tensor, logits: Tensor) -> Tensor:
        now = torch.rand(len(rows), generator=rng) < chance
        now &= logits.softmax(-1)[:, connector].sum(-1) >= PLACE
        return logits.masked_fill(now[:, None] & ~connector, -torch.inf)

    return rule


def elsewhere(words: Vocabulary, batch: int, rng: torch.Generator) -> Rule:
    """The control `random places`: what forbidding connectors would cost is paid where none is in question."""
    owed = torch.empty(batch, 0)

    def rule(rows: Tensor, logits: Tensor) -> Tensor:
        nonlocal owed
        p = logits.softmax(-1)
        mass = p[:, words.connector].sum(-1)
        order = torch.rand(p.shape, generator=rng).masked_fill(~words.free, 2).argsort(-1)
        offered = cost(torch.where(words.free, p, 0).gather(-1, order).cumsum(-1))  # of the first, first two, ...
        row, last, debt = nearest(offered, owed[rows], mass < PLACE)
        owed[rows[row], debt] = torch.nan  # paid
        noted = torch.full((len(owed), 1), torch.nan)
        noted[rows, 0] = torch.where(mass >= PLACE, cost(mass), torch.nan)
        owed = torch.cat([owed, noted], 1)
        forbidden = torch.zeros_like(p, dtype=torch.bool)
        first = torch.arange(p.shape[1]) <= last[:, None]
        forbidden[row] = torch.zeros_like(first).scatter(-1, order[row], first) & words.free
        return logits.masked_fill(forbidden, -torch.inf)

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


class Completion(NamedTuple):
    """Token ids, the end token included, and what `seen` tells of each token: name to float32 [T]."""

    ids: list[int]
    seen: dict[str, Tensor]


@torch.no_grad()
def decode(model: Any, tokenizer: Any, prompts: Sequence[str], rule: Rule, cap: int, seed: int) -> list[Completion]:
    """A completion of each prompt at T = 1, as one batch, under an intervention.

    In place of transformers' `generate`, which keeps all logits of all rows (30 GB at 150,000 words) and samples from
    rows that have ended, too: here a row that has ended leaves the batch, and only sums over the vocabulary are kept.
    """
    asked = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    ids, attention, rng = asked["input_ids"], asked["attention_mask"], torch.Generator().manual_seed(seed)
    cache, rows = DynamicCache(config=model.config), torch.arange(len(prompts))
    steps: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
    while len(rows) and len(steps) < cap:
        places = (attention.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(ids, attention, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1)
        policy = out.logits[:, -1].float()
        policy[:, tokenizer.pad_token_id] = -torch.inf  # a sampled pad would pass for an ended completion
        sampled = rule(rows, policy)
        token = torch.multinomial(sampled.softmax(-1), 1, generator=rng)
        steps.append((rows, token[:, 0], seen(policy, sampled, token[:, 0])))
        on = (token[:, 0] != tokenizer.eos_token_id).nonzero().flatten()
        if len(on) < len(rows):
            cache.reorder_cache(on)
        rows, ids, attention = rows[on], token[on], torch.cat([attention, torch.ones_like(token)], 1)[on]
    of_row, tokens = (torch.cat(column) for column in list(zip(*steps, strict=True))[:2])
    every = {name: torch.cat([values[name] for *_, values in steps]) for name in steps[0][2]}
    each = [of_row == row for row in range(len(prompts))]
    return [Completion(tokens[own].tolist(), {n: v[own] for n, v in every.items()}) for own in each]


def seen(policy: Tensor, sampled: Tensor, token: Tensor) -> dict[str, Tensor]:
    """Of each row's next token, float32 [B], what `COLUMNS` sums; logits [B, V] of the policy and as sampled."""
    p, q, entropies = policy.log_softmax(-1), sampled.log_softmax(-1), token_entropy(policy)
    chance = q.exp()
    agreement = torch.linalg.vecdot(chance, chance)
    return {
        "entropy": entropies,
        "entropy_sampled": entropies if sampled is policy else token_entropy(sampled),
        "cost": torch.where(q > -torch.inf, chance * (q - p), 0.0).sum(-1),
        # the square of `entropy.logit_gradient_norm`
        "gradient_square": (1 - 2 * chance.gather(-1, token[:, None])[:, 0] + agreement).clamp(min=0),
        "disagreement": 1 - agreement,
    }


def completions(
    policy: tuple[Any, Any], world: Any, arm: str, seed: int, condition: str, share: np.ndarray | None
) -> pd.DataFrame:
    """One condition's rows, with everything that is kept, whatever `KEPT` says of it later."""
    model, tokenizer = policy
    words, samples, rows = vocabulary(tokenizer, world.token_classes(tokenizer)), SAMPLES[world.name], []
    cap = scales.config(world.name, arm, seed).cap
    for benchmark, problems in world.benchmarks(PROBLEMS[world.name]).items():
        asked = [problem for problem in problems.to_list() for _ in range(samples)]
        start = derived_seed(seed, f"{benchmark}/{condition}", 1.0)
        rule = processor(condition, words, share, len(asked), start)
        made = decode(model, tokenizer, [problem["prompt"] for problem in asked], rule, cap, start)
        for i, (problem, completion) in enumerate(zip(asked, made, strict=True)):
            ids = completion.ids
            ended = ids[-1] == tokenizer.eos_token_id
            right = ended and bool(world.correct(tokenizer.decode(ids, skip_special_tokens=True), problem["answer"]))
            rows.append({
                **{"benchmark": benchmark, "id": problem["id"], "sample": i % samples, "prompt": problem["prompt"]},
                **{"correct": right, "truncated": not ended, "length": len(ids)},
                "connectors": int(words.connector[ids].sum()),
                **{name: float(values.double().sum()) for name, values in completion.seen.items()},
                **{"tokens": [words.words[i] for i in ids], "classes": [words.classes[i] for i in ids]},
                "entropies": completion.seen["entropy"].numpy(),
            })  # fmt: skip
    same = {"scale": world.name, "tokenizer": tokenizer_hash(tokenizer), "arm": arm, "seed": seed}
    return pd.DataFrame(rows).assign(**same, condition=condition)[list(COLUMNS)]


# --- the measurement ----------------------------------------------------------------------------------------------


def parts(scale: str) -> list[str]:
    """Arm by arm, each at a scale's first three seeds; the base first, which takes longest."""
    return of.named(OF_ARM[scale], scales.runs(scale)[1][:3])


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, parts(scale))


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """All conditions of one arm and seed.  Raises RecordError without the arm's record."""
    arm, seed = of.split(part)
    world, config = scales.world(scale, seed=seed), scales.config(scale, arm, seed)
    adapter = Path() if arm == "base" else load(scale, arm, seed).path / "adapter"
    policy, tables, share = run.policy(config, world, adapter), [], None
    for done, condition in enumerate(OF_ARM[scale][arm], 1):
        file = work / f"{condition}.parquet"
        if not file.is_file():
            write_parquet(file, completions(policy, world, arm, seed, condition, share))
        rows = pd.read_parquet(file)
        if condition == "none":  # shares of token types among all tokens of plain completions
            counts = pd.Series(np.concatenate(rows["tokens"].to_list())).value_counts(normalize=True)
            share = counts.reindex(policy[1].convert_ids_to_tokens(range(len(policy[1]))), fill_value=0.0).to_numpy()
        tables.append(rows if (arm, condition) == ("base", "none") else rows.assign(**dict.fromkeys(KEPT)))
        say(done, len(OF_ARM[scale][arm]))
    return pd.concat(tables, ignore_index=True)
