"""Ablations: differences, seeds and settings worked out by hand, and figure 13 of made-up records."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure
from pictures import legible, texts

from egrc.analysis import ablations, tables
from egrc.experiments import records, scales
from egrc.experiments.records import RecordError
from egrc.figures import fig13_ablations, style

FLOOR = {"forward-3": 10.0, "hole-3": 20.0}
Side = dict[int, tuple[float, float]]


def rows(**arms: Side) -> pd.DataFrame:
    """Evaluation rows of an arm's seeds: (tokens beyond the floor, share of ten problems that is right), on both
    benchmarks."""
    frames = []
    for arm, seeds in arms.items():
        for seed, (tokens, accuracy) in seeds.items():
            for benchmark, floor in FLOOR.items():
                frames.append(pd.DataFrame({
                    "arm": arm, "seed": seed, "benchmark": benchmark, "id": [f"p{i}" for i in range(10)],
                    "temperature": 0.6, "correct": np.arange(10) < round(10 * accuracy), "tokens": floor + tokens,
                }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


BASE = {0: (110.0, 0.5), 1: (90.0, 0.5)}  # 100 tokens beyond the floor
EGRC = {0: (20.0, 0.6), 1: (30.0, 0.8), 2: (10.0, 0.7)}


def test_a_difference_is_of_the_seeds_that_both_have() -> None:
    table = rows(base=BASE, egrc=EGRC, other={1: (40.0, 0.5), 2: (30.0, 0.5), 7: (0.0, 1.0)})
    found = ablations.compare(table, "other", "egrc", FLOOR, 50).set_index(["part", "quantity"])
    assert found["estimate"]["mean", "accuracy"] == pytest.approx(0.5 - 0.75)
    assert found["estimate"]["hole-3", "tokens"] == pytest.approx(35 - 20)
    assert found["estimate"]["mean", "removed"] == pytest.approx(0.65 - 0.8)
    assert set(found["seeds"]) == {2} and set(found["problems"]) == {20}
    alone = ablations.by_seed(ablations.levels(table, FLOOR), "other", "egrc").xs("mean", level="part")
    assert alone["accuracy"].to_dict() == pytest.approx({1: -0.3, 2: -0.2})
    assert alone["removed"].to_dict() == pytest.approx({1: -0.1, 2: -0.2})


def test_both_sides_of_a_resample_are_the_same_problems() -> None:
    """The same answers on both sides differ by nothing in every resample, however much problems differ."""
    table = rows(base=BASE, egrc=EGRC, other=EGRC)
    noise = table["id"].str[1:].astype(int) * 3.0
    found = ablations.compare(table.assign(tokens=table["tokens"] + noise), "other", "egrc", FLOOR, 50)
    assert found[["estimate", "low", "high"]].abs().to_numpy().max() < 1e-12


def test_the_interval_is_over_problems() -> None:
    """One problem in ten is lost: of ten drawn it is from none to about three, on the mean of two benchmarks less."""
    table = rows(base=BASE, egrc={0: (20.0, 0.6)}, other={0: (20.0, 0.5)})
    found = ablations.compare(table, "other", "egrc", FLOOR, 2000).set_index(["part", "quantity"])
    assert found.loc[("forward-3", "accuracy"), ["estimate", "low", "high"]].tolist() == pytest.approx([-0.1, -0.3, 0])
    assert found.loc[("mean", "accuracy"), "low"] > -0.3


def test_arms_without_a_seed_in_common_are_refused_and_left_out() -> None:
    table = rows(base=BASE, egrc=EGRC, other={7: (0.0, 1.0)})
    with pytest.raises(RecordError, match="other and egrc have no seed in common"):
        ablations.compare(table, "other", "egrc", FLOOR, 10)
    assert ablations.differences(table, FLOOR, 10).empty


def test_other_problems_are_refused() -> None:
    table = rows(base=BASE, egrc=EGRC, other=EGRC)
    with pytest.raises(ValueError, match="different problems"):
        ablations.compare(table[(table["arm"] != "other") | (table["id"] != "p3")], "other", "egrc", FLOOR, 10)


def test_the_spread_of_seeds_is_the_largest_difference_of_two() -> None:
    levels = ablations.levels(rows(base=BASE, egrc=EGRC, single={0: (5.0, 0.9)}), FLOOR)
    assert levels.loc[("egrc", 1, "mean")].tolist() == pytest.approx([0.8, 45, 0.7])
    assert ablations.spread(levels).loc["mean"].tolist() == pytest.approx([0.2, 20, 0.2])
    assert ablations.spread(levels, "single").isna().all(axis=None)


def test_the_noise_of_seeds_shrinks_with_their_number() -> None:
    """Accuracies 0.6, 0.8, 0.7: a deviation of 0.1, and Student's t of two degrees of freedom is 4.3027."""
    levels = ablations.levels(rows(base=BASE, egrc=EGRC, single={0: (5.0, 0.9)}), FLOOR)
    for seeds in (1, 3):
        expected = 4.3027 * 0.1 * (2 / seeds) ** 0.5
        assert ablations.noise(levels, seeds)["accuracy"]["mean"] == pytest.approx(expected, rel=1e-3)
    assert ablations.noise(levels, 3, "single").isna().all(axis=None)


