"""Completions of a policy as token ids, by transformers or by vLLM, and what it says of their tokens.

One rule for both, and the one of training: an answer ends at the tokenizer's end token or at any of the model's
generation config.  Nothing else of that config counts: tokens are drawn as `Sampling` says, and no pad is drawn.
vLLM is NOT YET RUN ON A GPU: its tests use a stand-in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import GenerationConfig

from egrc.checks import require
from egrc.scoring import TokenScores, generating, score_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Prompts = Sequence[Sequence[int]]
Progress = Callable[[int, int], None]
BATCH = 256
INSTALL = "python3 -m venv .venv-gpu && .venv-gpu/bin/pip install -e '.[vllm]'"
"""How an environment with vLLM is made: one of its own, as it asks for an older transformers than our lock's."""
COLDEST = 0.01
"""vLLM takes lower temperatures for 0, so they are refused."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: the temperature (0 is greedy); from the fewest most likely tokens whose probabilities reach
    `top_p`; and the cap, in completion tokens, end token included.  Raises ConfigError for values out of range."""

    temperature: float
    top_p: float
    cap: int

    def __post_init__(self) -> None:
        warm = self.temperature == 0 or COLDEST <= self.temperature < float("inf")
        require(warm, f"temperature={self.temperature}: 0 for greedy, else at least {COLDEST}")
        require(0 < self.top_p <= 1, f"top_p={self.top_p}: above 0, at most 1 (which draws from all tokens)")
        require(self.cap >= 1, f"cap={self.cap}: at least 1 token")


@dataclass(frozen=True)
class Backend:
    """What generates: (prompts, sampling, seed[, say]) -> a completion for each prompt, up to its first token of `ends`
    or the cap."""

    tokenizer: PreTrainedTokenizerBase
    ends: Sequence[int]
    generate: Callable[..., list[list[int]]]


def derived_seed(seed: int, benchmark: str, temperature: float) -> int:
    """A seed for each benchmark and temperature: results do not depend on what else is evaluated."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{benchmark}/{temperature!r}".encode()).digest()[:4])


def end_tokens(config: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokenizer's end token, then those of a generation config: where TRL's trainer stops a rollout, too."""
    ends = getattr(config, "eos_token_id", None)
    ends = [] if ends is None else [ends] if isinstance(ends, int) else ends
    return list(dict.fromkeys([tokenizer.eos_token_id, *ends]))


def by_transformers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: int = BATCH) -> Backend:
    """A model in this process, `batch` answers side by side."""
    ends = end_tokens(model.generation_config, tokenizer)
    return Backend(tokenizer, ends, partial(generate, model, tokenizer, batch=batch))


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    sampling: Sampling,
    seed: int,
    say: Progress | None = None,
    batch: int = BATCH,
) -> list[list[int]]:
    """See `Backend`.  The same prompts, seed, batch, machine and versions give the same completions.

    The global random state and the weights stay as they were; the model is left in eval mode.
    """
    ends, pad = end_tokens(model.generation_config, tokenizer), tokenizer.pad_token_id
    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": sampling.top_p}
    settings = GenerationConfig(
        max_new_tokens=sampling.cap,
        eos_token_id=ends,
        pad_token_id=pad,
        suppress_tokens=None if pad in ends else [pad],  # a sampled pad would pass for an ended answer
        **(drawn if sampling.temperature else {"do_sample": False}),
    )
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # stable: little padding, fixed composition
    completions: dict[int, list[int]] = {}
    model.eval()
    with generating(model, ends), torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(order), batch):
            chunk = order[start : start + batch]
            ids = {"input_ids": [list(prompts[i]) for i in chunk]}
            inputs = tokenizer.pad(ids, padding_side="left", return_tensors="pt").to(model.device)
            out = model.generate(**inputs, generation_config=settings)[:, inputs["input_ids"].shape[1] :]
            for i, row in zip(chunk, out.tolist(), strict=True):
                stop = next((at for at, token in enumerate(row) if token in ends), len(row))
                completions[i] = row[: stop + 1]
            if say:
                say(len(completions), len(prompts))
    return [completions[i] for i in range(len(prompts))]


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Prompts,
    cap: int,
    seed: tuple[int, str],
    temperature: float = 1.0,
    say: Progress | None = None,
) -> list[list[int]]:
    """`generate` with all tokens open; `seed`: a number and a name."""
    own = derived_seed(*seed, temperature)
    return generate(model, tokenizer, prompts, Sampling(temperature, 1.0, cap), own, say)


