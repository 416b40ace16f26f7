"""Table 3: which runs it is of, what an arm is, what is missing; its numbers are table 1's."""

from dataclasses import replace
from pathlib import Path

import pytest
import study_records
import synthetic

from egrc.analysis import tables
from egrc.experiments import scales
from egrc.experiments.records import RecordError
from egrc.figures import table3
from egrc.methods import OURS, PEERS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_records.write_all(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "N_BOOT", 50)
    monkeypatch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)


def test_every_arm_of_the_studies_is_asked_at_each_of_its_seeds() -> None:
    asked = table3.wanted("pocket")
    assert list(asked)[:6] == list(synthetic.ARMS) and asked["base"] == (0, 1, 2)
    assert asked["egrc"] == (0, 1, 2, 3, 4)  # main seeds and those of the studies
    own = {"egrc-plus" if arm == scales.PLUS else arm for arm in OURS}
    assert {*PEERS, *own, *scales.ABLATIONS} <= set(asked)
    assert {"joint-r0.8", "truncation-L50", "egrc-plus-r0.2"} <= set(asked)  # a method at other lengths
    assert table3.wanted("smol") == table3.wanted("gpu") == {}


def test_families_hold_each_peer_once_and_a_variant_goes_with_its_method() -> None:
    peers = [arm for name, members in table3.FAMILIES.items() if name.startswith("peers") for arm in members]
    assert sorted(peers) == sorted(PEERS)
    assert table3.family("pocket", "dot-std1") == table3.family("pocket", "dot") == "peers: cut earlier"
    assert table3.family("pocket", "egrc-r0.2") == table3.family("pocket", "egrc") == "main"
    assert table3.family("pocket", "egrc-fixed") == "ablation" and table3.family("pocket", "egrc-guard") == "ours"
    assert table3.family("pocket", "base") == "base"


def test_egrc_plus_is_named_as_itself_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = replace(scales.SCALES["pocket"], variants={"egrc-plus": ("egrc-steps", {})})
    monkeypatch.setitem(scales.SCALES, "pocket", scale)
    assert table3.method("pocket", "egrc-plus") == "egrc-plus"
    assert table3.family("pocket", "egrc-plus") == table3.family("pocket", "egrc-plus-r0.2") == "ours"
    assert table3.differs("pocket", "egrc-plus") == "egrc-steps: as it is"


def test_trials_of_egrc_plus_are_those_of_all_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scales, "PLUS", "egrc-steps")
    assert table3.trials("pocket", tmp_path) == {}
    (tmp_path / "pocket").mkdir()
    (tmp_path / "pocket" / "search.csv").write_text("arm,trial\negrc-steps,0\negrc-steps,1\negrc-guard,0\n")
    assert table3.trials("pocket", tmp_path) == {"egrc-steps": 2, "egrc-guard": 1, "egrc-plus": 3}


def test_what_a_variant_changes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    variants = {
        "a": ("egrc", {"r": 0.02}),
        "b": ("dot", {"truncate": {"cut_at": 1.0}}),
        "c": ("egrc", {"gate": replace(scales.SCALES["pocket"].lengths.gate, low=0.8, dwell=51)}),
    }
    monkeypatch.setitem(scales.SCALES, "pocket", replace(scales.SCALES["pocket"], variants=variants))
    said = [table3.differs("pocket", arm) for arm in ("egrc", "a", "b", "c")]
    assert said == ["", "egrc: r = 0.02", "dot: truncate cut_at = 1.0", "egrc: gate low = 0.8, gate dwell = 51"]


def test_only_what_is_asked_is_loaded_in_its_order(data: Path) -> None:
    found = [r.name for r in table3.load("pocket", data)]
    assert found[:2] == ["pocket/base/seed-0", "pocket/base/seed-1"]
    assert [n for n in found if "dler" in n] == ["pocket/dler/seed-0", "pocket/dler/seed-1"]
    assert [n for n in found if "truncation-L50" in n]  # of the study dilemma


def test_missing_arms_and_seeds_are_named_by_reason(data: Path) -> None:
    found = table3.load("pocket", data)
    assert table3.missing("pocket", found, ["egrc", "dler", "dot", "laser-d"]) == (
        "Missing: only 2 seeds: egrc, dler; no record: dot, laser-d."
    )
    whole = [r for r in found if r.arm == "nobody"]
    assert table3.missing("pocket", whole, []) == ""


def test_numbers_are_those_of_table_1_at_one_temperature(data: Path) -> None:
    found = table3.load("pocket", data)
    rows = table3.rows(found, 0.6)
    assert set(rows["temperature"]) == {0.6}
    lines = table3.compare(rows, "pocket").set_index(["benchmark", "arm"])
    everything = tables.compare(tables.evaluations(found), synthetic.FLOORS, 0.6).query("temperature == 0.6")
    for name in ("gain_best", "removed_low", "share_max"):
        expected = everything.set_index(["benchmark", "arm"])[name]
        assert lines.loc[("mean", "dler"), name] == pytest.approx(expected["mean", "dler"])
    with pytest.raises(RecordError, match="not evaluated at temperature 0.3: pocket/base/seed-0"):
        table3.rows(found, 0.3)


def test_costs_are_means_over_seeds_with_the_recorded_trials_of_each_arm(data: Path) -> None:
    (data / "pocket" / "search.csv").write_text("arm,trial\nbase,0\ndler,0\ndler,1\n")
    table = table3.costs("pocket", table3.load("pocket", data), data).set_index("arm")
    dler = table.loc["dler"]
    assert (dler["seeds"], dler["generated_tokens"], dler["seconds"], dler["trials"]) == (2, 45_000, 50, 2)
    assert table.loc["egrc-fixed", "trials"] == 0 and table.loc["egrc-fixed", "settings"].startswith("egrc: gate")
    assert "base" not in table.index


def test_files_repeat_and_hold_every_arm(data: Path, tmp_path: Path) -> None:
    once, again = (
        [f.read_bytes() for f in table3.write("pocket", data, tmp_path / part)] for part in ("once", "again")
    )
    assert once == again
    text, tex = (part.decode() for part in once)
    arms = [*synthetic.ARMS, "dler", "kl-cov", "egrc-cycles", "egrc-fixed"]
    for arm in arms:
        assert sum(ln.startswith(f"| {arm} ") for ln in text.splitlines()) == 7 + (arm != "base"), arm
    assert "no record: da-dler, dot" in text and "only 2 seeds: base, accuracy" in text
    assert tex.count(r"\begin{longtable}") == tex.count(r"\end{longtable}") == 8
    assert all("%" not in ln.replace(r"\%", "") for ln in tex.splitlines()[1:])


def test_without_studies_or_base_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="scale 'smol' has none of the studies peers, plus"):
        table3.load("smol", tmp_path)
    with pytest.raises(RecordError, match="no record of the base"):
        table3.load("pocket", tmp_path)


def test_methods_at_several_lengths_are_fronts():
    arms = ["base", "egrc", "egrc-plus", "lc-r1", "lc-r1-w0.5", "dler", "joint", "joint-r0.8"]
    several = {"lc-r1": ["lc-r1", "lc-r1-w0.5"], "joint": ["joint", "joint-r0.8"]}
    assert table3.fronts("pocket", arms, "egrc") == several | {"egrc": ["egrc"]}
    assert table3.fronts("pocket", arms, "dot") == several
