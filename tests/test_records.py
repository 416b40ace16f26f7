"""Records: written whole or not at all, read with checks, stale exactly when what made them has changed."""

import errno
import json
import os
from dataclasses import replace

import pandas as pd
import pytest
import stub_records

from egrc import atomic
from egrc.experiments import agree, fingerprint, records, scales


@pytest.fixture
def folder(tmp_path):
    return stub_records.write(tmp_path)


# --- writing ---


def full_disk(file):
    file.write_text("half of the cont")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path):
    file = tmp_path / "run.json"
    atomic.write_json(file, {"old": 1})
    with pytest.raises(atomic.WriteError, match="No space left.*Free some space"):
        atomic._replace(file, full_disk)
    assert json.loads(file.read_text()) == {"old": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["run.json"]


def test_a_file_that_cannot_be_expressed_is_not_half_written(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(tmp_path / "run.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_come_back_to_the_bit(kind, tmp_path):
    table = pd.DataFrame({"x": [0.1 + 0.2, 1e-300, 2.0**0.5]})
    file = tmp_path / f"t.{kind}"
    getattr(atomic, f"write_{kind}")(file, table)
    back = pd.read_csv(file) if kind == "csv" else pd.read_parquet(file)
    assert back["x"].tolist() == table["x"].tolist()


def test_a_published_folder_replaces_the_old_one_whole(tmp_path):
    new, target = tmp_path / "work", tmp_path / "data" / "seed-0"
    for folder, name in ((new, "a"), (target, "b")):
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    atomic.publish_folder(new, target)
    assert [f.name for f in target.iterdir()] == ["a"]
    assert [f.name for f in target.parent.iterdir()] == ["seed-0"]


def test_a_folder_that_cannot_be_published_leaves_the_old_one(tmp_path):
    target = tmp_path / "seed-0"
    target.mkdir()
    with pytest.raises(atomic.WriteError, match="cannot write"):
        atomic.publish_folder(tmp_path / "nothing", target)
    assert [f.name for f in tmp_path.iterdir()] == ["seed-0"]


# --- fingerprints ---


def test_a_folders_hash_changes_with_content_and_names(tmp_path):
    (tmp_path / "a").write_text("1")
    hashes = [fingerprint.folder_hash(str(tmp_path))]
    (tmp_path / "a").write_text("2")
    hashes.append(fingerprint.folder_hash(str(tmp_path)))
    (tmp_path / "a").rename(tmp_path / "b")
    hashes.append(fingerprint.folder_hash(str(tmp_path)))
    assert len(set(hashes)) == 3
    assert fingerprint.folder_hash("some/hub-id") == "some/hub-id"


def test_every_setting_moves_the_config_hash():
    config = scales.config("pocket", "egrc")
    gate = replace(config.recipe, gate=replace(config.recipe.gate, max_switches=7))
    others = [replace(config, seed=1), replace(config, recipe=gate), replace(config, loss_type="grpo"), config]
    assert len({fingerprint.config_hash(c) for c in others}) == len(others)


# --- reading ---


def test_a_record_reads_back(folder):
    record = records.Record.load(folder)
    assert record.name == "pocket/egrc/seed-0"
    assert record.config == scales.config("pocket", "egrc", 0)
    assert record.steps["loss"].tolist() == [0.1 + 0.2] * stub_records.STEPS
    assert len(record.evaluation) == len(stub_records.evaluation())
    assert [d["step"] for d in record.decisions] == [1, 2, 3]


def damage_json(folder):
    (folder / "run.json").write_text("{")


def damage_status(folder):
    meta = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(meta | {"status": "running"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_json, "run.json: not JSON"),
        (damage_status, "status 'running'"),
        (lambda folder: (folder / "run.json").unlink(), "no record in .*egrc train"),
        (lambda folder: (folder / "run.json").write_text("{}"), "run.json: no config, config_hash"),
    ],
)
def test_a_damaged_record_is_named(damage, message, folder):
    damage(folder)
    with pytest.raises(records.RecordError, match=message):
        records.Record.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="entropy"), "steps.csv: no entropy"),
        (lambda t: t.assign(entropy=[1.0, None, 1.0]), "steps.csv, row 2: entropy is empty"),
        (lambda t: t.assign(step=[1, 2, 4]), "steps.csv, row 3: step 4, expected 3"),
    ],
)
def test_a_damaged_table_is_named_by_row(change, message, folder):
    atomic.write_csv(folder / "steps.csv", change(stub_records.steps()))
    with pytest.raises(records.RecordError, match=message):
        _ = records.Record.load(folder).steps


