"""What a scale supplies to the rest of the package; each world is a module beside this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from egrc.checks import require
from egrc.evaluation.problems import HANDMADE, Problem, key, load

if TYPE_CHECKING:  # a reader of records needs none of them
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.entropy import TokenClasses


class World(Protocol):
    """What a scale supplies: a base model, problems, a grader, and kinds of tokens."""

    name: str
    synthetic: bool
    """Are its problems drawn by a program, and read by the model as they are?"""

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Base model (eval mode) and tokenizer."""

    def policy_path(self) -> str:
        """Local folder, or hub id, of the base model."""

    def train_problems(self, seed: int) -> Dataset:
        """Columns prompt, answer, benchmark; the order is fixed by the seed."""

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """Always the same n problems of each benchmark, or all of fewer; columns id, prompt, answer.

        Split 'search' is for choosing settings, and draws on training problems.
        """

    def correct(self, completion: str, answer: str | list[str]) -> bool:
        """Is this text (special tokens skipped) the answer, or one of several?  May have a method `batch`."""

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        """The kind of every token of the vocabulary."""

    def probe_prefixes(self) -> list[str]:
        """Fixed texts on which the policy's entropy is probed."""

    def floor_tokens(self, benchmark: str) -> float | None:
        """Mean tokens of the shortest correct procedure known, where there is one."""


# --- what worlds of real problems share ---------------------------------------------------------------------------


def dataset(problems: Iterable[Problem], prompt: Callable[[str], str]) -> Dataset:
    """Columns id, prompt, answer (all that are accepted), benchmark."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"id": p.id, "prompt": prompt(p.text), "answer": list(p.gold), "benchmark": p.source} for p in problems]
    )


def drawn(problems: Iterable[Problem], n: int, split: str) -> list[Problem]:
    """The same n whatever stands around them.  Raises ConfigError for an unknown split."""
    require(split in ("test", "search"), f"no split {split!r}: choose test or search")
    return sorted(problems, key=lambda p: key(p.text))[:n]


def probes(prompt: Callable[[str], str]) -> list[str]:
    """Prompts of the shipped problems, each with the first half (in words) of its worked steps."""
    halves = ((p.text, p.solution.split(" ")) for p in load(HANDMADE))
    return [prompt(text) + " ".join(words[: len(words) // 2]) for text, words in halves]
