"""The strip: the problem and the answer shown are chosen by rules, and a replay that was killed goes on."""

from types import SimpleNamespace

import pytest
import tiny

from egrc.analysis import measure, strip
from egrc.entropy import CLASSES, lexical_classes
from egrc.experiments import run, scales

PROBLEM = {"id": "1 + 2 ?", "prompt": "1 + 2 ?", "answer": "3"}


@pytest.fixture
def world(monkeypatch):
    made = SimpleNamespace(policy=lambda: (tiny.model(), tiny.tokenizer()), correct=tiny.even)
    made.token_classes = lexical_classes
    monkeypatch.setattr(scales, "world", lambda scale, seed=0: made)
    monkeypatch.setattr(strip, "asked", lambda scale: ("hole-4", PROBLEM))
    return made


def test_the_answer_of_median_length_is_shown_and_the_model_stays_in_its_mode(world):
    model = tiny.model().train()
    rows = strip.answers(model, world, PROBLEM, SimpleNamespace(cap=12, seed=0), step=0)
    assert model.training and len(rows) == strip.SAMPLES and rows["shown"].sum() == 1
    assert rows.loc[rows["shown"], "length"].item() == rows["length"].median()
    assert (rows["tokens"].str.len() == rows["length"]).all() and set(rows["classes"].explode()) <= set(CLASSES)
    assert not (rows["correct"] & rows["truncated"]).any()


def test_a_replay_asks_at_the_recorded_steps_and_no_step_twice(world, tmp_path, monkeypatch):
    asked, stops, model = [], [50], tiny.model()
    few = strip.answers(model, world, PROBLEM, SimpleNamespace(cap=12, seed=0), step=0)
    monkeypatch.setattr(strip, "answers", lambda *given: asked.append(given[-1]) or few)

    def train(config, world, work, observe):
        for step in range(config.steps + 1):
            observe(step, model)
            if step in stops:
                stops.clear()
                raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", train)
    with pytest.raises(KeyboardInterrupt):
        strip.measure("pocket", "egrc/seed-1", tmp_path, lambda done, total: None)
    table = strip.measure("pocket", "egrc/seed-1", tmp_path, lambda done, total: None)
    assert asked == list(strip.steps(scales.config("pocket", "egrc"))) == sorted(set(table["step"]))
    assert list(table) == list(strip.COLUMNS) and (table.groupby("step")["shown"].sum() == 1).all()


def test_the_recorded_strip_asks_the_first_held_out_problem_of_the_hardest_benchmark():
    table, (benchmark, problem) = measure.load("strip", "pocket"), strip.asked("pocket")
    assert set(table["benchmark"]) == {benchmark} and set(table["id"]) == {problem["id"]}
    assert set(table["part"]) == set(strip.parts("pocket"))
