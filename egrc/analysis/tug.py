"""Measurement `tug`: what two objectives do to the adapter, class by class of token, on the same rollouts.

    A  the accuracy objective: group-relative advantage of correctness under the cap (the arm `accuracy`)
    C  the compression objective: positive-only absolute advantage of the exponentially shaped reward (`compression`)

The policy answers fixed training problems, a group of rollouts each, at T=1, on-policy.  An objective's gradient,
sum_rollouts A_rollout sum_tokens grad log pi(token),  is taken with respect to the adapter and restricted to sets of
tokens: the classes, and random sets of the same sizes (the labels permuted among the tokens of a problem).

The push on the connectors: M is the mean over the contexts of P(connector | context), and  s_t = <grad log pi_t,
grad M>  its first-order change when token t is followed; an objective pushes by the sum of A s_t.  C never pushes a
sampled token down, yet it can penalise: raising one token lowers the others, and shorter rollouts have larger
advantages.  So the sign of an advantage says nothing; what counts is the push less that of shuffled advantages.

Not measured: Adam's step, which rescales all this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from egrc.analysis import parts as of
from egrc.config import Config
from egrc.entropy import CLASSES, TokenClasses
from egrc.evaluation import sampling
from egrc.experiments import run, scales
from egrc.objective import Objective, Rollouts

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Say = Callable[[int, int], None]
Sets = dict[tuple[int, str], Tensor]
"""Sets of one problem's tokens, by permutation (-1: none) and class: bool [rollouts, T]."""

OBJECTIVES = ("accuracy", "compression")
"""The first phase of the arm of that name is the objective."""
PROBLEMS, PERMUTATIONS = 48, 12
"""Problems asked (a multiple of the benchmarks), and permutations of the classes."""
PROBLEM_SEED = 1000
"""Of the training problems that are asked; no run is trained in this order."""
LOGITS = 2**25
"""In a pass: the graph of a rollout of a real model takes about half a gigabyte."""
COLUMNS = (
    *("scale", "tokenizer", "arm", "seed", "step", "permutation", "token_class", "problem", "benchmark", "id"),
    *("tokens", "scores", *(f"advantage_{o}" for o in OBJECTIVES), *(f"gram_{o}" for o in (*OBJECTIVES, "cross"))),
)
"""A row is a set of tokens in one problem's rollouts: of a class (`permutation` -1), of a permuted class (from 0), or
'all'.  Lists, one entry a rollout: both advantages; `scores`, the sum of s_t over its tokens in the set.  Lists, one
entry for each problem up to this one: inner products of the problems' gradients under A, under C, and (symmetrised)
under A and C."""


def parts(scale: str) -> list[str]:
    """The policy from which training starts, three times: a scale's first seeds."""
    return of.named(["base"], scales.runs(scale)[1][:3])


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the models."""
    return of.inputs(scale, parts(scale))


def measure(scale: str, part: str, work: Path, say: Say) -> pd.DataFrame:
    """One part's rows; see `COLUMNS`."""
    arm, seed = of.split(part)
    config, world = scales.config(scale, arm, seed), scales.world(scale, seed=seed)
    return look(fresh_adapter(world, config), world, config, work, say)


def fresh_adapter(world: scales.World, config: Config) -> PreTrainedModel:
    """The base policy with an adapter that does nothing yet, drawn by the run's seed."""
    from peft import get_peft_model

    torch.manual_seed(config.seed)
    return get_peft_model(world.policy()[0], run.lora(config, world)).eval()


class Group(NamedTuple):
    """The rollouts of one problem, and their advantages under each objective, [rollouts]."""

    benchmark: str
    id: str
    rollouts: sampling.Batch
    advantage: dict[str, Tensor]


