"""The floor: sums by hand, a policy that is the teacher, training that is the base's to the bit, verdicts planted."""

from __future__ import annotations

import random
from functools import partial
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from egrc.analysis import floor, limits, measure
from egrc.analysis.floor import COLUMNS, SUMS, Course, Trace
from egrc.atomic import write_parquet
from egrc.entropy import CLASSES
from egrc.experiments import records
from egrc.worlds.pocket import Pocket, base, exact
from egrc.worlds.pocket.world import VOCABULARY, Problem

TOKENIZER = base.build_tokenizer()
PROBLEM = Problem("forward-3", 3, ("+4", "*2", "-1"))


def quiet(done: int, total: int) -> None:
    pass


def row(values: np.ndarray, name: str) -> dict[str, float]:
    return dict(zip(SUMS, values[CLASSES.index(name)], strict=True))


# --- sums -----------------------------------------------------------------------------------------


def test_sums_of_a_completion_by_hand() -> None:
    ids, kinds = np.array([0, 1, 2]), np.array([0, 1, 3])  # a connector, a number, another word
    p = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]])  # the third token stands after an impossible prefix
    sums = floor.token_sums(ids, kinds, p, np.full((3, 3), -log(3)), np.full(3, log(3)))
    assert row(sums, "connector") == pytest.approx(
        {"tokens": 1, "impossible": 0, "slips": 0, "entropy": log(3), "off_entropy": 0, "floor": log(2),
         "miss": log(3) - log(2), "loss": log(3), "floor_loss": log(2), "kl": log(3) - log(2)}
    )  # fmt: skip
    assert row(sums, "number") == pytest.approx(
        {"tokens": 1, "impossible": 0, "slips": 0, "entropy": log(3), "off_entropy": 0, "floor": 0,
         "miss": log(3), "loss": log(3), "floor_loss": 0, "kl": log(3)}
    )  # fmt: skip
    assert row(sums, "other") == dict.fromkeys(SUMS, 0) | {"impossible": 1, "off_entropy": pytest.approx(log(3))}


def test_a_word_that_the_teacher_cannot_say_is_a_slip_whose_own_prefix_still_counts() -> None:
    sums = floor.token_sums(np.array([2]), np.array([0, 1, 3]), np.array([[0.5, 0.5, 0.0]]),
                            np.log([[0.25, 0.25, 0.5]]), np.array([1.0]))  # fmt: skip
    assert row(sums, "other") == pytest.approx(
        {"tokens": 1, "impossible": 0, "slips": 1, "entropy": 1, "off_entropy": 0, "floor": log(2),
         "miss": 1 - log(2), "loss": log(2), "floor_loss": 0, "kl": log(2)}
    )  # fmt: skip


