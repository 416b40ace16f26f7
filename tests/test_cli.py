"""The command line: what it refuses, what it prints, and one run from the command to its record."""

import json
import os
import signal

import forked
import pandas as pd
import pytest
import stub_records

from egrc import paths
from egrc.__main__ import main
from egrc.experiments.results import COLUMNS
from egrc.trainer import EGRCTrainer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train", "--arm is missing"),
        ("train --arm nonsense", "no arm 'nonsense': choose one of base, accuracy, compression, joint, egrc"),
        ("results --scale nonsense", "no scale 'nonsense': choose one of pocket, smol"),
        ("train --arm egrc --set steps=2", "add --out FOLDER"),
        ("train --arm egrc --out x --set steps", "--set steps: write NAME=VALUE"),
        ("train --arm egrc --out x --set stepss=2", "no setting ['stepss']: choose from ['arm', "),
        ("train --arm egrc --on micro_batch", "--on micro_batch: write NAME=VALUE"),
        ("train --model m --data d.jsonl --out x --fresh", "give another --out"),
        ("train --base --scale smol", "only pocket trains its own"),
        ("train --base --seed 3", "no base model 3: a run's seed chooses among 0 to 2"),
        ("search --scale smol", "scale 'smol' has no search"),
    ],
)
def test_bad_input_is_one_line_that_names_the_remedy(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("egrc: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A data folder with two records, one of them stale."""
    monkeypatch.setattr(paths, "DATA", tmp_path)
    stub_records.write(tmp_path, "base", 0)
    stub_records.write(tmp_path, "egrc", 1, stale=True)
    return tmp_path


def test_results_are_tidy_and_their_json_is_all_of_the_output(data, capfd):
    assert main(["results", "--scale", "pocket", "--json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [list(row) for row in rows] == [COLUMNS] * 8
    first = {"arm": "base", "seed": 0, "benchmark": "forward-3", "temperature": 1.0, "problems": 2, "samples": 2}
    assert first.items() | {("accuracy", 0.5), ("mean_tokens", 10.5), ("floor_tokens", 10.0)} <= rows[0].items()
    assert {(row["arm"], row["stale"]) for row in rows} == {("base", None), ("egrc", "config changed: cap, steps")}


def test_errors_of_users_are_one_line_and_ours_keep_their_traceback(data, monkeypatch, capsys):
    def broken(*_):
        raise RuntimeError("a bug")

    (data / "runs/pocket/egrc/seed-1/run.json").write_text("{")
    assert main(["results"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("egrc: ") and "run.json: damaged" in err and "Traceback" not in err
    monkeypatch.setattr("egrc.experiments.records.load_all", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["results"])


def train(out, arm="egrc"):
    small = "steps=4 prompts_per_step=2 group_size=2 checkpoint_every=2 record_rollouts_every=1 "
    small += "eval_problems=1 eval_samples=1 eval_temperatures=(0.0,)"
    return ["train", "--scale", "pocket", "--arm", arm, "--seed", "5", "--out", str(out), "--set", *small.split()]


def die_at_a_checkpoint(arguments):
    """Run a command whose process is killed as soon as it has a whole checkpoint."""
    save = EGRCTrainer._save_checkpoint

    def save_and_die(*args, **kwargs):
        save(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    EGRCTrainer._save_checkpoint = save_and_die
    main(arguments)


@pytest.mark.e2e
def test_a_killed_run_goes_on_and_equals_the_uninterrupted_one(tmp_path, monkeypatch, capfd):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(train(whole)) == 0
    assert forked.exit_code(forked.start(die_at_a_checkpoint, train(killed))) == -signal.SIGKILL
    assert (killed / "work/pocket/egrc/seed-5/checkpoints/checkpoint-2/egrc_state.json").exists()
    assert main(train(killed)) == 0
    records = [folder / "runs/pocket/egrc/seed-5" for folder in (whole, killed)]
    one, two = (pd.read_csv(record / "steps.csv", dtype=str).drop(columns="seconds") for record in records)
    pd.testing.assert_frame_equal(one, two)
    for name in ("decisions.jsonl", "evaluation.parquet", "rollouts.parquet", "adapter/adapter_model.safetensors"):
        assert (records[0] / name).read_bytes() == (records[1] / name).read_bytes(), name
    left = [str(f.relative_to(killed)) for f in killed.rglob("*") if f.is_file() and "runs" not in f.parts]
    assert left == ["work/pocket/egrc/seed-5.lock"]
    contents = b"".join(f.read_bytes() for f in records[0].rglob("*") if f.is_file())
    assert str(tmp_path).encode() not in contents
    capfd.readouterr()
    assert main(train(killed)) == 0 and "already there" in capfd.readouterr().out
    assert main(train(killed, "base")) == 0
    monkeypatch.setattr(paths, "DATA", killed)
    capfd.readouterr()
    assert main(["results", "--scale", "pocket", "--json"]) == 0
    rows = pd.DataFrame(json.loads(capfd.readouterr().out))
    assert rows.groupby("arm").size().to_dict() == {"base": 6, "egrc": 6}
    assert rows["stale"].str.startswith("config changed").all()  # because of --set
