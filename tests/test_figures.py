"""The figures on made-up records: same bytes twice, nothing hidden, nothing overlapping, all of it named."""

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import made_up
import pandas as pd
import pytest
import synthetic
from matplotlib.figure import Figure
from pictures import legible, texts
from PIL import Image

from egrc.analysis import changes, dilemma, tables, tokens
from egrc.experiments import scales, shared
from egrc.experiments.records import RecordError
from egrc.figures import FIGURES, against, dots, fig1_training, fig3_conflict, fig4_dilemma, style

Drawn = tuple[Figure, pd.DataFrame]
MODULES = {name: import_module(module) for name, module in FIGURES.items()}
ALL = [(name, scale) for name, module in MODULES.items() for scale in ("pocket", "real")
       if scale in getattr(module, "SCALES", ("pocket",))]  # fmt: skip


def words(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(figure)).split())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All measurements; records of the main arms at five seeds, and of `synthetic.STUDIES` at three."""
    folder = made_up.write(tmp_path_factory.mktemp("data"))
    return synthetic.write_studies(synthetic.write_runs(folder, seeds=5))


@pytest.fixture(scope="module")
def draw(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Drawn]:
    """A figure by name and scale, drawn once, with few resamples; numbers are worked out once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(shared.FOLDER, str(tmp_path_factory.mktemp("shared")))
        for module in (tables, dilemma, against, fig3_conflict, fig4_dilemma):
            patch.setattr(module, "N_BOOT", 50)
        patch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)
        yield cache(lambda name, scale="pocket": MODULES[name].draw(scale, data))


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_texts_are_legible_and_files_repeat_and_name_their_data(name, scale, draw, tmp_path):
    figure, drawn = draw(name, scale)
    assert legible(figure) and "Missing" not in words(figure)
    assert max(text.get_text().count("\n") for text in figure.texts) < 3, "a long caption"
    files = [style.save(*make(name, scale), tmp_path / part / name)
             for part, make in (("once", draw), ("again", draw.__wrapped__))]  # fmt: skip
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    pdf, png = files[0]
    assert Image.open(png).text["Description"] == f"egrc data sha256:{style.data_hash(drawn)}"
    content = pdf.read_bytes()
    assert style.data_hash(drawn).encode() in content
    assert b"DejaVuSans" in content and content.count(b"/FontFile2") == content.count(b"/FontDescriptor /")


def test_another_number_is_another_hash_and_every_arm_has_its_colour():
    drawn = pd.DataFrame({"seed": [0, 1]})
    assert style.data_hash(drawn) != style.data_hash(drawn + 1)
    assert set(style.COLOURS) == set(synthetic.ARMS) and len(set(style.COLOURS.values())) == len(style.COLOURS)


def test_a_title_names_the_arms_where_there_is_room():
    every = ["a", "b", "c", "d"]
    said = {"fell: a, b": ["a", "b"], "fell: all but b": ["a", "c", "d"], "fell: all": every, "no clear difference": []}
    assert [dots.message({"fell": arms}, every, room=20) for arms in said.values()] == list(said)
    assert dots.message({"fell": ["a", "b"], "rose": ["c"]}, every, room=16) == "2 fell, 1 rose"


@pytest.mark.parametrize("name", ["fig1_training", "fig2_frontier"])
def test_missing_arms_and_few_seeds_are_said(name, draw, tmp_path):
    figure, _ = MODULES[name].draw("pocket", synthetic.write_runs(tmp_path, ("base", "egrc"), seeds=2))
    legible(figure)
    assert "only 2 seeds: " in words(figure) and "no record: accuracy" in words(figure)


@pytest.mark.parametrize(
    ("name", "remedy"), [("fig2_frontier", "egrc train"), ("fig3_conflict", "policies"), ("fig6_push", "measure tug")]
)
def test_nothing_to_draw_names_the_remedy(name, remedy, tmp_path):
    with pytest.raises(RecordError, match=remedy):
        MODULES[name].draw("pocket", tmp_path)
    assert "no record: accuracy" in words(fig1_training.draw("pocket", tmp_path)[0])  # this one says so


def test_every_seed_is_a_line_every_switch_a_triangle_and_titles_count(draw):
    figure, drawn = draw("fig1_training")
    lengths = figure.axes[list(fig1_training.PANELS).index("tokens_mean")]
    lines = [line for line in lengths.lines if line.get_color() == style.COLOURS["egrc"]]
    assert sorted(line.get_linewidth() for line in lines if line.get_marker() != "v") == [*[0.5] * 5, 1.8]
    marked = {line.get_xdata()[0] for line in lines if line.get_marker() == "v"}
    assert marked == {synthetic.switch_step("egrc", seed) for seed in range(5)}
    assert "T = 1.2" in words(figure) and "egrc at step" in words(figure)
    assert fig1_training.ways(drawn, "tokens_mean")["fell"] and "fell" in lengths.get_title(loc="left")


def test_the_frontier_shows_the_mean_and_the_hardest_benchmark_and_counts(draw):
    figure, drawn = draw("fig2_frontier")
    length, mean, hard = figure.axes
    lines = drawn.dropna(subset="tokens_low").set_index(["benchmark", "arm"])
    assert {b for b, _ in lines.index} == {"mean", "hole-4"} and set(lines["temperature"]) == {synthetic.BEST}
    arms = lines.loc["mean"].drop("base")
    higher, lower = arms["gain_best_low"] > 0, arms["gain_best_high"] < 0
    for ax, ways in ((length, {"shorter": arms["share_high"] < 1}), (mean, {"higher": higher, "lower": lower})):
        said = dots.message({way: list(arms.index[true]) for way, true in ways.items()}, list(arms.index), room=32)
        assert ax.get_title(loc="left").splitlines()[1:] == [said]
    assert "hole-4" in hard.get_title(loc="left")
    assert lines["floor"]["mean", "base"] in [line.get_xdata()[0] for line in length.lines]
    own = [line for line in hard.lines if line.get_color() == style.COLOURS["egrc"]]
    assert sorted(len(line.get_xdata()) for line in own) == [1, 2, 5]  # the mean, its interval, a dot a seed


