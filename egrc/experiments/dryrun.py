"""`make dry-run`: the settings of a scale and the commands that start a run; nothing is loaded, nothing is run.

How much memory a base takes, accelerate says: `accelerate estimate-memory <hub id>`.  Not yet run on a GPU.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from egrc.evaluation.sampling import INSTALL
from egrc.experiments import scales
from egrc.worlds.launch import LONGEST_PROMPT


def side_by_side(arm: str = "egrc") -> pd.DataFrame:
    """Every setting of an arm at every scale: recipe, config and hardware, but those that are off (None) at all."""
    columns = {}
    for scale, s in scales.SCALES.items():
        config = scales.config(scale, arm)
        column: dict[str, Any] = {"world": s.world, "arms": ", ".join(s.arms)}
        column |= {k: v for k, v in vars(config).items() if k not in ("scale", "arm", "seed", "recipe")}
        for phase in config.recipe.phases:
            column |= {f"{phase.name}: {k}": v for k, v in phase.settings().items() if k != "name"}
        column |= {f"gate: {k}": v for k, v in config.recipe.gate.settings().items()}
        columns[scale] = column | {f"hardware: {k}": v for k, v in vars(s.hardware).items()}
    return pd.DataFrame(columns).dropna(how="all")


def commands(scale: str, arm: str = "egrc") -> dict[str, str]:
    """How a run of this scale is started, by what there is to run it on."""
    train = f"-m egrc train --scale {scale} --arm {arm} --seed 0"
    if not scale.startswith("gpu"):
        ranks = "python -m torch.distributed.run --standalone --nproc-per-node=2"
        return {
            "one process": f"python {train}",
            "two processes on a CPU (gloo)": f"{ranks} {train} --out build/two-ranks",
        }
    world, length = scales.world(scale), LONGEST_PROMPT + scales.config(scale, arm).cap
    launch = "accelerate launch --config_file configs/accelerate/{}.yaml --num_processes {}"
    nodes = "--num_machines 2 --machine_rank 0 --main_process_ip FIRST_NODE --main_process_port 29500"
    serve = (  # vLLM's own server as TRL asks for it; its developer mode is open to whoever reaches it
        f"CUDA_VISIBLE_DEVICES=0 VLLM_SERVER_DEV_MODE=1 vllm serve {world.policy_path()} --host 127.0.0.1 --port 8000 "
        f"--revision {world.REVISION} --dtype bfloat16 --max-model-len {length} --gpu-memory-utilization 0.9 "
        """--weight-transfer-config '{"backend": "nccl"}' --logprobs-mode processed_logprobs --max-logprobs -1 """
        "--enable-scale-out"
    )
    return {
        "once: an environment with vLLM, beside .venv": f"{INSTALL}\nsource .venv-gpu/bin/activate",
        "one GPU, vLLM colocated": f"{launch.format('single_gpu', 1)} {train}",
        "one node, 8 GPUs, vLLM colocated": f"{launch.format('ddp', 8)} {train}",
        "the same by DeepSpeed ZeRO-2 (needs `pip install deepspeed`)": f"{launch.format('zero2', 8)} {train}",
        "2 nodes of 8 GPUs, vLLM colocated (the same on each, with --machine_rank 1 on the second, the first one's "
        "address for FIRST_NODE, and one data folder for both)": f"{launch.format('ddp', 16)} {nodes} {train}",
        "one node, vLLM as a server on GPU 0, training on 4 others (in two shells)": (
            f"{serve}\nCUDA_VISIBLE_DEVICES=1,2,3,4 {launch.format('ddp', 4)} {train} --on vllm=server"
        ),
    }


def how_to_start(scale: str) -> str:
    """The commands as text, each under what it is for."""
    return "\n\n".join(f"# {name}\n{lines}" for name, lines in commands(scale).items())


def report(scale: str) -> str:
    """Settings, commands, and on a GPU how to estimate memory, as text.  Raises ConfigError for an unknown scale."""
    parts = [f"Settings of scale {scale}", side_by_side()[scale].dropna().to_string(), "Commands", how_to_start(scale)]
    if scale.startswith("gpu"):
        base = scales.world(scale).policy_path()
        parts = ["Not yet run on a GPU.", *parts, "Memory of the base", f"accelerate estimate-memory {base}"]
    return "\n\n".join(parts) + "\n"
