"""Every way of training that is compared, one small file each; the core knows none of them.

A method of your own is a file like these: an `Objective` with the hooks that differ, and a function from a scale's
`Lengths` to a `Recipe`.  `register` gives it a name; the trainer takes a recipe without one, too.
"""

from __future__ import annotations

from collections.abc import Callable

from egrc.checks import ConfigError
from egrc.config import Lengths
from egrc.controller import Recipe
from egrc.methods import (
    arora_zanette,
    ceeh,
    deepcompress,
    dler,
    dot,
    egrc,
    entropy_floor,
    kl_cov,
    laser_d,
    lc_r1,
    ours,
    tokensqueeze,
    upstream,
)

Arm = Callable[[Lengths], Recipe]

MAIN = tuple(egrc.ARMS)
"""The arms of the first figures and of table 1; the others belong to a study (`egrc.experiments.scales`)."""

_FILES = (dler, dot, arora_zanette, laser_d, lc_r1, deepcompress, tokensqueeze, entropy_floor, kl_cov, ceeh, upstream)
PEERS: dict[str, Arm] = {name: arm for file in _FILES for name, arm in file.ARMS.items()}
"""What a reader would pick instead."""

OURS: dict[str, Arm] = ours.ARMS
ARMS: dict[str, Arm] = {**egrc.ARMS, **PEERS, **OURS}


def register(name: str, arm: Arm) -> None:
    """Give a method of one's own a name for `egrc.experiments.scales.config`.  Raises ConfigError if it is taken."""
    if name in ARMS:
        raise ConfigError(f"arm {name!r} is there already: choose another name")
    ARMS[name] = arm


def recipe(arm: str, lengths: Lengths) -> Recipe:
    """The recipe of a named arm.  Raises ConfigError, which lists the valid names."""
    if arm not in ARMS:
        raise ConfigError(f"no arm {arm!r}: choose one of {', '.join(ARMS)}")
    return ARMS[arm](lengths)
