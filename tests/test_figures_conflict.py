"""Figures 3 to 5 on made-up numbers: every seed and interval is there, texts are legible, what is missing is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure
from pictures import legible, texts

from egrc.analysis import changes, dilemma, measure
from egrc.atomic import write_parquet
from egrc.entropy import CLASSES
from egrc.experiments.records import RecordError
from egrc.figures import fig3_conflict, fig4_tug_of_war, fig5_dilemma

Drawn = dict[str, tuple[Figure, pd.DataFrame]]
BENCHMARKS = ("forward-3", "hole-2")
SHARES, NATS = (0.1, 0.3, 0.3, 0.3), (1.6, 0.15, 0.05, 0.08)
STEPS = (0, 10, 25, 50, 75, 100)


def policies() -> pd.DataFrame:
    """Every arm has its own length; entropy goes with it."""
    frames = []
    for arm, factor in synthetic.LENGTH.items():
        for seed in range(3):
            rng = np.random.default_rng([seed, synthetic.ARMS.index(arm)])
            for kind, names, samples in (("completion", BENCHMARKS, 4), ("prefix", ("prefix",), 1)):
                n = 6 * samples * len(names)
                tokens = rng.normal(90 * factor, 5, n) if kind == "completion" else np.ones(n)
                rows = pd.DataFrame({"benchmark": np.repeat(names, 6 * samples), "tokens": tokens})
                rows = rows.assign(id=[f"p{i // samples}" for i in range(n)], sample=np.arange(n) % samples)
                rows = rows.assign(kind=kind, correct=rng.random(n) < 0.7, truncated=False)
                for c, share, nats in zip(CLASSES, SHARES, NATS, strict=True):
                    rows[f"n_{c}"] = tokens * share
                    rows[f"entropy_{c}"] = tokens * share * nats * rng.normal(factor, 0.05, n).clip(0.1)
                rows["entropy_sum"] = rows[[f"entropy_{c}" for c in CLASSES]].sum(axis=1)
                rows["text_key"] = [str(k) for k in rng.integers(0, 3, n)]
                frames.append(rows.assign(arm=arm, seed=seed, scale="pocket", tokenizer="t", part=f"{arm}/seed-{seed}"))
    return pd.concat(frames, ignore_index=True)


def tug(arms: tuple[str, ...] = fig4_tug_of_war.ARMS, seeds: int = 3, problems: int = 4) -> pd.DataFrame:
    """Random gradients of eight numbers for each set."""
    lines = []
    rng = np.random.default_rng(0)
    for arm in arms:
        for seed in range(seeds):
            for step in STEPS:
                for permutation in (-1, 0, 1):
                    for name in ("all", *CLASSES) if permutation < 0 else CLASSES:
                        a, c = rng.normal(size=(2, problems, 8))
                        c += a * (1 - step / 50)
                        cross = (a @ c.T + c @ a.T) / 2
                        grams = {"gram_accuracy": a @ a.T, "gram_compression": c @ c.T, "gram_cross": cross}
                        facts = {"arm": arm, "seed": seed, "step": step, "permutation": permutation}
                        for i in range(problems):
                            own = {k: g[i, : i + 1].astype(np.float32) for k, g in grams.items()}
                            place = {"problem": i, "id": f"p{i}", "benchmark": BENCHMARKS[i % 2], "tokens": 5}
                            lines.append(facts | place | own | {"token_class": name, "part": f"{arm}/seed-{seed}"})
    numbers = {"correct": 1, "entropy": 1.0, "logit_gradient": 1.0, "mass": 1.0, "scale": "pocket", "tokenizer": "t"}
    lists = ("advantage_accuracy", "advantage_compression", "scores")
    return pd.DataFrame(lines).assign(**numbers, **{name: [np.ones(2, np.float32)] * len(lines) for name in lists})


def study() -> pd.DataFrame:
    """Evaluation rows of the study: every arm somewhere else."""
    rng, frames = np.random.default_rng(1), []
    swept = [f"{way}{r}" for way in ("joint", "egrc") for r in ("", "-r0.8", "-r0.2")]
    for k, arm in enumerate([*swept, "compression", "truncation", "joint-grpo"]):
        for seed in range(3):
            n = 40
            frames.append(pd.DataFrame({
                "arm": arm, "seed": seed, "r": (0.05, 0.8, 0.2)[k % 3], "benchmark": np.repeat(BENCHMARKS, n // 2),
                "id": [f"p{i}" for i in range(n)], "tokens": rng.normal(30 + 20 * (k % 3), 5, n),
                "correct": rng.random(n) < 0.6 + 0.1 * (k % 3),
            }))  # fmt: skip
    return pd.concat(frames, ignore_index=True)


STILL = [SimpleNamespace(arm=arm, steps=pd.DataFrame({"phase": phases}))
         for arm, phases in (("egrc-r0.8", ["compress"] * 2), ("egrc", ["compress", "explore"]))]  # fmt: skip
"""Runs of the study: the gate of one setting never fired."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both measurements, made up."""
    folder = tmp_path_factory.mktemp("data")
    write_parquet(measure.file("policies", "pocket", folder), policies())
    write_parquet(measure.file("tug", "pocket", folder), tug())
    return folder


