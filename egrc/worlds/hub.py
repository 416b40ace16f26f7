"""Models from the Hugging Face hub: safetensors at one commit, never code; errors in one line, with the way out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from egrc.checks import ConfigError

FILES = ("*.safetensors", "*.safetensors.index.json", "*config.json", "tokenizer.json", "special_tokens_map.json")
"""What is fetched of a repository: no python, no pickled weights."""


class HubError(ConfigError):
    """The hub does not give what was asked for; the message says why, and the way out."""


def snapshot(repo: str, revision: str) -> Path:
    """Folder of a model's files at one commit, fetched at the first call, then from the cache.  Raises HubError."""
    require(repo, revision)  # one question, where fetching would try again and again
    return Path(_download(repo, revision))


def require(repo: str, revision: str) -> None:
    """Stop if a model can neither be read from the cache nor asked for; fetches nothing.  Raises HubError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        _download(repo, revision, local_files_only=True)
    except HubError as error:
        if not isinstance(error.__cause__, LocalEntryNotFoundError):
            raise
        _asked(repo, revision, HfApi().repo_info, timeout=20)  # it is to be fetched


def _download(repo: str, revision: str, **how: Any) -> str:
    from huggingface_hub import snapshot_download

    return _asked(repo, revision, snapshot_download, allow_patterns=list(FILES), **how)


def _asked(repo: str, revision: str, call: Any, **how: Any) -> Any:
    """`call`'s answer; whatever the hub library raises becomes a `HubError`."""
    from huggingface_hub import errors

    # it asks by httpx2, before its version 2 by httpx, whose errors are no OSError
    silent = tuple(sys.modules[name].TransportError for name in ("httpx", "httpx2") if name in sys.modules)
    try:
        return call(repo, revision=revision, **how)
    except (OSError, errors.HfHubHTTPError, *silent) as error:
        offline = errors.OfflineModeIsEnabled
        elsewhere = f"run `hf download {repo} --revision {revision}` where there is a network, and copy HF_HOME"
        match error, error.__cause__:
            case errors.GatedRepoError(), _:
                said = f"is gated: accept its terms at https://huggingface.co/{repo} and log in with `hf auth login`"
            case errors.RevisionNotFoundError(), _:
                said = "does not exist: put a commit of its page on the hub into egrc/worlds/deepseek.py"
            case errors.RepositoryNotFoundError(), _:
                said = "is not on the hub, or is private: check the name, or log in with `hf auth login`"
            case (offline(), _) | (_, offline()):
                said = f"is not in the cache, and HF_HUB_OFFLINE is set: unset it, or {elsewhere}"
            case _, _ if isinstance(error, (errors.LocalEntryNotFoundError, *silent)):
                said = f"is not in the cache, and the hub cannot be reached: check network and proxy, or {elsewhere}"
            case errors.HfHubHTTPError(), _:
                said = f"cannot be had: {' '.join(str(error).split())[:200]}: try again later, or {elsewhere}"
            case _:
                said = f"cannot be kept: {error.strerror or error}: free some space, or move the cache (HF_HOME)"
        raise HubError(f"{repo} at revision {revision[:12]} {said}") from error
