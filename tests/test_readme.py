"""README and pages: each of their commands is run where it is quick, else parsed; their Python is executed."""

import json
import os
import re
import shlex
import shutil
import subprocess

import pytest

from egrc import methods
from egrc.__main__ import main, parser
from egrc.paths import DATA, ROOT
from egrc.worlds.pocket.criteria import world_hash
from egrc.worlds.pocket.language import WORLD_VERSION

PAGES = {page: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *sorted((ROOT / "site").glob("*.md")))}
TEXT = "\n".join(PAGES.values())
TINY = "steps=1 prompts_per_step=1 group_size=2 eval_problems=1 eval_samples=1 eval_temperatures=(0.0,)"
ADAPTER = "data/runs/pocket/egrc/seed-0/adapter"
RUN = {
    "make help": None,
    "python -m egrc results": None,
    "python -m egrc results --scale pocket --json": None,
    "python -m egrc claims": None,
    "python -m egrc claims --scale pocket --json": None,
    "python -m egrc evaluate": None,
    "python -m egrc measure --list": None,
    "python -m egrc grade tests/data/grading_pairs.jsonl": None,
    "python -m egrc train --scale pocket --arm egrc --seed 3 --set steps=20 --out build/mine": (
        f"python -m egrc train --scale pocket --arm egrc --seed 3 --set {TINY} --out {{tmp}}"
    ),
    "python -m egrc evaluate --scale pocket --benchmark forward-3 --samples 4 --problems 50 --out build/mine": (
        "python -m egrc evaluate --scale pocket --benchmark forward-3 --samples 2 --problems 2 --out {tmp}"
    ),
    f"python -m egrc evaluate --scale pocket --benchmark forward-3 --adapter {ADAPTER}": None,
    "make dry-run SCALE=gpu": "python -m egrc train --dry-run --scale gpu",
    "python -m egrc export --scale pocket --arm egrc --seed 0 --out build/adapter": (
        "python -m egrc export --scale pocket --arm egrc --seed 0 --out {tmp}/adapter"
    ),
}
"""Command to what is run in its place, at a tiny budget and away from the records; None: itself."""
TRAINS = "trainer.train()"
ELSEWHERE = {"accelerate", "python3", ".venv-gpu/bin/pip", "source"}
"""First words of what needs GPUs or gigabytes: test_gpu parses the former, test_repository looks at the latter."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line]


def shown_by_make(*words):
    """What `make` prints, whatever the make that runs this test was given."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    done = subprocess.run(["make", *words], cwd=ROOT, env=inherited, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - RUN.keys()))
def test_what_takes_long_is_parsed(command):
    words = shlex.split(command)
    if words[0] == "make":
        assert shown_by_make("-n", *words[1:])
    elif words[:3] == ["python", "-m", "egrc"]:
        assert parser().parse_args(words[3:]).action
    else:
        assert words[0] in ELSEWHERE


@pytest.mark.e2e
@pytest.mark.parametrize("command", RUN, ids=lambda command: command)
def test_command(command, tmp_path, monkeypatch, shared_numbers, capfd):
    assert command in COMMANDS
    monkeypatch.chdir(ROOT)
    words = shlex.split((RUN[command] or command).format(tmp=tmp_path))
    if words[0] == "make":
        assert shown_by_make(*words[1:]).strip()
    else:
        assert words[:3] == ["python", "-m", "egrc"] and main(words[3:]) == 0
        shown = capfd.readouterr().out
        assert json.loads(shown) if "--json" in words else shown.strip()


@pytest.mark.e2e
def test_the_examples_run_and_that_of_the_library_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (library,) = (code for code in blocks("python") if TRAINS in code)
    others = [code for code in blocks("python") if TRAINS not in code]
    assert len(others) == 2
    shutil.copytree(DATA / "pocket" / "base-0", "model")
    rows = [{"prompt": f"{a} + 3 ?", "answer": str(a + 3)} for a in range(1, 4)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = "max_steps=1, per_device_train_batch_size=2, num_generations=2, use_cpu=True, report_to='none', "
    for shown, used in {
        '"Qwen/Qwen2.5-0.5B-Instruct"': '"model"',
        'EGRCConfig("egrc-output", max_completion_length=1024': (
            f'EGRCConfig("egrc-output", {tiny}max_completion_length=16'
        ),
    }.items():
        assert library.count(shown) == 1
        library = library.replace(shown, used)
    monkeypatch.setattr(methods, "ARMS", dict(methods.ARMS))  # one of them registers an arm
    for code in (library, *others):
        exec(code, {"__name__": "__main__"})
    assert (tmp_path / "egrc-output" / "adapter" / "adapter_model.safetensors").exists()


def test_links_lead_somewhere_and_messages_are_those_of_the_code():
    targets = [(page, to) for page, text in PAGES.items() for to in re.findall(r"\]\((?!https?:)([^)#]+)\)", text)]
    assert targets and [(page, to) for page, to in targets if not (page.parent / to).exists()] == []
    files = [ROOT / "Makefile", *(ROOT / "egrc").rglob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", TEXT.split("## Troubleshooting: running")[1], re.MULTILINE))
    parts = [part for message in re.findall(r"`(.*?)`", rows) for part in re.split(r"'?\.\.\.'?", message)]
    assert len(parts) > 5 and [part for part in parts if part.strip() and part not in code] == []


def test_the_readme_is_short_and_a_page_speaks_of_the_present_world():
    assert len(PAGES[ROOT / "README.md"].split()) <= 1000
    assert f"version {WORLD_VERSION}, hash `{world_hash()}`" in PAGES[ROOT / "site" / "results.md"]


def test_the_readmes_numbers_are_those_of_table_1():
    shown = re.findall(r"^\| (\S+) \| (\S+ \[.*?\]) \| (\S+) \|$", PAGES[ROOT / "README.md"], re.MULTILINE)
    mean = (ROOT / "figures" / "table1.md").read_text(encoding="utf-8").split("\n## ")[1]
    lines = [[cell.strip() for cell in line.split("|")] for line in mean.splitlines() if "base's best" in line]
    assert shown == [(cells[1], cells[4].split(" (")[0], cells[7].split(" [")[0]) for cells in lines]
    assert f"is {re.search(r'floor (.*?) tokens', mean)[1]} tokens" in PAGES[ROOT / "README.md"]
