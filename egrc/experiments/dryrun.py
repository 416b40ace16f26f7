"""`make dry-run`: what a run would need and how it is started, found out without weights, network or GPU.

Builds model and adapters on the meta device (shapes without numbers), estimates memory and time
(`experiments.memory`), holds
the estimates against measured runs where there are some (`experiments.footprint`), tries every option on the installed
versions, and prints the commands.  Not yet run on a GPU.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import math
import os
import shlex
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from egrc import paths
from egrc.experiments import footprint, launch, memory, scales
from egrc.experiments.memory import Device, Load, Shape
from egrc.experiments.records import RecordError

NOT_RUN = "not yet run on a GPU"
CONFIGS = paths.ROOT / "configs" / "accelerate"
NODE, NODES, TRAINING = 8, 2, 4
"""GPUs of a node, and nodes, in the printed commands; GPUs that train beside one that serves."""


def on_gpu(scale: str) -> bool:
    """Does this scale want a GPU?"""
    return scales.hardware(scale).dtype == "bfloat16"


# --- the model, on the meta device --------------------------------------------------------------------------------


def model_config(scale: str) -> Any:
    """The base model's transformers config: spelt out (gpu), or read from its folder."""
    from transformers import AutoConfig

    world = scales.world(scale)
    spelt_out = getattr(world, "model_config", None)
    return spelt_out() if spelt_out else AutoConfig.from_pretrained(world.policy_path())


def shape(scale: str) -> Shape:
    """The base model's numbers."""
    return Shape.of(model_config(scale))


def parameters(scale: str) -> pd.DataFrame:
    """Parameters of the base and of its adapters, counted on the meta device, beside the estimator's arithmetic."""
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from egrc.experiments.run import lora

    config, run = model_config(scale), scales.config(scale, "egrc")
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config)
        count = sum(p.numel() for p in base.parameters())
        adapted = get_peft_model(base, lora(run))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    of = Shape.of(config)
    lines = {"base": (count, of.base()), f"LoRA, rank {run.lora_rank}": (trained, of.adapter(run.lora_rank))}
    return pd.DataFrame(lines, index=["meta device", "estimator"]).T


def hub_says(scale: str) -> str:
    """Are the numbers that are spelt out those of the hub's own config, where the cache has it?  Asks no network.

    Raises ConfigError where they differ.
    """
    world = scales.world(scale)
    if not hasattr(world, "check_config"):
        return "read from the model's own config"
    from huggingface_hub import try_to_load_from_cache
    from transformers import AutoConfig

    cached = try_to_load_from_cache(world.HUB, "config.json", revision=world.REVISION)
    if not isinstance(cached, str):
        return f"spelt out in egrc/worlds/deepseek.py; {world.HUB} is not in the hub's cache, so they were not compared with it"  # noqa: E501
    world.check_config(AutoConfig.from_pretrained(os.path.dirname(cached)))
    return f"spelt out in egrc/worlds/deepseek.py, and the same in the config of {world.HUB}"


# --- estimates ----------------------------------------------------------------------------------------------------


def load(scale: str, arm: str = "egrc", ranks: int = 1) -> Load:
    """What each of `ranks` devices has to do in a step of an arm."""
    config, world = scales.config(scale, arm), scales.world(scale)
    prompt = launch.LONGEST_PROMPT if on_gpu(scale) else footprint.longest_prompt(config, world)
    return Load.of(config, scales.hardware(scale), prompt, ranks)


def parts(scale: str, device: Device = memory.DEVICES[1], ranks: int = 1) -> pd.DataFrame:
    """GB by part: as configured and, on a GPU, without what keeps it small.  CPU scales: one column."""
    as_is = load(scale, ranks=ranks)
    loads = {"as configured": as_is}
    if on_gpu(scale):
        loads |= {
            "4 rollouts at once": replace(as_is, micro_batch=4),
            "activations kept": replace(as_is, checkpointing=False),
            "logits in one piece": replace(as_is, fused=False),
            "transformers generates": replace(as_is, vllm=None),
        }
    return memory.parts_table(shape(scale), loads, device.memory_gb if on_gpu(scale) else 0.0)


