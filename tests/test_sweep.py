"""Jobs side by side: order, progress, failures and ends; and which runs a sweep makes."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import stub_records
from egrc.methods.arms import MAIN

from egrc import paths
from egrc.checks import ConfigError
from egrc.controller import EntropyGate
from egrc.experiments import fingerprint, jobs, records, scales, sweep
from egrc.experiments.jobs import Job, JobsError, duration, run_jobs
from egrc.worlds import launch


def job(tmp_path, name, code, **kwargs):
    return Job(name, [sys.executable, "-c", code], tmp_path / "logs" / f"{name}.log", **kwargs)


def quiet(line):
    """Takes progress lines and keeps none."""


def test_jobs_run_two_at_a_time(tmp_path):
    """Each job waits for its partner to start: alone it would fail, and a third must not have started."""
    code = """
import sys, time
from pathlib import Path
here, me, partner, later = Path(sys.argv[1]), *sys.argv[2:]
(here / me).touch()
end = time.monotonic() + 60
while not (here / partner).exists():
    assert time.monotonic() < end
    time.sleep(0.01)
assert not (here / later).exists()
(here / (me + "-checked")).touch()
while not (here / (partner + "-checked")).exists():
    assert time.monotonic() < end
    time.sleep(0.01)
"""
    pairs = [("a", "b", "c"), ("b", "a", "c"), ("c", "d", "none"), ("d", "c", "none")]
    command = [sys.executable, "-c", code, str(tmp_path)]
    run_jobs([Job(me, [*command, me, *others], tmp_path / f"{me}.log") for me, *others in pairs], 2, 0.01, say=quiet)
    assert all((tmp_path / f"{name}-checked").exists() for name in "abcd")


def test_a_failed_job_is_shown_with_the_end_of_its_log_after_the_others(tmp_path):
    lines = "import sys\nfor i in range(50): print('line', i)\nsys.exit('no such thing')"
    others = [job(tmp_path, f"good-{i}", "pass") for i in range(3)]
    with pytest.raises(JobsError) as failed:
        run_jobs([job(tmp_path, "bad", lines), *others], 1, 0.01, say=quiet)
    message = str(failed.value)
    assert "bad failed (exit code 1)" in message and "no such thing" in message and "line 49" in message
    assert "line 30" not in message and "good" not in message
    assert all(other.process.returncode == 0 for other in others)


def test_progress_lines_count_and_foresee(tmp_path):
    said = []
    slow = "import time\nprint('x training 1/4', flush=True)\ntime.sleep(1)"
    run_jobs([job(tmp_path, "slow", slow), job(tmp_path, "next", "pass")], 1, 0.01, 0.2, said.append)
    assert any("0/2 done, slow training 1/4, about" in line for line in said)
    assert said[-1] == "2/2 done"


@pytest.mark.parametrize(
    ("log", "fraction"),
    [("", 0), ("x training 5/10\n", 0.4), ("training 10/10\ny evaluating 10/40\n", 0.85)],
)
def test_how_far_a_job_is_comes_from_its_log(log, fraction, tmp_path):
    (tmp_path / "log").write_text(log)
    assert Job("name", [], tmp_path / "log").fraction() == pytest.approx(fraction)


@pytest.mark.parametrize(
    ("seconds", "text"), [(45, "45 s"), (89.9, "90 s"), (91, "2 min"), (720, "12 min"), (12_600, "3.5 h")]
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def alive(pid):
    """Is there such a process, zombies aside?"""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(found.strip()) and not found.startswith("Z")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_parent_ends_children_and_grandchildren(number, tmp_path):
    grandchild = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    parent = f"""