class Fake:
    """A model whose logits are a function of the words it has read."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, len(VOCABULARY))
        for i, (ids, attended) in enumerate(zip(input_ids, attention_mask, strict=True)):
            words = TOKENIZER.convert_ids_to_tokens(ids[attended.bool()])[1:]
            mark = words.index("?") + 1
            rows = self.of(exact.read_problem(" ".join(words[:mark])), words[mark:])
            start = int(attended.nonzero()[0]) + mark
            logits[i, start : start + len(rows)] = torch.from_numpy(rows).float()
        return SimpleNamespace(logits=logits)


def compared(of: Any) -> pd.DataFrame:
    traces = floor.teach(floor.held_out(2), random.Random(0))
    return floor.compare(Fake(of), TOKENIZER, traces, floor.known(traces))


def test_a_policy_that_is_the_teacher_stands_on_the_floor() -> None:
    seen = compared(lambda problem, words: np.log(np.maximum(exact.score(problem, words), 1e-30)))
    assert len(seen) == 12 * len(CLASSES) and seen["floor"].sum() > 1 and (seen["impossible"] == 0).all()
    for a, b in (("entropy", "floor"), ("loss", "floor_loss")):
        np.testing.assert_allclose(seen[a], seen[b], atol=1e-4)
    np.testing.assert_allclose(seen[["kl", "miss"]], 0, atol=1e-4)


def test_a_policy_that_knows_nothing_has_the_entropy_of_the_vocabulary() -> None:
    seen = compared(lambda problem, words: np.zeros((len(words), len(VOCABULARY))))
    for column in ("entropy", "loss"):
        np.testing.assert_allclose(seen[column], seen["tokens"] * log(len(VOCABULARY)), rtol=1e-6)
    np.testing.assert_allclose(seen["kl"], seen["loss"] - seen["floor"], rtol=1e-6)


def test_what_follows_a_wrong_sum_is_counted_and_left_out() -> None:
    said = ("so", "3", "+4", "=", "1", ".", "#", "1", "<eos>")  # 3 + 4 is 0 on this clock
    traces = [Trace(PROBLEM, said)]
    model, tokenizer = Pocket().policy()
    seen = floor.compare(model, tokenizer, traces, floor.known(traces)).set_index("class")
    assert seen["tokens"].sum() == 5 and seen["impossible"].sum() == 4
    assert seen["slips"].to_dict() == {"connector": 0, "number": 1, "operator": 0, "other": 0}
    assert seen.loc["other", "tokens"] == 0 and seen.loc["other", "entropy"] == 0


# --- training -------------------------------------------------------------------------------------


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: w.detach().clone() for name, w in model.named_parameters()}


def test_retraining_is_the_base_training_to_the_bit_even_when_killed_and_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(floor.scales, "config", lambda scale, arm, seed=0: SimpleNamespace(cap=8, arm=arm, seed=seed))
    base.train_base(tmp_path / "base", steps=4)
    wanted = weights(LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32))
    seen = floor.Look(TOKENIZER, 0, n=1)
    looked: list[int] = []

    def look(step: int, model: Any) -> None:
        looked.append(step)
        if step == 2:
            assert len(seen.at(model, step=step)) == 6 * (len(CLASSES) + 2)

    def killed(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    file = tmp_path / "course.safetensors"
    with pytest.raises(KeyboardInterrupt):
        floor.retrain(file, look, killed, points=(2, 4), steps=4)
    found = weights(floor.retrain(file, look, quiet, points=(2, 4), steps=4))
    assert looked == [2, 4]
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_token_pulls_only_where_the_policy_is_less_sure_than_the_teacher() -> None:
    model, tokenizer = Pocket().policy()
    traces = floor.training_traces(4, random.Random(0))
    batch = floor.padded(tokenizer, traces)
    plain = floor.limited_loss(model, batch).item()
    assert plain > 0
    assert floor.limited_loss(model, batch, torch.full(batch.tokens.shape, 9.0)).item() == 0
    assert floor.limited_loss(model, batch, torch.full(batch.tokens.shape, -1.0)).item() == pytest.approx(plain)
    exactly = floor.floors(traces, batch.tokens.shape[1])
    assert 0 < floor.limited_loss(model, batch, exactly).item() < plain
    assert exactly[0, : len(traces[0].words)].numpy() == pytest.approx(exact.entropy(floor.known(traces)[0]), abs=1e-6)
    assert (exactly[0, len(traces[0].words) :] == 0).all()


@pytest.mark.parametrize("diet", floor.LOOKS)
def test_diets(diet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = floor.training_traces(4, random.Random(0))
    assert not any(t.problem.held_out for t in fixed)
    model, tokenizer = Pocket().policy()
    before, looked, plain, fed = weights(model), [], floor.padded, []
    monkeypatch.setattr(floor, "padded", lambda t, traces: fed.append(frozenset(traces)) or plain(t, traces))
    floor.train_on(model, tokenizer, diet, fixed, random.Random(1), lambda step, _: looked.append(step), (0, 2))
    assert looked == [0, 2]
    assert any(not torch.equal(before[name], w) for name, w in weights(model).items())
    if diet == "fresh":
        assert len(fed[0] | fed[1]) == 8 and not (fed[0] | fed[1]) & set(fixed)
        assert not any(t.problem.held_out for t in fed[0] | fed[1])
    else:
        assert fed == [frozenset(fixed)] * 2


def test_going_on_from_a_file_is_going_on(tmp_path: Path) -> None:
    model = base.new_model()
    course = Course(model)
    loss = partial(floor.limited_loss, batch=floor.padded(TOKENIZER, floor.training_traces(2, random.Random(0))))
    course.descend(loss(model), 1e-3)
    course.save(tmp_path / "c.safetensors")
    other = Course(base.new_model())
    other.load(tmp_path / "c.safetensors")
    for c in (course, other):
        c.descend(loss(c.model), 1e-3)
    assert other.step == course.step == 2
    mine, theirs = weights(course.model), weights(other.model)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


# --- the measurement ------------------------------------------------------------------------------


def test_parts_cover_every_arm_and_seed() -> None:
    parts = floor.parts("pocket")
    assert parts[0] == "along" and len(set(parts)) == len(parts) == 1 + 3 + 18
    assert {p.split("/")[0] for p in parts} == {"along", "beyond", "arms"}
    hashes = floor.inputs("pocket")
    assert "base model" in hashes and "pocket/egrc/seed-2" in hashes


def test_every_stage_makes_the_columns_and_the_same_rows_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floor.scales, "config", lambda scale, arm, seed=0: SimpleNamespace(cap=20, arm=arm, seed=seed))
    small = {"fixed": (0, 1), "fresh": (1,)}
    monkeypatch.setattr(floor, "along", partial(floor.along, points=(1,), steps=1, n=1))
    monkeypatch.setattr(floor, "beyond", partial(floor.beyond, looks=small, n=1, size=2))
    monkeypatch.setattr(floor, "rollouts", partial(floor.rollouts, n=1))
    policy, adapters = floor.run.policy, []
    monkeypatch.setattr(floor.run, "policy", lambda c, w, adapter: adapters.append(adapter) or policy(c, w, adapter))
    expected = {
        "along": {"base": 6 * (4 + 2)},
        "beyond/seed-1": {"fixed": 2 * (6 * (4 + 2) + 2 * 4), "fresh": 6 * (4 + 2) + 2 * 4},
        "arms/egrc/seed-2": {"egrc": 6 * (4 + 1)},
    }
    for part, sizes in expected.items():
        tables = []
        for k in "ab" if part != "along" else "a":
            work = tmp_path / part.replace("/", "-") / k
            work.mkdir(parents=True)
            tables.append(floor.measure("pocket", part, work, quiet))
        assert list(tables[0].columns) == list(COLUMNS)
        assert tables[0]["name"].value_counts().to_dict() == sizes
        assert all(t.equals(tables[0]) for t in tables)
        limits.checked.check(tables[0], part)
        lengths = tables[0].query("measured == 'rollouts'").groupby("id")[["tokens", "impossible"]].sum().sum(axis=1)
        if len(lengths):
            assert {a.parts[-3:] for a in adapters} == {("egrc", "seed-2", "adapter")}
            assert lengths.to_dict() == tables[0].query("measured == 'answers'").set_index("id")["tokens"].to_dict()


# --- what the table says --------------------------------------------------------------------------


def planted(rng: np.random.Generator, below: tuple[int, ...] = (0, 1, 2), problems: int = 4) -> pd.DataFrame:
    """A table of the measurement's shape whose answers are known; on the seeds `below` training passes the floor."""
    lines = []

    def add(stage: str, name: str, seed: int, step: int, measured: str, accuracy: float, shift: float) -> None:
        for b in floor.BENCHMARKS:
            for i in range(problems):
                common = {"scale": "pocket", "tokenizer": "t", "stage": stage, "name": name, "seed": seed, "step": step,
                          "benchmark": b, "id": f"{b}/{i}", "temperature": 1.0}  # fmt: skip
                for k, c in enumerate(CLASSES):
                    n = 10 + k
                    nats = {"entropy": n * (0.3 + shift), "floor": n * 0.3, "miss": n * abs(shift), "kl": n * 0.01,
                            "loss": n * (0.31 + shift + 0.01 * rng.random()), "floor_loss": n * 0.305}  # fmt: skip
                    sums = {"tokens": n, "impossible": 1, "slips": 0, "off_entropy": 0.5} | nats
                    lines.append(common | {"measured": measured, "class": c, "correct": 0} | sums)
                    if measured != "rollouts" and stage == "beyond":
                        lines.append(lines[-1] | {"measured": "fixed", "id": ""})
                for t in floor.TEMPERATURES if measured == "traces" else (1.0,):
                    answer = dict.fromkeys(SUMS, 0.0) | {"tokens": 50.0 + i, "correct": int(rng.random() < accuracy)}
                    lines.append(common | {"measured": "answers", "class": "answer", "temperature": t} | answer)

    for step in floor.ALONG:
        add("along", "base", 0, step, "traces", 0.05 + 0.9 * step / limits.LAST, 10 / step)
    for seed in range(3):
        for diet, steps in floor.LOOKS.items():
            slope = {"fixed": -0.15 if seed in below else 0.0, "limited": -0.02, "fresh": 0.0}[diet]
            for step in steps:
                lost = {"fixed": 0.5, "limited": 0.05, "fresh": 0.0}[diet] * step / limits.TRAINED_ON
                add("beyond", diet, seed, step, "traces", 0.95 - lost, slope * step / limits.TRAINED_ON)
        for k, arm in enumerate(("base", "accuracy", "compression", "joint", "egrc", "egrc-reversed")):
            add("arms", arm, seed, 0, "rollouts", 0.7, (0.02, 0.05, -0.1, -0.05, -0.02, 0.0)[k])
    return pd.DataFrame(lines)[list(COLUMNS)]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return planted(np.random.default_rng(0))


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    rows = pd.DataFrame({"benchmark": "b", "id": ["x", "y"], "name": "n", "class": "number", "seed": 0,
                         "entropy": [2.0, 4.0], "floor": [1.0, 0.0], "tokens": [1.0, 3.0]})  # fmt: skip
    found = limits.per_token(rows, ["name"], ["entropy", "gap"], n_boot=0).set_index("quantity")["estimate"]
    assert found.to_dict() == {"entropy": 6 / 4, "gap": 5 / 4}
    r = limits.ratios(rows, ["name"], "entropy", n_boot=4000)
    assert set(np.round(np.unique(r.drawn), 12)) == {round(x, 12) for x in (2.0, 1.5, 4 / 3)}  # xx, xy or yx, yy
    with pytest.raises(ValueError, match="no quantity 'mood'"):
        limits.ratios(rows, ["name"], "mood")


