"""One run, from its config to its record: train, evaluate, publish.

Work in progress (checkpoints, then the adapter, then the evaluation) stays in a work folder, so a killed run goes on
where it was; the finished record appears in its place at once.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from egrc import paths
from egrc.atomic import publish_folder, write_json, write_parquet
from egrc.checks import ConfigError
from egrc.config import Config
from egrc.evaluation.evaluate import evaluate
from egrc.experiments import records, scales
from egrc.experiments.fingerprint import commit, config_hash, folder_hash, portable, versions
from egrc.experiments.records import alone, is_done
from egrc.worlds import launch
from egrc.worlds.launch import Hardware

OnProgress = Callable[[str, int, int], None]  # 'training' or 'evaluating', what is done, what there is to do
Observe = Callable[[int, Any], None]  # steps taken, and the policy (a peft model)


def run(
    config: Config,
    data_dir: Path | None = None,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Make one record, or find it already made; returns its folder.

    Resumes from the last checkpoint unless `fresh`, or unless config or base model have changed since.  On several
    ranks all train, and the first one does the rest.  Raises ConfigError if the machine cannot make this run, RankError
    if another rank has ended, RecordError if another process makes the same record, WriteError if the disk is full.
    """
    set_up()
    data_dir = data_dir or paths.DATA
    target = paths.run_folder(data_dir, config.scale, config.arm, config.seed)
    work = paths.work_folder(data_dir, config.scale, config.arm, config.seed)
    hardware = hardware or scales.hardware(config.scale)
    with alone(work) if launch.is_main() else nullcontext():
        if not fresh and is_done(target, config):
            return target
        world = scales.world(config.scale, seed=config.seed)
        launch.check(config, hardware, world)
        if launch.is_main():
            _prepare(work, config, world, fresh)
        launch.wait_for_all(cpu=not torch.cuda.is_available())
        if config.arm != "base" and not (work / "adapter").exists():
            train(config, world, work, on_progress, hardware=hardware)
        if launch.is_main():
            if not (work / "evaluation.parquet").exists():
                _evaluate(config, world, work, on_progress, hardware)
            publish_folder(_assemble(config, work, hardware), target)
            shutil.rmtree(work)
    return target


def set_up() -> None:
    """Settings of the process that every run shares."""
    torch.set_num_threads(1)  # runs stand side by side; also what makes sums, and so runs, repeatable
    disable_progress_bar()  # of loading weights, which takes no time


def _prepare(work: Path, config: Config, world: scales.World, fresh: bool) -> None:
    """Keep the work folder only if it holds this very run, begun on this very base model."""
    stamp, now = work / "stamp.json", {"config_hash": config_hash(config), "base": folder_hash(world.policy_path())}
    if fresh or not stamp.is_file() or json.loads(stamp.read_text()) != now:
        shutil.rmtree(work, ignore_errors=True)
        write_json(stamp, now)


def train(
    config: Config,
    world: scales.World,
    work: Path,
    on_progress: OnProgress | None = None,
    observe: Observe | None = None,
    hardware: Hardware | None = None,
) -> None:
    """Train to the end, resuming from the last whole checkpoint in `work`, and leave `work/adapter`.

    `observe` sees the policy where training begins and after each step; it may sample from it, since every step's
    rollouts have a seed of their own, but must leave weights, gradients and mode as they were.
    """
    from transformers.trainer_callback import PrinterCallback

    from egrc.trainer import EGRCConfig, EGRCTrainer, last_checkpoint

    checkpoints = work / "checkpoints"
    settings = {
        **{name: getattr(config, name) for name in ("seed", "learning_rate", "warmup_steps")},
        "output_dir": str(checkpoints),
        "max_steps": config.steps,
        "lr_scheduler_type": "constant_with_warmup",
        "save_steps": config.checkpoint_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        **launch.trainer_settings(config, hardware or scales.hardware(config.scale), launch.ranks()),
    }

    def after_step(step: int, model: Any) -> None:
        if observe:
            observe(step, model)
        if on_progress and step and launch.is_main():
            on_progress("training", step, config.steps)

    callback, adapter = observer(after_step), lora(config, world)
    if special := config.recipe.phases[0].trainer:
        module, function = special.split(":")
        own = getattr(import_module(module), function)
        model = own(config, world, work, settings, adapter, [callback], on_progress)
    else:
        base, tokenizer = world.policy()
        for name in ("recipe", "probe_every", "record_rollouts_every", "loss_type"):
            settings[name] = getattr(config, name)
        # the cap: one divisor of the loss for all arms; the phases cut at their budgets
        size = {"num_generations": config.group_size, "max_completion_length": config.cap}
        args = EGRCConfig(record_dir=str(work), **size, **settings)
        trainer = EGRCTrainer(
            model=base,
            args=args,
            train_dataset=world.train_problems(config.seed),
            processing_class=tokenizer,
            correct=world.correct,
            token_classes=world.token_classes(tokenizer),
            probe_prefixes=world.probe_prefixes(),
            peft_config=adapter,
        )
        trainer.remove_callback(PrinterCallback)  # one progress line instead of a dictionary per step
        trainer.add_callback(callback)
        with launch.as_one(checkpoints):
            trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
        model = trainer.accelerator.unwrap_model(trainer.model)
    if launch.is_main():
        save_adapter(model, world.policy_path(), work / "adapter")


