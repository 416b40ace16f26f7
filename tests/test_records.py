"""Records: written whole or not at all, read with checks, stale exactly when what made them has changed."""

import errno
import json
import os
from dataclasses import asdict, replace

import pandas as pd
import pytest
import stub_records

from egrc import atomic
from egrc.checks import ConfigError
from egrc.experiments import agree, fingerprint, records, scales, verify

CODE = {"egrc.experiments.run": "1", "egrc.reward": "2", "base model": "3"}


@pytest.fixture(autouse=True)
def todays_code(monkeypatch):
    """What the code hashes to today, without a base model at hand; tests may change it."""
    today = dict(CODE)
    monkeypatch.setattr(fingerprint, "code_hashes", lambda scale, arm: today)
    return today


@pytest.fixture
def folder(tmp_path):
    return stub_records.write(tmp_path, code=CODE)


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


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ('"""Other words."""\ndef f(x):\n    """What."""\n    return x + 1  # why', True),
        ("def f(x):\n    return x + 1\n", True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x):\n    'not'.upper()\n    return x + 1\n", False),
    ],
)
def test_only_what_runs_counts(other, same):
    source = '"""Words."""\n\n\ndef f(x):\n    return (x + 1)\n'
    assert (fingerprint.source_hash(other) == fingerprint.source_hash(source)) == same


def test_a_function_that_is_only_a_docstring_has_a_hash():
    assert fingerprint.source_hash('def f():\n    """Nothing."""') != fingerprint.source_hash("")


def test_reachable_follows_every_kind_of_import(tmp_path):
    package = tmp_path / "pkg"
    (package / "sub").mkdir(parents=True)
    sources = {
        "__init__": "",
        "start": "import os\nfrom pkg import plain\nfrom . import relative\n",
        "plain": "def f():\n    import pkg.lazy\n",
        "relative": "from .sub.inner import x\n",
        "lazy": "from pkg.start import y\n",
        "sub/__init__": "from .sibling import z\n",
        "sub/inner": "",
        "sub/sibling": "from .. import up\n",
        "up": "",
        "unrelated": "import pkg.start\n",
    }
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)
    names = ["start", "plain", "relative", "lazy", "sub", "sub.inner", "sub.sibling", "up"]
    expected = {"pkg", *(f"pkg.{name}" for name in names)}
    assert set(fingerprint.reachable("pkg.start", package)) == expected
    left_out = frozenset({"pkg.lazy"})
    assert set(fingerprint.reachable("pkg.start", package, left_out)) == expected - left_out


def test_a_run_reaches_the_method_but_no_figure():
    reached = set(fingerprint.reachable("egrc.experiments.run"))
    wanted = {"trainer", "reward", "advantage", "entropy", "controller", "evaluate", "config"}
    assert {f"egrc.{name}" for name in wanted} <= reached
    assert not {name for name in reached if name.split(".")[1:2] in (["figures"], ["tables"], ["paper"])}


def test_an_evaluation_does_not_reach_the_trainer():
    assert not {"egrc.trainer", "egrc.reward"} & set(fingerprint.reachable("egrc.evaluation.evaluate"))


def test_a_folders_hash_changes_with_content_and_names(tmp_path):
    (tmp_path / "a").write_text("1")
    hashes = [fingerprint.folder_hash(str(tmp_path))]
    (tmp_path / "a").write_text("2")
    hashes.append(fingerprint.folder_hash(str(tmp_path)))
    (tmp_path / "a").rename(tmp_path / "b")
    hashes.append(fingerprint.folder_hash(str(tmp_path)))
    assert len(set(hashes)) == 3
    assert fingerprint.folder_hash("some/hub-id") == "some/hub-id"


