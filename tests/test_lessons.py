"""What makes the notebooks lessons: the picture of the method, predictions with their debriefs, exercises that run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
from pictures import legible

from egrc import methods
from egrc.checks import ConfigError
from egrc.controller import Recipe
from egrc.experiments import scales
from egrc.figures import FIGURES, fig0_method, players, style
from egrc.paths import NOTEBOOKS, ROOT

FROM_SCRATCH = "03_from_scratch"
LESSONS = [book.stem for book in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))]


def cells(name: str, tag: str | None = None) -> list[dict[str, Any]]:
    """A notebook's cells, or those with a tag, each with its source as one text."""
    found = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [c | {"source": "".join(c["source"])} for c in found if tag in (None, *c["metadata"].get("tags", []))]


# --- the method in one picture ------------------------------------------------------------------------------------


def test_the_picture_shows_what_the_package_computes() -> None:
    figure, drawn = fig0_method.draw()
    assert next(iter(FIGURES)) == "fig0_method" and style.data_hash(drawn) == style.data_hash(fig0_method.draw()[1])
    phases = drawn.dropna(subset=["entropy"])["phase"]
    assert phases.iloc[0] == "compress" and phases.iloc[-1] == "explore"
    assert phases.ne(phases.shift()).sum() == 2, "one switch, as in the paper's two stages"
    group = drawn.dropna(subset=["reward"]).groupby("phase")
    assert (group.get_group("compress")["advantage"] >= 0).all()
    assert (group.get_group("explore")["advantage"] < 0).sum() == 2
    words = " ".join(text.get_text() for text in legible(figure))
    assert all(word in words for word in ("rollouts", "reward", "advantage", "entropy gate", "compress", "explore"))


def test_a_player_draws_again_when_a_slider_moves() -> None:
    drawn: list[float] = []
    player = players.player(lambda ax, r: drawn.append(r), {"r": 0.5}, r=(0.0, 1.0, 0.1))
    sliders, picture = player.children
    sliders.children[0].value = 0.7
    assert drawn == [0.5, 0.7] and "image/png" in picture.outputs[0]["data"]


# --- lessons ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LESSONS)
def test_every_prediction_is_followed_by_code_and_then_by_its_debrief(name: str) -> None:
    story = ""
    for cell in cells(name):
        marks = re.findall(r"\*(P)redict before you run:\*|\*(D)ebrief\.\* You may have said", cell["source"])
        story += "c" if cell["cell_type"] == "code" else "".join(p or d for p, d in marks)
    assert re.fullmatch(r"c*(Pc+Dc*)+", story), story


def test_grpo_fits_forty_lines_and_the_gate_a_dozen_or_so() -> None:
    ((grpo,), (gate,)) = (cells(FROM_SCRATCH, tag) for tag in ("grpo", "gate"))
    assert len(grpo["source"].splitlines()) <= 40 and len(gate["source"].splitlines()) <= 14


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_have_hidden_solutions_that_check_themselves(name: str) -> None:
    """They run with their notebook, in test_notebooks."""
    found = cells(name)
    exercises = [i for i, c in enumerate(found) if re.match(r"(## Exercises.*)?\*\*\d\. ", c["source"], re.DOTALL)]
    assert 3 <= len(exercises) <= 5
    for i in exercises:
        yours, solution = found[i + 1 : i + 3]
        assert yours["source"] == "# your turn"
        assert solution["metadata"] == {"jupyter": {"source_hidden": True}, "tags": ["solution"]}
        assert re.search(r"^assert |assert_close\(", solution["source"], re.MULTILINE)


def test_the_readers_own_method_is_one_small_class_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "site" / "library.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "methods.register" in block]
    assert len(code.splitlines()) <= 30
    monkeypatch.setattr(methods, "ARMS", dict(methods.ARMS))
    exec(code, own := {"__name__": "own"})
    assert isinstance(scales.config("pocket", "shortest").recipe.phases[0], own["Shortest"])
    trainer = tiny.trainer(tmp_path, Recipe((own["Shortest"]("train", 12),)), max_steps=2)
    trainer.train()
    assert len(pd.read_csv(tmp_path / "records" / "steps.csv")) == 2
    with pytest.raises(ConfigError, match="is there already"):
        methods.register("shortest", methods.ARMS["egrc"])
