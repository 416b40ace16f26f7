"""How near to its floor a policy is: loss and entropy beside the exact teacher's, token by token.  [ours]

The teacher is a known process (`worlds.pocket.exact`), so the least loss that any model can reach on its traces is
known.
"Know Your Limits" (arXiv 2511.10618) estimates the entropy of each token and trains towards it, not below it; its
formulas we could not read.  Here nothing need be estimated, and one can train below it on purpose.

    along           the base model trained again from scratch; a look at each step of `ALONG`
    beyond/seed-k   the recorded base trained on, in three ways; a look at the steps of `LOOKS`:
                      fixed    on the same few traces, so often that its loss on them falls below their floor
                      limited  on the same traces, but a token pulls only while the policy is less sure there than the
                               teacher is (our reading of "towards it, not below")
                      fresh    on as many traces, each of them new: what training on does by itself
    arms/arm/seed-k the base's and the trained arms' rollouts at T=1, beside the teacher at the same prefixes

Problems are held out; only the fixed traces (rows `fixed`) and what is trained on are of the training half.

A look's rows are sums over tokens by problem and class of token (`traces`: the teacher's; `rollouts`: the policy's own;
`fixed`: by benchmark), or one a sampled answer (`answers`, class 'answer').  Prefixes that the teacher could never have
written have no floor: their tokens are counted as `impossible`, and all that is kept of them is the policy's entropy.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from egrc.analysis import parts as of
from egrc.atomic import write_bytes, write_parquet
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
SCORED = 126
"""Completions in a scoring pass."""
ALONG = (100, 200, 400, 700, 1000, 1500, 2000, 2750, 3500, 4000, 5000, 6000, base.STEPS)
FIXED, RATE = 256, 5e-4
"""Traces in a fixed set; learning rate of training on, the same throughout."""
LOOKS = {"fixed": (0, 16, 32, 64, 128, 256), "limited": (64, 256), "fresh": (64, 256)}

SUMS = ("tokens", "impossible", "slips", "entropy", "off_entropy", "floor", "miss", "loss", "floor_loss", "kl")
COLUMNS = (
    *("scale", "tokenizer", "stage", "name", "seed", "step", "measured", "temperature", "benchmark", "id", "class"),
    *SUMS,
    "correct",
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


def held_out(n: int) -> list[Problem]:
    """The first n problems of each benchmark that evaluation asks."""
    return [p for b in BENCHMARKS for p in islice(problems(b, held_out=True, seed=SEEDS["test"]), n)]


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


def known(traces: Sequence[Trace]) -> list[np.ndarray]:
    """The teacher's distributions [n, V] along each trace; see `exact.score`."""
    return [exact.score(t.problem, t.words) for t in traces]


def padded(tokenizer: Any, traces: Sequence[Trace]) -> sampling.Batch:
    """Traces as one batch of token ids."""
    prompts = tokenizer([t.problem.text for t in traces])["input_ids"]
    return sampling.batch(prompts, [tokenizer.convert_tokens_to_ids(t.words) for t in traces], tokenizer.pad_token_id)


@torch.no_grad()
def compare(model: Any, tokenizer: Any, traces: Sequence[Trace], teachers: Sequence[np.ndarray]) -> pd.DataFrame:
    """Policy and teacher at the same prefixes: a row per problem and class, with `SUMS`.

    `teachers` [n, V] of each trace, n the tokens after prefixes that the teacher could have written.
    """
    kinds = Pocket().token_classes(tokenizer).ids.numpy()
    order = sorted(range(len(traces)), key=lambda i: len(traces[i].words))  # little padding
    found: dict[int, np.ndarray] = {}
    for chunk in (order[i : i + SCORED] for i in range(0, len(order), SCORED)):
        batch = padded(tokenizer, [traces[i] for i in chunk])
        logits = sampling.logits(model, batch)
        entropies, log_q = token_entropy(logits).double().numpy(), logits.double().log_softmax(-1).numpy()
        for row, i in enumerate(chunk):
            ids = batch.tokens[row, : len(traces[i].words)].numpy()
            found[i] = token_sums(ids, kinds, teachers[i], log_q[row], entropies[row])
    keys = [(t.problem.benchmark, t.problem.text, c) for t in traces for c in CLASSES]
    table = pd.DataFrame(keys, columns=["benchmark", "id", "class"])
    table[list(SUMS)] = np.concatenate([found[i] for i in range(len(traces))])
    table = table.groupby(["benchmark", "id", "class"], sort=False, as_index=False).sum()
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
    prompts = tokenizer([p.text for p in asked])["input_ids"]
    cap = scales.config("pocket", "base").cap
    found = sampling.sample(model, tokenizer, prompts, cap, (seed, "floor"), temperature)
    texts = tokenizer.batch_decode(found, skip_special_tokens=True)
    right = [
        int(ids[-1] == tokenizer.eos_token_id and Pocket().correct(text, str(p.answers[0])))
        for ids, text, p in zip(found, texts, asked, strict=True)
    ]
    facts = {"benchmark": [p.benchmark for p in asked], "id": [p.text for p in asked], "class": "answer"}
    rows = pd.DataFrame({**facts, **dict.fromkeys(SUMS, 0.0), "tokens": [len(ids) for ids in found], "correct": right})
    rows = rows.assign(measured="answers", temperature=temperature)
    return rows, [Trace(p, tuple(tokenizer.convert_ids_to_tokens(ids))) for p, ids in zip(asked, found, strict=True)]