def grid(scale: str) -> pd.DataFrame:
    """GPU x rollouts of a device x tokens: memory, whether it fits, and seconds of a step.  Estimates."""
    whole = load(scale)
    lengths = sorted({whole.completion, scales.config(scale, "egrc").cap})
    return memory.table(shape(scale), whole, [whole.rollouts // NODE, whole.rollouts], lengths)


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
            column |= {f"{phase.name}: {k}": v for k, v in vars(phase).items() if k != "name"}
        column |= {f"gate: {k}": v for k, v in vars(config.recipe.gate).items()}
        columns[scale] = column | {f"hardware: {k}": v for k, v in vars(scales.hardware(scale)).items()}
    return pd.DataFrame(columns).dropna(how="all")


# --- commands -----------------------------------------------------------------------------------------------------


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
    if not on_gpu(scale):
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
    groups = (first if on_gpu(scale) else {}) | commands(scale)
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


# --- options, tried on what is installed --------------------------------------------------------------------------


@dataclass(frozen=True)
class Tried:
    """One option or command, and whether the installed versions take it (None: nothing here can tell)."""

    what: str
    ok: bool | None
    said: str


def try_options(scale: str) -> list[Tried]:
    """Trainer settings, vLLM's options, accelerate's configs and every command, on the installed versions."""
    tried = [*_try_trainer(scale), *_try_configs()]
    if on_gpu(scale):
        tried += _try_vllm(scale)
    return tried + [_try_command(name, c) for name, group in commands(scale).items() for c in group]


def _try_trainer(scale: str) -> Iterator[Tried]:
    from egrc.trainer import EGRCConfig

    config, hardware = scales.config(scale, "egrc"), scales.hardware(scale)
    rest = {"max_completion_length": config.cap, "num_generations": config.group_size, "recipe": config.recipe}
    here = {"use_cpu": True, "report_to": "none"}
    for vllm in ("", "colocate", "server") if on_gpu(scale) else ("",):
        settings = launch.trainer_settings(config, replace(hardware, vllm=vllm))
        unknown = sorted(set(settings) - {f.name for f in fields(EGRCConfig)})
        if not unknown:
            EGRCConfig(str(paths.BUILD / "dry-run"), **settings | here, **rest)
        said = f"unknown: {', '.join(unknown)}" if unknown else ", ".join(settings)
        yield Tried(f"EGRCConfig{f', vLLM {vllm}' * bool(vllm)}", not unknown, said)


def _try_configs() -> Iterator[Tried]:
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.commands.launch import launch_command_parser

    known = set(vars(launch_command_parser().parse_args(["script"])))
    for file in sorted(CONFIGS.glob("*.yaml")):
        try:
            config = ClusterConfig.from_yaml_file(str(file))
        except (ValueError, TypeError) as error:  # an unknown key, a missing one
            yield Tried(paths.shown(file), False, str(error))
            continue
        unknown = sorted(set(config.deepspeed_config or {}) - known)
        kind = f"accelerate: {config.distributed_type.value}"
        yield Tried(paths.shown(file), not unknown, f"unknown: {', '.join(unknown)}" if unknown else kind)


def _try_vllm(scale: str) -> Iterator[Tried]:
    from trl.generation.vllm_generation import VLLMGeneration
    from trl.scripts.vllm_serve import ScriptArguments, build_command

    wanted = {"mode", "gpu_memory_utilization", "max_model_length", "enable_sleep_mode", "server_base_url"}
    wanted |= {"temperature", "max_completion_length"}
    missing = sorted(wanted - set(inspect.signature(VLLMGeneration).parameters))
    yield Tried("TRL's VLLMGeneration", not missing, f"missing: {', '.join(missing)}" if missing else "options known")
    theirs = build_command(ScriptArguments(model=scales.world(scale).policy_path()))
    imposed = theirs[theirs.index("--weight-transfer-config") :]
    lacking = sorted(set(imposed) - set(_serve(scale).words))
    yield Tried("vllm serve", not lacking, f"lacks {', '.join(lacking)}" if lacking else "what TRL imposes is there")
    for package in ("vllm", "deepspeed"):
        yield Tried(package, None, _version(package) or f"not installed here; {NOT_RUN}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _try_command(name: str, command: Command) -> Tried:
    """Our own part by our parser, the launcher's by its own; `vllm` is not installed with this package."""
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    from egrc.__main__ import parser

    words = list(command.words)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            if words[0] == "accelerate":
                asked = launch_command_parser().parse_args(words[2:])
                words = [asked.training_script, *asked.training_script_args]
                launch.micro_batches(*_run_of(words), asked.num_processes)
            elif "torch.distributed.run" in words:
                asked = get_args_parser().parse_args(words[3:])
                words = [asked.training_script, *asked.training_script_args]
            if "egrc" in words:
                parser().parse_args(words[words.index("egrc") + 1 :])
    except SystemExit:
        return Tried(name, False, errors.getvalue().strip().splitlines()[-1])
    if words[0] == "vllm":
        return Tried(name, None, "vLLM's own parser is asked where it is installed")
    return Tried(name, True, f"{command.words[0]}'s parser and ours know every option")


def _run_of(words: list[str]) -> tuple[Any, Any]:
    scale, arm = (words[words.index(option) + 1] for option in ("--scale", "--arm"))
    return scales.config(scale, arm), scales.hardware(scale)


# --- the report ---------------------------------------------------------------------------------------------------


def report(scale: str) -> str:
    """All of it as text.  Raises ConfigError."""
    gpu = on_gpu(scale)
    sections = [
        (f"Dry run of scale {scale}" + f": {NOT_RUN}" * gpu, hub_says(scale)),
        ("Parameters", parameters(scale).to_string(float_format="{:,.0f}".format)),
        (f"Memory by part, GB{f' ({memory.DEVICES[1].name}, one GPU, estimated)' * gpu}", _text(parts(scale), 2)),
    ]
    if gpu:
        sections.append(("Memory and seconds of a step, estimated", f"{_text(readable(grid(scale)), 1)}\n\n{ASSUMED}"))
    sections.append(("The estimator against measured memory (CPU)", _measured()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of names that the next transformers will have changed
        tried = try_options(scale)
    sections.append(("Options on the installed versions", "\n".join(_line(t) for t in tried)))
    sections.append(("Commands" + f" ({NOT_RUN})" * gpu, how_to_start(scale)))
    return "\n\n".join(f"{title}\n{'-' * len(title)}\n{text}" for title, text in sections) + "\n"


ASSUMED = (
    f"Assumed, not measured: {memory.ARITHMETIC:.0%} of the peak arithmetic, {memory.BANDWIDTH:.0%} of the peak "
    f"bandwidth, {memory.SLACK:.0%} of the memory left free; every completion as long as its budget.\n"
    f"rollouts: of one GPU in a step, where {NODE} GPUs share the step's, and where one has them all.\n"
    "Peaks: "
    + "; ".join(f"{d.name}: {d.teraflops:g} TFLOPS, {d.bandwidth:g} GB/s ({d.source})" for d in memory.DEVICES)
)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`memory.table` for reading: 'yes' or 'no', and no seconds where it does not fit."""
    times = [c for c in table if c.endswith(" s")]
    shown = table.assign(fits=table["fits"].map({True: "yes", False: "no"}))
    return shown.assign(**{c: table[c].where(table["fits"], math.nan) for c in times})


def _text(table: pd.DataFrame, digits: int) -> str:
    return table.to_string(float_format=f"{{:.{digits}f}}".format, na_rep="-", index=table.index.dtype.kind != "i")


def _measured() -> str:
    try:
        return f"{_text(footprint.comparison(), 2)}\n\n{COMPARED}"
    except RecordError as missing:
        return str(missing)


COMPARED = (
    "GB.  estimated, measured: growth from before the first step to the peak, freed blocks returned at once; error:\n"
    "of the estimate; before, peak: resident then; default: peak as a run has it, of which the share 'kept' was no\n"
    "longer in use; bench: peak of a whole command, with its evaluation, by `make bench`."
)


def _line(tried: Tried) -> str:
    mark = {True: "ok", False: "NO", None: "--"}[tried.ok]
    return f"{mark}  {tried.what}: {tried.said}"
