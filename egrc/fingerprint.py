"""What a run depends on, as hashes: its config, the code it can reach, and the world's frozen weights.

Comments, docstrings and layout do not count, because the syntax tree is hashed instead of the text.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import egrc
from egrc.config import Config

PACKAGE = Path(egrc.__file__).parent
# These only say what to run (which is the config, hashed by itself), or where to put the outcome.
NOT_HASHED = frozenset(
    {"egrc.arms", "egrc.scales", "egrc.paths", "egrc.atomic", "egrc.records", "egrc.fingerprint"}
)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def config_hash(config: Config) -> str:
    """Hash of the settings as canonical JSON (keys sorted, no spaces), without those that are off (None)."""
    return _digest(json.dumps(_on(asdict(config)), sort_keys=True, separators=(",", ":")).encode())


def _on(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {name: _on(value) for name, value in settings.items() if value is not None}
    return [_on(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


@cache
def source_hash(source: str) -> str:
    """Hash of a module's syntax tree without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            # any bare string counts as documentation: this package also describes fields with them
            node.body = [s for s in node.body if not (isinstance(s, ast.Expr) and _is_string(s.value))]
    return _digest(ast.dump(tree).encode())


def hashes(files: Mapping[str, Path]) -> dict[str, str]:
    """Module name to `source_hash`, by name."""
    return {name: source_hash(file.read_text(encoding="utf-8")) for name, file in sorted(files.items())}


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _file(module: str, package: Path) -> Path | None:
    """The file of a module of the package, if it is one."""
    base = package.joinpath(*module.split(".")[1:])
    return next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)


@cache
def _imports(module: str, source: str, of_package: bool) -> set[str]:
    """All names that a module's imports could load, those inside functions included; is it a package's own module?"""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + of_package]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def reachable(
    entry: str, package: Path = PACKAGE, leave_out: frozenset[str] = frozenset()
) -> dict[str, Path]:
    """Modules of the package that `entry` can import, itself included; `leave_out` is not followed."""
    found: dict[str, Path] = {}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        file = None if module in found or module in leave_out else _file(module, package)
        if module.split(".")[0] != package.name or file is None:
            continue
        found[module] = file
        parents = [module.rsplit(".", i)[0] for i in range(1, module.count(".") + 1)]  # run on import, too
        waiting += [*_imports(module, file.read_text(encoding="utf-8"), file.name == "__init__.py"), *parents]
    return found


@cache
def code_hashes(scale: str, arm: str) -> dict[str, str]:
    """Module name to hash for the code that a run reaches, and 'base model' for the weights it starts from.

    The arm 'base' is never trained, so it reaches the evaluation only; only TokenSqueeze reaches its own trainer.
    Raises FileNotFoundError without base weights.
    """
    from egrc import scales

    ours = scales.SCALES[scale].world.split(":")[0]
    others = {s.world.split(":")[0] for s in scales.SCALES.values()} - {ours}
    of, _ = scales.SCALES[scale].variants.get(arm, (arm, {}))
    if of != "tokensqueeze":
        others |= {"egrc.squeeze"}
    entries = ("egrc.evaluate" if arm == "base" else "egrc.run", ours)
    return _hashes(entries, NOT_HASHED | others) | {"base model": folder_hash(scales.world(scale).policy_path())}


@cache
def _hashes(entries: tuple[str, ...], leave_out: frozenset[str]) -> dict[str, str]:
    """What several modules reach: most arms reach the same, so it is found once."""
    files: dict[str, Path] = {}
    for entry in entries:
        files |= reachable(entry, leave_out=leave_out)
    return hashes(files)


def folder_hash(path: str) -> str:
    """Hash of a local folder's files; a hub id stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return _digest("".join(f"{f.relative_to(folder)} {_digest(f.read_bytes())}\n" for f in files).encode())


def combined(hashes: dict[str, str]) -> str:
    """One hash for all of them."""
    return _digest(json.dumps(hashes, sort_keys=True).encode())
