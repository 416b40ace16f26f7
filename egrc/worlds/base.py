"""What a scale supplies to the rest of the package; each world is a module beside this one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a reader of records needs none of them
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.entropy import TokenClasses


class World(Protocol):
    """What a scale supplies: a base model, problems, a grader, and kinds of tokens."""

    name: str

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Base model (eval mode) and tokenizer."""

    def policy_path(self) -> str:
        """Local folder, or hub id, of the base model."""

    def train_problems(self, seed: int) -> Dataset:
        """Columns prompt, answer, benchmark; the order is fixed by the seed."""

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """At most n problems a benchmark, columns id, prompt, answer; split 'search' is for choosing settings."""

    def correct(self, completion: str, answer: str | list[str]) -> bool:
        """Is this text (special tokens skipped) the answer, or one of several?  May have a method `batch`."""

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        """The kind of every token of the vocabulary."""

    def probe_prefixes(self) -> list[str]:
        """Fixed texts on which the policy's entropy is probed."""

    def floor_tokens(self, benchmark: str) -> float | None:
        """Mean tokens of the shortest correct procedure known, where there is one."""
