"""The arms: every way of training that is compared, as data.

An arm is a function from a scale's lengths (`Lengths`) to a `Recipe`; nothing else tells one arm from another, so all
share one trainer, base model, rollout budget and evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from egrc.config import Advantage, ConfigError, Gate, Phase, Recipe, Shaping


@dataclass(frozen=True)
class Lengths:
    """What an arm needs to know of a scale: its lengths, and the settings found by search on training problems."""

    cap: int
    """Completion tokens at which every arm is cut in evaluation, and the accuracy objective in training."""
    compress_budget: int
    """L of the compression objective, in tokens."""
    explore_budget: int
    """L of the enhancement phase, in tokens: room to explore, but inside the compact mode."""
    r: float
    """Reward of a correct answer of L tokens under exponent shaping."""
    beta: float = 1.0
    """Scale of the absolute advantage."""
    length_weight: float = 0.1
    """Weight of the length term in the enhancement phase's decomposition."""
    explore_temperature: float = 1.2
    """Sampling temperature of the enhancement phase; above 1 (paper)."""
    gate: Gate = Gate()
    """When the entropy moves the run between the phases."""


def accuracy_phase(s: Lengths) -> Phase:
    """Plain GRPO on correctness."""
    return Phase("accuracy", "group", s.cap)


def compress_phase(s: Lengths) -> Phase:
    """Phase 1 (paper): clipping at L, exponent shaping, positive-only absolute advantage."""
    return Phase("compress", "absolute", s.compress_budget, "exponential", s.r, s.beta)


def joint_phase(s: Lengths) -> Phase:
    """Both objectives in one reward: correctness x shaping, group-relative (the paper's point of departure)."""
    return Phase("joint", "group", s.compress_budget, "exponential", s.r)


def truncation_phase(s: Lengths) -> Phase:
    """Plain GRPO, completions cut at L: the simplest way to be brief.

    After ThinkPrune and DLER's point of departure; ThinkPrune tightens L from round to round, here one L holds
    throughout [ours].
    """
    return Phase("truncate", "group", s.compress_budget)


def explore_phase(s: Lengths) -> Phase:
    """Phase 2: GRPO, hotter, rewards decomposed.  The paper's formula is not public; the decomposition is [ours]:
    correctness normalised in the group, length only inside the group's correct set."""
    return Phase(
        "explore",
        "within_correct",
        s.explore_budget,
        length_weight=s.length_weight,
        temperature=s.explore_temperature,
    )


# --- peers: what a reader would pick instead (sources and differences in `methods.peers` and `egrc.advantage`)
# -----------

CLIP_HIGHER = {"epsilon": 0.2, "epsilon_high": 0.28}


def dler_phase(s: Lengths) -> Phase:
    """DLER: truncation, group-mean baseline, batch std (`egrc.advantage` says what is left out), clip-higher."""
    return Phase("truncate", "batch_scaled", s.compress_budget)


def rewarded(advantage: Advantage, shaping: Shaping, weight: float) -> Callable[[Lengths], Recipe]:
    """One phase under the full length, all in the reward."""
    return lambda s: Recipe((Phase("train", advantage, s.cap, shaping, length_weight=weight),))


def joint_with(trl: dict[str, Any] | None = None, **changes: Any) -> Callable[[Lengths], Recipe]:
    """The joint objective and one remedy against the loss of entropy, in the gate's stead.

    The sources put theirs on top of training for accuracy; what it does to compression is our question [ours].  Two
    are TRL's own arguments.  Skywork-OR1's adaptive coefficient keeps entropy at a target, which is ours: below what
    training starts from, so that it acts only where entropy falls.  The 80/20 rule takes gradients from the 20% of
    tokens with the highest entropy, as published.
    """
    return lambda s: Recipe((replace(joint_phase(s), **changes),), trl=trl)


def squeeze_phase(s: Lengths) -> Phase:
    """TokenSqueeze: pairs of one's own samples (`egrc.methods.squeeze`); beta and lambda are [ours]."""
    return Phase("squeeze", "preference", s.cap, beta=0.1, length_weight=1.0)


