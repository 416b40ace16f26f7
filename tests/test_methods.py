"""Every arm and ablation trains: two steps of a tiny model, the second in the other phase where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import tiny
import torch

from egrc import methods
from egrc.checks import ConfigError
from egrc.config import Lengths
from egrc.controller import EntropyGate, Recipe
from egrc.experiments import run, scales
from egrc.methods import tokensqueeze, tokensqueeze_train
from egrc.methods.ablations import ABLATIONS
from egrc.methods.controls import Soft
from egrc.settings import EGRCConfig

torch.set_num_threads(1)
NAMES = [*methods.ARMS, *ABLATIONS]
RECIPES = {name: scales.config("pocket", name).recipe for name in NAMES if name not in ("base", "tokensqueeze")}
OF_A_KIND = {(*map(type, (*r.phases, r.gate)), *r.trl): name for name, r in reversed(RECIPES.items())}
"""Of the arms and ablations that differ in settings alone, the first."""
BUDGET = 12
LENGTHS = Lengths(BUDGET, BUDGET, 10, r=0.1, gate=EntropyGate(window=1, dwell=1))


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe with the tiny model's lengths, its gate leaving the first phase after one step."""
    early = {"window": 1, "dwell": 1, **({"every": 1} if hasattr(recipe.gate, "every") else {})}
    if not isinstance(recipe.gate, Soft) and recipe.phases[0].name == "compress":
        early |= {"low": 5.0, "high": 6.0}  # any reading counts as fallen
    phases = tuple(replace(p, budget=min(p.budget, BUDGET)) for p in recipe.phases)
    return replace(recipe, phases=phases, gate=replace(recipe.gate, **early))


@pytest.mark.parametrize("name", OF_A_KIND.values())
def test_every_kind_of_arm_takes_two_steps(name: str, tmp_path: Path) -> None:
    recipe = shrunk(RECIPES[name])
    trainer = tiny.trainer(tmp_path, recipe, max_steps=2)
    before = [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]
    trainer.train()
    after = [p for p in trainer.model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), "nothing was learnt"
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    assert len(steps) == 2 and steps[["loss", "grad_norm", "entropy"]].notna().all(axis=None)
    assert steps["truncated"].lt(1).any()
    if len(recipe.phases) == 2 and recipe.phases[0].name == "compress" and not isinstance(recipe.gate, Soft):
        assert list(steps["phase"]) == ["compress", "explore"]


def test_tokensqueeze_is_handed_to_its_own_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(tokensqueeze_train, "train", lambda *given: seen.append(given[:3]))
    config = scales.config("pocket", "tokensqueeze")
    world = SimpleNamespace(policy_path=lambda: "base")
    monkeypatch.setattr(run, "save_adapter", lambda *given: seen.append(given[1:]))
    run.train(config, world, tmp_path)
    assert seen == [(config, world, tmp_path), ("base", tmp_path / "adapter")]
    assert config.recipe.phases == (tokensqueeze.Squeeze("squeeze", config.cap, epsilon=0.02),)


def test_trls_own_remedies_reach_trl() -> None:
    recipe = methods.recipe("adaptive-entropy", LENGTHS)
    args = EGRCConfig("out", recipe=recipe, max_completion_length=12, use_cpu=True)
    assert args.use_adaptive_entropy and args.entropy_target == recipe.trl["entropy_target"]
    assert json.loads(args.to_json_string())["recipe"]["trl"] == recipe.trl


@pytest.mark.parametrize("trl", [{"no_such_option": 1}, {"temperature": 0.5}, {"learning_rate": 1.0}])
def test_what_trl_lacks_or_is_set_elsewhere_is_refused(trl: dict) -> None:
    recipe = replace(methods.recipe("joint", LENGTHS), trl=trl)
    with pytest.raises(ConfigError, match=f"trl=\\['{next(iter(trl))}'\\]"):
        EGRCConfig("out", recipe=recipe, max_completion_length=12, use_cpu=True)


def test_settings_go_to_json_and_an_ablation_differs_from_its_arm() -> None:
    told = {name: scales.config("pocket", name).to_dict() for name in NAMES}
    assert json.loads(json.dumps(told)) == told
    for name, (arm, _) in ABLATIONS.items():
        differs = {key for key in told[name] if told[name][key] != told[arm][key]}
        assert differs == {"arm", "recipe"}, f"{name}: the same budget, another recipe"
