"""How much memory a run needs, part by part, and how long a step takes: arithmetic on shapes, nothing is allocated.

Memory.  What stays through a run (weights, adapter, its gradients, Adam's two moments) plus the larger of two phases:
generating (key-value cache) and updating (activations kept for the backward pass, logits, and what is passing through).
Activations are counted tensor by tensor for a Llama- or Qwen2-like decoder layer whose base weights are frozen; a test
compares the count with what autograd really keeps.  `compare` sets estimates beside measured runs.

Time.  Generation is bound by memory bandwidth (each token of a batch reads all weights and the cache) or by arithmetic,
the update by arithmetic; both reach only a share of the data sheet's peak.  The shares are assumed [ours], not
measured.

Not yet run on a GPU: every GPU figure is an estimate, and what only a GPU has (allocator, CUDA graphs, kernels' work
space) enters as one assumed share, `SLACK`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from egrc.config import Config
from egrc.experiments.launch import DTYPES, Hardware, micro_batches

GB = 1e9
FLOAT = 4
"""Bytes of a float32: adapters, their gradients, Adam's moments and the statistics of logits are always so."""
SLACK = 0.10
"""Share of a GPU that is left to its allocator, CUDA's context and graphs.  [ours]"""
ARITHMETIC, BANDWIDTH = 0.35, 0.5
"""Assumed shares of the peak arithmetic (update) and of the peak bandwidth (generation).  [ours]"""
TILE = 4096 * 32768
"""Logits that TRL's fused head holds at once (tokens x vocabulary); see trl.kernels.chunked_logprob."""
PLAIN_LOGITS = 2**28
"""Logits (rollouts x tokens x vocabulary) up to which they are scored in one piece, beyond which in tiles."""
KEPT = 4
"""float32 copies of the logits at the widest point of scoring in one piece: logits, scaled, logarithm, gradient."""


# --- shapes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """A decoder's numbers, as its config has them."""

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool = False
    """Is the head the embedding?"""
    bias: bool = False
    """Have queries, keys and values a bias (Qwen2)?"""

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a transformers config of a Llama- or Qwen2-like model."""
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            config.vocab_size,
            bool(config.tie_word_embeddings),
            config.model_type == "qwen2",
        )

    @property
    def query(self) -> int:
        return self.heads * self.head_dim

    @property
    def key(self) -> int:
        return self.kv_heads * self.head_dim

    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of a layer's matrices: q, k, v, o, gate, up, down."""
        attention = [(self.width, self.query), (self.width, self.key), (self.width, self.key), (self.query, self.width)]
        return attention + [(self.width, self.inner)] * 2 + [(self.inner, self.width)]

    def matrices(self) -> int:
        """Parameters that a token is multiplied with, the head included."""
        return self.layers * sum(i * o for i, o in self.linears()) + self.vocabulary * self.width

    def base(self) -> int:
        """All parameters of the base model."""
        biases = self.layers * (self.query + 2 * self.key) if self.bias else 0
        norms = (2 * self.layers + 1) * self.width
        embedding = 0 if self.tied else self.vocabulary * self.width
        return self.matrices() + embedding + norms + biases

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA on every linear layer but the head."""
        return self.layers * rank * sum(i + o for i, o in self.linears())

    def cache(self, element: int) -> int:
        """Bytes that one token keeps in the key-value cache."""
        return 2 * self.layers * self.key * element


@dataclass(frozen=True)
class Load:
    """What one device is asked to do in a step."""

    rollouts: int
    """Completions that it generates."""
    completion: int
    """Tokens of each; the budget, so that estimates are upper bounds."""
    prompt: int = 256
    micro_batch: int = 1
    """Rollouts that go through the model at once in the update."""
    rank: int = 16
    """LoRA's."""
    element: int = FLOAT
    """Bytes of a weight and of an activation: 4 (float32) or 2 (bfloat16)."""
    checkpointing: bool = False
    """Are activations computed again in the backward pass instead of kept?"""
    fused: bool = True
    """Are logits beyond `PLAIN_LOGITS` scored in tiles?"""
    vllm: str | None = None
    """'colocate', 'server' (another device generates), or None: transformers generates."""
    vllm_share: float = 0.3
    """Share of the device that colocated vLLM takes."""
    vllm_sleep: bool = True
    """Does vLLM give its memory back while the update runs?"""

    @classmethod
    def of(cls, config: Config, hardware: Hardware, prompt: int, ranks: int = 1) -> Load:
        """A run's, on each of `ranks` devices: completions as long as its longest budget, prompts of that length."""
        at_once, times = micro_batches(config, hardware, ranks)
        return cls(
            rollouts=at_once * times,
            completion=max(phase.budget for phase in config.recipe.phases),
            prompt=prompt,
            micro_batch=at_once,
            rank=config.lora_rank,
            element=DTYPES[hardware.dtype],
            checkpointing=hardware.gradient_checkpointing,
            vllm=hardware.vllm or None,
            vllm_share=hardware.vllm_share,
        )