def test_figure_3_has_every_seed_and_interval(draw):
    figure, ends = draw("fig3_conflict")
    means = ends[ends["seed"].isna()]
    assert len(means) == 4 * 3 and means[["low", "high"]].notna().all(axis=None)
    assert (ends.groupby(["arm", "quantity"])["seed"].nunique() == 3).all()
    values = means.set_index(["arm", "quantity"])["value"]
    expected = changes.change(made_up.policies(synthetic.LENGTH), "joint", "per_token", 50).estimate
    assert values["joint", "per_token"] == pytest.approx(expected)
    assert values["joint", "mix"] + values["joint", "certainty"] == pytest.approx(expected)
    by_hand = pd.DataFrame({"arm": [*"aabbcc"], "value": [-2, -3, 2, 3, -5, 1], "low": -9.0, "high": -1.0})
    by_hand.loc[by_hand["arm"] == "b", ["low", "high"]] = 1.0, 9.0
    assert fig3_conflict.title("x", by_hand) == "x\nfell: a; rose: b"  # of c one seed rose


def test_figure_4_marks_the_beaten_settings_and_leaves_out_the_one_whose_gate_never_fired(draw):
    figure, numbers = draw("fig4_dilemma")
    settings = numbers[numbers["what"] == "setting"].set_index("arm")
    assert len(settings) == 14 and len(numbers[numbers["what"] == "seed"]) == 14 * 3
    markers = [line for line in figure.axes[0].lines if line.get_marker() in "os" and line.get_markersize() > 4]
    assert [line.get_ydata()[0] for line in markers] == settings["tokens"].tolist()
    hollow = {line.get_ydata()[0] for line in markers if line.get_markerfacecolor() == "white"}
    assert hollow == set(settings.loc[(settings["way"] != "control") & ~settings["frontier"].astype(bool), "tokens"])
    assert hollow and len(hollow) < len(settings) - 1
    assert "its gate never fired: egrc-r0.8" in words(figure)
    (reading,) = numbers.query("reading == '3b'").itertuples()
    assert f"at equal accuracy: {reading.estimate:+.1f}".replace("-", "−") in words(figure)


def test_the_strip_shows_one_answer_of_each_seed_and_step(draw):
    figure, drawn = draw("fig11_strip")
    for ax, arm in zip(figure.axes, ("egrc", "joint"), strict=True):
        own = drawn[(drawn["arm"] == arm) & drawn["shown"]]
        assert len(ax.patches) == own["length"].sum() and len(ax.texts) == len(own) == 3 * 3
        every = drawn[(drawn["arm"] == arm) & (drawn["step"] == 0)]
        first = every["classes"].str.split().explode().eq("connector").mean()
        assert f"{arm}: connectors are {first:.0%}" in words(figure)
    assert "before training and 0% after it" in words(figure)


def test_words_are_ordered_by_value_and_every_seed_of_the_pocket_world_is_a_dot(draw):
    figure, drawn = draw("fig8_words")
    for ax, (_, own) in zip(figure.axes, drawn[drawn["ranked"].notna()].groupby("scale", sort=False), strict=True):
        assert own["mean"].is_monotonic_decreasing and (own["units"] >= tokens.LEAST).all()
        assert [t.get_text() for t in ax.get_yticklabels()] == own["word"].tolist()
    _, drawn = draw("fig5_connectors")
    counts = drawn[drawn["seed"].notna()].groupby(["scale", "class"]).size()
    assert counts.to_dict() == {("pocket", c): 3 for c in made_up.CLASSES}


def test_push_shows_every_seed_and_interval(draw):
    figure, drawn = draw("fig6_push")
    seeds = [line for line in figure.axes[1].lines if line.get_markersize() == dots.SEED["markersize"]]
    assert [len(line.get_xdata()) for line in seeds] == [3] * 2 * 5  # objectives, sets
    means = drawn[drawn["quantity"].isin(["ratio", "push"]) & drawn["seed"].isna()]
    assert len(means) == 2 * (4 + 5) and means[["low", "high"]].notna().all(axis=None)


SWEPT = tuple(f"egrc-r{r}" for r in scales.DILEMMA_R)


@pytest.mark.parametrize(
    ("name", "arms"),
    [
        ("fig9_peers", ("compression", "joint", "dler", "deepcompress", "kl-cov")),
        ("fig10_ablations", ("compression", "egrc-reversed", "egrc-fixed", *SWEPT)),
    ],
)
def test_arms_are_held_against_egrc(name, arms, draw):
    """Every difference with all of its seeds; titles count the clear ones; how many lack seeds is said."""
    figure, numbers = draw(name)
    own = numbers.query("what == 'seed' and part == 'mean' and quantity == 'removed'").groupby("arm").size()
    assert own[["egrc", *arms]].to_dict() == {a: 3 if a in synthetic.STUDIES else 5 for a in ("egrc", *arms)}
    title = figure.axes[1].get_title(loc="left")
    assert title.startswith("Length removed\n")
    points = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    coloured = [line for line in points if line.get_color() == dots.CONNECTOR]
    counted = sum(map(int, re.findall(r"(\d+) (?:higher|lower)", title)))
    assert counted in (0, len(coloured)) and ("no clear" in title) == (not coloured)
    assert re.search(r"Not trained on two seeds: \d+ arms \(table 3", words(figure))
