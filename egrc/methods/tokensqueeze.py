"""TokenSqueeze (Zhang et al., 2511.13223): preference pairs made of a policy's own samples.

From the source (read in two summaries; its code was not found):

* of N samples of a problem, c are correct, p = c/N; with q = alpha (1 - p) the shortest ceil(q c) correct ones are the
  positives: harder problems keep longer ones, too;
* each step of a positive is rewritten as briefly as leaves what follows as it was: the divergence between the policy's
  predictions after the step and after its rewriting stays below epsilon;
* a positive is paired with longer or wrong samples, at most 64 pairs a problem.

What differs [ours]:

* one positive at least where any sample is correct: always solved, q = 0 would leave nothing to train on;
* the source samples 64 rewritings of every step.  The pocket grammar has no synonyms, so the one rewriting is to drop a
  step that says again what was said: a re-check, a repetition of the whole, another try of a number that failed.
  Where a vocabulary lacks these words (scale smol, gpu) nothing is rewritten;
* the divergence is exact, token by token, and averaged over the source's window of 512 tokens (epsilon 0.005): all that
  follows fits into it, and beyond the end nothing diverges.
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
    trainer: ClassVar[str | None] = "egrc.methods.tokensqueeze_train:train"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta > 0, f"beta={self.beta}: must be positive")
        require(self.length_weight >= 0, f"length_weight={self.length_weight}: must not be negative")

    def advantages(self, r: Rollouts, rewards: Tensor) -> Tensor:
        raise ConfigError("tokensqueeze trains on pairs, which have no advantages")


ARMS: dict[str, Callable[[Lengths], Recipe]] = {"tokensqueeze": lambda s: Recipe((Squeeze("squeeze", s.cap),))}


class Trace(NamedTuple):
    """One sampled completion, end token included."""

    ids: Ids
    correct: bool


# --- which samples are compared -----------------------------------------------------------------------------------


def depth(correct: int, samples: int, alpha: float = ALPHA) -> int:
    """How many of the shortest correct samples are positives: ceil(alpha (1 - p) c), at least one if c > 0."""
    q = alpha * (1 - correct / samples)
    return min(correct, max(1, math.ceil(round(q * correct, 9))))  # rounded: 6 x (1 - 0.9) is a little above 0.6


def split(traces: Sequence[Trace], alpha: float = ALPHA) -> tuple[list[Trace], list[Trace]]:
    """A problem's positives, and all its other samples; both the shortest first."""
    ordered = sorted(traces, key=lambda t: (not t.correct, len(t.ids)))
    chosen = depth(sum(t.correct for t in traces), len(traces), alpha)
    return ordered[:chosen], ordered[chosen:]


def pairs(
    positives: Sequence[Ids], others: Sequence[Trace], rng: random.Random, most: int = MOST
) -> list[tuple[Ids, Ids]]:
    """(chosen, rejected): each positive with each wrong or longer one of the others; `most` of them at random."""
    found = [(w, t.ids) for w in positives for t in others if not t.correct or len(t.ids) > len(w)]
    return rng.sample(found, most) if len(found) > most else found


# --- steps that can go --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grammar:
    """What rewriting must know of a vocabulary: each token's word, and which tokens are connectors."""

    words: Sequence[str]
    connector: Sequence[bool]

    @classmethod
    def of(cls, tokenizer: Any, classes: Any) -> Grammar:
        """From a tokenizer and its `egrc.entropy.TokenClasses`."""
        ids = classes.ids.tolist()
        connector = [classes.names[c] == "connector" for c in ids]
        return cls(tokenizer.convert_ids_to_tokens(range(len(ids))), connector)

    def redundant(self, ids: Sequence[int], start: int = 0) -> tuple[int, int] | None:
        """The first span [begin, end) from `start` on that says again what was said, or None.

        'CONNECTOR check ... .', 'CONNECTOR again ...' up to the next connector or the answer, and 'CONNECTOR try c ...
        gap ... .' where c was tried before.
        """
        words = [self.words[i] for i in ids]
        for begin in range(start, len(ids) - 2):
            if self.connector[ids[begin]] and (end := self._end(words, ids, begin)):
                return begin, end
        return None

    def _end(self, words: list[str], ids: Sequence[int], begin: int) -> int | None:
        kind, rest = words[begin + 1], range(begin + 1, len(words))
        if kind == "check":
            return next((i + 1 for i in rest if words[i] == "."), None)
        if kind == "again":
            return next((i for i in rest if self.connector[ids[i]] or words[i] == "#"), None)
        tried = {words[i + 1] for i in range(begin) if words[i] == "try"}
        if kind == "try" and words[begin + 2] in tried:
            gap = next((i for i in rest if words[i] == "gap"), None)
            return gap and next((i + 1 for i in range(gap, len(words)) if words[i] == "."), None)
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
                begin, _ = found[i]
                traces[i], at[i] = (short, begin) if nats < epsilon else (traces[i], begin + 1)
    return traces


@torch.no_grad()
def divergence(
    model: Any, prompts: Sequence[Ids], full: Sequence[Ids], shorter: Sequence[Ids], kept: Sequence[int]
) -> Tensor:
    """KL(after `full` || after `shorter`), summed over the last `kept` tokens, which both share, / WINDOW; nats [B]."""
    p, q = (_last(model, prompts, traces, kept) for traces in (full, shorter))
    each = (p.exp() * (p - q)).sum(-1)  # [B, longest kept], 0 where padded on the left
    return each.sum(1) / WINDOW


def _last(model: Any, prompts: Sequence[Ids], traces: Sequence[Ids], kept: Sequence[int]) -> Tensor:
    """log P of the tokens at the last `kept` places of each trace: [B, max(kept), V], 0 where there are fewer."""
    logp = sampling.logits(model, sampling.batch(prompts, traces, pad=0)).float().log_softmax(-1)
    out = logp.new_zeros(len(traces), max(kept), logp.shape[-1])
    for row, (trace, n) in enumerate(zip(traces, kept, strict=True)):
        out[row, max(kept) - n :] = logp[row, len(trace) - n : len(trace)]
    return out
