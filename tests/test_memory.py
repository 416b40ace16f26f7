"""The estimates: counts worked by hand, and against what PyTorch itself counts and keeps."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from egrc.config import ConfigError
from egrc.experiments import footprint, memory, scales
from egrc.experiments.launch import Hardware
from egrc.experiments.memory import DEVICES, GB, Device, Load, Shape, compare, layer_activations, seconds, table
from egrc.experiments.memory import memory as estimate
from egrc.experiments.records import RecordError

NUMBERS = {
    "num_hidden_layers": 3, "hidden_size": 48, "intermediate_size": 80, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 100,
}  # fmt: skip
SMALL = Shape(layers=3, width=48, inner=80, heads=6, kv_heads=2, head_dim=8, vocabulary=100)
RANK = 4


def lora(model: torch.nn.Module) -> torch.nn.Module:
    return get_peft_model(model, LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM"))


# --- shapes -------------------------------------------------------------------------------------------------------


def test_parameters_by_hand() -> None:
    # a layer: q 48x48, k and v 48x16, o 48x48, gate, up and down 48x80
    layer = 2304 + 2 * 768 + 2304 + 3 * 3840
    assert SMALL.matrices() == 3 * layer + 4800
    assert SMALL.base() == 3 * layer + 2 * 4800 + 7 * 48
    assert replace(SMALL, tied=True).base() == SMALL.base() - 4800
    assert replace(SMALL, bias=True).base() == SMALL.base() + 3 * (48 + 32)
    assert SMALL.adapter(4) == 3 * 4 * (96 + 64 + 64 + 96 + 3 * 128)
    assert SMALL.cache(2) == 2 * 3 * 16 * 2


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_as_torch_counts_them(kind: str, tied: bool) -> None:
    config, model = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[kind]
    made = config(**NUMBERS, tie_word_embeddings=tied)
    with torch.device("meta"):
        base = model(made)
        count = sum(p.numel() for p in base.parameters())
        trained = sum(p.numel() for p in lora(base).parameters() if p.requires_grad)
    shape = Shape.of(made)
    assert (shape.base(), shape.adapter(RANK)) == (count, trained)


def test_the_published_sizes() -> None:
    """1.78 and 7.62 billion, as the hub counts the two checkpoints' parameters."""
    assert scales.world("gpu").shape().base() == 1_777_088_000
    assert scales.world("gpu-7b").shape().base() == 7_615_616_512


# --- activations --------------------------------------------------------------------------------------------------


def kept_by_autograd(model: torch.nn.Module, rows: int, length: int, dtype: torch.dtype) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights aside, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}
    alive = []  # a freed storage's address could be another's

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(x)
        return x

    ids = torch.randint(0, 100, (rows, length), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda x: x),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16),
    ):
        model.base_model.model.model(input_ids=ids, attention_mask=mask, use_cache=False)
    return sum(sizes.values())