def test_classes_and_their_sum(table: pd.DataFrame) -> None:
    arms = limits.pick(table, stage="arms", measured="rollouts")
    found = limits.per_token(arms, ["name"], ["gap", "impossible"], by_class=True, n_boot=50)
    one = found.query("name == 'compression' and quantity == 'gap'").set_index("class")
    assert set(one.index) == {limits.ALL, *CLASSES}
    np.testing.assert_allclose(one[["estimate", "low", "high"]], -0.1)
    shares = found.query("name == 'base' and quantity == 'impossible'").set_index("class")["estimate"]
    assert shares["connector"] == pytest.approx(1 / 11) and shares[limits.ALL] == pytest.approx(4 / 50)


def test_a_wide_table_reads_estimate_and_interval() -> None:
    line = {"name": "n", "quantity": "gap", "estimate": 0.5, "low": -0.25, "high": 1.0}
    assert limits.wide(pd.DataFrame([line]), "name").loc["n", "gap"] == "0.500 [-0.250, 1.000]"


def test_a_difference_is_paired_and_shown_seed_by_seed(table: pd.DataFrame) -> None:
    q = limits.QUESTIONS["exploration"]
    assert limits.difference(table, q.a, q.b, q.quantity, n_boot=50) == pytest.approx((0.08, 0.08, 0.08))
    assert limits.by_seed(table, q.a, q.b, q.quantity) == pytest.approx([0.08] * 3)
    with pytest.raises(ValueError, match="no rows with stage 'nowhere'"):
        limits.difference(table, {"stage": "nowhere"}, q.b, q.quantity)


