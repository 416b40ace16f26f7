"""How near to its floor a policy is: loss and entropy beside the exact teacher's, token by token.  [ours]

The teacher is a known process (`worlds.pocket.exact`): the least loss that any model can reach on its traces is known.
"Know Your Limits" (arXiv 2511.10618) estimates each token's entropy and trains towards it, not below it; its formulas
we could not read.  Here nothing need be estimated, and one can train below it on purpose.

    along           the base model trained again from scratch; a look at each step of `ALONG`
    beyond/seed-k   the recorded base trained on by three diets; a look at the steps of `LOOKS`:
                      fixed    the same few traces, so often that its loss on them falls below their floor
                      limited  the same traces, but a token pulls only while the policy is less sure there than the
                               teacher is (our reading of "towards it, not below")
                      fresh    as many traces, each of them new: what training on does by itself
    arms/arm/seed-k the base's and the trained arms' rollouts at T=1, beside the teacher at the same prefixes

Problems are held out; only what is trained on is of the training half.  A look's rows are sums over tokens by problem
and class (`traces`: the teacher's; `rollouts`: the policy's own; `fixed`: by benchmark), or one a sampled answer
(`answers`).  Of prefixes that the teacher could never have written only the policy's entropy is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from egrc.analysis import parts as of
from egrc.entropy import CLASSES, token_entropy
from egrc.evaluation import sampling
from egrc.experiments import records, run, scales
from egrc.worlds.pocket import SEEDS, Pocket, base, exact, teacher
from egrc.worlds.pocket.world import BENCHMARKS, Problem, draw_problem, problems

SCALES = ("pocket",)
PROBLEMS, TRACES = 42, 2
"""Held-out problems per benchmark, and the teacher's traces of each."""
TEMPERATURES = (1.0, 0.6)
"""Of the sampled answers: the one at which entropy is meant, and a cooler one of the evaluation's."""
SCORED = 126  # completions in a scoring pass
ALONG = (100, 200, 400, 700, 1000, 1500, 2000, 2750, 3500, 4000, 5000, 6000, base.STEPS)
FIXED, RATE = 256, 5e-4
"""Traces in a fixed set; learning rate of training on, the same throughout."""
LOOKS = {"fixed": (0, 16, 32, 64, 128, 256), "limited": (64, 256), "fresh": (64, 256)}
SUMS = ("tokens", "impossible", "slips", "entropy", "off_entropy", "floor", "miss", "loss", "floor_loss", "kl")
COLUMNS = (
    *("scale", "tokenizer", "stage", "name", "seed", "step", "measured", "temperature", "benchmark", "id", "class"),
    *(*SUMS, "correct"),
)
"""`name`: 'base', a diet, or an arm.  Of `SUMS`, all in nats but the first three: `tokens` after prefixes that the
teacher could have written, and `impossible` after others; `slips`, tokens that it could not have said after a prefix
that it could have written; `entropy` of the policy at T=1 and `floor`, the teacher's, at the same prefixes
(`off_entropy`: the policy's at impossible ones); `miss`, |entropy - floor|; `loss`, the tokens' -log p by the policy,
and `floor_loss` by the teacher (slips left out); `kl` from the teacher to the policy.  `temperature` is that of
sampling.  An answer's row has its length as `tokens` and no other sum; `correct` is 0 in all other rows."""
Say = Callable[[int, int], None]


class Trace(NamedTuple):
    """A problem, and a completion of it in words."""

    problem: Problem
    words: tuple[str, ...]


# --- what is measured -----------------------------------------------------------------------------


def teach(asked: Sequence[Problem], rng: random.Random) -> list[Trace]:
    """One trace of the teacher for each problem."""
    return [Trace(p, tuple(teacher.trace(p, rng))) for p in asked]


def training_traces(n: int, rng: random.Random) -> list[Trace]:
    """Traces of the teacher on n training problems, all benchmarks equally often."""
    drawn: list[Problem] = []
    while len(drawn) < n:
        problem = draw_problem(BENCHMARKS[len(drawn) % len(BENCHMARKS)], rng)
        if not problem.held_out:
            drawn.append(problem)
    return teach(drawn, rng)


@cache
def held_out(n: int) -> tuple[list[Problem], list[Trace]]:
    """The first n problems of each benchmark that evaluation asks; traces of the teacher, the same for every part."""
    asked = [p for b in BENCHMARKS for p in islice(problems(b, held_out=True, seed=SEEDS["test"]), n)]
    rng = random.Random("floor")
    return asked, [t for _ in range(TRACES) for t in teach(asked, rng)]