def look(model: PreTrainedModel, world: scales.World, config: Config, work: Path, say: Say) -> pd.DataFrame:
    """Everything that is seen of one policy (a peft model in eval mode): sample, freeze, take gradients."""
    tokenizer = world.policy()[1]
    problems = world.train_problems(PROBLEM_SEED).select(range(PROBLEMS)).to_list()
    seed, phases = (config.seed, "tug"), objectives(config.scale)
    groups = freeze(model, tokenizer, problems, world.correct, phases, config.group_size, config.cap, seed)
    classes = world.token_classes(tokenizer)
    connectors = classes.ids == CLASSES.index("connector")
    rows = take(model, groups, by_class(groups, classes, PERMUTATIONS, config.seed), connectors, work, say)
    facts = {"scale": config.scale, "arm": config.arm, "seed": config.seed, "step": 0}
    return rows.assign(**facts, tokenizer=sampling.tokenizer_hash(tokenizer))[list(COLUMNS)]


def objectives(scale: str) -> dict[str, Objective]:
    """The two objectives with a scale's settings, by name."""
    return {name: scales.config(scale, name).recipe.phases[0] for name in OBJECTIVES}


def advantages(phases: dict[str, Objective], correct: Tensor, length: Tensor) -> dict[str, Tensor]:
    """Of ONE group's rollouts under each objective, float32 [rollouts]; a cut rollout is not `correct`."""
    group = Rollouts(correct, length, len(length))
    return {name: phase.advantages(group, phase.rewards(group)) for name, phase in phases.items()}


def freeze(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[dict[str, Any]],
    correct: Callable[[str, str], bool],
    phases: dict[str, Objective],
    size: int,
    cap: int,
    seed: tuple[int, str],
) -> list[Group]:
    """Sample `size` rollouts of each problem (keys benchmark, id, prompt, answer) at T=1; weigh by each objective."""
    prompts = [p for p in tokenizer([p["prompt"] for p in problems])["input_ids"] for _ in range(size)]
    completions, groups = sampling.sample(model, tokenizer, prompts, cap, seed), []
    for i, problem in enumerate(problems):
        mine = slice(i * size, (i + 1) * size)
        texts = tokenizer.batch_decode(completions[mine], skip_special_tokens=True)
        ended = torch.tensor([ids[-1] == tokenizer.eos_token_id for ids in completions[mine]])
        right = torch.tensor([bool(correct(text, problem["answer"])) for text in texts]) & ended
        weighed = advantages(phases, right, torch.tensor([len(ids) for ids in completions[mine]]))
        rollouts = sampling.batch(prompts[mine], completions[mine], tokenizer.pad_token_id)
        groups.append(Group(problem["benchmark"], problem["id"], rollouts, weighed))
    return groups


def by_class(groups: Sequence[Group], classes: TokenClasses, permutations: int, seed: int) -> list[Sets]:
    """Each group's tokens by their class and all of them, then by their class as each permutation has it."""
    drawn, every = [np.random.default_rng([seed, k + 1]) for k in range(permutations)], []
    for group in groups:
        mask, sets = group.rollouts.mask, {(-1, "all"): group.rollouts.mask}
        for k, rng in enumerate([None, *drawn], -1):
            labels = classes.ids[group.rollouts.tokens]
            if rng:
                labels[mask] = labels[mask][torch.from_numpy(rng.permutation(int(mask.sum())))]
            sets |= {(k, name): (labels == i) & mask for i, name in enumerate(CLASSES)}
        every.append(sets)
    return every


@contextmanager
def adapter_gradients(model: PreTrainedModel) -> Iterator[tuple[Callable[[Tensor], Tensor], int]]:
    """Gives a function: values [B, ...] of the last forward pass -> gradient of each row's sum [B, LoRA parameters];
    and how many parameters these are.

    An adapter is made of linear maps y = W x, so a rollout's gradient of W is the sum over its positions of
    (dl/dy) x^T; hooks keep x and y.  Left out is an A matrix whose B is still 0: it has no gradient.  Raises ValueError
    for a policy without an adapter.
    """
    modules = dict(model.named_modules())
    trained = {name for name, m in modules.items() if ".lora_B." in name and m.weight.any()}
    maps = [m for name, m in modules.items() if ".lora_B." in name or name.replace("lora_A", "lora_B") in trained]
    if not maps:
        raise ValueError("the policy has no LoRA adapter: pass a peft model whose adapter is not merged")
    seen: dict[torch.nn.Module, tuple[Tensor, Tensor]] = {}

    def gradients(values: Tensor) -> Tensor:
        backward = torch.autograd.grad(values.sum(), [y for _, y in seen.values()], retain_graph=True)
        pairs = zip(backward, (x for x, _ in seen.values()), strict=True)
        return torch.cat([torch.einsum("bto,bti->boi", g, x).flatten(1) for g, x in pairs], dim=1)

    hooks = [m.register_forward_hook(lambda m, x, y: seen.update({m: (x[0].detach(), y)})) for m in maps]
    try:
        yield gradients, sum(m.weight.numel() for m in maps)
    finally:
        for hook in hooks:
            hook.remove()


