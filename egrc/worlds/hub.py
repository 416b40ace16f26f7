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
    return Path(_ask("snapshot_download", repo, revision, allow_patterns=list(FILES)))


def require(repo: str, revision: str) -> None:
    """Stop if a model can neither be read from the cache nor asked for; fetches nothing.  Raises HubError."""
    import huggingface_hub

    try:
        huggingface_hub.snapshot_download(repo, revision=revision, allow_patterns=list(FILES), local_files_only=True)
    except huggingface_hub.errors.LocalEntryNotFoundError:  # it is to be fetched
        _ask("model_info", repo, revision, timeout=20)


def _ask(what: str, repo: str, revision: str, **how: Any) -> Any:
    """A function of the hub library's; whatever that raises becomes a `HubError`."""
    import huggingface_hub
    from huggingface_hub import errors

    # it asks by httpx2, before its version 2 by httpx, whose errors are no OSError
    silent = tuple(sys.modules[name].TransportError for name in ("httpx", "httpx2") if name in sys.modules)
    try:
        return getattr(huggingface_hub, what)(repo, revision=revision, **how)
    except (OSError, errors.HfHubHTTPError, *silent) as error:
        kinds, text = (error, error.__cause__), " ".join(str(error).split())[:200]
        elsewhere = f"run `hf download {repo} --revision {revision}` where there is a network, and copy HF_HOME"
        reasons = {
            (errors.GatedRepoError,): f"is gated: accept its terms at https://huggingface.co/{repo}, `hf auth login`",
            (errors.RevisionNotFoundError,): "does not exist: put a commit of its page into egrc/worlds/deepseek.py",
            (errors.RepositoryNotFoundError,): "is not on the hub, or is private: check the name, or `hf auth login`",
            (errors.OfflineModeIsEnabled,): f"is not cached, and HF_HUB_OFFLINE is set: unset it, or {elsewhere}",
            (errors.LocalEntryNotFoundError, *silent): f"is not cached, and the hub cannot be reached: {elsewhere}",
            (errors.HfHubHTTPError,): f"cannot be had: {text}: try again later, or {elsewhere}",
            (OSError,): f"cannot be kept: {text}: free some space, or move the cache (HF_HOME)",
        }
        said = next(reason for types, reason in reasons.items() if any(isinstance(e, types) for e in kinds))
        raise HubError(f"{repo} at revision {revision[:12]} {said}") from error
