"""The tug of war, measured: what two objectives do to the adapter, class by class of token, on the same rollouts.

    A  the accuracy objective: group-relative advantage of correctness under the cap (the arm `accuracy`)
    C  the compression objective: positive-only absolute advantage of the exponentially shaped reward (`compression`)

The current policy answers a fixed batch of training problems, a group of rollouts each, at temperature 1; then the
rollouts are frozen.  The gradient of an objective,  sum_rollouts A_rollout sum_tokens grad log pi(token),  is taken
with respect to the adapter's parameters: on-policy the trainer's loss follows just this, up to a constant.  Restricted
to the tokens of one class it says what reaches the adapter from that class after its tokens have cancelled each
other.  Against it stand random sets of the same sizes: the class labels permuted among the tokens of the same problem.

The push on the connectors: M is the mean over the batch's contexts of P(connector | context), and

    s_t = <grad log pi_t, grad M>

says how M changes, to first order, when the log-probability of token t is followed.  An objective's push is the sum of
A s_t.  What all of it would be for rewards that tell nothing is its expectation under shuffled advantages.

How a positive-only advantage can penalise.  C never pushes a sampled token down: every term is a non-negative advantage
times grad log pi.  But probabilities add up to 1, so raising one token lowers all others in its context; and shorter
rollouts have larger advantages.  Where short rollouts say other words than long ones, the words of the long ones lose
mass although nobody pushed them.  So the sign of the advantage says nothing: what counts is the push on the MASS, less
what shuffled advantages would do.

Parts: three arms, trained AGAIN and watched at `STEPS`; and the base with a fresh adapter, on more problems and more
permutations.  Training repeats to the bit on the machine that made the records.  On another it is the recorded run up
to rounding, which sampling may carry apart in the end; its beginning has to agree, or nothing is returned.

Not measured: Adam's step.  It divides each parameter's gradient by its own recent size, and so is not this gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from egrc import paths
from egrc.analysis import parts as of
from egrc.atomic import write_parquet
from egrc.config import Config
from egrc.entropy import CLASSES, TokenClasses
from egrc.evaluation import sampling
from egrc.experiments import records, run, scales
from egrc.objective import Objective, Rollouts
from egrc.scoring import score_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCALES = ("pocket",)
ARMS = ("accuracy", "compression", "joint")
OBJECTIVES = ("accuracy", "compression")
"""The first phase of the arm of that name is the objective."""
STEPS = (0, 10, 25, 50)
"""Steps taken when the policy is looked at; by the last, lengths have settled in every compressing arm."""
PROBLEM_SEED = 1000
"""Of the training problems that are asked; no run is trained in this order."""
COLUMNS = (
    *("scale", "tokenizer", "arm", "seed", "step", "permutation", "token_class", "problem", "benchmark", "id"),
    *("correct", "tokens", "entropy", "logit_gradient", "mass", "advantage_accuracy", "advantage_compression"),
    *("scores", "gram_accuracy", "gram_compression", "gram_cross"),
)
"""A row is a set of tokens in one problem's rollouts: of a class (`permutation` -1), of a permuted class (from 0), or
'all'.  `correct`: rollouts; `tokens`; sums over the set of `entropy` (nats, T=1), `logit_gradient` (norm of
d log pi / d logits) and `mass` (P(connector | context)).  Lists, one entry a rollout: both advantages; `scores`, the
sum of s_t over its tokens in the set.  Lists, one entry for each problem up to this one: inner products of the
problems' gradients under A, under C, and (symmetrised) under A and C."""


class Size(NamedTuple):
    """How much is looked at: problems (a multiple of the benchmarks), and permutations of the classes."""

    problems: int
    permutations: int


SIZES = {"base": Size(48, 12), **dict.fromkeys(ARMS, Size(24, 2))}


def parts(scale: str) -> list[str]:
    """The arms with all seeds, then the base; the long ones first."""
    return of.named([*ARMS, "base"], scales.runs(scale)[1])


def inputs(scale: str) -> dict[str, str]:
    """Hashes of the adapters, the base model and the world."""
    return of.inputs(scale, parts(scale))


def measure(scale: str, part: str, work: Path, say: Callable[[int, int], None]) -> pd.DataFrame:
    """One part's rows; see `COLUMNS`.  A training that was killed begins again, but does not look twice.

    Raises RecordError if the run is missing, or if training it again does not begin as the recorded steps do.
    """
    arm, seed = of.split(part)
    config, world = scales.config(scale, arm, seed), scales.world(scale)
    if arm == "base":
        return look(fresh_adapter(world, config), world, config, 0, say)
    recorded = records.load(scale, arm, seed)
    _train_again(config, world, work, say)
    _require_same(work / "steps.csv", recorded.path / "steps.csv")
    return pd.concat([pd.read_parquet(_seen(work, step)) for step in STEPS], ignore_index=True)