class Look:
    """What every look at a model on its way sees: its loss on the teacher's traces, and its answers."""

    def __init__(self, tokenizer: Any, seed: int, n: int = PROBLEMS) -> None:
        self.tokenizer, self.seed, self.asked = tokenizer, seed, held_out(n)
        rng = random.Random("floor")  # the same traces for every part
        self.traces = [t for _ in range(TRACES) for t in teach(self.asked, rng)]
        self.teachers = known(self.traces)

    def at(self, model: Any, **facts: Any) -> pd.DataFrame:
        """Rows of one look; `facts` become columns."""
        model.eval()
        seen = compare(model, self.tokenizer, self.traces, self.teachers).assign(measured="traces")
        asked = [answers(model, self.tokenizer, self.asked, t, self.seed)[0] for t in TEMPERATURES]
        return pd.concat([seen, *asked], ignore_index=True).assign(**facts)


# --- training -------------------------------------------------------------------------------------


class Course:
    """A model in training, by the optimiser of `worlds.pocket.base`; what is needed to go on is kept without pickle."""

    def __init__(self, model: Any) -> None:
        self.model, self.step = model, 0
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=base.PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)

    def descend(self, total: Tensor, rate: float) -> None:
        """One step on a loss that is summed over tokens."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        (total / (base.BATCH * base.TOKENS_PER_TRACE)).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1

    def save(self, file: Path) -> None:
        """Weights, the optimiser's state and the step, as safetensors."""
        from safetensors.torch import save

        tensors = {"step": torch.tensor(self.step)}
        for name, weight in self.model.named_parameters():
            state = self.optimiser.state[weight]
            tensors |= {f"weight/{name}": weight.detach()} | {f"{key}/{name}": state[key] for key in state}
        write_bytes(file, save(tensors))

    def load(self, file: Path) -> None:
        """Go on where `save` was."""
        from safetensors.torch import load_file

        tensors = load_file(file)
        self.step = int(tensors.pop("step"))
        for name, weight in self.model.named_parameters():
            weight.data.copy_(tensors.pop(f"weight/{name}"))
            keys = [key for key in tensors if key.endswith(f"/{name}")]
            self.optimiser.state[weight] = {key.removesuffix(f"/{name}"): tensors[key] for key in keys}


def base_loss(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """The loss of `base.train_base` before its divisor; inputs and labels [B, T]."""
    logits = model(input_ids=inputs, attention_mask=(inputs != 0).long()).logits[:, :-1]
    return cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum")


def base_rate(step: int, steps: int) -> float:
    """The learning rate of `base.train_base` after so many of its steps."""
    return base.PEAK_RATE * (min(1.0, (step + 1) / 100) * max(0.01, 1 - step / steps))


def retrain(
    file: Path, look: Callable[[int, Any], None], say: Say, points: Sequence[int] = ALONG, steps: int = base.STEPS
) -> Any:
    """`base.train_base` once more, to the bit, with a look at the model after each of `points` steps.

    Kept in `file` at each look; goes on from there.  Returns the model.
    """
    torch.manual_seed(0)
    course = Course(base.new_model())
    if file.is_file():
        course.load(file)
    data = islice(base.batches(0, base.build_tokenizer()), course.step, None)
    while course.step < steps:
        course.descend(base_loss(course.model, *next(data)), base_rate(course.step, steps))
        if course.step in points:
            look(course.step, course.model)
            course.save(file)
        say(course.step, steps)
    return course.model


def limited_loss(model: Any, batch: sampling.Batch, floor: Tensor | None = None) -> Tensor:
    """Cross-entropy summed over completion tokens; with the teacher's entropies `floor` [B, T], only over those where
    the policy's own entropy is above it."""
    logits = sampling.logits(model, batch)
    weight = batch.mask.float()
    if floor is not None:
        weight = weight * (token_entropy(logits.detach()) > floor)
    return (cross_entropy(logits.transpose(1, 2), batch.tokens, reduction="none") * weight).sum()


def train_on(
    model: Any,
    tokenizer: Any,
    diet: str,
    fixed: Sequence[Trace],
    rng: random.Random,
    look: Callable[[int, Any], None],
    points: Sequence[int],
) -> None:
    """Train a model on, by one of the diets, with a look after each of `points` steps (0: before the first)."""
    course, waiting = Course(model), list[list[Trace]]()
    while True:
        if course.step in points:
            look(course.step, model)
        if course.step >= max(points):
            return
        if not waiting:
            helping = list(fixed) if diet != "fresh" else training_traces(len(fixed), rng)
            helping.sort(key=lambda t: len(t.words))  # little padding
            waiting = [helping[i : i + base.BATCH] for i in range(0, len(helping), base.BATCH)]
            rng.shuffle(waiting)
        traces = waiting.pop()
        batch = padded(tokenizer, traces)
        floor = floors(traces, batch.tokens.shape[1]) if diet == "limited" else None
        course.descend(limited_loss(model, batch, floor), RATE)


def floors(traces: Sequence[Trace], length: int) -> Tensor:
    """The teacher's entropy before each token of its traces, float32 [B, length], 0 on padding."""
    rows = torch.zeros(len(traces), length)
    for row, trace in zip(rows, traces, strict=True):
        row[: len(trace.words)] = torch.from_numpy(_entropies(trace))
    return rows


@cache
def _entropies(trace: Trace) -> np.ndarray:
    return exact.entropy(exact.score(*trace))


# --- the parts ------------------------------------------------------------------------------------


def parts(scale: str) -> list[str]:
    """The longest first: along, beyond by seed, then every arm and seed."""
    arms, seeds = scales.runs(scale)
    return ["along", *of.named(["beyond"], seeds), *(f"arms/{name}" for name in of.named(arms, seeds))]


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, of.named(*scales.runs(scale)))


