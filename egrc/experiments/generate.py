"""One question, one answer and its length: by the base model, and by the base with an adapter.

Adapters from outside are data: only safetensors are read, no path in them is followed, and one that was trained on
another base is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch

from egrc.checks import ConfigError
from egrc.evaluation import sampling
from egrc.experiments import scales
from egrc.experiments.export import ADAPTER
from egrc.experiments.fingerprint import portable
from egrc.experiments.run import adapted


@dataclass(frozen=True)
class Answer:
    """What a model answers: its text without special tokens, completion tokens (end included), cut at the cap?"""

    text: str
    tokens: int
    truncated: bool

    def __str__(self) -> str:
        return f"{self.tokens} tokens{', cut at the cap' * self.truncated}\n{self.text}"


def before_and_after(
    scale: str, problem: str, adapter: Path | None = None, temperature: float = 0.6, seed: int = 0, cap: int = 0
) -> dict[str, Answer]:
    """The base's answer and, with an adapter, the trained one's ('base', 'adapter'), asked alike; cap 0: the scale's.

    Raises ConfigError for a problem that the model cannot read, or an adapter that does not belong to it.
    """
    world = scales.world(scale)
    if adapter is not None:
        check_adapter(adapter, scale)
    model, tokenizer = world.policy()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    # its world's own words around a problem, or the problem as it is
    prompt = getattr(import_module(scales.SCALES[scale].world.split(":")[0]), "prompt", str)
    ids = tokenizer(prompt(problem))["input_ids"]
    unknown = tokenizer.pad_token_id if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    if not problem.strip() or unknown in ids:
        strange = [w for w in problem.split() if unknown in tokenizer(w, add_special_tokens=False)["input_ids"]]
        example = world.train_problems(0)[0]["prompt"] if scale == "pocket" else "What is 12 + 30?"
        words = ", ".join(map(repr, strange)) or "nothing is asked"
        raise ConfigError(f"the model of scale {scale} cannot read this ({words}): ask, for example, {example!r}")
    how = sampling.Sampling(temperature, 1.0, cap or scales.config(scale, "base").cap)
    answers = {}
    for who in ("base", "adapter") if adapter else ("base",):
        backend = sampling.by_transformers(model if who == "base" else adapted(model, adapter), tokenizer)
        (said,) = backend.generate([ids], how, sampling.derived_seed(seed, "question", temperature))
        text = tokenizer.decode(said, skip_special_tokens=True)
        answers[who] = Answer(text, len(said), said[-1] not in backend.ends)
    return answers


def check_adapter(folder: Path, scale: str) -> None:
    """Raises ConfigError unless the folder holds an adapter, as safetensors, of this scale's base model."""
    missing = [name for name in ADAPTER if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} has no {' and no '.join(missing)}: name a folder that `python -m egrc export` wrote, or a "
            "record's adapter/ (weights in other formats are not read)"
        )
    try:
        named = json.loads((folder / ADAPTER[0]).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / ADAPTER[0]}: not an adapter's settings ({error}): export it again") from error
    ours = portable(scales.world(scale).policy_path())
    if named != ours:
        raise ConfigError(f"{folder} was trained on {named!r}, but scale {scale} starts from {ours!r}: name its scale")