def fresh_adapter(world: scales.World, config: Config) -> PreTrainedModel:
    """The base policy with an adapter that does nothing yet, drawn by the run's seed."""
    from peft import get_peft_model

    torch.manual_seed(config.seed)
    return get_peft_model(world.policy()[0], run.lora(config)).eval()


def apart(model: Any, world: scales.World, config: Config) -> PreTrainedModel:
    """A policy of its own with the weights of one that trains, in eval mode: looking must leave that one as it is.

    Not a deep copy, which would still run the forward pass that the trainer has put on the original.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    with torch.random.fork_rng(devices=[]):
        own = fresh_adapter(world, config)
    set_peft_model_state_dict(own, get_peft_model_state_dict(model))
    return own


def _train_again(config: Config, world: scales.World, work: Path, say: Callable[[int, int], None]) -> None:
    """The run's own training, up to the last of `STEPS`: a file for each, so that a killed one need not look again."""

    def observe(step: int, model: Any) -> None:
        if step in STEPS and not _seen(work, step).exists():
            write_parquet(_seen(work, step), look(apart(model, world, config), world, config, step))

    if not (work / "steps.csv").exists():
        run.train(config, world, work, lambda stage, done, _: say(done, STEPS[-1]), STEPS[-1], observe)


def _seen(work: Path, step: int) -> Path:
    return work / f"seen-{step}.parquet"


def _require_same(made: Path, recorded: Path) -> None:
    if found := records.differing_steps(made, recorded):
        raise records.RecordError(
            f"{paths.shown(recorded)}: training this run again gave other steps ({found}), so what was seen on the way "
            "is not this run's: train the runs anew (`make paper FRESH=1`)"
        )


# --- frozen rollouts ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """The rollouts of one problem, and their advantages under each objective."""

    problem: dict[str, Any]
    rollouts: sampling.Batch
    correct: int
    """How many are correct."""
    advantage: dict[str, Tensor]
    """Objective to float64 [rollouts]."""


