"""The plan of the next comparison: statistics and designs by hand, and the whole from made-up records."""

import json

import numpy as np
import pandas as pd
import pytest
import synthetic

from egrc import paths
from egrc.__main__ import main
from egrc.analysis.variance import Comparison, Design, detectable
from egrc.atomic import write_json, write_parquet
from egrc.experiments import measure, power
from egrc.experiments.records import RecordError

NAMES = ("easy", "hard")


def lengths(arm, easy, hard, rng, noise=2.0, problems=400, seeds=3):
    """Tokens [2, seeds, problems, 1] around the given means; the base's `arm` name has no other meaning."""
    return np.array([easy, hard])[:, None, None, None] + rng.normal(0, noise, (2, seeds, problems, 1))


@pytest.fixture
def known():
    rng = np.random.default_rng(0)
    tokens = {"base": lengths("base", 110, 120, rng), "egrc": lengths("egrc", 20, 40, rng),
              "joint": lengths("joint", 10, 20, rng), "accuracy": lengths("accuracy", 150, 170, rng)}  # fmt: skip
    correct = {arm: rng.random(y.shape) < 0.5 for arm, y in tokens.items()}
    outcomes = {"accuracy": {arm: y.astype(float) for arm, y in correct.items()}, "removed": tokens}
    return power.Study(0.6, NAMES, np.array([10.0, 20.0]), outcomes, {"accuracy": 1.0, "removed": 0.5})


def test_what_is_removed_and_who_is_pooled(known):
    assert known.removed("egrc") == pytest.approx([0.9, 0.8], abs=0.01)
    assert known.pooled == ["egrc", "joint"]  # `accuracy` removes nothing


def test_the_linearised_statistic_moves_as_the_statistic_does(known):
    def removed(arm, base):
        return (base - arm) / (base - known.floor)

    arm, base = (known.outcomes["removed"][k].mean((1, 2, 3)) for k in ("egrc", "base"))
    a, b = known._slopes("egrc", "base", "removed")
    step = 1e-4
    assert a == pytest.approx((removed(arm + step, base) - removed(arm, base)) / step, rel=1e-3)
    assert b == pytest.approx((removed(arm, base + step) - removed(arm, base)) / step, rel=1e-3)


def test_components_of_a_comparison_by_hand(known):
    c = known.compare("egrc", "base", "removed")
    a, b = -1 / 100, 0.1 / 100  # easy: base - floor = 100, arm - floor = 10
    assert c.estimate[0] == pytest.approx(0.9, abs=0.01)
    assert c.sampling[0] == pytest.approx(a**2 * 4 * 0.5 + b**2 * 4, rel=0.1)  # half of the arm's residual of 2^2
    assert c.interaction[0] == pytest.approx(a**2 * 4 * 0.5, rel=0.1)  # the base has none
    assert len(c.seeds) == 1 and len(known.compare("egrc", "joint", "removed").seeds) == 2


def test_accuracy_is_a_difference(known):
    c = known.compare("egrc", "joint", "accuracy")
    egrc, joint = (known.outcomes["accuracy"][k].mean((1, 2, 3)) for k in ("egrc", "joint"))
    assert c.estimate == pytest.approx(egrc - joint)
    assert c.sampling == pytest.approx([0.5, 0.5], rel=0.05)  # p (1 - p) of both


def rows(**changed):
    """Rows of one arm: two benchmarks, two seeds, three problems, one sample; tokens tell where they belong."""
    table = pd.DataFrame(
        [{"benchmark": b, "seed": s, "id": f"{b}{i}", "sample": 0, "tokens": 100 * j + 10 * s + i}
         for j, b in enumerate(NAMES) for s in (0, 1) for i in range(3)]
    )  # fmt: skip
    return table.assign(**changed).sample(frac=1, random_state=0)


def test_rows_become_a_block_in_sorted_order():
    y = power.cube(rows(), "tokens")
    assert y.shape == (2, 2, 3, 1)
    assert y[1, 1, 2, 0] == 112 and y[0, 1, 0, 0] == 10


@pytest.mark.parametrize("spoil", [lambda t: t.iloc[1:], lambda t: t.assign(seed=0), lambda t: pd.concat([t, t])])
def test_rows_that_are_no_block_are_refused(spoil):
    with pytest.raises(RecordError, match="evaluations differ"):
        power.cube(spoil(rows()), "tokens")


def test_the_share_of_sampling_is_recovered():
    rng = np.random.default_rng(1)
    cell = {(s, i): rng.normal(0, 1) for s in range(5) for i in range(200)}
    table = pd.DataFrame(
        [{"arm": "x", "benchmark": "b", "seed": s, "id": i, "sample": k, "y": value + rng.normal(0, 3**0.5)}
         for (s, i), value in cell.items() for k in range(4)]
    )  # fmt: skip
    assert power.sampling_share(table, "y") == pytest.approx(3 / 4, abs=0.03)
    untrained = table.assign(arm="base", y=0.0)
    assert power.sampling_share(pd.concat([table, untrained]), "y") == power.sampling_share(table, "y")


def test_costs_by_hand():
    # 60 s of training, 40 s for 100 problems of which a quarter greedy: twice the problems, three samples
    costs = power.Costs(training=60, evaluation=40, problems=100, greedy=0.25)
    assert costs.minutes(Design(3, 200, 3)) == pytest.approx(3 * (60 + 40 * 2 * (0.25 + 0.75 * 3)) / 60)
    assert costs.minutes(Design(1, 100, 1)) == pytest.approx(100 / 60)


