"""Every arm and ablation trains: two steps of a tiny model, the second in the other phase where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import tiny
import torch

from egrc.config import ConfigError, Recipe
from egrc.experiments import fingerprint, run, scales
from egrc.methods import arms, squeeze
from egrc.settings import EGRCConfig

torch.set_num_threads(1)
NAMES = [*arms.ARMS, *scales.ABLATIONS]
BUDGET = 12


def shrunk(recipe: Recipe) -> Recipe:
    """The recipe with the tiny model's lengths, its gate leaving the first phase after one step."""
    phases = tuple(
        replace(p, budget=min(p.budget, BUDGET), scale=p.scale and min(p.scale, BUDGET)) for p in recipe.phases
    )
    early = {"window": 1, "dwell": 1, "every": recipe.gate.every and 1}
    if not recipe.gate.soft and recipe.phases[0].name == "compress":
        early |= {"low": 5.0, "high": 6.0}  # any reading counts as fallen
    return replace(recipe, phases=phases, gate=replace(recipe.gate, **early))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("base", "tokensqueeze")])
def test_every_arm_takes_two_steps(name: str, tmp_path: Path) -> None:
    recipe = shrunk(scales.config("pocket", name).recipe)
    trainer = tiny.trainer(tmp_path, recipe, max_steps=2)
    before = [p.detach().clone() for p in trainer.model.parameters() if p.requires_grad]
    trainer.train()
    after = [p for p in trainer.model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), "nothing was learnt"
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    assert len(steps) == 2 and steps[["loss", "grad_norm", "entropy"]].notna().all(axis=None)
    assert steps["truncated"].lt(1).any()
    if len(recipe.phases) == 2 and recipe.phases[0].name == "compress" and not recipe.gate.soft:
        assert list(steps["phase"]) == ["compress", "explore"]


def test_tokensqueeze_is_handed_to_its_own_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(squeeze, "train", lambda *given: seen.append(given))
    config = scales.config("pocket", "tokensqueeze")
    run.train(config, "world", tmp_path, stop_after=2)
    assert seen == [(config, "world", tmp_path, None, 2, None, None)]
    assert config.recipe.phases == (squeeze.phase(config.cap),)


def test_only_tokensqueeze_depends_on_its_trainer() -> None:
    for arm, depends in (("egrc", False), ("tokensqueeze", True), ("tokensqueeze-w3.0", True)):
        assert ("egrc.methods.squeeze" in fingerprint.code_hashes("pocket", arm)) == depends


def test_trls_own_remedies_reach_trl() -> None:
    recipe = arms.recipe("adaptive-entropy", arms.Lengths(12, 12, 10, 0.1))
    args = EGRCConfig("out", recipe=recipe, max_completion_length=12, use_cpu=True)
    assert args.use_adaptive_entropy and args.entropy_target == recipe.trl["entropy_target"]
    assert json.loads(json.dumps(args.recipe))["trl"] == recipe.trl


@pytest.mark.parametrize("trl", [{"no_such_option": 1}, {"temperature": 0.5}, {"learning_rate": 1.0}])
def test_what_trl_lacks_or_is_set_elsewhere_is_refused(trl: dict) -> None:
    recipe = replace(arms.recipe("joint", arms.Lengths(12, 12, 10, 0.1)), trl=trl)
    with pytest.raises(ConfigError, match=f"trl=\\['{next(iter(trl))}'\\]"):
        EGRCConfig("out", recipe=recipe, max_completion_length=12, use_cpu=True)


def test_a_recipe_survives_json() -> None:
    for name in NAMES:
        recipe = scales.config("pocket", name).recipe
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