MODULES = {m.__name__.rsplit(".", 1)[1]: m for m in (fig3_conflict, fig4_tug_of_war, fig5_dilemma)}


@pytest.fixture(scope="module")
def drawn(data: Path) -> Iterator[Drawn]:
    """Each figure with its numbers, with few resamples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dilemma, "load", lambda *names: study())  # needs no records
        patch.setattr(fig5_dilemma.records, "load_study", lambda *names: STILL)
        for module in (fig3_conflict, fig5_dilemma):
            patch.setattr(module, "N_BOOT", 50)
        yield {name: module.draw("pocket", data) for name, module in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_texts_are_legible_inside_and_apart(name: str, drawn: Drawn) -> None:
    figure, _ = drawn[name]
    assert "Missing" not in " ".join(t.get_text() for t in legible(figure))


def test_figure_3_has_every_seed_and_interval_and_the_package_s_own_numbers(drawn: Drawn) -> None:
    figure, ends = drawn["fig3_conflict"]
    assert len(figure.axes) == 4
    assert set(ends["quantity"]) == {name for of in fig3_conflict.PANELS.values() for name in of}
    means = ends[ends["seed"].isna()]
    assert len(means) == 6 * 3 and means[["low", "high"]].notna().all(axis=None)
    assert (ends.groupby(["arm", "quantity"])["seed"].nunique() == 3).all()
    of = means.pivot(index="arm", columns="quantity", values="value")
    assert (of["mix"] + of["certainty"]).tolist() == pytest.approx(of["per_token"].tolist())
    assert of.loc["joint", "tokens"] == pytest.approx(changes.change(policies(), "joint", "tokens", 50).estimate)


def test_figure_4_has_a_panel_for_each_arm_and_its_control_and_counts(drawn: Drawn) -> None:
    figure, numbers = drawn["fig4_tug_of_war"]
    assert len(figure.axes) == 3
    means = numbers[numbers["seed"].isna()]
    assert len(means) == 3 * 6 * 2 and means[["low", "high"]].notna().all(axis=None)
    connectors = means.query("token_class == 'connector'")
    assert connectors[["permuted_low", "permuted_high"]].notna().all(axis=None)
    assert (numbers[numbers["seed"].notna()].groupby(["arm", "step", "token_class"]).size() == 3).all()
    widths = [line.get_linewidth() for line in figure.axes[0].lines]
    assert sorted(widths) == [0.6] * 6 + [0.8] + [1.7] * 2
    said = " ".join(t.get_text() for t in texts(figure))
    opposed = (means.loc[means["token_class"] == "all", "high"] < 0).sum()
    assert f"oppose each other at {opposed}; over connectors" in said


def test_missing_seeds_and_arms_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = measure.file("tug", "pocket", tmp_path)
    write_parquet(file, tug(("joint",), seeds=2))
    said = " ".join(t.get_text() for t in texts(fig4_tug_of_war.draw("pocket", tmp_path)[0]))
    assert "accuracy: no record; compression: no record; joint: only 2 seeds" in said.replace("\n", " ")


@pytest.mark.parametrize(("name", "remedy"), [("fig3_conflict", "policies"), ("fig4_tug_of_war", "measure tug")])
def test_nothing_to_draw_names_the_remedy(name: str, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=remedy):
        MODULES[name].draw("pocket", tmp_path)


def test_figure_5_marks_the_beaten_settings_and_leaves_out_the_one_whose_gate_never_fired(drawn: Drawn) -> None:
    figure, numbers = drawn["fig5_dilemma"]
    settings = numbers[numbers["what"] == "setting"].set_index("arm")
    assert len(settings) == 9 and len(numbers[numbers["what"] == "seed"]) == 9 * 3
    (ax,), fired = figure.axes, settings.drop("egrc-r0.8")
    markers = [line for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() in "os"]
    assert [line.get_xdata()[0] for line in markers] == fired["tokens"].tolist()
    hollow = {line.get_xdata()[0] for line in markers if line.get_markerfacecolor() == "white"}
    assert hollow == set(fired.loc[(fired["way"] != "control") & ~fired["frontier"].astype(bool), "tokens"])
    names = sorted(text.get_text() for text in ax.texts)
    assert names == ["compression", "joint-grpo", *["r = 0.05"] * 2, *["r = 0.2"] * 2, "r = 0.8", "truncation"]
    said = " ".join(t.get_text() for t in texts(figure)).replace("\n", " ")
    assert "its gate never fired: egrc-r0.8" in said
    (reading,) = numbers.query("reading == '3b'").itertuples()
    assert f"at equal accuracy: {reading.estimate:+.1f}".replace("-", "−") in said


def test_frontiers_apart_are_said_in_the_figure(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    table = study()
    longer = table["arm"].str.startswith("egrc")
    monkeypatch.setattr(fig5_dilemma, "N_BOOT", 20)
    monkeypatch.setattr(fig5_dilemma.records, "load_study", lambda *names: [])
    monkeypatch.setattr(dilemma, "load", lambda *names: table.assign(tokens=table["tokens"] + 500 * longer))
    said = " ".join(t.get_text() for t in texts(fig5_dilemma.draw("pocket", data)[0])).replace("\n", " ")
    assert "share no length" in said
