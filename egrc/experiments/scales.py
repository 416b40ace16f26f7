"""One dial: a scale is a world and a set of overrides of one `Config`; never a copy of anything."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from egrc.checks import require
from egrc.config import Config, Lengths
from egrc.controller import EntropyGate
from egrc.methods import MAIN, OURS, PEERS, recipe
from egrc.methods.ablations import ABLATIONS, changed
from egrc.worlds.base import World
from egrc.worlds.launch import Hardware


@dataclass(frozen=True)
class Scale:
    """A world by its import path, the lengths its arms use, and its overrides of `Config`."""

    world: str  # 'module:Class' of the `World`; imported only when asked for
    lengths: Lengths  # what `egrc.methods` needs
    overrides: dict[str, Any] = field(default_factory=dict)  # fields of `Config` that differ from its defaults
    per_arm: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Fields of `Lengths` and `Config` by arm."""
    arms: tuple[str, ...] = MAIN
    """The arms that the first figures and table 1 compare at this scale, each at every one of `seeds`."""
    variants: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """Arms under a name of their own: another arm, and the settings in which it differs."""
    studies: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Questions beyond the first figures, by name: the arms or variants that answer each."""
    seeds: tuple[int, ...] = (0, 1, 2)  # of `arms`, the base included; settings were searched on other seeds
    study_seeds: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """By arm: the seeds, where a study asks for others than the first three."""
    deciding: tuple[str, ...] = ()
    """Arms that `analysis.confirm` asks again, at every seed that a study asks for: these keep their weights."""
    start: dict[str, Any] = field(default_factory=dict)
    """Overrides for the accuracy training that makes the policy from which all arms start (`experiments.start`)."""
    hardware: Hardware = Hardware()  # what it asks of a machine; `train --on NAME=VALUE` changes it


DILEMMA_R = (0.01, 0.1, 0.2, 0.5, 0.8, 0.95)
"""Reward of a correct answer of L tokens, from more pressure to hardly any; the main arms have 0.05.  0.01, 0.1 and
0.2 joined after a first look: at 0.5 and more no staged run leaves its first phase, so one staged setting was left."""
RATES = (1e-3, 6e-3, 1e-2)
"""Learning rates for which neither gate nor clock was set; chosen by when a gated run on a seed of no record switches
there, earlier and later than at the rate for which both were."""
CLOCK = ABLATIONS["egrc-fixed"][1]
FIVE = (0, 1, 2, 3, 4)
PEERS_AT: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("truncation", "dler"), {"compress_budget": 30}),
    "da-dler": {"truncate": {"cut_at": 0.25}},
    "entropy-floor": {"joint": {"tokens_at": 0.25}},
    "arora-zanette": {"train": {"length_weight": 0.8}},
    "lc-r1": {"train": {"length_weight": 2.0}},
    # at the source's 0.005 next to nothing is dropped here: what a passed check's absence costs is about that, and a
    # needed step's more than 0.05
    "tokensqueeze": {"squeeze": {"epsilon": 0.02}},
}
"""Settings of peers that are not their files' defaults: the harder on length of two, which a search in an
earlier version of this world preferred.  No trial of a peer was made in this one, where our own arms had two each."""

GPU = Scale(  # not yet run on a GPU
    "egrc.worlds.deepseek:Gpu",
    # [ours], every number: the paper's are not public in what we could read; what is the paper's is the recipe (see
    # `egrc.methods.egrc`).  L = 4096 is near the 4,000 tokens of DLER and DOT on these models; the cap cuts some of the
    # base's answers to the AIME.
    Lengths(16384, 4096, 4096, r=0.1, gate=EntropyGate(low=0.7, high=0.95, flat=1e-3, window=8, dwell=40)),
    {
        "steps": 300,
        "prompts_per_step": 32,
        "group_size": 8,
        "learning_rate": 2e-5,
        "warmup_steps": 10,
        "lora_rank": 32,
        "checkpoint_every": 10,
        "eval_problems": 30,  # of each set; `python -m egrc evaluate` asks all
        "eval_temperatures": (0.6,),  # as the models' card recommends
    },
    hardware=Hardware("bfloat16", micro_batch=1, gradient_checkpointing=True, vllm="colocate", evaluation_batch=16),
)

SCALES: dict[str, Scale] = {
    "pocket": Scale(
        "egrc.worlds.pocket:Pocket",
        # set before any arm was run; explore: twice the compact floor's longest, and no length term, so that phase 2 is
        # correctness with room to search
        Lengths(240, 60, 30, r=0.05, gate=EntropyGate(low=0.5, high=0.9), length_weight=0.0),
        {"lora_rank": 4, "learning_rate": 3e-3, "steps": 120, "eval_temperatures": (1.0, 0.3, 0.0)},
        per_arm=PEERS_AT,
        variants={
            **{f"joint-r{r}": ("joint", {"r": r}) for r in DILEMMA_R},
            **{f"egrc-r{r}": ("egrc", {"r": r}) for r in DILEMMA_R},
            **{f"egrc-rate{rate:g}": ("egrc", {"learning_rate": rate}) for rate in RATES},
            **{f"egrc-fixed-rate{rate:g}": ("egrc", {"learning_rate": rate, **CLOCK}) for rate in RATES},
            **ABLATIONS,
        },
        # Is one joint objective stuck where two stages are not?  Both are swept over the same shaping.
        studies={
            "dilemma": (
                *("joint", *(f"joint-r{r}" for r in DILEMMA_R)),
                *("egrc", *(f"egrc-r{r}" for r in DILEMMA_R)),
                "compression",
            ),
            "peers": ("egrc", "compression", "joint", *OURS, *PEERS),
            "ablations": ("egrc", "compression", "egrc-reversed", *ABLATIONS, *(f"egrc-r{r}" for r in DILEMMA_R)),
            # Is a gate that looks at the entropy of use where a clock was set for another speed of training?
            "transfer": tuple(f"{arm}-rate{rate:g}" for rate in RATES for arm in ("egrc", "egrc-fixed")),
        },
        seeds=FIVE,
        study_seeds=dict.fromkeys(("egrc-fixed", *OURS), FIVE),
        deciding=("compression", "joint", "egrc", "egrc-reversed", "egrc-fixed", *OURS, *PEERS),
        start={"steps": 240},
    ),
    "smol": Scale(  # shows that everything runs on a real model; far too few steps to show more
        "egrc.worlds.smol:Smol",
        Lengths(200, 200, 160, r=0.2, gate=EntropyGate(low=0.5, flat=1.0, window=1, dwell=1)),
        {
            **{"steps": 2, "prompts_per_step": 2, "group_size": 4, "learning_rate": 1e-4, "eval_problems": 8},
            **dict.fromkeys(("checkpoint_every", "probe_every", "record_rollouts_every"), 1),
        },
        arms=("base", "egrc"),
        seeds=(0,),
    ),
    "real": Scale(  # a model that answers: measured, never trained; `Lengths` are what its objectives are read with
        "egrc.worlds.real:Real",
        Lengths(400, 300, 300, r=0.2, gate=EntropyGate(low=0.5, high=0.9)),
        arms=("base",),
        seeds=(0,),
    ),
    "gpu": GPU,
    "gpu-7b": replace(GPU, world="egrc.worlds.deepseek:Gpu7B"),  # the same settings, so that only the model differs
}


def _scale(name: str) -> Scale:
    require(name in SCALES, f"no scale {name!r}: choose one of {', '.join(SCALES)}")
    return SCALES[name]


def runs(scale: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Arms and seeds of a scale's paper.  Here and below: raises `ConfigError`, which lists the valid names."""
    return _scale(scale).arms, _scale(scale).seeds