@cache
def known(trace: Trace) -> np.ndarray:
    """The teacher's distributions [n, V] along a trace, n the tokens after prefixes that it could have written."""
    return exact.score(*trace)


def padded(tokenizer: Any, traces: Sequence[Trace]) -> sampling.Batch:
    """Traces as one batch of token ids."""
    prompts = tokenizer([t.problem.text for t in traces])["input_ids"]
    return sampling.batch(prompts, [tokenizer.convert_tokens_to_ids(t.words) for t in traces], tokenizer.pad_token_id)


@torch.no_grad()
def compare(model: Any, tokenizer: Any, traces: Sequence[Trace]) -> pd.DataFrame:
    """Policy and teacher at the same prefixes: a row per problem and class, with `SUMS`."""
    kinds = Pocket().token_classes(tokenizer).ids.numpy()
    order = sorted(traces, key=lambda t: len(t.words))  # little padding
    tables = []
    for chunk in (order[i : i + SCORED] for i in range(0, len(order), SCORED)):
        batch = padded(tokenizer, chunk)
        logits = sampling.logits(model, batch)
        entropies, log_q = token_entropy(logits).double().numpy(), logits.double().log_softmax(-1).numpy()
        for row, t in enumerate(chunk):
            sums = token_sums(batch.tokens[row, : len(t.words)].numpy(), kinds, known(t), log_q[row], entropies[row])
            keys = {"benchmark": t.problem.benchmark, "id": t.problem.text, "class": CLASSES}
            tables.append(pd.DataFrame(sums, columns=list(SUMS)).assign(**keys))
    table = pd.concat(tables).groupby(["benchmark", "id", "class"], as_index=False).sum()
    return table.assign(temperature=1.0, correct=0)