def test_a_change_of_entropy_is_the_floors_plus_the_gaps(table: pd.DataFrame) -> None:
    found = limits.moved(table, n_boot=20).pivot(index="arm", columns="quantity", values="estimate")
    everywhere = 0.03 * 46 / 50  # one token in each class has no floor: 4 of the 50 of a problem
    assert found.loc["accuracy"].to_dict() == pytest.approx(
        {"everywhere": everywhere, "entropy": 0.03, "floor": 0.0, "gap": 0.03}
    )
    elsewhere = table.assign(floor=np.where(table["name"] == "joint", 2 * table["floor"], table["floor"]))
    joint = limits.moved(elsewhere, n_boot=20).pivot(index="arm", columns="quantity", values="estimate").loc["joint"]
    assert joint.drop("everywhere").to_dict() == pytest.approx({"entropy": -0.07, "floor": 0.3, "gap": -0.37})


def test_where_a_completion_leaves_the_teacher_is_said() -> None:
    assert limits.leaves("3 +4 ?", ("3", "+4", "0", "#", "0", "<eos>")) == ""
    assert limits.leaves("3 +4 ?", ("3", "+4", "1")).startswith("word 3: '1'")


def test_verdicts_find_what_was_planted(table: pd.DataFrame) -> None:
    found = limits.verdicts(table, n_boot=200).set_index("question")
    assert list(found.index) == list(limits.QUESTIONS)
    assert (found["verdict"] == "supported").all(), found[["estimate", "low", "high", "verdict"]]
    assert found["n"].eq(24).all() and found["seeds"].to_list() == [1, 3, 3, 3, 3, 3]
    assert found["each"].map(len).to_list() == found["seeds"].to_list()
    mirrored = table.assign(entropy=table["floor"] - (table["entropy"] - table["floor"]), correct=1 - table["correct"])
    assert (limits.verdicts(mirrored, n_boot=50)["verdict"] == "not supported").all()