def test_other_damaged_files_are_named(folder):
    (folder / "evaluation.parquet").write_bytes(b"PAR1")
    (folder / "decisions.jsonl").write_text('{"step": 1}\n')
    record = records.Record.load(folder)
    with pytest.raises(records.RecordError, match="evaluation.parquet: damaged"):
        _ = record.evaluation
    with pytest.raises(records.RecordError, match="decisions.jsonl, row 1: no cause"):
        _ = record.decisions
    with pytest.raises(records.RecordError, match="no .*rollouts.parquet"):
        _ = record.rollouts


def test_all_records_come_in_the_order_of_the_arms(tmp_path):
    for arm, seed in (("egrc", 1), ("egrc", 0), ("base", 0), ("joint", 0)):
        stub_records.write(tmp_path, arm, seed)
    found = records.load_all("pocket", tmp_path)
    assert [(r.arm, r.seed) for r in found] == [("base", 0), ("joint", 0), ("egrc", 0), ("egrc", 1)]
    assert records.load_all("smol", tmp_path) == []


# --- slim ---


def test_a_slim_record_keeps_what_it_must_and_a_replay_still_agrees(folder):
    losses = [-0.123456789, 1e-9 / 3, 12345678.9, -0.123456789, 1e-9 / 3, 12345678.9]
    steps = pd.concat([stub_records.steps()] * 2, ignore_index=True).assign(loss=losses, step=range(1, 7))
    atomic.write_csv(folder / "steps.csv", steps)
    before = agree.cells(folder / "steps.csv")
    (folder / records.WEIGHTS).mkdir(exist_ok=True)
    records.make_slim(folder, weights=True)
    assert {item.name for item in folder.iterdir()} == {*records.SLIM, records.WEIGHTS}
    record = records.Record.load(folder)
    assert record.is_slim and record.has_weights
    assert record.steps["loss"].tolist() == [*losses[:3], -0.1235, 3.333e-10, 12350000.0]
    assert agree.cells(folder / "steps.csv")[: agree.STEPS] == before[: agree.STEPS]
    records.make_slim(folder)
    assert {item.name for item in folder.iterdir()} == set(records.SLIM)
    assert not records.Record.load(folder).has_weights


# --- staleness ---


def test_a_record_of_todays_settings_is_not_stale(folder):
    record = records.Record.load(folder)
    assert records.stale(record) is None
    records.require_fresh([record])


def changed(tmp_path, arm, **settings):
    config = replace(scales.config("pocket", arm), **settings).to_dict()
    return records.Record.load(stub_records.write(tmp_path, arm, config=config))


def test_changed_settings_are_named_with_the_remedy(tmp_path):
    record = changed(tmp_path, "egrc", steps=7)
    assert records.stale(record) == "config changed: steps"
    with pytest.raises(records.RecordError, match="pocket/egrc/seed-0: config changed: steps\n.*make train"):
        records.require_fresh([record])


def test_a_setting_that_is_no_more_is_named(folder):
    record = records.Record.load(folder)
    record.meta["config"]["momentum"] = 1
    assert records.stale(record) == "config changed: momentum"


def test_the_base_depends_on_evaluation_settings_only(tmp_path):
    assert records.stale(changed(tmp_path, "base", steps=7)) is None
    assert records.stale(changed(tmp_path, "base", eval_samples=7)) == "config changed: eval_samples"