def take(
    model: PreTrainedModel,
    groups: Sequence[Group],
    sets: Sequence[Sets],
    connectors: Tensor | None,
    work: Path,
    say: Say,
) -> pd.DataFrame:
    """Rows of all groups, set by set.  `connectors`: bool [V]; without them the scores are 0.  Does not touch the
    parameters' .grad.

    Gradients stand in a file in `work` meanwhile: of a real model they are more than memory holds.
    """
    with adapter_gradients(model) as (gradients, size):
        uphill = torch.zeros(size)  # grad M
        if any(permutation < 0 for permutation, _ in sets[0]):
            passes = (some for group in groups for _, *some in _passes(model, group, len(connectors)))
            uphill += sum(gradients(_mass(logits, connectors) * b.mask).sum(0) for b, logits in passes)
            uphill /= sum(int(group.rollouts.mask.sum()) for group in groups)
        store = np.memmap(work / "gradients", np.float32, "w+", shape=(len(sets[0]), 2, len(groups), size))
        scores = np.zeros((len(sets[0]), len(groups), max(len(group.rollouts.tokens) for group in groups)), np.float32)
        for n, group in enumerate(groups):
            weights = torch.stack([group.advantage[o] for o in OBJECTIVES])
            for which, b, logits in _passes(model, group, len(connectors)):
                logp = logits.log_softmax(-1).gather(-1, b.tokens.unsqueeze(-1)).squeeze(-1)
                for i, mask in enumerate(sets[n].values()):
                    each = gradients(logp * mask[which, : logp.shape[1]])
                    store[i, :, n] += (weights[:, which].to(each) @ each).numpy()
                    scores[i, n, which] = (each.double() @ uphill.double()).numpy()
            say(n + 1, len(groups))
    frames = []
    for i, (permutation, name) in enumerate(sets[0]):
        lines = [
            {"permutation": permutation, "token_class": name, "problem": n, "benchmark": group.benchmark,
             "id": group.id, "tokens": int(sets[n][permutation, name].sum()),
             "scores": scores[i, n, : len(group.rollouts.tokens)],
             **{f"advantage_{o}": a.float().numpy() for o, a in group.advantage.items()}}
            for n, group in enumerate(groups)
        ]  # fmt: skip
        a, c = np.asarray(store[i])
        grams = {"gram_accuracy": a @ a.T, "gram_compression": c @ c.T, "gram_cross": (a @ c.T + c @ a.T) / 2}
        lists = {name: [row[: n + 1] for n, row in enumerate(matrix)] for name, matrix in grams.items()}
        frames.append(pd.DataFrame(lines).assign(**lists))
    return pd.concat(frames, ignore_index=True)


def _passes(model: PreTrainedModel, group: Group, words: int) -> Iterator[tuple[slice, sampling.Batch, Tensor]]:
    """As many rollouts as memory takes after the other, cut where they end: which, a batch, and logits [B, T, V]."""
    b = group.rollouts
    together = max(1, LOGITS // (words * b.tokens.shape[1]))
    for start in range(0, len(b.tokens), together):
        which = slice(start, start + together)
        longest = int(b.mask[which].sum(1).max())
        end = b.input_ids.shape[1] - b.tokens.shape[1] + longest
        some = sampling.Batch(b.input_ids[which, :end], b.attention[which, :end], b.tokens[which, :longest],
                              b.mask[which, :longest])  # fmt: skip
        yield which, some, sampling.logits(model, some)


def _mass(logits: Tensor, connectors: Tensor) -> Tensor:
    """P(connector | context): logits [B, T, V] -> [B, T]."""
    return logits.softmax(-1)[..., connectors[: logits.shape[-1]]].sum(-1)