def test_a_setting_that_is_off_does_not_count_in_the_config_hash(monkeypatch):
    """So that a younger one leaves the hashes of older records as they are."""
    config = scales.config("pocket", "egrc")
    settings = asdict(config)
    assert settings["recipe"]["phases"][0]["reliable"] is None and settings["recipe"]["trl"] is None
    for name in ("scale", "reliable", "cut", "cut_at", "tokens", "tokens_at"):
        for phase in settings["recipe"]["phases"]:
            del phase[name]
    for name in ("signal", "every", "guard"):
        del settings["recipe"]["gate"][name]
    del settings["recipe"]["trl"]
    monkeypatch.setattr(fingerprint, "asdict", lambda _: settings)
    of_older = fingerprint.config_hash(config)
    monkeypatch.undo()
    assert fingerprint.config_hash(config) == of_older
    on = replace(config, recipe=config.recipe.changed(compress={"reliable": 0.5}))
    assert fingerprint.config_hash(on) != of_older


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
        (lambda folder: (folder / "run.json").write_text("{}"), "run.json: no code, code_hash"),
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


def test_a_younger_setting_takes_its_default_and_an_older_one_is_named():
    config = asdict(scales.config("pocket", "egrc"))
    younger = {k: v for k, v in config.items() if k != "loss_type"}
    assert records.config_from_dict(younger) == scales.config("pocket", "egrc")
    with pytest.raises(ConfigError, match="momentum no longer exists"):
        records.config_from_dict(config | {"momentum": 1})


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


def test_a_record_of_todays_code_is_not_stale(folder):
    record = records.Record.load(folder)
    assert records.stale(record) is None
    records.require_fresh([record])


def test_changed_modules_are_named(folder, todays_code):
    todays_code |= {"egrc.reward": "other"}
    del todays_code["egrc.experiments.run"]
    record = records.Record.load(folder)
    assert records.stale(record) == "changed since: egrc.reward, egrc.experiments.run"
    with pytest.raises(records.RecordError, match="pocket/egrc/seed-0: changed since.*\n.*records verify"):
        records.require_fresh([record])


def changed(tmp_path, arm, **settings):
    config = asdict(replace(scales.config("pocket", arm), **settings))
    return records.Record.load(stub_records.write(tmp_path, arm, code=CODE, config=config))


def test_changed_settings_are_named(tmp_path):
    assert records.stale(changed(tmp_path, "egrc", steps=7)) == "config changed: steps"


def test_the_base_depends_on_evaluation_settings_only(tmp_path):
    assert records.stale(changed(tmp_path, "base", steps=7)) is None
    assert records.stale(changed(tmp_path, "base", eval_samples=7)) == "config changed: eval_samples"


def test_a_replay_that_agrees_restamps_with_a_log_line(folder, todays_code, monkeypatch):
    todays_code |= {"egrc.reward": "other"}
    old = records.Record.load(folder).meta["code_hash"]
    monkeypatch.setattr(verify, "difference", lambda record, steps: None)
    said = []
    assert verify.verify(records.Record.load(folder), say=said.append)
    after = records.Record.load(folder)
    assert records.stale(after) is None
    (line,) = after.meta["log"]
    assert (line["old_hash"], line["new_hash"], line["changed"]) == (
        old,
        fingerprint.combined(todays_code),
        ["egrc.reward"],
    )
    assert line["steps_compared"] == verify.STEPS
    assert "re-stamped" in said[0]


def test_a_replay_that_differs_restamps_nothing(folder, todays_code, monkeypatch):
    todays_code |= {"egrc.reward": "other"}
    before = (folder / "run.json").read_bytes()
    monkeypatch.setattr(verify, "difference", lambda record, steps: "steps.csv, row 2: loss")
    said = []
    assert not verify.verify(records.Record.load(folder), say=said.append)
    assert (folder / "run.json").read_bytes() == before
    assert "row 2: loss" in said[0]


def test_another_config_is_another_run_and_is_not_verified(tmp_path):
    said = []
    assert not verify.verify(changed(tmp_path, "egrc", steps=7), say=said.append)
    assert "config changed: steps; train it again" in said[0]