def study(scale: str, name: str) -> tuple[str, ...]:
    """The arms of one study of a scale."""
    studies = _scale(scale).studies
    known = f"choose one of {', '.join(studies) or '(none)'}"
    require(name in studies, f"no study {name!r} at scale {scale!r}: {known}")
    return studies[name]


def study_runs(scale: str, name: str) -> list[tuple[str, int]]:
    """Arm and seed of every run of a study, in its order: all seeds of the scale's own arms, three of the others."""
    s, arms = _scale(scale), study(scale, name)
    return [(arm, seed) for arm in arms for seed in s.study_seeds.get(arm, s.seeds if arm in s.arms else s.seeds[:3])]


def extras(scale: str) -> list[tuple[str, int]]:
    """The runs (arm, seed) that only studies name."""
    s = _scale(scale)
    asked = dict.fromkeys(run for name in s.studies for run in study_runs(scale, name))
    return [(arm, seed) for arm, seed in asked if arm not in s.arms or seed not in s.seeds]


def keeps_all(scale: str, arm: str, seed: int) -> bool:
    """Does this run's record keep its adapter, rollouts and decisions?  One that only studies name keeps steps and
    answers (`experiments.records.SLIM`): a hundred adapters would make a clone heavy, and nothing reads them."""
    return (arm, seed) not in extras(scale)


def keeps_weights(scale: str, arm: str, seed: int) -> bool:
    """Does this run's record keep its adapter: is its policy asked again (`analysis.confirm`), or is all kept?"""
    return arm in _scale(scale).deciding or keeps_all(scale, arm, seed)


def world(scale: str, seed: int = 0) -> World:
    """The world of a named scale; `seed`: of the run, where a scale has several base models."""
    module, cls = _scale(scale).world.split(":")
    made = getattr(import_module(module), cls)()
    if hasattr(made, "seed"):
        made.seed = seed
    return made


def hardware(scale: str) -> Hardware:
    """What a scale asks of a machine."""
    return _scale(scale).hardware


def config(scale: str, arm: str, seed: int = 0, **overrides: Any) -> Config:
    """The frozen settings of one run.  Raises `ConfigError` for unknown names and values out of range.

    Settings are fields of `Config` and of `Lengths`; a phase's name with some of its fields as a dict; or `trl`.
    """
    s = _scale(scale)
    of, settings_of_variant = s.variants.get(arm, (arm, {}))
    given = {**s.overrides, **s.per_arm.get(of, {}), **settings_of_variant, **overrides}
    lengths = replace(s.lengths, **{k: v for k, v in given.items() if k in Lengths.__dataclass_fields__})
    plain = recipe(of, lengths)
    phases = [phase.name for phase in plain.phases]
    known = sorted({*Config.__dataclass_fields__, *Lengths.__dataclass_fields__, *phases, "trl"})
    unknown = sorted(set(given) - set(known))
    require(not unknown, f"{arm}: no setting {unknown}: choose from {known}")
    settings = {"cap": lengths.cap} | {k: v for k, v in given.items() if k in Config.__dataclass_fields__}
    made = changed(plain, **{k: v for k, v in given.items() if k in (*phases, "trl")})
    return Config(scale=scale, arm=arm, recipe=made, seed=seed, **settings)
