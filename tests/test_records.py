"""Records: written whole or not at all, read with checks, stale exactly when what made them has changed."""

import errno
import json
import os
from dataclasses import replace

import pytest
import stub_records
from test_evaluations import rows, write

from egrc import atomic
from egrc.experiments import fingerprint, records, scales
from egrc.experiments.results import COLUMNS, results


@pytest.fixture
def folder(tmp_path):
    return stub_records.write(tmp_path)


def full_disk(file):
    file.write_text("half of the cont")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tmp_path):
    file = tmp_path / "run.json"
    atomic.write_json(file, {"old": 1})
    with pytest.raises(atomic.WriteError, match="No space left.*Free some space"):
        atomic._replace(file, full_disk)
    with pytest.raises(ValueError, match="JSON compliant"):
        atomic.write_json(file, {"loss": float("nan")})
    assert json.loads(file.read_text()) == {"old": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["run.json"]


def test_a_published_folder_replaces_the_old_one_once_it_is_whole(tmp_path, monkeypatch):
    new, target = tmp_path / "work", tmp_path / "data" / "seed-0"
    for folder, name in ((new, "a"), (target, "b")):
        folder.mkdir(parents=True)
        (folder / name).touch()
    with monkeypatch.context() as patch:
        patch.setattr(atomic.shutil, "copytree", lambda source, to: (to.mkdir(), full_disk(to / "a")))
        with pytest.raises(atomic.WriteError, match="No space left.*waits in"):
            atomic.publish_folder(new, target)
    assert [f.name for f in target.iterdir()] == ["b"] and [f.name for f in target.parent.iterdir()] == ["seed-0"]
    atomic.publish_folder(new, target)
    assert [f.name for f in target.iterdir()] == ["a"] and [f.name for f in target.parent.iterdir()] == ["seed-0"]


def test_a_folder_is_worked_in_by_one_process(tmp_path):
    with records.alone(tmp_path / "a" / "work"):
        with records.alone(tmp_path / "a" / "other"):
            pass
        with pytest.raises(records.RecordError, match="another process is at work in .*work"):
            records.alone(tmp_path / "a" / "work").__enter__()
    with records.alone(tmp_path / "a" / "work"):
        pass


def test_hashes_change_with_content_names_and_settings(tmp_path):
    (tmp_path / "a").write_text("1")
    hashes = [fingerprint.folder_hash(str(tmp_path))]
    (tmp_path / "a").write_text("2")
    hashes.append(fingerprint.folder_hash(str(tmp_path)))
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({*hashes, fingerprint.folder_hash(str(tmp_path))}) == 3
    assert fingerprint.folder_hash("some/hub-id") == "some/hub-id"
    config = scales.config("pocket", "egrc")
    gate = replace(config.recipe, gate=replace(config.recipe.gate, max_switches=7))
    others = [replace(config, seed=1), replace(config, recipe=gate), replace(config, loss_type="grpo"), config]
    assert len({fingerprint.config_hash(c) for c in others}) == len(others)


def test_a_record_reads_back(folder):
    record = records.Record.load(folder)
    assert record.name == "pocket/egrc/seed-0" and record.config == scales.config("pocket", "egrc", 0)
    assert records.is_done(folder, record.config) and not records.is_done(folder, replace(record.config, steps=7))
    assert record.steps["loss"].tolist() == [0.1 + 0.2] * stub_records.STEPS
    assert len(record.evaluation) == len(stub_records.evaluation())
    assert [d["step"] for d in record.decisions] == [1, 2, 3]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "run.json").write_text("{"), "run.json: damaged"),
        (lambda f: (f / "run.json").write_text("{}"), "run.json: no config, config_hash"),
        (lambda f: (f / "run.json").unlink(), "no .*run.json: train it with .*egrc train"),
        (lambda f: (f / "steps.csv").write_text("step,phase\n1,x\n"), "steps.csv: no entropy, generated_tokens"),
        (lambda f: (f / "evaluation.parquet").write_bytes(b"PAR1"), "evaluation.parquet: damaged"),
        (lambda f: (f / "decisions.jsonl").write_text('{"step": 1}\n'), "decisions.jsonl: no cause"),
        (lambda f: (f / "decisions.jsonl").write_text("{\n"), "decisions.jsonl: damaged"),
        (lambda f: None, "no .*rollouts.parquet: restore it"),
        (lambda f: records.make_slim(f), "no .*decisions.jsonl: .*keep only steps and answers"),
    ],
)
def test_what_is_damaged_or_missing_is_named(damage, message, tmp_path):
    folder = stub_records.write(tmp_path / "a" / "b")
    damage(folder)
    with pytest.raises(records.RecordError, match=message):
        record = records.Record.load(folder)
        _ = record.steps, record.evaluation, record.decisions, record.rollouts


