"""`make dry-run`: the settings of a scale and the commands that start a run; nothing is run."""

from __future__ import annotations

from typing import Any

import pandas as pd

from egrc.config import Config
from egrc.evaluation.sampling import INSTALL
from egrc.experiments import scales
from egrc.worlds.launch import LONGEST_PROMPT


def side_by_side(arm: str = "egrc") -> pd.DataFrame:
    """Every setting of an arm at every scale: config, phases, gate, hardware; not those that are off at all."""
    columns = {}
    for scale, s in scales.SCALES.items():
        hardware = {f"hardware: {name}": value for name, value in vars(s.hardware).items()}
        columns[scale] = flat(scales.config(scale, arm)) | {"world": s.world, "arms": ", ".join(s.arms)} | hardware
    return pd.DataFrame(columns).drop(["scale", "arm", "seed"]).dropna(how="all")


def flat(config: Config) -> dict[str, Any]:
    """Every setting of a run by name: its own, its phases' and, between two of them, its gate's."""
    recipe = config.recipe
    parts = {phase.name: phase for phase in recipe.phases} | ({"gate": recipe.gate} if len(recipe.phases) > 1 else {})
    settings = {name: value for name, value in vars(config).items() if name != "recipe"}
    return settings | {f"{part}: {name}": v for part, of in parts.items() for name, v in of.settings().items()}


def commands(scale: str, arm: str = "egrc") -> dict[str, str]:
    """How a run of this scale is started, by what there is to run it on."""
    train = f"-m egrc train --scale {scale} --arm {arm} --seed 0"
    if not scale.startswith("gpu"):
        ranks = "python -m torch.distributed.run --standalone --nproc-per-node=2"
        return {"one process": f"python {train}", "two processes on a CPU": f"{ranks} {train} --out build/two-ranks"}
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
    """Settings and commands as text, and on a GPU how to estimate the base's memory."""
    text = f"{side_by_side()[scale].dropna().to_string()}\n\n{how_to_start(scale)}\n"
    if scale.startswith("gpu"):
        memory = f"accelerate estimate-memory {scales.world(scale).policy_path()}"
        text = f"Not yet run on a GPU.\n\n{text}\n# memory of the base\n{memory}\n"
    return text
