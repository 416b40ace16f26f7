"""What a record hangs on: hashes of its settings and of weights, and the versions and the commit that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.config import Config

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def config_hash(config: Config) -> str:
    """Hash of the settings as canonical JSON (keys sorted, no spaces), without those that are off (None)."""

    def on(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: on(value) for name, value in x.items() if value is not None}
        return [on(value) for value in x] if isinstance(x, (list, tuple)) else x

    return digest(json.dumps(on(config.to_dict()), sort_keys=True, separators=(",", ":")).encode())


def folder_hash(path: str) -> str:
    """Hash of a local folder's files; a hub id stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return digest("".join(f"{f.relative_to(folder)} {digest(f.read_bytes())}\n" for f in files).encode())


def portable(policy_path: str) -> str:
    """Where a clone has the base model; a hub id as it is, a folder elsewhere by its last name."""
    folder = Path(policy_path)
    if folder.is_relative_to(paths.DATA):
        return str("data" / folder.relative_to(paths.DATA))
    return folder.name if folder.is_absolute() else policy_path


def versions() -> dict[str, str]:
    """Versions of Python and of what the numbers depend on."""
    packages = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def commit() -> str | None:
    """The git commit of the code at hand; None outside of a checkout, or without git."""
    code, text = subprocess.getstatusoutput(f"git -C '{paths.ROOT}' rev-parse HEAD")
    return None if code else text
