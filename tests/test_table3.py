"""Table 3: which runs it is of, what an arm is, what is missing; its numbers are table 1's."""

from pathlib import Path

import pytest
import synthetic

from egrc.analysis import tables
from egrc.experiments import scales
from egrc.experiments.records import RecordError
from egrc.figures import table3
from egrc.methods import OURS, PEERS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic.write_runs(tmp_path_factory.mktemp("data"), seeds=2)
    return synthetic.write_studies(folder, ["dler", "kl-cov", "egrc-fixed", "egrc-r0.8"], seeds=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "N_BOOT", 50)
    monkeypatch.setattr(tables, "floors", lambda scale, benchmarks: synthetic.FLOORS)


def test_every_arm_of_the_studies_is_asked_at_each_of_its_seeds():
    asked = tables.wanted("pocket")
    assert (
        list(asked)[:6] == list(synthetic.ARMS)
        and asked["base"] == asked["egrc-plus"] == asked["egrc-fixed"] == scales.FIVE
    )
    assert asked["dler"] == asked["joint-r0.8"] == (0, 1, 2)
    assert {*PEERS, *OURS, *scales.ABLATIONS, "egrc-r0.95"} <= set(asked)
    assert tables.wanted("smol") == tables.wanted("gpu") == {}


def test_families_hold_each_peer_once_and_a_variant_goes_with_its_method():
    peers = [arm for name, members in table3.FAMILIES.items() if name.startswith("peers") for arm in members]
    assert sorted(peers) == sorted(PEERS)
    families = {
        **{"dot": "peers: cut earlier", "egrc-r0.8": "main", "egrc": "main", "egrc-fixed": "ablation"},
        **{"ceeh": "peers: keep entropy", "egrc-plus": "ours", "base": "base"},
    }
    assert {arm: table3.family("pocket", arm) for arm in families} == families


def test_numbers_are_those_of_table_1_at_one_temperature(data):
    runs = table3.load("pocket", data)
    assert [r.name for r in runs][:2] == ["pocket/base/seed-0", "pocket/base/seed-1"]
    assert {"egrc-r0.8", "egrc-fixed"} <= {r.arm for r in runs}
    lacking = table3.missing("pocket", runs, ["egrc", "dler", "dot", "laser-d"])
    assert lacking == "Missing: only 2 seeds: egrc, dler; no record: dot, laser-d."
    rows = tables.rows_at(runs, 0.6)
    assert set(rows["temperature"]) == {0.6}
    lines = table3.compare(rows, "pocket").set_index(["benchmark", "arm"])
    everything = tables.compare(tables.evaluations(runs), synthetic.FLOORS, 0.6).query("temperature == 0.6")
    for name in ("gain_best", "removed_low", "share_max"):
        expected = everything.set_index(["benchmark", "arm"])[name]
        assert lines.loc[("mean", "dler"), name] == pytest.approx(expected["mean", "dler"])
    with pytest.raises(RecordError, match="not evaluated at temperature 0.3: pocket/base/seed-0"):
        tables.rows_at(runs, 0.3)


def test_costs_are_means_over_seeds_with_the_recorded_trials_of_each_arm(data):
    assert table3.trials("pocket", data) == {}
    (data / "pocket" / "search.csv").write_text("arm,trial\nbase,0\ndler,0\ndler,1\n")
    table = table3.costs("pocket", table3.load("pocket", data), data).set_index("arm")
    columns = ["seeds", "trials", "generated (thousand tokens)", "training (s)"]
    assert table.loc["dler", columns].tolist() == ["2", "2", "45", "50"]
    assert table.loc["egrc-fixed", "trials"] == "–" and table.loc["egrc-fixed", "settings"].startswith("egrc: gate")
    assert "base" not in table.index


def test_files_repeat_and_hold_every_arm(data, tmp_path):
    once, again = ([f.read_text() for f in table3.write("pocket", data, tmp_path / name)] for name in ("a", "b"))
    assert once == again
    for arm in (*synthetic.ARMS, "dler", "kl-cov", "egrc-fixed"):
        assert sum(ln.startswith(f"| {arm} ") for ln in once[0].splitlines()) == 7 + (arm != "base"), arm
    assert "no record: egrc-plus, truncation, da-dler, dot" in once[0] and "only 2 seeds: base, accuracy" in once[0]
    assert once[1].count(r"\begin{longtable}") == once[1].count(r"\end{longtable}") == 8
    with pytest.raises(RecordError, match="scale 'smol' has none of the studies peers, dilemma"):
        table3.load("smol", tmp_path)
    with pytest.raises(RecordError, match="no record of the base"):
        table3.load("pocket", tmp_path)
