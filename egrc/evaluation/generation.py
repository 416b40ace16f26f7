r"""Answers to prompts, as token ids: one small interface, by transformers or by vLLM, and one way to count tokens.

Every answer has a seed of its own, so the order of batches, a resume, or what else is asked changes no answer's random
numbers.  By transformers these are exactly the same: token t takes the t-th uniform number of its seed through the
inverse of the cumulative distribution.  What a batch does change is the last bits of the logits (padding, its shape),
and so, rarely, a token: the same machine, versions and batches repeat an answer to the token, other batches nearly
always.  vLLM takes a seed for each request, too, but batches as they come: there nothing is promised to the token.

vLLM is imported only where it is asked for.  NOT YET RUN ON A GPU: its tests use a stand-in.  [ours]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from egrc.checks import ConfigError

if TYPE_CHECKING:  # a reader of records needs neither
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BACKENDS = ("transformers", "vllm")
COLDEST = 0.01
"""vLLM takes lower temperatures for 0, so they are refused."""
CANDIDATES = 256
"""Tokens that are looked at first for the top_p most likely; where they do not suffice, all are."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn."""

    temperature: float
    """0 is greedy."""
    top_p: float
    """Tokens are drawn from the fewest most likely ones whose probabilities reach this sum."""
    cap: int
    """Completion tokens, end token included, after which an answer is cut."""

    def __post_init__(self) -> None:
        if self.temperature != 0 and not COLDEST <= self.temperature < float("inf"):
            raise ConfigError(f"temperature={self.temperature}: 0 for greedy, else at least {COLDEST}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p}: above 0, at most 1 (which draws from all tokens)")
        if self.cap < 1:
            raise ConfigError(f"cap={self.cap}: at least 1 token")


@dataclass(frozen=True)
class Ask:
    """One prompt, and a seed for each answer that is wanted."""

    prompt: Sequence[int]
    """Token ids."""
    seeds: Sequence[int]


class Backend(Protocol):
    """What generates."""

    tokenizer: PreTrainedTokenizerBase
    at_once: int
    """Answers that are best asked for in one call."""

    def generate(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[list[int]]]:
        """For each ask the token ids of its answers, in the order of its seeds; the end token included, where the
        model wrote one before the cap."""


@dataclass(frozen=True)
class Count:
    """An answer's length in tokens, end token included: `tokens` is `thinking` plus `answer`."""

    tokens: int
    thinking: int
    """Up to and including '</think>'; all of them where thinking did not end."""
    answer: int
    truncated: bool
    """Was it cut at the cap?"""


def count(ids: Sequence[int], end: int, end_of_thinking: int | None) -> Count:
    """Count one answer's tokens; `end_of_thinking` is the id of '</think>', or None for a model that does not think.

    The last '</think>' counts, as in `egrc.evaluation.grading.extract`.
    """
    thinking = 0
    if end_of_thinking is not None:
        after = next((i for i, token in enumerate(reversed(ids)) if token == end_of_thinking), 0)
        thinking = len(ids) - after
    return Count(len(ids), thinking, len(ids) - thinking, not ids or ids[-1] != end)


# --- transformers -------------------------------------------------------------------------------------------------