@pytest.mark.parametrize(("dtype", "element"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_activations_as_autograd_keeps_them(dtype: torch.dtype, element: int) -> None:
    torch.manual_seed(0)
    wide = NUMBERS | {"hidden_size": 192, "intermediate_size": 320}
    made = LlamaConfig(**wide)
    model = lora(LlamaForCausalLM(made).to(dtype)).train()
    rows, length = 4, 96
    load = Load(rollouts=rows, completion=length - 10, prompt=10, micro_batch=rows, rank=RANK, element=element)
    counted = made.num_hidden_layers * rows * length * layer_activations(Shape.of(made), load)
    assert counted == pytest.approx(kept_by_autograd(model, rows, length, dtype), rel=0.1)


def test_checkpointing_keeps_one_layer_and_the_inputs() -> None:
    load = Load(rollouts=8, completion=100, prompt=28, micro_batch=2, element=2)
    kept, inputs = layer_activations(SMALL, load), 48 * 2
    tokens = 2 * 128
    assert estimate(SMALL, load)["activations"] == 3 * tokens * kept
    assert estimate(SMALL, replace(load, checkpointing=True))["activations"] == tokens * (kept + 3 * inputs)


# --- the whole ----------------------------------------------------------------------------------------------------


def test_parts_by_hand() -> None:
    load = Load(rollouts=4, completion=10, prompt=6, micro_batch=2, rank=RANK)
    parts = estimate(SMALL, load)
    adapter = 4 * SMALL.adapter(RANK)
    assert parts["weights"] == 4 * SMALL.base()
    assert (parts["adapter"], parts["gradients"], parts["optimiser"]) == (adapter, adapter, 2 * adapter)
    assert parts["logits"] == 4 * (2 * 10 * 100) * 4
    assert parts["KV cache"] == pytest.approx(4 * 16 * SMALL.cache(4) * (1 + 1 / 3))
    updating = parts["activations"] + parts["logits"] + parts["passing"]
    assert parts["total"] == parts["weights"] + 4 * adapter + max(updating, parts["KV cache"])


def test_logits_are_tiled_only_beyond_the_limit() -> None:
    huge = replace(SMALL, vocabulary=150_000)
    short, long = (Load(rollouts=1, completion=n) for n in (1_000, 10_000))
    assert estimate(huge, short)["logits"] == 4 * 1_000 * 150_000 * 4
    assert estimate(huge, long)["logits"] < estimate(huge, replace(long, fused=False))["logits"] / 5


def test_colocated_vllm_takes_its_share_while_it_is_awake() -> None:
    load = Load(rollouts=4, completion=100, vllm="colocate", vllm_share=0.5)
    asleep, awake = (estimate(SMALL, replace(load, vllm_sleep=s), device_gb=10) for s in (True, False))
    assert asleep["vLLM"] == awake["vLLM"] == 5 * GB and asleep["KV cache"] == 0
    assert awake["total"] > asleep["total"] > 5 * GB
    assert estimate(SMALL, replace(load, vllm="server"), device_gb=10)["vLLM"] == 0


loads = st.builds(
    Load,
    rollouts=st.integers(1, 512),
    completion=st.integers(1, 20_000),
    prompt=st.integers(0, 2_000),
    micro_batch=st.integers(1, 8),
    rank=st.integers(1, 64),
    element=st.sampled_from([2, 4]),
    checkpointing=st.booleans(),
    vllm=st.sampled_from([None, "colocate", "server"]),
)


@given(loads, st.sampled_from(DEVICES))
def test_more_is_never_less(load: Load, device: Device) -> None:
    shape = scales.world("gpu").shape()
    parts = estimate(shape, load, device.memory_gb)
    assert all(value >= 0 for value in parts.values())
    for more in (
        {"completion": load.completion + 100},
        {"prompt": load.prompt + 100},
        {"rank": load.rank + 1},
        {"rollouts": load.rollouts + 1},
    ):
        asked = replace(load, **more)
        if "completion" not in more or estimate(shape, asked)["logits"] >= parts["logits"]:  # tiles may set in
            assert estimate(shape, asked, device.memory_gb)["total"] >= parts["total"]
        assert seconds(shape, asked, device)["total"] >= 0.99 * seconds(shape, load, device)["total"] or "rank" in more


def test_seconds_by_hand() -> None:
    """Weights of 2 bytes read once a token at half of the bandwidth; 4 x matrices + attention at 35% of the peak."""
    shape = Shape(layers=1, width=1000, inner=1000, heads=1, kv_heads=1, head_dim=1000, vocabulary=1000)
    slow_memory = Device("slow memory", 1, 1e6, 1.0, "")
    load = Load(rollouts=1, completion=10, prompt=0, element=2)
    reading = (2 * shape.base() + 5 * shape.cache(2)) / (memory.BANDWIDTH * 1e9)
    assert seconds(shape, load, slow_memory)["generate"] == pytest.approx(10 * reading)
    work = 10 * 2 * (2 * shape.matrices() + 4 * 1000 * 5)
    assert seconds(shape, load, slow_memory)["update"] == pytest.approx(work / (memory.ARITHMETIC * 1e18))


def test_a_cache_without_room_takes_for_ever() -> None:
    shape, small = scales.world("gpu-7b").shape(), DEVICES[-1]
    load = Load(rollouts=8, completion=4096, element=2, vllm="colocate", vllm_share=0.3)
    assert math.isinf(seconds(shape, load, small)["total"])
    lines = table(shape, load, [8], [4096], [small])
    assert not lines["fits"].any() and list(lines.columns[:5]) == ["GPU", "rollouts", "tokens", "GB", "fits"]


def test_load_of_a_run() -> None:
    config = scales.config("gpu", "egrc", prompts_per_step=4, group_size=4)
    load = Load.of(config, Hardware(dtype="bfloat16", micro_batch=2), prompt=7, ranks=2)
    assert (load.rollouts, load.micro_batch, load.completion, load.prompt, load.element) == (8, 2, 4096, 7, 2)
    assert Load.of(scales.config("pocket", "accuracy"), Hardware(), 9).completion == 320
    with pytest.raises(ConfigError, match="do not divide among 3 ranks"):
        Load.of(config, Hardware(), 7, ranks=3)


# --- against measurements -----------------------------------------------------------------------------------------


def test_compare_states_the_error() -> None:
    found = compare({"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 2.0})
    assert list(found["error"]) == [-0.5, 0.5] and list(found.index) == ["a", "b"]
    with pytest.raises(KeyError):
        compare({"a": 1.0}, {})


def test_a_comparison_needs_a_measurement(tmp_path) -> None:
    with pytest.raises(RecordError, match="python -m egrc.experiments.footprint pocket"):
        footprint.comparison(tmp_path)


def test_comparison_reads_what_was_measured(tmp_path) -> None:
    peaks = {"default": {"before": 0.5, "peak": 2.0}, "returned": {"before": 0.4, "peak": 1.0}}
    arm = {"shape": asdict(SMALL), "prompt": 9, **peaks}
    footprint.file(tmp_path).parent.mkdir()
    footprint.file(tmp_path).write_text(json.dumps({"pocket": {"egrc": arm}}))
    found = footprint.comparison(tmp_path).loc["pocket/egrc"]
    expected = footprint.growth(scales.config("pocket", "egrc"), SMALL, 9)
    assert found["estimated"] == expected and found["measured"] == pytest.approx(0.6)
    assert found["error"] == pytest.approx(expected / 0.6 - 1) and found["kept"] == pytest.approx(0.5)


def test_estimates_are_near_what_was_measured() -> None:
    found = footprint.comparison()
    assert {"pocket/egrc", "pocket/accuracy", "smol/egrc"} <= set(found.index)
    assert (found["error"].abs() < 0.25).all(), found
