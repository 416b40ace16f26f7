"""How a run is cut to fit a machine: ranks, micro-batches, precision, who generates; and what is checked first.

None of this is part of `Config`: in exact arithmetic the same rollouts give the same update however they are split;
`run.json` of a run on a GPU says what it ran on.  Ranks are accelerate's or torchrun's, named in the environment.
Adapters of this size need no sharding: plain data parallelism and DeepSpeed ZeRO-2 are what is configured
(`configs/accelerate/`).  Not yet run on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from egrc.checks import require
from egrc.config import Config

LONGEST_PROMPT = 1024
"""Tokens of a prompt that vLLM makes room for."""


class RankError(ConnectionError):
    """Another rank of the same run has ended; the message says where the run can go on."""


@dataclass(frozen=True)
class Hardware:
    """What a scale asks of a machine.  Each may be set for the machine at hand: `train --on NAME=VALUE`."""

    dtype: str = "float32"  # of the base weights and of activations; adapters stay float32
    micro_batch: int = 0  # rollouts that a rank puts through the model at once in the update; 0: all of its share
    gradient_checkpointing: bool = False  # activations anew in the backward pass: less memory, a third more arithmetic
    vllm: str = ""  # 'colocate' (on the training GPUs), 'server' (on others), or '' (transformers generates)
    vllm_share: float = 0.45  # of a GPU, for colocated vLLM, weights included; given back while the update runs
    vllm_server: str = "http://localhost:8000"  # in server mode
    evaluation_batch: int = 256  # answers that are generated at once in the evaluation

    def __post_init__(self) -> None:
        require(self.dtype in ("float32", "bfloat16"), f"dtype={self.dtype!r}: choose one of float32, bfloat16")
        known = self.vllm in ("", "colocate", "server")
        require(known, f"vllm={self.vllm!r}: choose colocate or server, or '' for none")
        counts = self.micro_batch >= 0 and self.evaluation_batch >= 1
        require(counts, "micro_batch starts at 0, evaluation_batch at 1")
        require(0 < self.vllm_share < 1, f"vllm_share={self.vllm_share}: a share lies between 0 and 1")

    def on(self, given: Mapping[str, Any]) -> Hardware:
        """With other values for the machine at hand.  Raises ConfigError for unknown names and bad values."""
        unknown = sorted(given.keys() - vars(self).keys())
        require(not unknown, f"no hardware setting {unknown}: choose from {list(vars(self))}")
        return replace(self, **given)


def ranks() -> int:
    """Processes of this run, as accelerate or torchrun has started them; 1 without either."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Does this process write the records?"""
    return rank() == 0


def wait_for_all(cpu: bool) -> None:
    """Let no rank go on before all are here; nothing for a single process."""
    if ranks() > 1:
        from accelerate import PartialState

        PartialState(cpu=cpu).wait_for_everyone()


def micro_batches(config: Config, hardware: Hardware, world_size: int) -> tuple[int, int]:
    """(rollouts a rank puts through the model at once, how often): their product times the ranks is a step's rollouts.

    Raises ConfigError where they do not divide.
    """
    total = config.prompts_per_step * config.group_size
    ranks = f"{config.prompts_per_step} problems x {config.group_size} rollouts do not divide among {world_size} ranks"
    require(total % world_size == 0, f"{ranks}: start a number of processes that divides {total}")
    share = total // world_size
    at_once = hardware.micro_batch or share
    pieces = f"micro_batch={at_once} does not divide the {share} rollouts of a rank ({total} on {world_size} ranks)"
    require(share % at_once == 0, f"{pieces}: choose one that does, with --on micro_batch=N")
    return at_once, share // at_once


def trainer_settings(config: Config, hardware: Hardware, world_size: int = 1) -> dict[str, Any]:
    """Fields of `EGRCConfig` (TRL's and transformers' names) for this hardware.  Raises ConfigError."""
    at_once, times = micro_batches(config, hardware, world_size)
    settings: dict[str, Any] = {
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": times,
        "bf16": hardware.dtype == "bfloat16",
        "gradient_checkpointing": hardware.gradient_checkpointing,
    }
    if hardware.vllm:
        # the default, 'sequence_mask', zeroes a long completion whose small differences add up
        correction = {"vllm_importance_sampling_mode": "token_truncate", "vllm_importance_sampling_clip_max": 2.0}
        settings |= {"use_vllm": True, "vllm_mode": hardware.vllm, **correction}
    if hardware.vllm == "server":
        settings["vllm_server_base_url"] = hardware.vllm_server
    if hardware.vllm == "colocate":
        settings |= {"vllm_gpu_memory_utilization": hardware.vllm_share, "vllm_enable_sleep_mode": True,
                     "vllm_max_model_length": LONGEST_PROMPT + config.cap}  # fmt: skip
    return settings


def check(config: Config, hardware: Hardware, world: Any) -> None:
    """Raises ConfigError, before anything is loaded, if this machine cannot make this run: the split of the batch,
    sharding, and what the world's `preflight(config, hardware)`, if it has one, looks at.
    """
    micro_batches(config, hardware, ranks())
    asked = os.environ.get("ACCELERATE_USE_FSDP", "").lower(), os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    sharded = "FSDP and DeepSpeed ZeRO-3 shard the base weights, which the entropy's scoring does not support"
    require(asked[0] != "true" and asked[1] != "3", f"{sharded}: use configs/accelerate/ddp.yaml or zero2.yaml")
    if hasattr(world, "preflight"):
        world.preflight(config, hardware)


PEER_IS_GONE = (
    *("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited"),
    *("ncclRemoteError", "NCCL communicator was aborted", "connection to other rank"),
)
"""Words of gloo, NCCL or torch's store.  (NCCL reports our own faults, too.)"""


@contextmanager
def as_one(checkpoints: Path) -> Iterator[None]:
    """Where another rank has ended, so that a collective call fails, say so and from where the run can go on.

    Raises RankError.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks() == 1 or not any(sign in str(error) for sign in PEER_IS_GONE):
            raise
        from egrc.resume import last_checkpoint  # loads the trainer's libraries, which only a trainer has at hand

        newest = last_checkpoint(checkpoints)
        there = f"{Path(newest).name} is whole" if newest else "no checkpoint was complete yet"
        raise RankError(
            f"rank {rank()} of {ranks()} stops, because another rank has ended (its own output says why); {there}: "
            "the same command goes on from there"
        ) from error