def test_where_a_seed_does_not_go_below_the_floor_nothing_is_said_of_beyond() -> None:
    found = limits.verdicts(planted(np.random.default_rng(0), below=(0, 2)), n_boot=50).set_index("question")["verdict"]
    assert found["beyond"].startswith("not testable") and found["limited"].startswith("not testable")
    assert found["compression"] == "supported"


def test_the_steps_that_questions_name_are_measured() -> None:
    assert limits.LAST == base.STEPS == floor.ALONG[-1]
    assert limits.STAGE_TWO == base.MIXED_STEPS and limits.STAGE_TWO in floor.ALONG
    assert all(points[-1] == limits.TRAINED_ON for points in floor.LOOKS.values())


def test_a_table_that_is_not_there_or_not_whole_is_refused(tmp_path: Path, table: pd.DataFrame,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setitem(measure.MEASUREMENTS, "floor", ("pocket", "what the teacher leaves to know"))
    with pytest.raises(records.RecordError, match="python -m egrc measure floor"):
        limits.load("pocket", tmp_path)
    file = measure.file("floor", "pocket", tmp_path)
    broken = table.assign(part="x", entropy=table["entropy"].where(table.index != 6))
    write_parquet(file, broken)
    with pytest.raises(records.RecordError, match="floor.parquet, row 7: entropy is not a number"):
        limits.load("pocket", tmp_path)
    write_parquet(file, broken.drop(columns="kl"))
    with pytest.raises(records.RecordError, match="no kl"):
        limits.load("pocket", tmp_path)


# --- the figure -----------------------------------------------------------------------------------


def test_the_figure_shows_every_seed_and_says_what_is_left_out(
    tmp_path: Path, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pictures import legible

    from egrc.figures import fig10_floor, style

    monkeypatch.setattr(limits, "N_BOOT", 50)
    write_parquet(measure.file("floor", "pocket", tmp_path), table)
    (figure, drawn), (again, _) = (fig10_floor.draw("pocket", tmp_path) for _ in range(2))
    assert [f.read_bytes() for f in style.save(figure, drawn, tmp_path / "a" / "fig")] == [
        f.read_bytes() for f in style.save(again, drawn, tmp_path / "b" / "fig")
    ]
    said = " ".join(t.get_text() for t in legible(figure))
    assert "base 8.0%" in said and "floor" in said
    accuracy = figure.axes[5]
    thin = [ln for ln in accuracy.lines if ln.get_linewidth() == 0.5]
    assert len(thin) == 3 * len(floor.LOOKS)
    dots = [ln for ln in figure.axes[6].lines if ln.get_markersize() == 1.8]
    assert len(dots) == 6 and all(len(ln.get_xdata()) == 3 for ln in dots)
    base = drawn.query("panel == 'arms' and name == 'base' and quantity == 'floor' and seed == -1")
    np.testing.assert_allclose(base["estimate"], 0.3)