class Transformers:
    """A model in this process.  Rows that have ended leave the batch, and each prompt is read once for all its answers:
    both are why this does not call `model.generate`."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, at_once: int = 64) -> None:
        self.model, self.tokenizer, self.at_once = model.eval(), tokenizer, at_once

    def generate(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[list[int]]]:
        """See `Backend`."""
        import torch
        from transformers import DynamicCache

        device, end = self.model.device, self.tokenizer.eos_token_id
        inputs = self.tokenizer.pad({"input_ids": [list(a.prompt) for a in asks]}, padding_side="left",
                                    return_tensors="pt").to(device)  # fmt: skip
        repeats = torch.tensor([len(a.seeds) for a in asks], device=device)
        uniforms = _uniforms([seed for a in asks for seed in a.seeds], sampling.cap).to(device)
        answers: list[list[int]] = [[] for _ in range(len(uniforms))]
        cache, mask = DynamicCache(config=self.model.config), inputs["attention_mask"]
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            logits = self._logits(inputs["input_ids"], mask, positions, cache)
            rows = torch.arange(len(asks), device=device).repeat_interleave(repeats)
            cache.batch_select_indices(rows)
            logits, mask, positions = logits[rows], mask[rows], positions[rows, -1:]
            rows = torch.arange(len(answers), device=device)
            for step in range(sampling.cap):
                tokens = draw(self._allowed(logits), sampling, uniforms[rows, step])
                for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
                    answers[row].append(token)
                on = (tokens != end).nonzero().flatten()
                if step + 1 == sampling.cap or not len(on):
                    break
                if len(on) < len(rows):
                    cache.batch_select_indices(on)
                    rows, tokens, mask, positions = rows[on], tokens[on], mask[on], positions[on]
                mask, positions = torch.cat([mask, mask.new_ones(len(mask), 1)], 1), positions + 1
                logits = self._logits(tokens[:, None], mask, positions, cache)
        bounds = np.cumsum([0, *(len(a.seeds) for a in asks)])
        return [answers[start:stop] for start, stop in zip(bounds, bounds[1:], strict=False)]

    def _logits(self, ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Of the next token, float32 [rows, vocabulary]."""
        out = self.model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        return out.logits[:, -1].float()

    def _allowed(self, logits: Tensor) -> Tensor:
        """A sampled pad is no word of the model's."""
        pad = self.tokenizer.pad_token_id
        if pad is not None and pad != self.tokenizer.eos_token_id:
            logits[:, pad] = -float("inf")
        return logits


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> Tensor:
    """One token for each row of logits [rows, vocabulary], from uniform numbers in (0, 1] [rows]."""
    import torch

    if sampling.temperature == 0:
        return logits.argmax(-1)
    likely, tokens = _most_likely(torch.softmax(logits / sampling.temperature, -1), sampling.top_p)
    below = likely.double().cumsum(-1)
    # the first place where the sum reaches its target: never one of probability 0, since the target is above 0
    at = torch.searchsorted(below, uniform[:, None].double() * below[:, -1:])
    return tokens.gather(-1, at).squeeze(-1)


def _most_likely(p: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities [rows, n], 0 for what is left out, and their tokens; the likeliest first unless all are kept."""
    import torch

    if top_p == 1:
        return p, torch.arange(p.shape[-1], device=p.device).expand_as(p)
    first = p.topk(min(CANDIDATES, p.shape[-1]))
    if (first.values.sum(-1) < top_p).any():
        first = p.sort(descending=True)
    before = first.values.cumsum(-1) - first.values
    return first.values * (before < top_p), first.indices


def _uniforms(seeds: Sequence[int], cap: int) -> Tensor:
    """Numbers in (0, 1], float64 [seeds, cap]: row by row those of a generator of its own."""
    import torch

    return torch.from_numpy(1 - np.stack([np.random.default_rng(seed).random(cap) for seed in seeds]))


# --- vLLM ---------------------------------------------------------------------------------------------------------


class Vllm:
    """vLLM in this process.  NOT YET RUN ON A GPU.

    `model` is a local folder, `adapter` a LoRA's, `length` the most tokens of a prompt with its answer.
    Raises ConfigError without vLLM.
    """

    def __init__(
        self,
        model: str,
        tokenizer: PreTrainedTokenizerBase,
        dtype: str,
        length: int,
        adapter: str | None = None,
        rank: int = 0,
        at_once: int = 1024,
    ) -> None:
        require_vllm()
        from vllm import LLM

        self.tokenizer, self.at_once, self._adapter = tokenizer, at_once, adapter
        lora = {"enable_lora": True, "max_lora_rank": rank} if adapter else {}
        # 'vllm': no sampling settings are taken from the model's folder
        self._llm = LLM(
            model=model, dtype=dtype, max_model_len=length, generation_config="vllm", trust_remote_code=False, **lora
        )

    def generate(self, asks: Sequence[Ask], sampling: Sampling) -> list[list[list[int]]]:
        """See `Backend`."""
        from vllm import SamplingParams

        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        common = {
            **{"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.cap},
            **{"stop_token_ids": [end], "detokenize": False},
            **({} if pad is None or pad == end else {"logit_bias": {pad: -100.0}}),
        }
        prompts = [{"prompt_token_ids": list(a.prompt)} for a in asks for _ in a.seeds]
        settings = [SamplingParams(seed=seed, **common) for a in asks for seed in a.seeds]
        said = iter(self._llm.generate(prompts, settings, use_tqdm=False, lora_request=self._lora()))
        return [[_with_end(next(said).outputs[0], end) for _ in a.seeds] for a in asks]

    def _lora(self) -> Any:
        if self._adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        return LoRARequest("adapter", 1, self._adapter)


def _with_end(output: Any, end: int) -> list[int]:
    """The answer's ids, its end token included: whether vLLM lists the token it stopped at is not relied on."""
    ids = list(output.token_ids)
    return [*ids, end] if output.finish_reason == "stop" and ids[-1:] != [end] else ids


def require_vllm() -> None:
    """Raises ConfigError where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed: install the version that the README names (it needs a GPU), or leave out "
            "--backend vllm and let transformers generate"
        )
