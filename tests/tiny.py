"""A tiny random Llama with a few words, and small sums: what the trainer's tests run on (no world needed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from egrc.controller import EntropyGate, Recipe
from egrc.methods.egrc import Compress, Explore

VOCABULARY = (
    *("<pad>", "<bos>", "<eos>", *map(str, range(10)), *"+-*=?_#.", "try", "check", "again", "gap", "no"),
    *("yes", "right", "so", "then", "thus", "therefore", "hence", "next", "wait", "hmm", "but", "maybe"),
)


def tokenizer() -> PreTrainedTokenizerFast:
    """Words split at blanks; <bos> is added by itself."""
    ids = {word: i for i, word in enumerate(VOCABULARY)}
    core = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", padding_side="left"
    )


SIZES = {
    "vocab_size": len(VOCABULARY), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Of models that are smaller still."""


def model(seed: int = 0, layers: int = 3, width: int = 64) -> LlamaForCausalLM:
    """Random weights, fp32."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers}
    sizes |= {"num_key_value_heads": 4, "max_position_embeddings": 512}
    return LlamaForCausalLM(LlamaConfig(**SIZES | sizes)).eval()


def save(folder: Path, **kwargs: Any) -> str:
    """Model and tokenizer in a folder, for trainers that take a path."""
    model(**kwargs).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def dataset(n: int = 12) -> Dataset:
    """`n` sums with prompt and answer."""
    pairs = [(i // 10, i % 10) for i in range(1, n + 1)]
    return Dataset.from_dict({"prompt": [f"{a} + {b} ?" for a, b in pairs], "answer": [str(a + b) for a, b in pairs]})


def even(completion: str, answer: str) -> bool:
    """A grader that a random model satisfies about half of the time, so that there is something to learn."""
    return len(completion.split()) % 2 == 0


def recipe(
    budget: int = 12, dwell: int = 2, window: int = 1, gate: type[EntropyGate] = EntropyGate, **settings: Any
) -> Recipe:
    """Two phases; by default the gate leaves the first one after two steps (low above 1: always 'fallen')."""
    return Recipe(
        (Compress("compress", budget, r=0.1), Explore("explore", budget - 2, temperature=1.3, length_weight=0.2)),
        gate(**{"low": 5.0, "high": 6.0, "window": window, "dwell": dwell, **settings}),
    )


def trainer(folder: Path, recipe: Recipe, **settings: Any) -> Any:
    """An EGRCTrainer on the tiny model, or another: 12 problems, 4 a step, 4 rollouts each, in two micro-batches."""
    from egrc.trainer import EGRCConfig, EGRCTrainer

    parts = ("train_dataset", "processing_class", "correct", "reward_funcs", "peft_config", "callbacks", "eval_dataset")
    parts += ("token_classes", "model", "probe_prefixes")
    given = {name: settings.pop(name) for name in parts if name in settings}
    args = EGRCConfig(
        str(folder / "out"),
        **{
            "recipe": recipe,
            "record_dir": str(folder / "records"),
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_completion_length": 12,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "use_cpu": True,
            "gradient_checkpointing": False,
            "save_strategy": "no",
            "report_to": "none",
            "logging_steps": 1,
            "disable_tqdm": True,
            "probe_every": 2,
            "record_rollouts_every": 2,
            **settings,
        },
    )
    rest = {"train_dataset": dataset(), "processing_class": tokenizer(), "correct": even}
    rest |= {"probe_prefixes": ["3 + 4 ?", "3 + 4 * 2 ? so"], **given}
    return EGRCTrainer(rest.pop("model", None) or model(), args=args, **rest)