def simple(sampling, seeds=0.0, name="egrc - base"):
    """A comparison of accuracies in two benchmarks in which only sampling, and seeds, vary."""
    none = np.zeros(2)
    return Comparison(name, "accuracy", none, none, none, none, np.array(sampling), (np.eye(2) * seeds,))


def test_problems_needed_by_hand():
    # one benchmark: (2.8016 / 0.05)^2 0.5 / 5 = 313.96; the mean: (2.8016 / 0.02)^2 (0.5 / 2) / 5 = 981.1
    table = power.needed_table([simple([0.5, 0.5])], NAMES)
    found = table.query("seeds == 5 and samples == 1").set_index("part")["problems"]
    assert found.to_dict() == {"mean": 982, "easy": 314, "hard": 314}
    halved = table.query("seeds == 5 and samples == 2").set_index("part")["problems"]
    assert halved["mean"] == 491


def test_seeds_are_needed_once_they_count():
    table = power.needed_table([simple([0.5, 0.5], seeds=0.01**2)], NAMES).query("part == 'easy' and samples == 1")
    needed = dict(zip(table["seeds"], table["seeds_all"], strict=True))
    assert needed[5] > 5  # the problems were just enough for five, seeds apart
    hopeless = power.needed_table([simple([0.5, 0.5], seeds=1.0)], NAMES)
    assert hopeless["seeds_all"].isna().all()


def test_the_cheapest_design_that_keeps_every_margin_is_taken():
    costs = power.Costs(training=60, evaluation=40, problems=100, greedy=0.0)
    found = power.recommend([simple([0.4, 0.1]), simple([0.1, 0.1], name="joint - base")], NAMES, costs, unseen=700)
    # the mean needs (2.8016 / 0.02)^2 (0.4 + 0.1) / 4 / 5 = 491; twice the samples cost as much as twice the problems
    assert found == Design(5, 500, 1)
    assert power.recommend([simple([0.4, 0.1])], NAMES, costs, unseen=300) == Design(5, 300, 2)
    with pytest.raises(RecordError, match="no design with 100 problems"):
        power.recommend([simple([4.0, 4.0])], NAMES, costs, unseen=100)


def test_a_difference_that_pairing_makes_certain_needs_few_problems():
    c = simple([0.01, 0.01])
    paired = Comparison("egrc - base", "accuracy", c.estimate, np.full(2, 0.5), np.full(2, -0.5), c.interaction,
                        c.sampling, c.seeds)  # fmt: skip
    table = power.design_table([paired], NAMES, power.Costs(1, 1, 100, 0))
    assert (table["se_unpaired"] > 5 * table["se_given"]).all()


# --- from records to the plan -------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Made-up records of all arms, three seeds, with times, and repeated samples of each."""
    monkeypatch.setattr(paths, "DATA", tmp_path)
    monkeypatch.setattr(power, "PROBLEMS", (200, 400, 800, 1600))
    synthetic.write_runs(tmp_path)
    repeats = []
    for arm in synthetic.ARMS:
        for seed in range(3):
            file = paths.run_folder(tmp_path, "pocket", arm, seed) / "run.json"
            times = {"training_seconds": 100.0, "evaluation_seconds": 20.0}
            write_json(file, json.loads(file.read_text()) | times)
            repeats.append(synthetic.evaluation(arm, seed).assign(arm=arm, seed=seed))
    table = pd.concat(repeats).query("temperature == 1.0").assign(kind="completion")
    missing = {column: 0 for column in measure.module("policies").COLUMNS if column not in table}
    write_parquet(measure.file("policies", "pocket", tmp_path), table.assign(**missing))
    world = tmp_path / "pocket" / "world.json"
    write_json(world, json.loads(world.read_text()) | {"sizes": [{"held_out": 1900}, {"held_out": 2000}]})
    return tmp_path


def test_the_plan_is_recorded_and_shown(data, capsys):
    assert main(["power", "--fresh", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["unseen_problems"] == 1700 and shown["stale"] == []
    assert shown["recommended"]["seeds"] == power.SEEDS and shown["recommended"]["problems"] in power.PROBLEMS
    assert shown["costs"]["training"] == 100 and "accuracy" not in shown["pooled"]
    assert {"components", "designs", "needed"} <= shown.keys()
    assert main(["power"]) == 0
    text = capsys.readouterr().out
    assert "egrc - base" in text and "Two stories: given the seeds" in text and "Stale" not in text


def test_a_plan_keeps_every_margin_that_it_promises(data):
    summary = json.loads(power.make("pocket").read_text())
    errors = pd.DataFrame(summary["errors"]).query("comparison == 'egrc - base' and statistic == 'accuracy'")
    five = errors[errors["seeds"] == power.SEEDS]
    assert all(detectable(se) <= power.margin(part) for part, se in zip(five["part"], five["se_given"], strict=True))
    assert (errors["se_all"] >= errors["se_given"]).all()


def test_a_plan_says_which_runs_have_changed_since(data, capsys):
    power.make("pocket")
    synthetic.write_run(data, "egrc", 1, synthetic.evaluation("joint", 1))
    synthetic.write_run(data, "egrc", 7)  # a later one is no reason
    assert main(["power"]) == 0
    assert "Stale: evaluated again since this was made: pocket/egrc/seed-1." in capsys.readouterr().out


def test_without_a_plan_the_command_is_named(data, capsys):
    assert main(["power"]) == 1
    assert "python -m egrc power --scale pocket --fresh" in capsys.readouterr().err


def test_one_seed_is_not_enough(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "DATA", tmp_path)
    synthetic.write_runs(tmp_path, seeds=1)
    assert main(["power", "--fresh"]) == 1
    assert "two recorded seeds of 'egrc'" in capsys.readouterr().err
    assert not power.folder().exists()
