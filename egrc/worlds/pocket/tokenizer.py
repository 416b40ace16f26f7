"""The tokenizer of the pocket world: one token a word, and what kind of word each token is."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from egrc.worlds.pocket.language import CONNECTORS


def build_tokenizer(vocabulary: Sequence[str]) -> PreTrainedTokenizerFast:
    """Whitespace-separated words; encoding a prompt puts ``<bos>`` in front; ``<pad>`` has an id of its own."""
    ids = {word: i for i, word in enumerate(vocabulary)}
    core = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", ids["<bos>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def word_class(word: str) -> str:
    """'connector', 'number', 'operator' (``+4``, ``=``) or 'other' (words, marks and special tokens)."""
    if word in CONNECTORS:
        return "connector"
    if word.isdigit():
        return "number"
    return "operator" if word[0] in "+-*/=" else "other"
