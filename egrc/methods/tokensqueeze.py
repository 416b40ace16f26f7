"""TokenSqueeze (Zhang et al., 2511.13223): preference pairs made of a policy's own samples.

From the source (read in two summaries; its code was not found): of N samples of a problem, c are correct, p = c/N; with
q = alpha (1 - p) the shortest ceil(q c) correct ones are the positives.  Each step of a positive is rewritten as
briefly as leaves what follows as it was: the divergence between the policy's predictions after both stays below
epsilon.  A positive is paired with longer or wrong samples, at most 64 pairs a problem.

Differs [ours]: one positive at least where any sample is correct, since always solved, q = 0 would leave nothing; the
source samples 64 rewritings of a step, the one here drops a step that says again what was said (a check, or a
repetition of the whole), and none where a vocabulary lacks these words; the divergence is exact, token by token, and
averaged over the source's window of 512 tokens, into which all that follows fits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from egrc.checks import ConfigError, require
from egrc.config import Lengths
from egrc.controller import Recipe
from egrc.evaluation import sampling
from egrc.objective import Objective, Rollouts

ALPHA = 1.0  # [ours]; the source's value was not readable.  The positives are at most a quarter of the samples then
EPSILON, WINDOW = 0.005, 512  # nats a token, and tokens (source)
MOST = 64  # pairs of one problem
AT_ONCE = 128  # traces in a scoring pass

Ids = tuple[int, ...]


@dataclass
class Squeeze(Objective):
    """No advantages: pairs are trained on (`egrc.methods.tokensqueeze_train`).  beta and lambda are [ours]."""

    beta: float = 0.1  # DPO's
    length_weight: float = 1.0  # lambda
    epsilon: float = EPSILON  # nats a token: what a redundant step's absence may cost the rest (source)
    trainer: ClassVar[str | None] = "egrc.methods.tokensqueeze_train:train"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0 and self.length_weight >= 0, "beta must be positive, length_weight not negative")

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        raise ConfigError("tokensqueeze trains on pairs, which have no advantages")


ARMS: dict[str, Callable[[Lengths], Recipe]] = {"tokensqueeze": lambda s: Recipe((Squeeze("squeeze", s.cap),))}


class Trace(NamedTuple):
    """One sampled completion, end token included."""

    ids: Ids
    correct: bool


def split(traces: Sequence[Trace], alpha: float = ALPHA) -> tuple[list[Trace], list[Trace]]:
    """A problem's positives, and all its other samples; both the shortest first."""
    ordered = sorted(traces, key=lambda t: (not t.correct, len(t.ids)))
    correct = sum(t.correct for t in traces)
    q = alpha * (1 - correct / len(traces))
    depth = min(correct, max(1, math.ceil(round(q * correct, 9))))  # rounded: 6 x (1 - 0.9) is a little above 0.6
    return ordered[:depth], ordered[depth:]


def pairs(
    positives: Sequence[Ids], others: Sequence[Trace], rng: random.Random, most: int = MOST
) -> list[tuple[Ids, Ids]]:
    """(chosen, rejected): each positive with each wrong or longer one of the others; `most` of them at random."""
    found = [(w, t.ids) for w in positives for t in others if not t.correct or len(t.ids) > len(w)]
    return rng.sample(found, most) if len(found) > most else found


@dataclass(frozen=True)
class Grammar:
    """What rewriting must know of a vocabulary: each token's word, and which tokens are connectors."""

    words: Sequence[str]
    connector: Sequence[bool]

    @classmethod
    def of(cls, tokenizer: Any, classes: Any) -> Grammar:
        """From a tokenizer and its `egrc.entropy.TokenClasses`."""
        ids = classes.ids.tolist()
        return cls(tokenizer.convert_ids_to_tokens(range(len(ids))), [classes.names[c] == "connector" for c in ids])

    def redundant(self, ids: Sequence[int], start: int = 0) -> tuple[int, int] | None:
        """The first span [begin, end) from `start` on that says again what was said, or None.

        'CONNECTOR check ... .', and 'CONNECTOR again ...' up to the next connector or the answer.
        """
        words = [self.words[i] for i in ids]
        for begin in (i for i in range(start, len(ids) - 2) if self.connector[ids[i]]):
            kind, rest, end = words[begin + 1], range(begin + 1, len(words)), 0
            if kind == "check":
                end = next((i + 1 for i in rest if words[i] == "."), 0)
            elif kind == "again":
                end = next((i for i in rest if self.connector[ids[i]] or words[i] == "#"), 0)
            if end:
                return begin, end
        return None


def rewrite(
    model: Any, prompts: Sequence[Ids], traces: Sequence[Ids], grammar: Grammar, epsilon: float = EPSILON
) -> list[Ids]:
    """Each trace without the redundant steps that `model` does not miss, from its first step to its last."""
    traces, at = list(traces), [0] * len(traces)
    while found := {i: span for i, t in enumerate(traces) if (span := grammar.redundant(t, at[i]))}:
        for few in (list(found)[i : i + AT_ONCE] for i in range(0, len(found), AT_ONCE)):
            shorter = [traces[i][: found[i][0]] + traces[i][found[i][1] :] for i in few]
            kept = [len(traces[i]) - found[i][1] for i in few]
            missed = divergence(model, [prompts[i] for i in few], [traces[i] for i in few], shorter, kept)
            for i, short, nats in zip(few, shorter, missed.tolist(), strict=True):
                traces[i], at[i] = (short, found[i][0]) if nats < epsilon else (traces[i], found[i][0] + 1)
    return traces


@torch.no_grad()
def divergence(
    model: Any, prompts: Sequence[Ids], full: Sequence[Ids], shorter: Sequence[Ids], kept: Sequence[int]
) -> Tensor:
    """KL(after `full` || after `shorter`), summed over the last `kept` tokens, which both share, / WINDOW; nats [B]."""
    both = []
    for traces in (full, shorter):
        logp = sampling.logits(model, sampling.batch(prompts, traces, pad=0)).float().log_softmax(-1)
        last = logp.new_zeros(len(traces), max(kept), logp.shape[-1])  # 0 on padding, which is on the left
        for row, (trace, n) in enumerate(zip(traces, kept, strict=True)):
            last[row, max(kept) - n :] = logp[row, len(trace) - n : len(trace)]
        both.append(last)
    p, q = both
    return (p.exp() * (p - q)).sum(-1).sum(1) / WINDOW
