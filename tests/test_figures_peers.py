"""Figure 12 on made-up records of studies: all drawn, all legible, what is missing named, same bytes twice."""

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
from egrc.figures import FIGURES, fig12_peers, style

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
def test_it_is_legible_repeats_and_names_what_is_missing(
    name: str, draw: Callable[[str], Drawn], tmp_path: Path
) -> None:
    figure, drawn = draw(name)
    assert len(legible(figure)) > 10
    said = " ".join(" ".join(t.get_text() for t in texts(figure)).split())
    assert "only 2 seeds: base" in said
    assert "no record: da-dler, dot" in said
    arms = set(drawn.loc[drawn["config"].notna(), "arm"])
    assert {"base", "egrc", "deepcompress"} <= arms and "egrc-fixed" not in arms
    once, again = (style.save(*make(name), tmp_path / part / name)
                   for part, make in (("once", draw), ("again", draw.__wrapped__)))  # fmt: skip
    assert [f.read_bytes() for f in once] == [f.read_bytes() for f in again]


def test_every_arm_is_drawn_and_a_few_are_named_at_their_points(draw: Callable[[str], Drawn]) -> None:
    figure, drawn = draw("fig12_peers")
    arms = {*synthetic.ARMS, *study_records.SOME} - {"egrc-fixed"}
    assert set(drawn.loc[drawn["what"] == "arm", "arm"]) == arms
    plane, hidden = figure.axes
    named = arms & set(fig12_peers.named())
    assert {"base", "egrc", "compression", "deepcompress", "tokensqueeze"} == named
    assert sorted(text.get_text() for text in plane.texts) == sorted(named)
    assert sorted(text.get_text() for text in hidden.texts) == sorted(named - {"base"})
    where = drawn.query("what == 'arm'").set_index("arm")[["tokens", "accuracy"]]
    for text in plane.texts:
        point = plane.transData.transform(text.xy)
        assert text.xy == pytest.approx(tuple(where.loc[text.get_text()]))
        assert abs(text.get_window_extent().get_points() - point).min() < 90  # pixels
    base = where.loc["egrc"]
    ahead = ((where["tokens"] <= base["tokens"]) & (where["accuracy"] >= base["accuracy"])).sum() - 1
    assert f"{ahead} of {len(where) - 1}" in plane.get_title(loc="left")
    with pytest.raises(RecordError, match="none of the studies"):
        fig12_peers.draw("smol")
