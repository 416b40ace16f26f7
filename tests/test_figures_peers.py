"""Figures 12 and 14 on made-up records of studies: all drawn, all legible, what is missing named, same bytes twice."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import study_records
import synthetic
from matplotlib.figure import Figure
from pictures import legible, texts

from egrc.analysis import tables
from egrc.experiments import scales
from egrc.experiments.records import RecordError
from egrc.figures import FIGURES, fig12_peers, fig14_kept_length, labels, style, table2

NAMES = ("fig12_peers", "fig14_kept_length")
Drawn = tuple[Figure, pd.DataFrame]


@pytest.fixture(scope="module")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Drawn]:
    """A figure by name, drawn once, of some arms and two seeds, with a study of fronts."""
    data = study_records.write_all(tmp_path_factory.mktemp("records"))
    pocket = scales.SCALES["pocket"]
    studies = pocket.studies | {"fronts": ("egrc", "truncation", "truncation-L50")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scales.SCALES, "pocket", replace(pocket, studies=studies))
        patch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)
        patch.setattr(tables, "N_BOOT", 50)
        patch.setattr(scales, "STRONGEST", ("deepcompress", "tokensqueeze"))
        yield cache(lambda name: import_module(FIGURES[name]).draw("pocket", data))


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_gives_the_same_bytes(name: str, draw: Callable[[str], Drawn], tmp_path: Path) -> None:
    once, again = (style.save(*make(name), tmp_path / part / name)
                   for part, make in (("once", draw), ("again", draw.__wrapped__)))  # fmt: skip
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


@pytest.mark.parametrize("name", NAMES)
def test_every_text_is_legible_inside_and_apart(name: str, draw: Callable[[str], Drawn]) -> None:
    figure, _ = draw(name)
    assert len(legible(figure)) > 20


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named_and_the_runs_are_in_the_hash(name: str, draw: Callable[[str], Drawn]) -> None:
    figure, drawn = draw(name)
    said = " ".join(" ".join(t.get_text() for t in texts(figure)).split())
    assert "only 2 seeds: base" in said
    assert ("no record: da-dler, dot" in said) == (name == "fig12_peers")
    arms = set(drawn.loc[drawn["config"].notna(), "arm"])
    assert {"base", "egrc", "deepcompress"} <= arms and "egrc-fixed" not in arms


# --- figure 12 ----------------------------------------------------------------------------------------------------


def test_every_arm_and_seed_is_drawn_and_a_method_is_joined(draw: Callable[[str], Drawn]) -> None:
    figure, drawn = draw("fig12_peers")
    arms = set(synthetic.ARMS) | set(study_records.SOME) - {"egrc-fixed"}
    assert set(drawn.loc[drawn["what"] == "arm", "arm"]) == arms
    assert len(drawn[drawn["what"] == "seed"]) == 2 * len(arms)
    plane, rest = figure.axes[:2]
    named = {t.get_text().strip() for ax in (plane, rest) for t in ax.texts}
    assert named == arms - {"truncation-L50"}  # each once, in one of the two parts
    assert plane.get_ylim() == rest.get_ylim() and plane.get_xlim()[1] == rest.get_xlim()[0]
    ends = drawn.query("what == 'arm' and arm in ['truncation', 'truncation-L50']")["tokens"]
    assert any(sorted(line.get_xdata()) == sorted(ends) for line in plane.lines if len(line.get_xdata()) == 2)


def test_the_published_rows_have_a_panel_of_their_own(draw: Callable[[str], Drawn]) -> None:
    figure, drawn = draw("fig12_peers")
    field = figure.axes[3]
    assert "other protocols" in field.get_title(loc="right")
    names = {t.get_text() for t in field.get_yticklabels()}
    assert "EGRC, model not named" in names and not names & set(synthetic.ARMS)
    own = drawn[drawn["what"] == "published"]
    assert own["arm"].isna().all() and len(own) == len(names)


def test_published_fractions_as_far_as_they_are_given() -> None:
    columns = ["model", "method", "benchmark", "accuracy", "tokens", "length_share", "accuracy_change"]
    given = pd.DataFrame(
        [
            ("X-1.5B", "base", "s", "80", "2000", "", ""),
            ("X-1.5B", "range", "s", "", "", "46-51%", ""),
            ("X-7B", "one", "s", "", "", "20%", "+1 point"),
            ("unnamed", "both", "math500", "92.4", "1000", "", "base 92.8 at 4000 tokens"),
            ("X-7B", "nothing", "s", "50", "900", "", ""),
        ],
        columns=columns,
    )
    table = fig12_peers.published(given)
    assert table["name"].tolist() == ["one, 7B", "both, model not named", "range, 1.5B"]
    assert table[["low", "high"]].to_numpy().tolist() == [[0.2, 0.2], [0.25, 0.25], [0.46, 0.51]]
    assert table["accuracy_change"].tolist() == ["+1 point", "92.4 (base 92.8), math500", "not in our notes"]
    assert len(fig12_peers.published(table2.published())) >= 10


def test_which_benchmark_is_the_worst_is_said() -> None:
    worst = pd.DataFrame({"arm": ["x", "y", "z"], "worst": ["hole-3", "forward-3", "hole-3"]})
    assert fig12_peers.others(worst) == "hole-3 (but y: forward-3)"
    assert fig12_peers.others(worst[worst["arm"] != "y"]) == "hole-3"


def test_names_are_spread_and_stay_below_the_top() -> None:
    assert labels.spread([0.0, 0.1, 2.0], 0.5, 3).tolist() == [0.0, 0.5, 2.0]
    assert labels.spread([2.0, 2.9, 3.0], 0.5, 3).tolist() == [2.0, 2.5, 3.0]
    assert labels.spread([], 0.5, 3).tolist() == []


def test_without_studies_there_is_nothing_to_draw(tmp_path: Path) -> None:
    assert fig12_peers.SCALES == fig14_kept_length.SCALES == ("pocket",)
    with pytest.raises(RecordError, match="none of the studies"):
        fig12_peers.draw("smol", tmp_path)


# --- figure 14 ----------------------------------------------------------------------------------------------------


def test_three_methods_are_shown_with_every_level_and_seed(draw: Callable[[str], Drawn]) -> None:
    assert list(fig14_kept_length.looks()) == ["base", "egrc", "egrc-plus", "deepcompress"]  # the strongest, as patched
    figure, drawn = draw("fig14_kept_length")
    hard, seeds = (drawn[drawn["what"] == name] for name in ("difficulty", "difficulty, seed"))
    assert set(hard["pass_rate"]) <= {0.0, 0.5, 1.0} and hard.groupby("arm")["problems"].sum().eq(120).all()
    assert len(figure.axes) == 3 and len(seeds) == 2 * len(hard)