import signal, sys
from pathlib import Path
from egrc.experiments.jobs import Job, run_jobs
signal.signal(signal.SIGTERM, lambda n, f: sys.exit(1))
signal.signal(signal.SIGINT, signal.default_int_handler)
run_jobs([Job("child", [sys.executable, "-c", {grandchild!r}], Path({str(tmp_path / "log")!r}))], 1, 0.05)
"""
    env = {**os.environ, "PYTHONPATH": str(paths.ROOT)}
    started = subprocess.Popen([sys.executable, "-c", parent], env=env, stderr=subprocess.DEVNULL)
    family = []
    while len(family) < 2:
        assert started.poll() is None
        time.sleep(0.05)
        family = descendants(started.pid)
    started.send_signal(number)
    assert started.wait(60) != 0
    assert not [pid for pid in family if alive(pid)]


def descendants(pid):
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout.split()
    children = {}
    for child, parent in zip(listing[::2], listing[1::2], strict=True):
        children.setdefault(int(parent), []).append(int(child))
    found = list(children.get(pid, []))
    for child in found:
        found += children.get(child, [])
    return found


# --- which runs ---


def test_a_sweep_needs_every_arm_and_seed_the_base_last():
    configs = sweep.needed("pocket")
    assert {(c.arm, c.seed) for c in configs} == {(arm, seed) for arm in MAIN for seed in (0, 1, 2)}
    assert [c.arm for c in configs[-3:]] == ["base"] * 3
    with pytest.raises(ConfigError, match="choose one of base"):
        sweep.needed("pocket", [("nonsense", 0)])


def test_a_sweep_makes_only_what_is_missing_or_stale(tmp_path, monkeypatch):
    code = {"egrc.experiments.run": "1"}
    monkeypatch.setattr(fingerprint, "code_hashes", lambda scale, arm: code)
    for config in sweep.needed("pocket"):
        stub_records.write(tmp_path, config.arm, config.seed, code=code)
    stub_records.write(tmp_path, "joint", 1, code={"egrc.experiments.run": "0"})
    (tmp_path / "runs/pocket/egrc/seed-2/run.json").unlink()
    asked = []
    monkeypatch.setattr(sweep, "run_jobs", lambda jobs, at_once: asked.extend(jobs))
    sweep.sweep("pocket", tmp_path)
    assert {j.name for j in asked} == {"joint/seed-1", "egrc/seed-2"}
    assert all(j.env["EGRC_DATA"] == str(tmp_path) for j in asked)
    asked.clear()
    sweep.sweep("pocket", tmp_path, trust=False)
    assert len(asked) == len(sweep.needed("pocket"))
    assert jobs.PROGRESS.search(b"pocket/joint/seed-1 training 3/200, 9 s left")


def test_a_machine_that_cannot_make_the_runs_is_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "run_jobs", lambda *_, **__: pytest.fail("starts runs"))
    with pytest.raises(ConfigError, match="scale gpu needs a GPU"):
        sweep.sweep("gpu", tmp_path)


@pytest.mark.parametrize(("scale", "at_once"), [("pocket", 2), ("gpu", 1)])
def test_a_gpu_has_one_run_at_a_time(scale, at_once, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(launch, "check", lambda *_: None)
    monkeypatch.setattr(sweep, "run_jobs", lambda jobs, at_once: asked.append(at_once))
    sweep.sweep(scale, tmp_path, trust=False)
    assert asked == [at_once]


def test_a_study_needs_its_own_arms_at_its_seeds():
    runs = scales.study_runs("pocket", "dilemma")
    arms = scales.study("pocket", "dilemma")
    assert set(runs) == {(arm, seed) for arm in arms for seed in (0, 1, 2)}
    assert {(c.arm, c.seed) for c in sweep.needed("pocket", runs)} == set(runs)
    seeds = {arm: [s for a, s in scales.study_runs("pocket", "peers") if a == arm] for arm in ("egrc", "dler")}
    assert seeds == {"egrc": [0, 1, 2, 3, 4], "dler": [0, 1, 2]}


def test_a_variant_differs_from_its_arm_only_in_what_it_names():
    plain, other = scales.config("pocket", "joint"), scales.config("pocket", "joint-grpo")
    assert (other.arm, other.loss_type) == ("joint-grpo", "grpo")
    assert replace(other, arm="joint", loss_type=plain.loss_type) == plain
    assert scales.config("pocket", "egrc-r0.2").recipe.phases[0].r == 0.2


def test_a_phase_is_changed_by_its_name():
    plain, other = (scales.config("pocket", arm).recipe for arm in ("egrc", "egrc-linear"))
    assert (plain.phases[0].shaping, other.phases[0].shaping) == ("exponential", "linear")
    assert replace(other.phases[0], shaping="exponential") == plain.phases[0]
    assert other.phases[1] == plain.phases[1] and other.gate == plain.gate
    with pytest.raises(ConfigError, match="no setting \\['joint'\\]"):
        scales.config("pocket", "egrc", joint={"r": 1.0})
    with pytest.raises(ConfigError, match="no such field of a phase .*'nonsense'"):
        scales.config("pocket", "egrc", compress={"nonsense": 1.0})


@pytest.mark.parametrize("arm", scales.ABLATIONS)
def test_an_ablation_is_not_what_it_ablates(arm):
    plain, other = scales.config("pocket", "egrc"), scales.config("pocket", arm)
    assert replace(other, arm="egrc") != plain
    rollouts, groups = (1600, 8), (other.steps * other.prompts_per_step, other.group_size)
    assert groups == rollouts, "the same budget"
    assert (other.steps == plain.steps) == (arm != "egrc-more-updates"), "the batch is changed by one arm only"


def test_other_signals_switch_where_the_recorded_runs_did():
    """Both constants are facts of the records: computed here from them, not believed."""
    steps, fractions = [], []
    for seed in (0, 1, 2):
        record = records.load("pocket", "egrc", seed)
        (switch,) = [d["step"] for d in record.decisions if d["phase"] != d["next_phase"]]
        window = record.config.recipe.gate.window
        smoothed = record.steps["tokens_mean"].rolling(window).mean()
        steps.append(switch)
        fractions.append(smoothed[switch - 1] / smoothed[window - 1])
    assert round(sum(steps) / 3) == scales.SWITCH_STEP
    assert round(sum(fractions) / 3, 2) == scales.SWITCH_LENGTH


def test_shuffled_entropy_would_have_switched_where_the_recorded_runs_did():
    """As the constant says: the fraction whose mean step is nearest, on the runs that never switch."""
    recipe = scales.config("pocket", "egrc-shuffled").recipe
    runs = [records.load("pocket", "compression", seed).steps["entropy"] for seed in (0, 1, 2)]

    def step(entropy, low):
        gate = EntropyGate(replace(recipe, gate=replace(recipe.gate, low=low)))
        return next((i for i, e in enumerate(entropy, 1) if gate.update(i, e).cause), math.inf)

    mean = {low: sum(step(run, low) for run in runs) / 3 for low in (x / 100 for x in range(90, 110))}
    assert min(mean, key=lambda low: abs(mean[low] - scales.SWITCH_STEP)) == scales.SWITCH_SHUFFLED


def test_unknown_studies_are_refused_with_the_valid_names():
    with pytest.raises(ConfigError, match="no study 'x' at scale 'pocket': choose one of dilemma"):
        scales.study("pocket", "x")
    with pytest.raises(ConfigError, match=r"choose one of \(none\)"):
        scales.study("smol", "dilemma")


def test_the_arms_of_studies_stay_out_of_the_first_figures(tmp_path):
    for arm in ("egrc", "joint-grpo"):
        stub_records.write(tmp_path, arm)
    stub_records.write(tmp_path, "egrc", 4)  # a seed that only study peers asks for
    assert [r.name for r in records.load_all("pocket", tmp_path)] == ["pocket/egrc/seed-0"]
    assert {r.arm for r in records.load_all("pocket", tmp_path, studies=True)} == {"egrc", "joint-grpo"}
    with pytest.raises(records.RecordError, match="joint"):
        records.load_study("pocket", "dilemma", tmp_path)


def test_runs_that_only_slim_studies_name_keep_steps_and_answers(tmp_path, monkeypatch):
    """A killed sweep's finished runs are made slim, too; what was asked of nothing else stays whole."""
    ended = sweep.needed("pocket", [("dler", 0), ("deepcompress", 0), ("joint-r0.2", 0)])

    def run_jobs(jobs, at_once):
        for config in ended:
            folder = stub_records.write(tmp_path, config.arm, config.seed)
            (folder / "adapter").mkdir(exist_ok=True)
            (folder / "adapter" / "weights").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "run_jobs", run_jobs)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep("pocket", tmp_path, runs=[(c.arm, c.seed) for c in ended])
    kept = {c.arm: {p.name for p in paths.run_folder(tmp_path, "pocket", c.arm, 0).iterdir()} for c in ended}
    assert kept["dler"] == set(records.SLIM)
    assert kept["deepcompress"] == {*records.SLIM, records.WEIGHTS} and "decisions.jsonl" in kept["joint-r0.2"]
    with pytest.raises(records.RecordError, match="keep only steps and answers"):
        _ = records.load("pocket", "dler", 0, tmp_path).rollouts


@pytest.mark.parametrize(
    ("arm", "seed", "whole", "weights"),
    [
        ("egrc", 0, True, True), ("joint-r0.8", 1, True, True),
        ("egrc", 4, False, True), ("tokensqueeze", 2, False, True), ("egrc-dapo", 0, False, False),
    ],
)  # fmt: skip
def test_which_runs_keep_what(arm, seed, whole, weights):
    assert (scales.keeps_all("pocket", arm, seed), scales.keeps_weights("pocket", arm, seed)) == (whole, weights)