def look(
    model: PreTrainedModel,
    world: scales.World,
    config: Config,
    step: int,
    say: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Everything that is seen of one policy (a peft model in eval mode): sample, freeze, take gradients."""
    size, tokenizer = SIZES[config.arm], world.policy()[1]
    problems = world.train_problems(PROBLEM_SEED).select(range(size.problems)).to_list()
    phases = {name: scales.config(config.scale, name).recipe.phases[0] for name in OBJECTIVES}
    seed = (config.seed, f"tug/{config.arm}/{step}")
    groups = freeze(model, tokenizer, problems, world.correct, phases, config.group_size, config.cap, seed)
    rows = take(model, groups, world.token_classes(tokenizer), size.permutations, config.seed, say)
    facts = {"scale": config.scale, "arm": config.arm, "seed": config.seed, "step": step}
    return rows.assign(**facts, tokenizer=sampling.tokenizer_hash(tokenizer))[list(COLUMNS)]


def freeze(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[dict[str, Any]],
    correct: Callable[[str, str], bool],
    phases: dict[str, Objective],
    group_size: int,
    cap: int,
    seed: tuple[int, str],
) -> list[Group]:
    """Sample `group_size` rollouts of each problem (keys prompt, answer) at T=1, and weigh them by each objective."""
    prompts = [p for p in tokenizer([p["prompt"] for p in problems])["input_ids"] for _ in range(group_size)]
    found = sampling.sample(model, tokenizer, prompts, cap, seed)
    groups = []
    for i, problem in enumerate(problems):
        mine = found[i * group_size : (i + 1) * group_size]
        texts = tokenizer.batch_decode(mine, skip_special_tokens=True)
        ended = torch.tensor([ids[-1] == tokenizer.eos_token_id for ids in mine])
        right = torch.tensor([bool(correct(text, problem["answer"])) for text in texts]) & ended
        length = torch.tensor([len(ids) for ids in mine])
        weighed = {name: advantage(phase, right, length, ended).double() for name, phase in phases.items()}
        rollouts = sampling.batch(prompts[i * group_size : (i + 1) * group_size], mine, tokenizer.pad_token_id)
        groups.append(Group(problem, rollouts, int(right.sum()), weighed))
    return groups


def advantage(phase: Objective, correct: Tensor, length: Tensor, ended: Tensor) -> Tensor:
    """Advantages of one group's rollouts under a phase, float32 [N]; by the functions that train."""
    rollouts = Rollouts(correct & ended, length, len(length))
    return phase.advantages(rollouts, phase.rewards(rollouts))


# --- gradients ------------------------------------------------------------------------------------


class AdapterGradients:
    """Gradients of a LoRA adapter, rollout by rollout, from one backward pass over a batch of them.

    An adapter is made of linear maps y = W x, so a rollout's gradient of W is the sum over its positions of
    (dl/dy) x^T.  Hooks keep x and y of the last forward pass, as long as the `with` lasts.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.maps = {n: m for n, m in model.named_modules() if ".lora_A." in n or ".lora_B." in n}
        if not self.maps:
            raise ValueError("the policy has no LoRA adapter: pass a peft model whose adapter is not merged")
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}

    def __enter__(self) -> AdapterGradients:
        self.hooks = [m.register_forward_hook(self._keep(name)) for name, m in self.maps.items()]
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for hook in self.hooks:
            hook.remove()

    def _keep(self, name: str) -> Callable[..., None]:
        return lambda module, inputs, output: self.seen.update({name: (inputs[0].detach(), output)})

    def of(self, values: Tensor) -> Tensor:
        """values [B, ...], of the last forward pass -> gradient of each row's sum: [B, adapter parameters]."""
        outputs = [y for _, y in self.seen.values()]
        backward = torch.autograd.grad(values.sum(), outputs, retain_graph=True)
        pairs = zip(backward, (x for x, _ in self.seen.values()), strict=True)
        return torch.cat([torch.einsum("bto,bti->boi", g, x).flatten(1) for g, x in pairs], dim=1)


def take(
    model: PreTrainedModel,
    groups: Sequence[Group],
    classes: TokenClasses,
    permutations: int,
    seed: int,
    say: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Rows of all groups: the true classes and 'all', then each permutation.  Does not touch the parameters' .grad."""
    frames = []
    with AdapterGradients(model) as gradients:
        uphill = _gradient_of_mass(model, gradients, groups, classes)
        for permutation in range(-1, permutations):
            found = list(_sets(model, gradients, groups, classes, uphill, permutation, seed))
            for token_class in dict.fromkeys(row["token_class"] for row, _ in found):
                mine = [(row, g) for row, g in found if row["token_class"] == token_class]
                frames.append(pd.DataFrame([row for row, _ in mine]).assign(**_grams([g for _, g in mine])))
            if say:
                say(permutation + 2, permutations + 1)
    return pd.concat(frames, ignore_index=True)


def _gradient_of_mass(
    model: PreTrainedModel, gradients: AdapterGradients, groups: Sequence[Group], classes: TokenClasses
) -> Tensor:
    """grad M [adapter parameters]: M is the mean over all contexts of P(connector | context)."""
    total = sum(
        gradients.of(_mass(sampling.logits(model, g.rollouts), classes) * g.rollouts.mask).sum(0) for g in groups
    )
    return total / sum(int(g.rollouts.mask.sum()) for g in groups)


def _mass(logits: Tensor, classes: TokenClasses) -> Tensor:
    """P(connector | context): logits [B, T, V] -> [B, T]."""
    return logits.softmax(-1)[..., classes.ids[: logits.shape[-1]] == CLASSES.index("connector")].sum(-1)


def _sets(
    model: PreTrainedModel,
    gradients: AdapterGradients,
    groups: Sequence[Group],
    classes: TokenClasses,
    uphill: Tensor,
    permutation: int,
    seed: int,
) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """Every set of every group: its facts, and its gradient [adapter parameters] under each objective."""
    rng = np.random.default_rng([seed, permutation + 1])
    for number, group in enumerate(groups):
        b = group.rollouts
        logits = sampling.logits(model, b)
        scores = score_tokens(logits, b.tokens, temperature=1.0)
        nats = torch.stack([scores.entropy, scores.gradient, _mass(logits, classes).detach()]).double()
        labels = classes.ids[b.tokens]
        if permutation >= 0:
            labels[b.mask] = labels[b.mask][torch.from_numpy(rng.permutation(int(b.mask.sum())))]
        members = {name: (labels == i) & b.mask for i, name in enumerate(CLASSES)}
        by_class = {name: gradients.of(scores.logp * member) for name, member in members.items()}
        if permutation < 0:
            members["all"], by_class["all"] = b.mask, sum(by_class.values())
        for name, rollouts in by_class.items():
            entropy, logit_gradient, mass = (nats * members[name]).sum((1, 2)).tolist()
            yield {
                "permutation": permutation,
                "token_class": name,
                "problem": number,
                "benchmark": group.problem["benchmark"],
                "id": group.problem["id"],
                "correct": group.correct,
                "tokens": int(members[name].sum()),
                "entropy": entropy,
                "logit_gradient": logit_gradient,
                "mass": mass,
                **{f"advantage_{o}": a.float().numpy() for o, a in group.advantage.items()},
                "scores": (rollouts.double() @ uphill.double()).float().numpy(),
            }, {o: a @ rollouts.double() for o, a in group.advantage.items()}


def _grams(found: Sequence[dict[str, Tensor]]) -> dict[str, list[np.ndarray]]:
    """Inner products of one set's gradients, problem by problem with all up to it: three columns of lists."""
    a, c = (torch.stack([g[o] for g in found]) for o in OBJECTIVES)
    cross = a @ c.T
    grams = {"gram_accuracy": a @ a.T, "gram_compression": c @ c.T, "gram_cross": (cross + cross.T) / 2}
    return {name: [row[: i + 1].float().numpy() for i, row in enumerate(m)] for name, m in grams.items()}
