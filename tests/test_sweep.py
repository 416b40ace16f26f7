"""Jobs side by side: order, progress, failures and ends; and which runs a sweep makes."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import stub_records

from egrc import paths
from egrc.checks import ConfigError
from egrc.experiments import records, run, scales, sweep
from egrc.experiments.jobs import Job, JobsError, run_jobs
from egrc.methods import MAIN, ablations
from egrc.methods.ablations import Linear
from egrc.methods.egrc import Compress


def job(tmp_path, name, code, *arguments):
    return Job(name, [sys.executable, "-c", code, *arguments], tmp_path / "logs" / f"{name}.log")


def test_a_failed_job_is_shown_with_the_end_of_its_log_after_the_others(tmp_path, capfd):
    lines = "import sys\nfor i in range(50): print('line', i)\nsys.exit('no such thing')"
    with pytest.raises(JobsError) as failed:
        run_jobs([job(tmp_path, "bad", lines), job(tmp_path, "last", "pass")], 1)
    message = str(failed.value)
    assert "bad failed (exit code 1)" in message and "no such thing" in message and "line 49" in message
    assert "line 30" not in message and "last" not in message
    progress = capfd.readouterr().err.splitlines()
    assert len(progress) == 2 and progress[0].startswith("1/2 done: bad; ") and progress[1].startswith("2/2 done: last")


def descendants(pid):
    """Processes below one, zombies aside."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid=,stat="], capture_output=True, text=True).stdout.split()
    family = [pid]
    rows = list(zip(listing[::3], listing[1::3], listing[2::3], strict=True))
    for member in family:
        family += [int(child) for child, parent, stat in rows if int(parent) == member and stat[0] != "Z"]
    return family[1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_parent_ends_children_and_grandchildren(number, tmp_path):
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    parent = f"""
import signal, sys
from pathlib import Path
from egrc.experiments.jobs import Job, run_jobs
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(1))
signal.signal(signal.SIGINT, signal.default_int_handler)
run_jobs([Job("child", [sys.executable, "-c", {grandchild!r}], Path({str(tmp_path / "log")!r}))], 1)
"""
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    started = subprocess.Popen([sys.executable, "-c", parent], env=env, stderr=subprocess.DEVNULL)
    while len(family := descendants(started.pid)) < 2:
        assert started.poll() is None
        time.sleep(0.05)
    started.send_signal(number)
    assert started.wait(60) != 0
    states = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, family))], capture_output=True, text=True)
    assert all(stat.startswith("Z") for stat in states.stdout.split())


@pytest.fixture
def asked(monkeypatch):
    """The calls of `run_jobs`, none of which runs anything."""
    calls = []
    monkeypatch.setattr(sweep, "run_jobs", lambda jobs, at_once: calls.append((jobs, at_once)))
    return calls


def test_a_sweep_makes_only_what_is_missing_or_stale_the_base_last(tmp_path, asked):
    configs = sweep.needed("pocket")
    assert {(c.arm, c.seed) for c in configs} == {(arm, seed) for arm in MAIN for seed in scales.FIVE}
    assert [c.arm for c in configs[-5:]] == ["base"] * 5
    for config in configs:
        stub_records.write(tmp_path, config.arm, config.seed)
    stub_records.write(tmp_path, "joint", 1, stale=True)
    (tmp_path / "runs/pocket/egrc/seed-2/run.json").unlink()
    sweep.sweep("pocket", tmp_path)
    ((wanted, at_once),) = asked
    assert {j.name for j in wanted} == {"joint/seed-1", "egrc/seed-2"} and at_once == os.cpu_count()
    assert all(j.env["EGRC_DATA"] == str(tmp_path) for j in wanted)


def test_runs_that_only_slim_studies_name_keep_steps_and_answers(tmp_path, monkeypatch):
    """A killed sweep's finished runs are made slim, too; what was asked of nothing else stays whole."""
    ended = [("egrc-linear", 0), ("dler", 0), ("egrc", 0)]

    def run_jobs(jobs, at_once):
        for arm, seed in ended:
            (stub_records.write(tmp_path, arm, seed) / "adapter").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_jobs", run_jobs)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep("pocket", tmp_path, runs=ended)
    kept = {arm: {p.name for p in paths.run_folder(tmp_path, "pocket", arm, 0).iterdir()} for arm, _ in ended}
    assert kept["egrc-linear"] == set(records.SLIM)
    assert kept["dler"] == {*records.SLIM, records.WEIGHTS} and "decisions.jsonl" in kept["egrc"]