def token_sums(ids: np.ndarray, kinds: np.ndarray, p: np.ndarray, log_q: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """`SUMS` of one completion by class: float64 [classes, sums].

    ids [T] tokens, kinds [V] their class numbers, p [n, V] the teacher, log_q [>=T, V] and entropy [>=T] the policy.
    """
    n = len(p)
    at, floor = np.arange(n), exact.entropy(p)
    said = p[at, ids[:n]]
    values = np.zeros((len(ids), len(SUMS)))
    values[:n] = np.column_stack([  # in the order of SUMS
        np.ones(n), np.zeros(n), said == 0, entropy[:n], np.zeros(n), floor, np.abs(entropy[:n] - floor),
        -log_q[at, ids[:n]], -np.log(np.where(said > 0, said, 1.0)), -floor - (p * log_q[:n]).sum(-1),
    ])  # fmt: skip
    values[n:, SUMS.index("impossible")] = 1
    values[n:, SUMS.index("off_entropy")] = entropy[n : len(ids)]
    return np.eye(len(CLASSES))[kinds[ids]].T @ values


def answers(
    model: Any, tokenizer: Any, asked: Sequence[Problem], temperature: float, seed: int
) -> tuple[pd.DataFrame, list[Trace]]:
    """One sampled answer to each problem: rows, and the completions in words."""
    prompts, cap = tokenizer([p.text for p in asked])["input_ids"], scales.config("pocket", "base").cap
    completions = sampling.sample(model, tokenizer, prompts, cap, (seed, "floor"), temperature)
    texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
    rows, traces = [], []
    for p, ids, text in zip(asked, completions, texts, strict=True):
        right = ids[-1] == tokenizer.eos_token_id and Pocket().correct(text, str(p.answers[0]))
        rows.append({"benchmark": p.benchmark, "id": p.text, "tokens": len(ids), "correct": int(right)})
        traces.append(Trace(p, tuple(tokenizer.convert_ids_to_tokens(ids))))
    facts = {"class": "answer", "measured": "answers", "temperature": temperature}
    return pd.DataFrame(rows).assign(**facts, **dict.fromkeys(SUMS[1:], 0.0)), traces


def look(model: Any, tokenizer: Any, seed: int, n: int) -> pd.DataFrame:
    """What every look at a model on its way sees: its loss on the teacher's traces, and its answers."""
    model.eval()
    asked, traces = held_out(n)
    tables = [answers(model, tokenizer, asked, t, seed)[0] for t in TEMPERATURES]
    tables.append(compare(model, tokenizer, traces).assign(measured="traces"))
    return pd.concat(tables, ignore_index=True)


# --- training on ----------------------------------------------------------------------------------


def limited_loss(model: Any, batch: sampling.Batch, floor: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over completion tokens; with the teacher's entropies `floor` [B, T], only over those where
    the policy's own entropy is above it."""
    logits = sampling.logits(model, batch)
    weight = batch.mask.float()
    if floor is not None:
        weight = weight * (token_entropy(logits.detach()) > floor)
    return (cross_entropy(logits.transpose(1, 2), batch.tokens, reduction="none") * weight).sum()


def floors(traces: Sequence[Trace]) -> Tensor:
    """The teacher's entropy before each token of its traces, float32 [B, T], 0 on padding."""
    return pad_sequence([torch.from_numpy(exact.entropy(known(t))).float() for t in traces], batch_first=True)


def train_on(
    model: Any, tokenizer: Any, diet: str, fixed: Sequence[Trace], rng: random.Random, points: Sequence[int]
) -> Iterator[int]:
    """Train a model on, by one of the diets; stops to be looked at after each of `points` steps, and yields it."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    waiting: list[list[Trace]] = []
    for step in range(max(points) + 1):
        if step in points:
            yield step
        if step == max(points):
            return
        if not waiting:
            helping = training_traces(len(fixed), rng) if diet == "fresh" else list(fixed)
            helping.sort(key=lambda t: len(t.words))  # little padding
            waiting = [helping[i : i + base.BATCH] for i in range(0, len(helping), base.BATCH)]
            rng.shuffle(waiting)
        traces = waiting.pop()
        total = limited_loss(model, padded(tokenizer, traces), floors(traces) if diet == "limited" else None)
        optimiser.zero_grad()
        (total / (base.BATCH * base.TOKENS_PER_TRACE)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


# --- the parts ------------------------------------------------------------------------------------


def parts(scale: str) -> list[str]:
    """The longest first: along, beyond by seed, then every arm and seed."""
    arms, seeds = scales.runs(scale)
    return ["along", *of.named(["beyond"], seeds), *(f"arms/{name}" for name in of.named(arms, seeds))]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, of.named(*scales.runs(scale)))


def measure(scale: str, part: str, work: Path, say: Say, n: int = PROBLEMS) -> pd.DataFrame:
    """One part's rows, n problems a benchmark; see `COLUMNS`.  Raises RecordError where an arm's run is missing."""
    stage = part.split("/")[0]
    rows = {"along": along, "beyond": beyond, "arms": rollouts}[stage](part, work, say, n)
    table = rows.assign(scale=scale, stage=stage, tokenizer=sampling.tokenizer_hash(base.build_tokenizer()))
    return table[list(COLUMNS)].astype(dict.fromkeys(SUMS, "float32"))


def along(part: str, work: Path, say: Say, n: int) -> pd.DataFrame:
    """The base model on its way: its training once more, to the bit, with a look at each of `ALONG`."""
    tables, tokenizer = list[pd.DataFrame](), base.build_tokenizer()

    def see(step: int, model: Any) -> None:
        if step in ALONG:
            tables.append(look(model, tokenizer, 0, n).assign(name="base", seed=0, step=step))
        say(step, base.STEPS)

    base.train_base(work / "base", steps=base.STEPS, look=see)
    return pd.concat(tables, ignore_index=True)


def beyond(part: str, work: Path, say: Say, n: int) -> pd.DataFrame:
    """The recorded base trained on by each diet: its looks, and its sums on the fixed traces by benchmark."""
    seed, tables = of.split(part)[1], list[pd.DataFrame]()
    fixed = training_traces(FIXED, random.Random(f"fixed/{seed}"))
    for done, (diet, points) in enumerate(LOOKS.items()):
        say(done, len(LOOKS))
        model, tokenizer = Pocket().policy()
        for step in train_on(model, tokenizer, diet, fixed, random.Random(f"{diet}/{seed}"), points):
            facts = {"name": diet, "seed": seed, "step": step}
            sums = compare(model, tokenizer, fixed).groupby(["benchmark", "class"], as_index=False)[list(SUMS)].sum()
            tables.append(look(model, tokenizer, seed, n).assign(**facts))
            tables.append(sums.assign(measured="fixed", id="", temperature=1.0, correct=0, **facts))
    return pd.concat(tables, ignore_index=True)


def rollouts(part: str, work: Path, say: Say, n: int) -> pd.DataFrame:
    """One run's rollouts at T=1 on held-out problems, beside the teacher."""
    arm, seed = of.split(part.removeprefix("arms/"))
    record = records.load("pocket", arm, seed)
    model, tokenizer = run.policy(record.config, scales.world("pocket"), record.path / "adapter")
    rows, completions = answers(model, tokenizer, held_out(n)[0], 1.0, seed)
    say(1, 2)
    sums = compare(model, tokenizer, completions).assign(measured="rollouts")
    return pd.concat([sums, rows], ignore_index=True).assign(name=arm, seed=seed, step=0)