def measure(scale: str, part: str, work: Path, say: Say) -> pd.DataFrame:
    """One part's rows; see `COLUMNS`.  Raises RecordError where an arm's run is missing."""
    stage = part.split("/")[0]
    rows = {"along": along, "beyond": beyond, "arms": rollouts}[stage](part, work, say)
    table = rows.assign(scale=scale, stage=stage, tokenizer=sampling.tokenizer_hash(base.build_tokenizer()))
    return table[list(COLUMNS)].astype(dict.fromkeys(SUMS, "float32"))


def along(
    part: str, work: Path, say: Say, points: Sequence[int] = ALONG, steps: int = base.STEPS, n: int = PROBLEMS
) -> pd.DataFrame:
    """The base model on its way: a look at each of `points`."""
    seen = Look(base.build_tokenizer(), 0, n)

    def look(step: int, model: Any) -> None:
        write_parquet(work / f"{step}.parquet", seen.at(model, name="base", seed=0, step=step))

    retrain(work / "course.safetensors", look, say, points, steps)
    return pd.concat([pd.read_parquet(work / f"{step}.parquet") for step in points], ignore_index=True)


def beyond(
    part: str, work: Path, say: Say, looks: dict[str, tuple[int, ...]] = LOOKS, n: int = PROBLEMS, size: int = FIXED
) -> pd.DataFrame:
    """The recorded base trained on by each diet; a diet that is done is not trained again."""
    _, seed = of.split(part)
    seen = Look(base.build_tokenizer(), seed, n)
    fixed = training_traces(size, random.Random(f"fixed/{seed}"))
    for done, (diet, points) in enumerate(looks.items()):
        say(done, len(looks))
        if not (work / f"{diet}.parquet").is_file():
            write_parquet(work / f"{diet}.parquet", on_diet(diet, seen, fixed, points).assign(name=diet, seed=seed))
    return pd.concat([pd.read_parquet(work / f"{diet}.parquet") for diet in looks], ignore_index=True)


def on_diet(diet: str, seen: Look, fixed: Sequence[Trace], points: Sequence[int]) -> pd.DataFrame:
    """The recorded base trained on by one diet: its looks, and its sums on the fixed traces by benchmark."""
    model, tokenizer = Pocket().policy()
    teachers, tables = known(fixed), list[pd.DataFrame]()

    def look(step: int, model: Any) -> None:
        rows = compare(model, tokenizer, fixed, teachers)
        sums = rows.groupby(["benchmark", "class"], sort=False, as_index=False)[list(SUMS)].sum()
        own = sums.assign(measured="fixed", id="", temperature=1.0, correct=0, step=step)
        tables.extend([seen.at(model, step=step), own])

    train_on(model, tokenizer, diet, fixed, random.Random(f"{diet}/{seen.seed}"), look, points)
    return pd.concat(tables, ignore_index=True)


def rollouts(part: str, work: Path, say: Say, n: int = PROBLEMS) -> pd.DataFrame:
    """One run's rollouts at T=1 on held-out problems, beside the teacher."""
    arm, seed = of.split(part.removeprefix("arms/"))
    record = records.load("pocket", arm, seed)
    model, tokenizer = run.policy(record.config, scales.world("pocket"), record.path / "adapter")
    rows, said = answers(model, tokenizer, held_out(n), 1.0, seed)
    say(1, 2)
    sums = compare(model, tokenizer, said, known(said)).assign(measured="rollouts")
    return pd.concat([sums, rows], ignore_index=True).assign(name=arm, seed=seed, step=0)