def test_a_run_goes_on_only_with_the_settings_and_on_the_base_that_it_began_with(tmp_path):
    config, base, work = scales.config("pocket", "egrc"), tmp_path / "base", tmp_path / "work"
    base.mkdir()
    world = SimpleNamespace(policy_path=lambda: str(base))

    def goes_on(config):
        run._prepare(work, config, world, fresh=False)
        there = (work / "checkpoint").exists()
        (work / "checkpoint").touch()
        return there

    assert [goes_on(config), goes_on(config), goes_on(replace(config, steps=7))] == [False, True, False]
    (base / "weights").touch()
    assert not goes_on(replace(config, steps=7))


def test_a_study_needs_its_own_arms_at_its_seeds():
    runs = scales.study_runs("pocket", "peers") + scales.study_runs("pocket", "ablations")
    seeds = {arm: sorted({s for a, s in runs if a == arm}) for arm in ("egrc", "egrc-plus", "egrc-fixed", "dler")}
    assert seeds == dict.fromkeys(("egrc", "egrc-plus", "egrc-fixed"), [0, 1, 2, 3, 4]) | {"dler": [0, 1, 2]}
    for scale, study, valid in (("pocket", "x", "dilemma"), ("smol", "dilemma", r"\(none\)")):
        with pytest.raises(ConfigError, match=f"no study '{study}' at scale '{scale}': choose one of {valid}"):
            scales.study(scale, study)


def test_a_variant_differs_from_its_arm_only_in_what_it_names():
    plain, other = scales.config("pocket", "joint"), scales.config("pocket", "joint-r0.8")
    assert replace(other, arm="joint", recipe=plain.recipe) == plain
    assert other.recipe.phases == (replace(plain.recipe.phases[0], r=0.8),)
    plain, other = (scales.config("pocket", arm).recipe for arm in ("egrc", "egrc-linear"))
    assert [type(recipe.phases[0]) for recipe in (plain, other)] == [Compress, Linear]
    assert {**other.phases[0].settings(), "kind": "Compress"} == plain.phases[0].settings()
    assert other.phases[1] == plain.phases[1] and other.gate == plain.gate
    with pytest.raises(ConfigError, match="no setting \\['joint'\\]"):
        scales.config("pocket", "egrc", joint={"r": 1.0})
    with pytest.raises(ConfigError, match="no such field of phase 'compress' .*'nonsense'"):
        scales.config("pocket", "egrc", compress={"nonsense": 1.0})


def test_other_signals_switch_where_the_recorded_runs_did():
    """Both constants are facts of the records: computed here from them, not believed."""
    steps, fractions = [], []
    for seed in scales.runs("pocket")[1]:
        record = records.load("pocket", "egrc", seed)
        (switch,) = [d["step"] for d in record.decisions if d["phase"] != d["next_phase"]]
        window = record.config.recipe.gate.window
        smoothed = record.steps["tokens_mean"].rolling(window).mean()
        steps.append(switch)
        fractions.append(smoothed[switch - 1] / smoothed[window - 1])
    assert round(sum(steps) / len(steps)) == ablations.SWITCH_STEP
    assert round(max(fractions), 2) == ablations.SWITCH_LENGTH


def test_shuffled_entropy_would_have_switched_where_the_recorded_runs_did():
    """As the constant says: the fraction whose mean step is nearest, on the runs that never switch."""
    recipe = scales.config("pocket", "egrc-shuffled").recipe
    runs = [records.load("pocket", "compression", seed).steps["entropy"] for seed in scales.runs("pocket")[1]]

    def step(entropy, low):
        gate = replace(recipe, gate=replace(recipe.gate, low=low)).new_gate()
        return next((i for i, e in enumerate(entropy, 1) if gate.update(i, e).cause), math.inf)

    mean = {low: sum(step(run, low) for run in runs) / len(runs) for low in (x / 100 for x in range(60, 110))}
    assert min(mean, key=lambda low: abs(mean[low] - ablations.SWITCH_STEP)) == ablations.SWITCH_SHUFFLED