def lora(config: Config, world: Any = None) -> Any:
    """The adapter's settings: every linear layer but the head, or those the world names; scale 2 (alpha = 2 r)."""
    from peft import LoraConfig

    rank, layers = config.lora_rank, getattr(world, "adapted", "all-linear")
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=layers, task_type="CAUSAL_LM")


def observer(observe: Observe) -> Any:
    """A callback that shows steps taken and policy where training begins and after each step."""
    from transformers import TrainerCallback

    made = TrainerCallback()
    made.on_train_begin = made.on_step_end = lambda args, state, control, model, **_: observe(state.global_step, model)
    return made


def save_adapter(model: Any, base: str, folder: Path) -> None:
    """Save the LoRA weights; the folder appears only when it is whole, and names no path of this machine."""
    unfinished = folder.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished, safe_serialization=True)
    (unfinished / "README.md").unlink(missing_ok=True)
    settings = json.loads((unfinished / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = portable(base)
    write_json(unfinished / "adapter_config.json", settings)
    (unfinished / "adapter_model.safetensors").chmod(0o644)  # safetensors writes for the owner only
    unfinished.rename(folder)


def policy(config: Config, world: scales.World, adapter: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a run: the base, with the adapter merged into it unless the arm is 'base'."""
    model, tokenizer = world.policy()
    model = model if config.arm == "base" else adapted(model, adapter)
    return model.eval(), tokenizer


def recorded(record: records.Record) -> tuple[Any, Any]:
    """Model and tokenizer of a finished run.  Raises ConfigError where its weights were not kept."""
    return policy(record.config, scales.world(record.scale, seed=record.seed), record.path / "adapter")


def adapted(model: Any, adapter: Path) -> Any:
    """The model with an adapter merged into it.  Raises ConfigError for weights that are cut, or of another shape."""
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the adapter in {adapter} cannot be used: {reason}: copy or export it again") from error


def _evaluate(config: Config, world: Any, work: Path, on_progress: OnProgress | None, hardware: Hardware) -> None:
    model, tokenizer = policy(config, world, work / "adapter")
    if hardware.dtype == "bfloat16":
        model.to("cuda")
    began = time.monotonic()
    show = (lambda done, total: on_progress("evaluating", done, total)) if on_progress else None
    asked = (world.benchmarks(config.eval_problems), world.correct, config.eval_temperatures, config.eval_samples)
    rows = evaluate(model, tokenizer, *asked, config.cap, config.seed, show, hardware.evaluation_batch)
    write_json(work / "evaluation.json", {"seconds": time.monotonic() - began})
    write_parquet(work / "evaluation.parquet", rows)


def _assemble(config: Config, work: Path, hardware: Hardware) -> Path:
    """Put the record together in the work folder; returns the record's folder there."""
    record = work / "record"
    shutil.rmtree(record, ignore_errors=True)
    record.mkdir()
    shutil.copy(work / "evaluation.parquet", record)
    evaluating = json.loads((work / "evaluation.json").read_text())["seconds"]
    tokens, training = 0, 0.0
    if config.arm != "base":
        for name in ("steps.csv", "decisions.jsonl", "rollouts.parquet"):
            shutil.copy(work / name, record)
        shutil.copytree(work / "adapter", record / "adapter")
        last = records.read(record / "steps.csv").iloc[-1]
        tokens, training = int(last["generated_tokens"]), float(last["seconds"])
    meta = {
        "config": config.to_dict(),
        "config_hash": config_hash(config),
        "commit": commit(),
        "versions": versions(),
        "seconds": round(training + evaluating, 1),
        "training_seconds": round(training, 1),
        "generated_tokens": tokens,
    }
    if hardware != Hardware() or launch.ranks() > 1:  # what a run was cut to fit
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        meta |= {"hardware": asdict(hardware), "ranks": launch.ranks(), "device": device}
    write_json(record / "run.json", meta)
    return record