@pytest.mark.parametrize(
    ("accuracy", "clear", "said"),
    [
        ((0.3, 0.3, 0.3), True, "lower, beyond the noise of seeds (3 seeds)"),
        ((0.1,), False, "lower, within the noise of seeds (one seed)"),
        ((0.6, 0.6, 0.6), False, "lower, within the noise of seeds (3 seeds)"),
        ((0.6, 0.8, 0.7), False, "none seen on 3 seeds"),
        ((0.6,), False, "none seen on one seed"),
    ],
)
def test_a_difference_is_clear_beyond_its_interval_and_the_seeds(
    accuracy: tuple[float, ...], clear: bool, said: str
) -> None:
    """egrc: 0.6, 0.8, 0.7, so means of three seeds differ by up to 0.35 by chance, single ones by 0.61."""
    table = rows(base=BASE, egrc=EGRC, other={seed: (20.0, a) for seed, a in enumerate(accuracy)})
    line = ablations.differences(table, FLOOR, 500).query("part == 'mean' and quantity == 'accuracy'").iloc[0]
    assert line["noise"] == pytest.approx({3: 0.3513, 1: 0.6085}[line["seeds"]], rel=1e-3)
    assert (line["clear"], ablations.in_words(line)) == (clear, said)


def test_with_one_seed_of_egrc_no_difference_is_clear() -> None:
    table = rows(base=BASE, egrc={0: (20.0, 0.9)}, other={0: (20.0, 0.0)})
    found = ablations.differences(table, FLOOR, 10)
    assert found["noise"].isna().all() and not found["clear"].any()


# --- settings, switches -------------------------------------------------------------------------------------------


def test_what_an_ablation_changes_comes_from_the_settings() -> None:
    assert ablations.changed("pocket", "egrc-r0.02").to_dict("index") == {
        "compress: r": {"egrc": 0.05, "egrc-r0.02": 0.02}
    }
    assert ablations.words("pocket", "egrc-L120") == "L 160 → 120"
    assert ablations.changed("pocket", "egrc-reversed").loc["order of phases"].tolist() == [
        "compress, explore", "explore, compress",
    ]  # fmt: skip
    assert ablations.words("pocket", "mine") == "mine"


def test_every_ablation_of_the_study_differs_and_has_its_words() -> None:
    study = [arm for arm in scales.study("pocket", ablations.STUDY) if arm != ablations.WHOLE]
    said = {arm: ablations.words("pocket", arm) for arm in study}
    assert sorted(said) == sorted(arm for group in ablations.GROUPS.values() for arm in group)
    assert len(set(said.values())) == len(study) and all(arm != words for arm, words in said.items())
    assert all(len(ablations.changed("pocket", arm)) for arm in study)


@pytest.mark.parametrize(
    ("phases", "steps"),
    [("cccee", [3]), ("ccccc", []), ("ceecc", [1, 3]), ("c", [])],
)
def test_switches_are_read_from_the_phases(phases: str, steps: list[int]) -> None:
    assert ablations.switches(pd.DataFrame({"step": range(1, len(phases) + 1), "phase": list(phases)})) == steps


def test_entropy_moves_within_a_phase(tmp_path: Path) -> None:
    synthetic.write_runs(tmp_path, ("egrc", "compression"), seeds=1)
    gated, single = (records.load("pocket", arm, 0, tmp_path) for arm in ("egrc", "compression"))
    assert ablations.moved(gated, "compress") < 0 < ablations.moved(gated, "explore")
    assert math.isnan(ablations.moved(single, "explore"))


