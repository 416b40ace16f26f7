"""Hashes by which a stale record is known: of its settings, and of the weights it starts from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from egrc.config import Config


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def config_hash(config: Config) -> str:
    """Hash of the settings as canonical JSON (keys sorted, no spaces), without those that are off (None)."""
    return _digest(json.dumps(_on(config.to_dict()), sort_keys=True, separators=(",", ":")).encode())


def _on(settings: Any) -> Any:
    if isinstance(settings, dict):
        return {name: _on(value) for name, value in settings.items() if value is not None}
    return [_on(value) for value in settings] if isinstance(settings, (list, tuple)) else settings


def folder_hash(path: str) -> str:
    """Hash of a local folder's files; a hub id stands for itself."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return _digest("".join(f"{f.relative_to(folder)} {_digest(f.read_bytes())}\n" for f in files).encode())
