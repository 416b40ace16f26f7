"""Models from the Hugging Face hub: safetensors at one commit, never code; errors in one line, with the way out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from egrc.checks import ConfigError

FILES = ("*.safetensors", "*.safetensors.index.json", "*config.json", "tokenizer.json", "special_tokens_map.json")
"""What is fetched of a repository: no python, no pickled weights."""


class HubError(ConfigError):
    """The hub does not give what was asked for; the message says why, and the way out."""


def snapshot(repo: str, revision: str) -> Path:
    """Folder of a model's files at one commit, fetched at the first call, then from the cache.  Raises HubError."""
    from huggingface_hub import snapshot_download

    require(repo, revision)  # one question, where fetching would try again and again
    with explained(repo, revision):
        return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))


def require(repo: str, revision: str, kind: str = "model") -> None:
    """Stop if a repository can neither be read from the cache nor asked for; fetches nothing.  Raises HubError."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=list(FILES), local_files_only=True)
        return
    except LocalEntryNotFoundError:
        pass  # it is to be fetched
    with explained(repo, revision):
        HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=20)


@contextmanager
def explained(repo: str, revision: str) -> Iterator[None]:
    """Turn the hub library's errors into `HubError`."""
    from huggingface_hub import errors

    named = f"{repo} at revision {revision[:12]}"
    fetch = f"`hf download {repo} --revision {revision}`"
    elsewhere = f"run {fetch} where there is a network and copy the cache (HF_HOME)"
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{repo} is gated: accept its terms at https://huggingface.co/{repo} and log in with `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"{repo} has no revision {revision}: take a commit from https://huggingface.co/{repo}/commits/main "
            "and put it into egrc/worlds/deepseek.py"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"no {repo} on the hub, or it is private: check the name, or log in with `hf auth login`"
        ) from error
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, *_unreachable()) as error:
        if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
            raise HubError(
                f"{named} is not in the cache, and HF_HUB_OFFLINE is set: unset it, or {elsewhere}"
            ) from error
        raise HubError(
            f"the hub cannot be reached, and {named} is not in the cache: check network and proxy, or {elsewhere}"
        ) from error
    except errors.HfHubHTTPError as error:
        said = " ".join(str(error).split())[:200]
        raise HubError(f"the hub did not give {named}: {said}: try again later, or {elsewhere}") from error
    except OSError as error:
        raise HubError(
            f"cannot keep {named} in the cache: {error.strerror or error}: free some space, or move the cache (HF_HOME)"
        ) from error


def _unreachable() -> tuple[type[Exception], ...]:
    """What is raised where no answer comes: the hub library asks by httpx2, before its version 2 by httpx."""
    return tuple(sys.modules[name].TransportError for name in ("httpx", "httpx2") if name in sys.modules)