PEERS: dict[str, Callable[[Lengths], Recipe]] = {
    "truncation": lambda s: Recipe((truncation_phase(s),)),
    "dler": lambda s: Recipe((dler_phase(s),), trl=CLIP_HIGHER),
    "da-dler": lambda s: Recipe((replace(dler_phase(s), cut="solved", cut_at=0.5),), trl=CLIP_HIGHER),
    "dot": lambda s: Recipe((Phase("truncate", "group", s.cap, cut="outlier", cut_at=1.5),)),
    "arora-zanette": rewarded("leave_one_out", "sigmoid", 0.2),
    "laser-d": rewarded("group", "step", 0.5),
    "lc-r1": rewarded("centred", "longest", 1.0),
    "deepcompress": rewarded("group", "dual", 0.1),
    "tokensqueeze": lambda s: Recipe((squeeze_phase(s),)),
    "entropy-floor": joint_with(tokens="entropy_floor", tokens_at=0.5),
    "kl-cov": joint_with(tokens="kl_cov", tokens_at=0.002),
    "adaptive-entropy": joint_with({"use_adaptive_entropy": True, "entropy_target": 0.2}),  # Skywork-OR1, by TRL
    "top-entropy": joint_with({"top_entropy_quantile": 0.2}),  # the 80/20 rule, by TRL
}

# --- ours, beyond the paper: candidates for `egrc-plus` ---------------------------------------------------------------
# Arms that compress hard lose most of hole-3: there this base hardly ever reads the answer off a compact search, even a
# right one (`egrc.analysis.copying`), and still it is shorter.  With one pressure for all problems the easy ones carry
# the hard ones along.

RELIABLE = 0.75
"""Share of a group that must be correct before length counts in it."""
BRIEF = 0.3
"""Weight of a step's brevity beside correctness."""


def reliable_phases(s: Lengths, advantage: Advantage = "absolute") -> tuple[Phase, Phase]:
    """Length counts only where a problem is solved reliably; elsewhere correctness alone, with room to try."""
    compress = replace(
        compress_phase(s), advantage=advantage, budget=s.cap, scale=s.compress_budget, reliable=RELIABLE
    )
    return compress, replace(explore_phase(s), budget=s.compress_budget, reliable=RELIABLE)


def steps_phase(s: Lengths) -> Phase:
    """Correctness in the group, and brevity of each step instead of the chain: another try costs nothing."""
    return Phase("compress", "steps", s.cap, length_weight=BRIEF)


def cycling(gate: Gate) -> Gate:
    """The gate as often as it likes: back to compression when entropy has stopped rising, too."""
    return replace(gate, flat=1e-4, dwell=12, max_switches=100)


OURS: dict[str, Callable[[Lengths], Recipe]] = {
    # many cycles: what compression took from the entropy, exploration may give back before the next round
    "egrc-cycles": lambda s: Recipe((compress_phase(s), explore_phase(s)), cycling(s.gate)),
    # many cycles that end before connectors, and with them the ways to branch, are extinct
    "egrc-guard": lambda s: Recipe((compress_phase(s), explore_phase(s)), replace(cycling(s.gate), guard=0.2)),
    # length by difficulty: easy problems are compressed, hard ones first learnt
    "egrc-reliable": lambda s: Recipe(reliable_phases(s), s.gate),
    # the same, and brevity by comparison: the longer half of a solved group is pushed down, not only less up
    "egrc-selective": lambda s: Recipe(reliable_phases(s, "group"), s.gate),
    # brevity of steps, not of the chain
    "egrc-steps": lambda s: Recipe((steps_phase(s), explore_phase(s)), s.gate),
}

ARMS: dict[str, Callable[[Lengths], Recipe]] = {
    "base": lambda s: Recipe((accuracy_phase(s),)),  # never trained, only evaluated
    "accuracy": lambda s: Recipe((accuracy_phase(s),)),
    "compression": lambda s: Recipe((compress_phase(s),)),
    "joint": lambda s: Recipe((joint_phase(s),)),
    "egrc": lambda s: Recipe((compress_phase(s), explore_phase(s)), s.gate),
    "egrc-reversed": lambda s: Recipe((explore_phase(s), compress_phase(s)), s.gate),
    **PEERS,
    **OURS,
}
MAIN = ("base", "accuracy", "compression", "joint", "egrc", "egrc-reversed")
"""The arms of the first figures and of table 1; the others belong to a study (`egrc.experiments.scales`)."""


def recipe(arm: str, lengths: Lengths) -> Recipe:
    """The recipe of a named arm.  Raises `ConfigError`, which lists the valid names."""
    if arm not in ARMS:
        raise ConfigError(f"no arm {arm!r}: choose one of {', '.join(ARMS)}")
    return ARMS[arm](lengths)
