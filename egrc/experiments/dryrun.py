"""`make dry-run`: the settings of a scale and the commands that start a run; nothing is loaded, nothing is run.

How much memory a base takes, accelerate says: `accelerate estimate-memory <hub id>`.  Not yet run on a GPU.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from egrc.experiments import scales
from egrc.worlds import launch

NODE, NODES, TRAINING = 8, 2, 4
"""GPUs of a node, nodes, and GPUs that train beside one that serves vLLM, in the commands."""


def side_by_side(arm: str = "egrc") -> pd.DataFrame:
    """Every setting of an arm at every scale: recipe, config and hardware, read from `SCALES`.

    Those that are off (None) at all of them are left out.
    """
    columns = {}
    for scale in scales.SCALES:
        config = scales.config(scale, arm)
        column: dict[str, Any] = {"world": scales.SCALES[scale].world, "arms": ", ".join(scales.runs(scale)[0])}
        column |= {k: v for k, v in vars(config).items() if k not in ("scale", "arm", "seed", "recipe")}
        for phase in config.recipe.phases:
            column |= {f"{phase.name}: {k}": v for k, v in phase.settings().items() if k != "name"}
        column |= {f"gate: {k}": v for k, v in config.recipe.gate.settings().items()}
        columns[scale] = column | {f"hardware: {k}": v for k, v in vars(scales.hardware(scale)).items()}
    return pd.DataFrame(columns).dropna(how="all")


@dataclass(frozen=True)
class Command:
    """One command line: environment and words."""

    words: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return " ".join([*(f"{name}={value}" for name, value in self.env), shlex.join(self.words)])


def commands(scale: str, arm: str = "egrc") -> dict[str, tuple[Command, ...]]:
    """How a run of this scale is started, by what there is to run it on."""
    train = ("train", "--scale", scale, "--arm", arm, "--seed", "0")
    if not scale.startswith("gpu"):
        two = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "egrc", *train)
        return {
            "one process": (Command(("python", "-m", "egrc", *train)),),
            "two processes on a CPU (gloo)": (Command((*two, "--out", "build/two-ranks")),),
        }
    several = ("--num_machines", str(NODES), "--machine_rank", "0", "--main_process_ip", "FIRST_NODE")
    gpus = ",".join(str(i + 1) for i in range(TRAINING))
    return {
        "one GPU, vLLM colocated": (_accelerate("single_gpu", 1, train),),
        f"one node, {NODE} GPUs, vLLM colocated": (_accelerate("ddp", NODE, train),),
        f"one node, {NODE} GPUs, vLLM colocated, DeepSpeed ZeRO-2 (needs `pip install deepspeed`)": (
            _accelerate("zero2", NODE, train),
        ),
        f"{NODES} nodes of {NODE} GPUs, vLLM colocated (the same on each, with --machine_rank 1 on the second, "
        "the first one's address for FIRST_NODE, and one data folder for both)": (
            _accelerate("ddp", NODES * NODE, train, (*several, "--main_process_port", "29500")),
        ),
        f"one node, vLLM as a server on GPU 0, training on {TRAINING} others (in two shells)": (
            _serve(scale),
            replace(
                _accelerate("ddp", TRAINING, (*train, "--on", "vllm=server")),
                env=(("CUDA_VISIBLE_DEVICES", gpus),),
            ),
        ),
    }


def how_to_start(scale: str) -> str:
    """The commands as text, each group under what it is for; on GPUs after the environment that they need."""
    from egrc.worlds.deepseek import INSTALL

    first = {"once: an environment with vLLM, beside .venv": (INSTALL, "source .venv-gpu/bin/activate")}
    groups = (first if scale.startswith("gpu") else {}) | commands(scale)
    return "\n\n".join(f"# {name}\n" + "\n".join(map(str, group)) for name, group in groups.items())


def _accelerate(config: str, processes: int, train: tuple[str, ...], more: tuple[str, ...] = ()) -> Command:
    file = f"configs/accelerate/{config}.yaml"
    return Command(
        ("accelerate", "launch", "--config_file", file, "--num_processes", str(processes), *more, "-m", "egrc", *train)
    )


def _serve(scale: str) -> Command:
    """vLLM's own server with what TRL asks of it (`trl vllm-serve`, which TRL is giving up, starts the same)."""
    world, longest = scales.world(scale), launch.LONGEST_PROMPT + scales.config(scale, "egrc").cap
    asked = {
        "--host": "127.0.0.1",  # its developer mode is open to whoever reaches it
        "--port": "8000",
        "--dtype": "bfloat16",
        "--revision": getattr(world, "REVISION", "main"),
        "--max-model-len": str(longest),
        "--gpu-memory-utilization": "0.9",
        "--weight-transfer-config": json.dumps({"backend": "nccl"}),
        "--logprobs-mode": "processed_logprobs",
        "--max-logprobs": "-1",
    }
    words = [word for pair in asked.items() for word in pair]
    return Command(
        ("vllm", "serve", world.policy_path(), *words, "--enable-scale-out"),
        (("CUDA_VISIBLE_DEVICES", "0"), ("VLLM_SERVER_DEV_MODE", "1")),
    )


def report(scale: str) -> str:
    """Settings, commands, and on a GPU how to estimate memory, as text.  Raises ConfigError for an unknown scale."""
    world, on_gpu = scales.world(scale), scale.startswith("gpu")
    settings = side_by_side()[scale].dropna().to_string()
    parts = {f"Settings of scale {scale}": settings, "Commands": how_to_start(scale)}
    if on_gpu:
        parts["Memory of the base, by accelerate"] = f"accelerate estimate-memory {world.policy_path()}"
    text = "\n\n".join(f"{title}\n{'-' * len(title)}\n{body}" for title, body in parts.items())
    return f"Not yet run on a GPU.\n\n{text}\n" if on_gpu else f"{text}\n"
