"""Models from the Hugging Face hub: safetensors at one commit, never code; errors in one line, with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from egrc.checks import ConfigError
from egrc.evaluation.problems import line_of

FILES = ("*.safetensors", "*.safetensors.index.json", "*config.json", "tokenizer.json", "special_tokens_map.json")
"""What is fetched of a repository: no python, no pickled weights."""


class HubError(ConfigError):
    """The hub does not give what was asked for; the message says why, and the way out."""


def snapshot(repo: str, revision: str) -> Path:
    """Folder of a model's files at one commit, fetched at the first call, then from the cache.  Raises HubError."""
    require(repo, revision)  # one question, where fetching would try again and again
    return Path(_ask("snapshot_download", repo, revision, allow_patterns=list(FILES)))


def file(repo: str, name: str) -> str:
    """One file of a repository's newest commit, fetched at the first call, then from the cache.  Raises HubError."""
    return _ask("hf_hub_download", repo, "main", filename=name)


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

    try:
        return getattr(huggingface_hub, what)(repo, revision=revision, **how)
    except Exception as error:
        theirs = type(error).__module__.startswith(("huggingface_hub.", "httpx", "httpcore"))
        if not theirs and not isinstance(error, OSError):
            raise  # a bug of ours
        raise HubError(
            f"{repo} at revision {revision[:12]} cannot be had: {type(error).__name__}: {line_of(error).rstrip('.')}: "
            "check name and revision (egrc/worlds), the network (and HF_HUB_OFFLINE), room in HF_HOME and "
            f"the terms at https://huggingface.co/{repo} if it is gated (`hf auth login`), or run `hf download {repo} "
            f"--revision {revision}` where there is a network, and copy HF_HOME"
        ) from error