# --- the study's records, and the figure --------------------------------------------------------------------------

TRAINED = {"egrc-reversed": 3, "egrc-fixed": 3, "egrc-linear": 1, "egrc-soft": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, egrc and some ablations, with one to three seeds."""
    folder = synthetic.write_runs(tmp_path_factory.mktemp("records"), ("base", "egrc"))
    for arm, seeds in TRAINED.items():
        for seed in range(seeds):
            like = "egrc-reversed" if arm == "egrc-reversed" else "compression"
            synthetic.write_run(folder, arm, seed, like=like)
    return folder


@pytest.fixture(scope="module")
def drawn(data: Path) -> tuple[Figure, pd.DataFrame]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fig13_ablations, "N_BOOT", 50)
        return fig13_ablations.draw("pocket", data)


def test_what_is_there_is_read_and_the_rest_is_named(data: Path, tmp_path: Path) -> None:
    runs = ablations.load("pocket", data)
    assert pd.Series([run.arm for run in runs]).value_counts().to_dict() == {"base": 3, "egrc": 3, **TRAINED}
    lacking = ablations.missing("pocket", {run.arm for run in runs})
    assert "egrc-shuffled" in lacking and not set(lacking) & {"egrc", *TRAINED}
    synthetic.write_runs(tmp_path, ("base",))
    with pytest.raises(RecordError, match="no record of egrc: `python -m egrc sweep --scale pocket --study ablations`"):
        ablations.load("pocket", tmp_path)
    with pytest.raises(RecordError, match="scale 'smol' has no study 'ablations'"):
        ablations.load("smol", tmp_path)


def test_texts_are_legible_inside_and_apart(drawn: tuple[Figure, pd.DataFrame]) -> None:
    figure, _ = drawn
    assert legible(figure)


def test_every_seed_is_a_tick_and_few_seeds_are_said(drawn: tuple[Figure, pd.DataFrame]) -> None:
    figure, numbers = drawn
    own = numbers.query("what == 'seed' and part == 'mean' and quantity == 'removed'")
    assert own.groupby("arm").size().to_dict() == {"egrc": 3, **TRAINED}
    said = [text.get_text() for text in texts(figure)]
    assert {"linear shaping · 1 seed", "phases blended · 2 seeds", "stages reversed"} <= set(said)
    study = scales.study("pocket", ablations.STUDY)
    assert said.count("no record") == len(study) - 1 - len(TRAINED)
    assert f"Missing: {said.count('no record')} of {len(study) - 1} ablations" in " ".join(said).replace("\n", " ")
    ticks = [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "|"]
    assert sorted(ticks) == [2, 3, 3, 3]  # the one with a single seed is its own mean, and hollow
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 1


def test_the_figure_shows_the_package_s_own_numbers(drawn: tuple[Figure, pd.DataFrame], data: Path) -> None:
    figure, numbers = drawn
    table = ablations.rows(ablations.load("pocket", data), "pocket", data)
    floor = tables.floors("pocket", synthetic.BENCHMARKS)
    found = ablations.compare(table, "egrc-fixed", "egrc", floor, 50).set_index(["part", "quantity"])
    expected = found.loc[("mean", "accuracy"), ["estimate", "low", "high"]].tolist()
    line = numbers.query("what == 'difference' and arm == 'egrc-fixed' and part == 'mean' and quantity == 'accuracy'")
    assert line[["estimate", "low", "high"]].iloc[0].tolist() == pytest.approx(expected)
    drawn_at = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert 100 * expected[0] == pytest.approx(min(drawn_at, key=lambda x: abs(x - 100 * expected[0])))


def test_the_same_bytes_twice(drawn: tuple[Figure, pd.DataFrame], tmp_path: Path) -> None:
    first, second = (style.save(*drawn, tmp_path / part / "fig13_ablations") for part in ("once", "again"))
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]


# --- of the records -----------------------------------------------------------------------------------------------


def test_no_arm_is_another_arm_under_its_name() -> None:
    """A control whose gate never acts, or a remedy that never comes into play, would be another arm run twice."""
    runs: dict[tuple[str, int, int], str] = {}
    for run in records.load_all("pocket", studies=True):
        if run.arm != "base":
            key = (hash(tuple(run.steps["tokens_mean"])), run.seed, len(run.steps))
            assert key not in runs, f"{run.name} took the same steps as {runs[key]}"
            runs[key] = run.name
    assert len(runs) > 50