# --- memory -------------------------------------------------------------------------------------------------------

PARTS = ("weights", "adapter", "gradients", "optimiser", "activations", "logits", "passing", "KV cache", "vLLM")
LASTING = PARTS[:4]
UPDATING = PARTS[4:7]
GENERATING = PARTS[7:]


def memory(shape: Shape, load: Load, device_gb: float = 0.0) -> dict[str, float]:
    """Bytes by part (`PARTS`), and 'total': what lasts plus the larger of generating and updating.

    `device_gb`: the device's memory, of which colocated vLLM takes its share.
    """
    tokens = load.micro_batch * (load.prompt + load.completion)
    adapter = shape.adapter(load.rank)
    kept = layer_activations(shape, load)
    # with checkpointing every layer keeps its input only, and one layer at a time is computed again
    inputs = shape.layers * tokens * shape.width * load.element
    activations = inputs + tokens * kept if load.checkpointing else shape.layers * tokens * kept
    parts: dict[str, float] = {
        "weights": shape.base() * load.element,
        "adapter": adapter * FLOAT,
        "gradients": adapter * FLOAT,
        "optimiser": 2 * adapter * FLOAT,
        "activations": activations,
        "logits": _logits(shape, load),
        # gradients of one layer's widest tensors, on their way down
        "passing": tokens * 3 * shape.inner * load.element,
        # while it grows, a layer's cache is there twice
        "KV cache": 0 if load.vllm else _cached(shape, load) * (1 + 1 / shape.layers),
        "vLLM": load.vllm_share * device_gb * GB if load.vllm == "colocate" else 0,
    }
    lasting, updating, generating = (sum(parts[p] for p in group) for group in (LASTING, UPDATING, GENERATING))
    awake = 0 if load.vllm_sleep else parts["vLLM"]
    return parts | {"total": lasting + max(updating + awake, generating)}


def layer_activations(shape: Shape, load: Load) -> float:
    """Bytes that autograd keeps of one layer for each token, base weights frozen and LoRA on every linear layer.

    Attention counts as fused kernels have it: queries, keys (repeated to all heads), values, output, and one
    float32 per head; the mask of a padded batch as a row of the sequence's length.
    """
    w, q, i, r = shape.width, shape.query, shape.inner, load.rank
    sequence = load.prompt + load.completion
    small = FLOAT * (shape.heads + 2)  # the attention's normalisers and the two norms' scales
    attention = 4 * q
    if load.element == FLOAT:  # a norm's input and output, twice; LoRA's inputs are tensors that are kept anyway
        return FLOAT * (4 * w + attention + 4 * i + 7 * r + sequence) + small
    # In bfloat16 norms keep their input in float32, and each of the seven adapters a copy of its input.
    norms, copies = 2 * w * FLOAT, 5 * w + q + i
    return norms + load.element * (copies + attention + 3 * i + 7 * r + sequence) + small


def _logits(shape: Shape, load: Load) -> float:
    count = load.micro_batch * load.completion * shape.vocabulary
    if load.fused and count > PLAIN_LOGITS:  # one tile, and the hidden states with their float32 gradient
        hidden = load.micro_batch * load.completion * shape.width
        return min(count, TILE) * load.element + hidden * (load.element + FLOAT)
    return KEPT * count * FLOAT


def _cached(shape: Shape, load: Load) -> float:
    return load.rollouts * (load.prompt + load.completion) * shape.cache(load.element)


# --- time ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet; dense figures, without sparsity."""

    name: str
    memory_gb: float
    teraflops: float
    """bfloat16 on tensor cores, float32 accumulation."""
    bandwidth: float
    """GB/s."""
    source: str


