"""The real world: a pretrained model that answers its problems about half the time.  It is measured, never trained.

By default Qwen2.5-Coder-0.5B-Instruct from its publisher's own 4-bit file on the hub, on problems of SVAMP (Patel et
al. 2021, MIT licence).  The variable EGRC_MODEL names another model: an id on the hub, a folder, or a GGUF file.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache, cached_property
from pathlib import Path

from datasets import Dataset
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from egrc.checks import ConfigError, require
from egrc.evaluation import benchmarks
from egrc.evaluation.problems import Problem, load
from egrc.paths import ROOT
from egrc.worlds import hub
from egrc.worlds.smol import Smol, converted

VARIABLE = "EGRC_MODEL"
REPO, FILE = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
"""Of the file, as its publisher gives it: 491,400,064 bytes."""
SVAMP = ROOT / "data" / "problems" / "svamp.jsonl"
"""200 of its 1,000 problems, chosen by the hash of their text (`evaluation.problems.key`), whatever their answers."""
ASKED = "{problem}\n\nReason step by step, and put the final answer in \\boxed{}."


class Real(Smol):
    """The `World` of scale real; what it does not say is that of `Smol`."""

    name = "real"

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        return dict.fromkeys(("train", "test"), load(SVAMP, SVAMP.stem))

    def train_problems(self, seed: int) -> Dataset:
        """Raises ConfigError, always."""
        raise ConfigError("scale real is measured, not trained: to train a model of yours, see `train --model`")

    def policy_path(self) -> str:
        """Folder of the weights; of a GGUF file they are made at the first call.

        Raises `ConfigError` for a file that is not there or is another than the measured one, `HubError` where the hub
        does not give the model.
        """
        named = os.environ.get(VARIABLE)
        if named and Path(named).is_dir():
            return named
        if named and not named.endswith(".gguf"):
            return str(hub.snapshot(named, "main"))
        file = Path(named or _from_the_hub())
        require(file.is_file(), f"{VARIABLE}={named}: no such file, nor a folder; a model of the hub is 'owner/name'")
        held = sha256(file)
        require(
            file.name != FILE or held == SHA256,
            f"{file} is not the measured one (SHA-256 {held[:12]}..., not {SHA256[:12]}...): remove it, fetch it again",
        )
        return converted(file, f"{file.stem.lower()}-{held[:12]}")

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model; its chat template makes the prompts."""
        return AutoTokenizer.from_pretrained(self.policy_path())

    def prompt(self, problem: str) -> str:
        turn = {"role": "user", "content": benchmarks.asked(problem, ASKED)}
        return self.tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)


def _from_the_hub() -> str:
    try:
        return hub.file(REPO, FILE)
    except hub.HubError as error:
        raise hub.HubError(f"{error}; or name a copy of it, or another model, in {VARIABLE}") from error


@cache
def sha256(file: Path) -> str:
    """Of a file's content; half a gigabyte takes seconds, so it is read once."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
