"""Ablations: differences, seeds and settings worked out by hand."""

import math
from itertools import combinations

import pandas as pd
import pytest
import synthetic

from egrc.analysis import ablations
from egrc.experiments import records, scales
from egrc.experiments.records import RecordError

FLOOR = {"forward-3": 10.0, "hole-4": 20.0}
BASE = {0: (110.0, 0.5), 1: (90.0, 0.5)}  # 100 tokens beyond the floor
EGRC = {0: (20.0, 0.6), 1: (30.0, 0.8), 2: (10.0, 0.7)}


def rows(**arms: dict[int, tuple[float, float]]) -> pd.DataFrame:
    """Evaluation rows of an arm's seeds: (tokens beyond the floor, share of ten problems that is right), on both
    benchmarks."""
    runs = [(arm, seed, *of, b) for arm, seeds in arms.items() for seed, of in seeds.items() for b in FLOOR]
    return pd.DataFrame(
        [
            {"arm": arm, "seed": seed, "benchmark": b, "id": f"p{i}", "temperature": 0.6,
             "correct": i < round(10 * accuracy), "tokens": FLOOR[b] + tokens + 3 * i - 13.5}
            for arm, seed, tokens, accuracy, b in runs for i in range(10)
        ]
    )  # fmt: skip


def differences(table: pd.DataFrame, n_boot: int = 50) -> pd.DataFrame:
    return ablations.differences(table, FLOOR, n_boot).set_index(["arm", "part", "quantity"]).sort_index()


def test_a_difference_is_of_the_seeds_that_both_have():
    table = rows(base=BASE, egrc=EGRC, other={1: (40.0, 0.5), 2: (30.0, 0.5), 7: (0.0, 1.0)}, lonely={7: (0.0, 1.0)})
    found = differences(table).loc["other"]
    assert found["estimate"]["mean", "accuracy"] == pytest.approx(0.5 - 0.75)
    assert found["estimate"]["hole-4", "tokens"] == pytest.approx(35 - 20)
    assert found["estimate"]["mean", "removed"] == pytest.approx(0.65 - 0.8)
    assert set(found["seeds"]) == {2} and set(found["problems"]) == {20}
    assert "lonely" not in differences(table).index
    alone = ablations.by_seed(ablations.levels(table, FLOOR), "other").xs("mean", level="part")
    assert alone["accuracy"].to_dict() == pytest.approx({1: -0.3, 2: -0.2})
    assert alone["removed"].to_dict() == pytest.approx({1: -0.1, 2: -0.2})


def test_both_sides_of_a_resample_are_the_same_problems():
    """The same answers on both sides differ by nothing in every resample, however much problems differ."""
    table = rows(base=BASE, egrc=EGRC, other=EGRC)
    assert differences(table)[["estimate", "low", "high"]].abs().to_numpy().max() < 1e-12
    with pytest.raises(ValueError, match="different problems"):
        differences(table[(table["arm"] != "other") | (table["id"] != "p3")])


def test_the_interval_is_over_problems():
    """One problem in ten is lost: of ten drawn it is from none to about three, on the mean of two benchmarks less."""
    found = differences(rows(base=BASE, egrc={0: (20.0, 0.6)}, other={0: (20.0, 0.5)}), 2000).loc["other"]
    assert found.loc[("forward-3", "accuracy"), ["estimate", "low", "high"]].tolist() == pytest.approx([-0.1, -0.3, 0])
    assert found.loc[("mean", "accuracy"), "low"] > -0.3
    assert found["noise"].isna().all() and not found["clear"].any()  # one seed of egrc says nothing about seeds


@pytest.mark.parametrize(
    ("accuracy", "clear", "said"),
    [
        ((0.3, 0.3, 0.3), True, "lower, beyond the noise of seeds (3 seeds)"),
        ((0.1,), False, "lower, within the noise of seeds (one seed)"),
        ((0.6, 0.6, 0.6), False, "lower, within the noise of seeds (3 seeds)"),
        ((0.6, 0.8, 0.7), False, "none seen on 3 seeds"), ((0.6,), False, "none seen on one seed"),
    ],
)  # fmt: skip
def test_a_difference_is_clear_beyond_its_interval_and_the_seeds(accuracy, clear, said):
    """egrc: 0.6, 0.8, 0.7, a deviation of 0.1; Student's t of two degrees of freedom is 4.3027, so means of three seeds
    differ by up to 0.35 by chance, single ones by 0.61."""
    table = rows(base=BASE, egrc=EGRC, other={seed: (20.0, a) for seed, a in enumerate(accuracy)})
    line = differences(table, 500).loc["other", "mean", "accuracy"]
    assert line["noise"] == pytest.approx(4.3027 * 0.1 * (2 / len(accuracy)) ** 0.5, rel=1e-3)
    assert (line["clear"], ablations.in_words(line)) == (clear, said)


