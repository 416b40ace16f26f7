"""A tiny random Llama with the pocket world's words, and small problems: what the trainer's tests run on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from egrc.config import Gate, Phase, Recipe
from egrc.pocket.world import VOCABULARY, problems


def tokenizer() -> PreTrainedTokenizerFast:
    """Words split at blanks; <bos> is added by itself."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    core = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )


def model(seed: int = 0, layers: int = 3, width: int = 64) -> LlamaForCausalLM:
    """Random weights, fp32."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def save(folder: Path, **kwargs: Any) -> str:
    """Model and tokenizer in a folder, for trainers that take a path."""
    model(**kwargs).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def dataset(n: int = 12, benchmark: str = "forward-3") -> Dataset:
    """`n` training problems with prompt and answer."""
    source = problems(benchmark, held_out=False, seed=0)
    rows = [next(source) for _ in range(n)]
    return Dataset.from_dict({"prompt": [p.text for p in rows], "answer": [str(p.answers[0]) for p in rows]})


def even(completion: str, answer: str) -> bool:
    """A grader that a random model satisfies about half of the time, so that there is something to learn."""
    return len(completion.split()) % 2 == 0


def recipe(budget: int = 12, dwell: int = 2, window: int = 1, **gate: Any) -> Recipe:
    """Two phases; by default the gate leaves the first one after two steps (low above 1: always 'fallen')."""
    return Recipe(
        (
            Phase("compress", "absolute", budget, "exponential", r=0.1),
            Phase("explore", "within_correct", budget - 2, length_weight=0.2, temperature=1.3),
        ),
        Gate(**{"low": 5.0, "high": 6.0, "window": window, "dwell": dwell, **gate}),
    )