DEVICES = (
    Device("A100-40", 40, 312, 1555, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 40 GB)"),
    Device("A100-80", 80, 312, 2039, "NVIDIA A100 Tensor Core GPU data sheet (SXM, 80 GB)"),
    Device("H100-80", 80, 989, 3350, "NVIDIA H100 Tensor Core GPU data sheet (SXM; half of the figure with sparsity)"),
    Device("L40S", 48, 362, 864, "NVIDIA L40S data sheet"),
    Device("RTX 4090", 24, 165, 1008, "NVIDIA Ada GPU architecture whitepaper, V2, appendix A"),
)


def seconds(shape: Shape, load: Load, device: Device) -> dict[str, float]:
    """Seconds of a step by part ('generate', 'update', 'total'), every completion as long as its budget.

    Server mode generates on a device of its own, here one of the same kind.  Infinite where the cache of not even
    one completion fits.
    """
    generate, update = _generate(shape, load, device), _update(shape, load, device)
    return {"generate": generate, "update": update, "total": generate + update}


def _generate(shape: Shape, load: Load, device: Device) -> float:
    length = load.prompt + load.completion
    weights = shape.base() * load.element
    if load.vllm is None:
        at_once = load.rollouts
    else:
        share = load.vllm_share if load.vllm == "colocate" else 0.9
        room = share * device.memory_gb * GB - weights
        at_once = min(load.rollouts, math.floor(room / (length * shape.cache(load.element))))
    if at_once < 1:
        return math.inf
    context = load.prompt + load.completion / 2  # on average
    reading = (weights + at_once * context * shape.cache(load.element)) / (BANDWIDTH * device.bandwidth * GB)
    computing = at_once * _flops(shape, context) / (ARITHMETIC * device.teraflops * 1e12)
    return math.ceil(load.rollouts / at_once) * load.completion * max(reading, computing)


def _update(shape: Shape, load: Load, device: Device) -> float:
    length = load.prompt + load.completion
    # forward; backward to the activations only, since base weights are frozen; checkpointing goes forward again, and
    # so does the correction for the difference between vLLM's probabilities and ours
    passes = 2 + load.checkpointing + (load.vllm is not None)
    work = load.rollouts * length * passes * _flops(shape, length / 2)
    return work / (ARITHMETIC * device.teraflops * 1e12)


def _flops(shape: Shape, context: float) -> float:
    """Operations of one token's way forward that attends to `context` tokens."""
    return 2 * shape.matrices() + 4 * shape.layers * shape.query * context


# --- tables -------------------------------------------------------------------------------------------------------


def table(
    shape: Shape,
    load: Load,
    rollouts: Iterable[int],
    completions: Iterable[int],
    devices: Iterable[Device] = DEVICES,
) -> pd.DataFrame:
    """One line for each device x rollouts a step and device x completion tokens.

    Columns: GPU, rollouts, tokens, GB (needed), fits, generate s, update s, step s.  'fits' leaves `SLACK` free.
    """
    lines = []
    lengths, counts = list(completions), list(rollouts)
    for device in devices:
        for count in counts:
            for tokens in lengths:
                asked = replace(load, rollouts=count, completion=tokens)
                needed = memory(shape, asked, device.memory_gb)["total"] / GB
                time = seconds(shape, asked, device)
                fits = needed <= (1 - SLACK) * device.memory_gb and math.isfinite(time["total"])
                lines.append(
                    {
                        **{"GPU": device.name, "rollouts": count, "tokens": tokens, "GB": needed, "fits": fits},
                        **{f"{part} s".replace("total", "step"): value for part, value in time.items()},
                    }
                )
    return pd.DataFrame(lines)


def parts_table(shape: Shape, loads: dict[str, Load], device_gb: float = 0.0) -> pd.DataFrame:
    """GB by part, one column for each named load."""
    columns = {name: memory(shape, load, device_gb) for name, load in loads.items()}
    return pd.DataFrame(columns) / GB


def compare(estimated: dict[str, float], measured: dict[str, float]) -> pd.DataFrame:
    """Estimates beside measurements of the same runs, in GB: columns estimated, measured, error (of the measured).

    Raises KeyError for a run that was estimated and not measured.
    """
    lines = [{"run": name, "estimated": e, "measured": measured[name]} for name, e in estimated.items()]
    found = pd.DataFrame(lines, columns=["run", "estimated", "measured"]).set_index("run")
    return found.assign(error=found["estimated"] / found["measured"] - 1)
