"""The clock world's tokenizer: one token a word.  The first world's is part of its hash, so it is left alone."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


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
