"""Scoring in tiles: the fused head gives the scores, the update and the readings that plain logits give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from egrc import trainer
from egrc.experiments import memory


def test_the_estimates_know_where_tiles_begin() -> None:
    assert memory.PLAIN_LOGITS == trainer.PLAIN_LOGITS


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple]:
    """Three steps each, across a switch to another temperature: one trainer on plain logits, one on tiles."""
    torch.set_num_threads(1)
    found = {}
    for name, limit in (("plain", trainer.PLAIN_LOGITS), ("fused", 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "PLAIN_LOGITS", limit)
            folder = tmp_path_factory.mktemp(name)
            made = tiny.trainer(folder, tiny.recipe(), optim="sgd", learning_rate=1.0, max_steps=4)
            made.train()
            found[name] = (made, pd.read_csv(folder / "records" / "steps.csv"))
    return found


def test_the_paths_differ(runs: dict[str, tuple]) -> None:
    assert runs["plain"][0]._head_temperature is None
    assert runs["fused"][0]._head_temperature == 1.3, "of the phase that the run ended in"


def test_readings_are_the_same(runs: dict[str, tuple]) -> None:
    (_, plain), (_, fused) = runs["plain"], runs["fused"]
    assert list(plain["phase"]) == list(fused["phase"]) and plain["phase"].nunique() == 2
    numbers = plain.select_dtypes("number").columns.drop(["seconds"])
    np.testing.assert_allclose(fused[numbers], plain[numbers], rtol=1e-4, atol=1e-6)
    assert not np.allclose(plain["entropy"], plain["entropy_sampling"]), "one step is hotter"


def test_updates_are_the_same(runs: dict[str, tuple]) -> None:
    plain, fused = (dict(made.model.named_parameters()) for made, _ in runs.values())
    for name, weight in plain.items():
        torch.testing.assert_close(fused[name], weight, rtol=1e-4, atol=1e-6, msg=name)