def test_what_an_ablation_changes_comes_from_the_settings():
    assert ablations.changed("pocket", "egrc-r0.8").to_dict("index") == {"compress: r": {"egrc": 0.05, "here": 0.8}}
    order = ablations.changed("pocket", "egrc-reversed").loc["order of phases"]
    assert order.tolist() == ["compress, explore", "explore, compress"]
    study = [arm for arm in scales.study("pocket", ablations.STUDY) if arm != ablations.WHOLE]
    assert sorted(ablations.WORDS) == sorted(study) and len(set(ablations.WORDS.values())) == len(study)
    assert all(len(ablations.changed("pocket", arm)) for arm in study)


def test_a_signal_is_useful_where_it_is_below_half_of_its_start_before_the_length_on_every_seed():
    """From step 9 on the entropy is 0.  Its means over 8 steps are 1, 7/8, ..., and below 1/2 first with 5 zeros: at
    step 13.  No connector is said after step 4; the probe is read every tenth step, and is 0 from step 11 on."""
    steps = pd.DataFrame({"step": range(1, 31)} | dict.fromkeys(ablations.SIGNALS, 1.0))
    steps.loc[steps["step"] > 8, "entropy"] = 0.0
    steps.loc[steps["step"] > 10, ["probe_entropy", "tokens_mean"]] = 0.0
    steps.loc[steps["step"] % 10 != 1, "probe_entropy"] = math.nan
    steps.loc[steps["step"] > 4, "entropy_connector"] = math.nan
    runs = [pd.Series({"scale": "pocket", "seed": seed, "steps": of}, dtype=object)
            for seed, of in enumerate((steps, steps.assign(probe_entropy=1.0)))]  # fmt: skip
    table = ablations.crossings(runs)
    assert table["seed 0"].dropna().to_dict() == {"entropy": 13, "probe_entropy": 11, "tokens_mean": 15}
    assert table["seed 1"].dropna().to_dict() == {"entropy": 13, "tokens_mean": 15}
    assert table.index[table["useful"]].tolist() == ["entropy"]


@pytest.mark.parametrize(
    ("phases", "begins"), [("cccee", [(4, "e")]), ("ccccc", []), ("ceecc", [(2, "e"), (4, "c")]), ("c", [])]
)
def test_switches_are_read_from_the_phases(phases, begins):
    assert ablations.switches(pd.DataFrame({"step": range(1, len(phases) + 1), "phase": list(phases)})) == begins


def test_what_is_there_is_read_and_the_rest_is_named(tmp_path):
    synthetic.write_runs(tmp_path, ("base",))
    with pytest.raises(RecordError, match="no record of egrc: `python -m egrc sweep --scale pocket`"):
        ablations.load("pocket", tmp_path)
    synthetic.write_run(tmp_path, "egrc", 0)
    synthetic.write_studies(tmp_path, ["egrc-fixed", "egrc-r0.8"], seeds=2)
    runs = ablations.load("pocket", tmp_path)
    assert pd.Series([run.arm for run in runs]).value_counts().to_dict() == {
        "base": 3, "egrc": 1, "egrc-fixed": 2, "egrc-r0.8": 2,
    }  # fmt: skip
    with pytest.raises(RecordError, match="scale 'smol' has no study 'ablations'"):
        ablations.load("smol", tmp_path)
    gated, single = (records.load("pocket", arm, 0, tmp_path) for arm in ("egrc", "egrc-r0.8"))
    assert ablations.moved(gated, "compress") < 0 < ablations.moved(gated, "explore")
    assert math.isnan(ablations.moved(single, "explore"))


def test_no_arm_is_another_arm_under_its_name():
    """A control whose gate never acts, or a remedy that never comes into play, would be another arm run twice; on one
    seed two gates may switch at the same step."""
    took: dict[str, dict[int, tuple[float, ...]]] = {}
    for run in records.load_all("pocket", studies=True):
        if run.arm != "base":
            took.setdefault(run.arm, {})[run.seed] = tuple(run.steps["tokens_mean"])
    for (arm, own), (other, theirs) in combinations(took.items(), 2):
        both = own.keys() & theirs.keys()
        assert any(own[seed] != theirs[seed] for seed in both), f"{arm} took the same steps as {other}"
    assert len(took) > 15
