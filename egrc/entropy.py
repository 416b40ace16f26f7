"""What the policy is unsure of: entropy per token in nats, by class of token, and how hard each token pulls.

Whatever is compared over time or steers the gate is taken at temperature 1, whatever the rollouts were sampled at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

CLASSES = ("connector", "number", "operator", "other")
CONNECTORS = frozenset((
    "so", "then", "thus", "therefore", "hence", "next", "because", "since", "if", "finally", "also", "again",
    "wait", "hmm", "but", "however", "alternatively", "maybe", "perhaps", "actually", "instead", "otherwise",
))  # fmt: skip
"""[ours]; the paper names "therefore", "thus", "as a result"."""
OPERATORS = frozenset("+-*/=<>^×÷≤≥≠±")


def token_entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of softmax(logits / temperature), nats: logits [..., V] -> [...] from 0 (certain) to log V."""
    return torch.special.entr((logits.float() / temperature).softmax(-1)).sum(-1)


def logit_gradient_norm(logits: Tensor, token: Tensor, temperature: float = 1.0) -> Tensor:
    """|d log pi(token) / d logits| in closed form: sqrt(1 - 2p + sum_v p_v^2) / T, p the token's probability.

    logits [..., V], token [...] ids -> [...].  Times |advantage| it is the size of the pull on that token.
    """
    every = (logits.float() / temperature).softmax(-1)
    p = every.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    # clamped: rounding may take the radicand of a sure token just below 0
    return (1 - 2 * p + torch.linalg.vecdot(every, every)).clamp(min=0).sqrt() / temperature


@dataclass(frozen=True)
class TokenClasses:
    """Which class each token id of a vocabulary belongs to."""

    names: tuple[str, ...]  # of the classes, in the order of their numbers
    ids: Tensor  # class number of each token id, int64 [V]


def lexical_classes(tokenizer: Any, connectors: Iterable[str] = CONNECTORS, size: int = 0) -> TokenClasses:
    """Classes by the token's own spelling: a connector word, digits, an operator, or other.  [ours]  `size`: rows of
    the model's head, where it has more than the tokenizer has tokens (the rest is 'other')."""
    words, vocabulary = frozenset(connectors), tokenizer.get_vocab()
    ids = torch.full((max(size, len(tokenizer), 1 + max(vocabulary.values())),), CLASSES.index("other"))
    for token, i in vocabulary.items():
        spelling = token.strip("Ġ▁Ċ \n").lower()  # BPE's and SentencePiece's marks for blanks
        kinds = spelling in words, spelling.isdecimal(), spelling in OPERATORS, True
        ids[i] = kinds.index(True)
    return TokenClasses(CLASSES, ids)


def class_sums(values: Tensor, tokens: Tensor, mask: Tensor, classes: TokenClasses) -> Tensor:
    """Sums of values [K, B, T] over the unmasked tokens of each class: float64 [K, classes]."""
    member = one_hot(classes.ids.to(tokens.device)[tokens], len(classes.names)) * mask.unsqueeze(-1)
    return torch.einsum("kbt,btc->kc", values.detach().double(), member.double())


def class_means(values: Tensor, tokens: Tensor, mask: Tensor, classes: TokenClasses) -> dict[str, float]:
    """Mean of values [B, T] over the unmasked tokens of each class; NaN for a class that does not occur."""
    total, count = class_sums(torch.stack([values, torch.ones_like(values)]), tokens, mask, classes)
    return dict(zip(classes.names, (total / count).tolist(), strict=True))


@torch.no_grad()
def probe_entropy(
    model: Any, tokenizer: Any, prefixes: Sequence[str], classes: TokenClasses, batch_size: int = 64
) -> dict[str, float]:
    """Entropy (nats, T=1) of the next token after fixed prefixes, which cannot move as rollouts do: its mean, and by
    class the mean weighted by the probability that the policy gives the class: {'mean': ..., 'connector': ..., ...}."""
    was_training, entropies, mass = model.training, [], []
    model.eval()
    for start in range(0, len(prefixes), batch_size):
        batch = tokenizer(list(prefixes[start : start + batch_size]), return_tensors="pt", padding=True,
                          padding_side="left", return_token_type_ids=False).to(model.device)  # fmt: skip
        p = model(**batch, logits_to_keep=1).logits[:, -1].float().softmax(-1).double()
        entropies.append(torch.special.entr(p).sum(-1))
        mass.append(p @ one_hot(classes.ids[: p.shape[-1]].to(p.device), len(classes.names)).double())
    model.train(was_training)
    entropy, weight = torch.cat(entropies), torch.cat(mass)
    by_class = (entropy @ weight) / weight.sum(0)
    return {"mean": entropy.mean().item(), **dict(zip(classes.names, by_class.tolist(), strict=True))}
