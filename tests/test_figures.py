"""The figures on made-up records: same bytes twice, nothing hidden, nothing overlapping, all of it named."""

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

from egrc.analysis import tables
from egrc.controller import AT_DWELL_LIMIT
from egrc.experiments.records import RecordError
from egrc.figures import FIGURES, fig1_training, style

Drawn = tuple[Figure, pd.DataFrame]
SOME = ("base", "egrc")
OF_RUNS = ("fig1_training", "fig2_frontier")
"""Drawn from runs alone; the figures of measurements have tests of their own."""


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Drawn]:
    """A figure by name, of the records of all arms and three seeds, or of two arms and two seeds; drawn once each."""
    folder = tmp_path_factory.mktemp("records")
    data = {
        True: synthetic.write_runs(folder / "all"),
        False: synthetic.write_runs(folder / "some", SOME, seeds=2),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "N_BOOT", 50)
        patch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)
        yield cache(lambda name, complete: import_module(FIGURES[name]).draw("pocket", data[complete]))


@pytest.mark.parametrize("name", OF_RUNS)
def test_a_second_run_gives_the_same_bytes_and_names_its_data(
    name: str, draw: Callable[[str, bool], Drawn], tmp_path: Path
) -> None:
    files = []
    for part, make in (("once", draw), ("again", draw.__wrapped__)):
        figure, drawn = make(name, True)
        files.append(style.save(figure, drawn, tmp_path / part / name))
    for first, second in zip(*files, strict=True):
        assert first.read_bytes() == second.read_bytes()
    pdf, png = files[0]
    assert Image.open(png).text["Description"] == f"egrc data sha256:{style.data_hash(drawn)}"
    content = pdf.read_bytes()
    assert style.data_hash(drawn).encode() in content
    assert b"DejaVuSans" in content and content.count(b"/FontFile2") == content.count(b"/FontDescriptor /")
    assert style.data_hash(drawn) != style.data_hash(drawn.assign(seed=drawn["seed"] + 1))


@pytest.mark.parametrize("name", OF_RUNS)
@pytest.mark.parametrize("complete", [True, False])
def test_texts_are_legible_and_missing_arms_and_few_seeds_are_said(
    name: str, complete: bool, draw: Callable[[str, bool], Drawn]
) -> None:
    said = " ".join(t.get_text() for t in legible(draw(name, complete)[0]))
    said = said.replace("\n", " ")
    assert ("only 2 seeds: " in said) == ("no record: accuracy" in said) == ("Missing" in said)
    assert ("Missing" in said) != complete


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("scale", ["pocket", "smol"])
@pytest.mark.parametrize("name", [name for name in FIGURES if name.split("_")[0] in "fig4 fig6 fig7 fig8 fig9"])
def test_figures_of_measurements_are_legible_and_repeat(name: str, scale: str, measured: Path, tmp_path: Path) -> None:
    module = import_module(FIGURES[name])
    if scale not in module.SCALES:
        return
    drawn = [module.draw(scale, measured) for _ in range(2)]
    assert legible(drawn[0][0])
    once, again = (style.save(*d, tmp_path / str(i) / name) for i, d in enumerate(drawn))
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


def test_colours_differ_and_no_arm_is_without() -> None:
    assert set(style.COLOURS) == set(synthetic.ARMS)
    assert len(set(style.COLOURS.values())) == len(style.COLOURS)


# --- figure 1 -----------------------------------------------------------------------------------------------------


def run(phases: list[str], seed: int = 0) -> pd.DataFrame:
    steps = range(1, len(phases) + 1)
    return pd.DataFrame({"arm": "egrc", "seed": seed, "step": steps, "phase": phases, "x": 1.0 + seed, "gated": True})


def test_switches_are_read_from_the_phases_and_a_gate_that_did_not_follow_entropy_is_reported() -> None:
    there_and_back = run(["compress"] * 3 + ["explore"] * 2 + ["compress"])
    assert fig1_training.switches(there_and_back) == [(4, "explore"), (6, "compress")]
    moved = run(["compress", "explore"]).assign(cause=[f"{AT_DWELL_LIMIT}: fell", None])
    both = pd.concat([moved, run(["compress", "compress"], seed=1).assign(cause=None)])
    assert fig1_training.gate(both) == "explore from 2, never (1 at the dwell limit)"
    assert fig1_training.gate(moved.assign(cause=["entropy fell", None])) == "explore from 2"
    still = run(["compress"] * 3).assign(cause=None)
    assert fig1_training.gate(still) == "gate never switched"
    assert fig1_training.gate(still.assign(gated=False)) == "one phase"


def test_the_mean_ends_where_the_shortest_seed_ends() -> None:
    both = pd.concat([run(["compress"] * 4), run(["compress"] * 2, seed=1)])
    assert fig1_training.mean_over_seeds(both, "x").to_dict() == {1: 1.5, 2: 1.5}


def test_smoothing_is_centred() -> None:
    spike = fig1_training.smooth(pd.Series([0.0] * 6 + [1.0] + [0.0] * 6))
    assert spike.max() == pytest.approx(1 / fig1_training.SMOOTHING)
    assert spike[spike > 1e-9].index.tolist() == [4, 5, 6, 7, 8]  # no lag


def test_every_seed_is_a_line_and_every_switch_is_ruled(draw: Callable[[str, bool], Drawn]) -> None:
    figure, _ = draw("fig1_training", True)
    lengths = figure.axes[len(fig1_training.ARMS) + fig1_training.ARMS.index("egrc")]
    widths = [line.get_linewidth() for line in lengths.lines if line.get_color() == style.COLOURS["egrc"]]
    assert sorted(widths) == [0.6, 0.6, 0.6, 1.8]
    ruled = {line.get_xdata()[0] for line in lengths.lines if line.get_color() == style.GREY}
    assert ruled == {synthetic.switch_step("egrc", seed) - 0.5 for seed in range(3)}
    assert "T = 1.2" in " ".join(t.get_text() for t in texts(figure))


# --- figure 2 -----------------------------------------------------------------------------------------------------


def test_the_frontier_shows_the_mean_and_the_hardest_benchmark_and_counts(draw: Callable[[str, bool], Drawn]) -> None:
    figure, drawn = draw("fig2_frontier", True)
    left, right = figure.axes
    lines = drawn.dropna(subset="tokens_low").set_index(["benchmark", "arm"])
    assert {b for b, _ in lines.index} == {"mean", "hole-3"} and set(lines["temperature"]) == {synthetic.BEST}
    arms = lines.loc["mean"].drop("base")
    better = ((arms["share_high"] < 1) & (arms["gain_best_low"] > 0)).sum()
    assert f"{better} of 5 arms" in left.get_title(loc="left") and "hole-3" in right.get_title(loc="left")
    assert synthetic.FLOORS["hole-3"] in [line.get_xdata()[0] for line in right.lines]
    own = [ln for ln in right.lines if ln.get_color() == style.COLOURS["egrc"]]
    assert sorted(len(ln.get_xdata()) for ln in own) == [1, 2, 2, 3]  # the mean, two intervals, a dot a seed
    assert {text.get_text() for text in left.texts} == set(synthetic.ARMS)


def test_figure_1_without_any_record_says_so_and_figure_2_names_the_remedy(tmp_path: Path) -> None:
    figure, drawn = fig1_training.draw("pocket", tmp_path)
    assert drawn.empty
    assert "no record: accuracy" in " ".join(t.get_text() for t in texts(figure))
    with pytest.raises(RecordError, match="egrc train"):
        import_module(FIGURES["fig2_frontier"]).draw("pocket", tmp_path)