def require_vllm() -> None:
    """Raises ConfigError where vLLM is not installed."""
    require(
        find_spec("vllm") is not None,
        "vLLM is not installed: make an environment that has it (site/gpus.md has the commands; it needs a GPU), or "
        "let transformers generate: leave out --backend vllm, or --on vllm=''",
    )


def by_vllm(
    folder: str, tokenizer: PreTrainedTokenizerBase, dtype: str, length: int, adapter: str | None = None, rank: int = 0
) -> Backend:
    """vLLM in this process, each answer with a seed of its own.  NOT YET RUN ON A GPU.

    `folder` holds the model, `adapter` a LoRA of that `rank`; `length`: the most tokens of a prompt with its answer.
    Raises ConfigError without vLLM.
    """
    require_vllm()
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    try:
        config = GenerationConfig.from_pretrained(folder)
    except OSError:  # it has none
        config = None
    ends, pad = end_tokens(config, tokenizer), tokenizer.pad_token_id
    # 'vllm': no sampling settings are taken from the model's folder
    how = {"generation_config": "vllm", "trust_remote_code": False, "dtype": dtype, "max_model_len": length}
    llm = LLM(model=folder, **how, **({"enable_lora": True, "max_lora_rank": rank} if adapter else {}))
    request = LoRARequest("adapter", 1, adapter) if adapter else None

    def generate(prompts: Prompts, sampling: Sampling, seed: int, say: Progress | None = None) -> list[list[int]]:
        common = {
            **{"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.cap},
            **{"stop_token_ids": ends, "detokenize": False},
            **({} if pad is None or pad in ends else {"logit_bias": {pad: -100.0}}),
        }
        settings = [SamplingParams(seed=(seed + i) % 2**31, **common) for i in range(len(prompts))]
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        answers = llm.generate(asked, settings, use_tqdm=False, lora_request=request)
        return [list(answer.outputs[0].token_ids) for answer in answers]  # an end token is among them

    return Backend(tokenizer, ends, generate)


# --- what a policy says of tokens ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left, completions on the right, so that every completion begins in the same column: ids
    and attention int64 [B, P + T] (0 on padding), the completions int64 [B, T], and their mask bool [B, T]."""

    input_ids: Tensor
    attention: Tensor
    tokens: Tensor
    mask: Tensor


def batch(prompts: Prompts, completions: Prompts, pad: int) -> Batch:
    """Prompts and completions as one batch; `pad` is any valid token id."""
    start, length = max(map(len, prompts)), max(map(len, completions))
    ids = torch.full((len(prompts), start + length), pad)
    attention = torch.zeros_like(ids)
    for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        where = slice(start - len(prompt), start + len(completion))
        ids[row, where], attention[row, where] = torch.tensor([*prompt, *completion]), 1
    return Batch(ids, attention, ids[:, start:], attention[:, start:].bool())


def logits(model: PreTrainedModel, b: Batch) -> Tensor:
    """Logits [B, T, V] from which each completion token was drawn; with gradient, unless switched off outside."""
    keep = b.tokens.shape[1] + 1
    return model(b.input_ids, b.attention, use_cache=False, logits_to_keep=keep).logits[:, :-1]


@torch.no_grad()
def score(model: PreTrainedModel, b: Batch) -> TokenScores:
    """What the policy says of each completion token, at temperature 1; every field [B, T], also on padding."""
    return score_tokens(logits(model, b), b.tokens, temperature=1.0)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Short hash of a vocabulary: tables whose hashes differ must not be joined."""
    return short_hash(json.dumps(tokenizer.get_vocab(), sort_keys=True))


def short_hash(text: str) -> str:
    """12 hexadecimal digits of SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
