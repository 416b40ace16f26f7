"""The README: each of its commands is run, or stands in NOT_RUN with the reason; its Python is executed."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from egrc.paths import DATA, ROOT
from egrc.worlds.pocket.criteria import world_hash
from egrc.worlds.pocket.world import WORLD_VERSION

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = "steps=1 prompts_per_step=1 group_size=2 eval_problems=1 eval_samples=1 eval_temperatures=(0.0,)"

RUN = {
    "make help": None,
    "python -m egrc results": None,
    "python -m egrc results --scale pocket --json": None,
    "python -m egrc claims": None,
    "python -m egrc claims --scale pocket --json": None,
    "python -m egrc records": None,
    "python -m egrc benchmarks": None,
    "python -m egrc measure --list": None,
    "python -m egrc grade tests/data/grading_pairs.jsonl": None,
    "python -m egrc train --scale pocket --arm egrc --seed 3 --set steps=20 --out build/mine": (
        f"python -m egrc train --scale pocket --arm egrc --seed 3 --set {TINY} --out {{tmp}}"
    ),
    "python -m egrc evaluate --scale pocket --benchmark forward-3 --samples 4 --problems 50 --out build/mine": (
        "python -m egrc evaluate --scale pocket --benchmark forward-3 --samples 2 --problems 2 --out {tmp}"
    ),
    "python -m egrc evaluate --scale pocket --benchmark forward-3 --adapter data/runs/pocket/egrc/seed-0/adapter": None,
    "make dry-run SCALE=gpu": "python -m egrc dry-run --scale gpu",
    "python -m egrc export --scale pocket --arm egrc --seed 0 --out build/adapter": (
        "python -m egrc export --scale pocket --arm egrc --seed 0 --out {tmp}/adapter"
    ),
    'python -m egrc generate --scale pocket --adapter build/adapter "5 *4 -2 +3 ?"': (
        "python -m egrc generate --scale pocket --adapter data/runs/pocket/egrc/seed-0/adapter '5 *4 -2 +3 ?'"
    ),
    'make train ARM=egrc SCALE=pocket SEEDS="3"': "make -n train ARM=egrc SCALE=pocket SEEDS=3",
}
"""Command to what is run in its place, at a tiny budget and away from the records; None: itself.

What a `make` target runs is checked in test_repository.py."""

NOT_RUN = {
    "accelerate launch --config_file configs/accelerate/ddp.yaml --num_processes 8 -m egrc train --scale gpu "
    "--arm egrc --seed 0": "needs eight GPUs; test_gpu parses it, test_ranks trains on two processes",
    "python3 -m venv .venv-gpu": "downloads gigabytes with the next one",
    ".venv-gpu/bin/pip install -e '.[vllm]'": "downloads gigabytes; test_repository looks at what it may resolve to",
    "source .venv-gpu/bin/activate": "enters what the two before it make",
    "python -m egrc evaluate --scale smol --benchmark aime24 amc23 gsm8k math500 --data DIR": (
        "needs copies of the sets and half an hour; test_examine evaluates, test_smol generates"
    ),
    "python -m egrc evaluate --scale gpu --benchmark math500 --samples 16 --backend vllm": (
        "needs a GPU and vLLM; test_generation calls a stand-in of vLLM"
    ),
    "make paper": "its parts are run by test_notebooks, test_figures and test_paper",
    "make paper SCALE=pocket FRESH=1": "trains everything, for most of an hour; test_paper runs it with stand-ins",
    "make paper SCALE=smol FRESH=1": "takes minutes and 7 GB; test_smol trains and evaluates that scale",
    "make paper FRESH=all": "trains everything, for hours; test_paper runs it with stand-ins",
    "python -m egrc measure": "makes what is missing, for up to an hour; test_measure runs it on a toy",
    'make paper ARMS="egrc joint"': "trains their runs at all seeds; test_paper runs it with stand-ins",
    "python -m egrc search": "runs dozens of trials, for hours; test_search runs it with stand-ins",
    "python -m egrc sweep --study peers ablations plus": "trains a hundred runs; test_methods takes two steps of each",
    "python -m egrc sweep --study dilemma": "trains a study's runs where they are missing; test_sweep checks which",
    "make test": "is what runs this test",
    "make lab": "opens JupyterLab and stays",
    "make bench": "measures for minutes; test_bench runs it at a tiny budget",
    "make clean": "would remove the reader's checkpoints",
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def commands():
    return [line for block in blocks("bash") for line in block.splitlines() if line]


def run(words, folder):
    ours = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(words, cwd=folder, env=inherited | ours, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(code, folder):
    return run([sys.executable, "-c", code], folder)


def test_every_command_is_run_or_has_its_reason():
    assert set(commands()) == RUN.keys() | NOT_RUN.keys()
    assert not RUN.keys() & NOT_RUN.keys()
    assert all(len(reason) > 20 for reason in NOT_RUN.values())


@pytest.mark.parametrize("file", sorted(set(re.findall(r"test_\w+", " ".join(NOT_RUN.values())))))
def test_the_reasons_name_tests_that_exist(file):
    assert (ROOT / "tests" / f"{file}.py").exists()


@pytest.mark.e2e
@pytest.mark.parametrize("command", RUN, ids=lambda command: command)
def test_command(command, tmp_path):
    words = shlex.split((RUN[command] or command).format(tmp=tmp_path))
    if words[0] == "python":
        words[0] = sys.executable
    said = run(words, ROOT)
    assert said.strip()
    if "--json" in words:
        assert json.loads(said)


@pytest.mark.e2e
def test_the_library_example_trains(tmp_path):
    code = "\n".join(blocks("python")[:1])
    shutil.copytree(DATA / "pocket" / "base", tmp_path / "model")
    rows = [{"prompt": f"{a} + 3 ?", "answer": str(a + 3)} for a in range(1, 4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = "max_steps=1, per_device_train_batch_size=2, num_generations=2, use_cpu=True, report_to='none', "
    for shown, used in {
        '"Qwen/Qwen2.5-0.5B-Instruct"': '"model"',
        'EGRCConfig("egrc-output", max_completion_length=1024': (
            f'EGRCConfig("egrc-output", {tiny}max_completion_length=16'
        ),
    }.items():
        assert code.count(shown) == 1
        code = code.replace(shown, used)
    run_python(code, tmp_path)
    assert (tmp_path / "egrc-output" / "adapter" / "adapter_model.safetensors").exists()


def test_the_other_examples_run(tmp_path):
    for code in blocks("python")[1:]:
        run_python(code, tmp_path)


def test_links_and_pictures_lead_somewhere():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_messages_under_troubleshooting_are_those_of_the_code():
    files = [ROOT / "Makefile", *(ROOT / "egrc").rglob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    table = TEXT.split("## Troubleshooting: running")[1]
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    messages = re.findall(r"`(.*?)`", rows)
    parts = [part for message in messages for part in re.split(r"'?\.\.\.'?", message) if part.strip()]
    assert len(parts) > 5
    assert [part for part in parts if part not in code] == []


def test_the_readme_speaks_of_the_present_world():
    assert f"version {WORLD_VERSION}, hash `{world_hash()}`" in TEXT


def test_it_is_short():
    assert len(TEXT) < 16_000