def test_all_records_come_in_the_order_of_the_arms_those_of_studies_if_asked_for(tmp_path):
    for arm, seed in (("egrc", 1), ("egrc", 0), ("base", 0), ("joint", 0), ("joint-r0.5", 0), ("egrc-plus", 4)):
        stub_records.write(tmp_path, arm, seed)
    runs = [(r.arm, r.seed) for r in records.load_all("pocket", tmp_path)]
    assert runs == [("base", 0), ("joint", 0), ("egrc", 0), ("egrc", 1)]
    assert len(records.load_all("pocket", tmp_path, studies=True)) == 6
    assert records.load_all("smol", tmp_path) == []
    with pytest.raises(records.RecordError, match="joint"):
        records.load_study("pocket", "dilemma", tmp_path)


def test_a_slim_record_keeps_what_it_must(folder):
    changed = stub_records.steps().assign(loss=[-0.123456789, 1e-9 / 3, 12345678.9])
    atomic.write_csv(folder / "steps.csv", changed)
    (folder / records.WEIGHTS).mkdir()
    records.make_slim(folder, weights=True)
    assert {item.name for item in folder.iterdir()} == {*records.SLIM, records.WEIGHTS}
    record = records.Record.load(folder)
    assert record.has_weights and record.steps["loss"].tolist() == [-0.1235, 3.333e-10, 12350000.0]
    records.make_slim(folder)
    assert not record.has_weights


@pytest.mark.parametrize(
    ("arm", "settings", "reason"),
    [
        ("egrc", {}, None), ("egrc", {"steps": 7, "momentum": 1}, "config changed: momentum, steps"),
        ("base", {"steps": 7}, None),  # depends on evaluation settings only
        ("base", {"eval_samples": 7}, "config changed: eval_samples"),
    ],
)  # fmt: skip
def test_changed_settings_are_named_with_the_remedy(arm, settings, reason, tmp_path):
    config = scales.config("pocket", arm).to_dict() | settings
    record = records.Record.load(stub_records.write(tmp_path, arm, config=config))
    assert records.stale(record) == reason
    if reason:
        with pytest.raises(records.RecordError, match=f"pocket/{arm}/seed-0: {reason}\n.*make train"):
            records.require_fresh([record])
    else:
        records.require_fresh([record])


def test_runs_and_evaluations_stand_together(tmp_path):
    stub_records.write(tmp_path, "base", 0)
    write(tmp_path, rows({"a": "rr5", "b": "111"}, thinking=4), scale="pocket", benchmark="hole-2")
    table = results("pocket", tmp_path)
    assert list(table.columns) == COLUMNS
    assert table["source"].tolist() == ["run"] * 4 + ["evaluation"]
    run, evaluation = table.iloc[0], table.iloc[4]
    assert (run["top_p"], run["cap"]) == (1, 240) and run[["majority", "accuracy_low"]].isna().all()
    assert evaluation[["arm", "seed", "benchmark", "temperature", "samples", "cap"]].tolist() == [
        "base", 0, "hole-2", 0.6, 2, 100,
    ]  # fmt: skip
    assert evaluation["accuracy"] == 1 / 3 and evaluation["majority"] == 0.5
    assert evaluation["mean_tokens"] == evaluation["thinking_tokens"] + evaluation["answer_tokens"] == 11
    assert evaluation["floor_tokens"] == run["floor_tokens"] or evaluation["floor_tokens"] > 1
