"""One run, from its config to its record: train, evaluate, publish.

Work in progress (checkpoints, then the adapter, then the evaluation) stays in a work folder, so a killed run
goes on where it was; the finished record appears in its place at once.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from egrc import paths
from egrc.atomic import publish_folder, write_json, write_parquet
from egrc.config import Config
from egrc.evaluation.evaluate import evaluate
from egrc.experiments import fingerprint, records, scales
from egrc.worlds import launch
from egrc.worlds.launch import Hardware

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy")
RECORDED = ("steps.csv", "decisions.jsonl", "rollouts.parquet")
OnProgress = Callable[[str, int, int], None]
"""Called with 'training' or 'evaluating', what is done, and what there is to do."""
Observe = Callable[[int, Any], None]
"""Called with the number of steps taken and the policy (a peft model)."""


def run(
    config: Config,
    data_dir: Path = paths.DATA,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Make one record, or find it already made; returns its folder.

    Resumes from the last checkpoint unless `fresh`, or unless config or code have changed since.  On several ranks all
    train, and the first one does the rest.  `hardware` is the scale's unless given.

    Raises
    ------
    ConfigError
        The machine cannot make this run; said before anything is loaded.
    RankError
        Another rank has ended.
    RecordError
        Another process is making the same record.
    WriteError
        The disk is full; what was reached is kept.
    FileNotFoundError
        The scale's base model or data are missing.
    """
    set_up()
    target = paths.run_folder(data_dir, config.scale, config.arm, config.seed)
    work = paths.work_folder(data_dir, config.scale, config.arm, config.seed)
    hardware = hardware or scales.hardware(config.scale)
    with alone(work) if launch.is_main() else nullcontext():
        if not fresh and is_done(target, config):
            return target
        own = data_dir / config.scale / "base"
        world = scales.world(config.scale, data_dir if own.exists() else None)
        launch.check(config, hardware, world)
        if launch.is_main():
            _prepare(work, config, fresh)
        launch.wait_for_all(cpu=not torch.cuda.is_available())
        if config.arm != "base" and not (work / "adapter").exists():
            train(config, world, work, on_progress, hardware=hardware)
        if launch.is_main():
            _evaluate(config, world, work, on_progress, hardware)
            publish_folder(_assemble(config, work, hardware), target)
            shutil.rmtree(work)
    return target


def set_up() -> None:
    """Settings of the process that every run shares."""
    torch.set_num_threads(1)  # two runs side by side; also what makes sums, and so runs, repeatable
    disable_progress_bar()  # of loading weights, which takes no time


def is_done(target: Path, config: Config) -> bool:
    """Is there a complete record of this very config by this very code?"""
    if not (target / "run.json").is_file():
        return False
    meta = records.Record.load(target).meta
    return _stamp(config).items() <= meta.items()


def _stamp(config: Config) -> dict[str, str]:
    return {"config_hash": fingerprint.config_hash(config)}


def commit() -> str | None:
    """The git commit of the code at hand; None outside of a checkout, or without git."""
    git = shutil.which("git")
    found = git and subprocess.run([git, "rev-parse", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True)
    return found.stdout.strip() if found and found.returncode == 0 else None


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Hold the work folder's lock, which the system frees when a process dies."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise records.RecordError(
                f"another process is at work in {paths.shown(work)}: wait for it, or end it, and try again"
            ) from error
        yield


def _prepare(work: Path, config: Config, fresh: bool) -> None:
    """Keep the work folder only if it holds this very run."""
    stamp = work / "stamp.json"
    if fresh or not stamp.is_file() or json.loads(stamp.read_text()) != _stamp(config):
        shutil.rmtree(work, ignore_errors=True)
        write_json(stamp, _stamp(config))


# --- training -------------------------------------------------------------------------------------


def train(
    config: Config,
    world: scales.World,
    work: Path,
    on_progress: OnProgress | None = None,
    stop_after: int | None = None,
    observe: Observe | None = None,
    hardware: Hardware | None = None,
) -> None:
    """Train to the end, resuming from the last whole checkpoint in `work`, and leave `work/adapter`.

    With `stop_after`, take only that many steps and leave only the trainer's records (to replay a beginning).
    `observe` sees the policy before the first step and after each; it may sample from it, since every step's rollouts
    have a seed of their own, but must leave weights, gradients and mode as they were.
    """
    from transformers.trainer_callback import PrinterCallback

    from egrc.trainer import EGRCConfig, EGRCTrainer, last_checkpoint

    split = launch.trainer_settings(config, hardware or scales.hardware(config.scale), launch.ranks())
    settings = {**arguments(config, work, stop_after), **split}
    callbacks = [progress_callback(config.steps, on_progress if launch.is_main() else None, stop_after)]
    callbacks += [observer(observe)] if observe else []
    if own := config.recipe.phases[0].trainer:
        module, function = own.split(":")
        given = (config, world, work, settings, lora(config), callbacks)
        model = getattr(import_module(module), function)(*given, resume=not stop_after, on_progress=on_progress)
    else:
        base, tokenizer = world.policy()
        args = EGRCConfig(
            record_dir=str(work),
            recipe=config.recipe,
            probe_every=config.probe_every,
            record_rollouts_every=config.record_rollouts_every,
            num_generations=config.group_size,
            max_completion_length=config.cap,  # one divisor of the loss for all arms; the phases cut at their budgets
            loss_type=config.loss_type,
            **settings,
        )
        trainer = EGRCTrainer(
            model=base,
            args=args,
            train_dataset=world.train_problems(config.seed),
            processing_class=tokenizer,
            correct=world.correct,
            token_classes=world.token_classes(tokenizer),
            probe_prefixes=world.probe_prefixes(),
            peft_config=lora(config),
        )
        trainer.remove_callback(PrinterCallback)  # one progress line instead of a dictionary per step
        for callback in callbacks:
            trainer.add_callback(callback)
        with launch.as_one(work / "checkpoints"):
            trainer.train(resume_from_checkpoint=None if stop_after else last_checkpoint(work / "checkpoints"))
        model = trainer.accelerator.unwrap_model(trainer.model)
    if launch.is_main() and not stop_after:
        save_adapter(model, world, work / "adapter")


def arguments(config: Config, work: Path, stop_after: int | None) -> dict[str, Any]:
    """Transformers' arguments that every arm's trainer shares."""
    return {
        "output_dir": str(work / "checkpoints"),
        "max_steps": config.steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warmup_steps,
        "seed": config.seed,
        "save_strategy": "no" if stop_after else "steps",
        "save_steps": config.checkpoint_every,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
    }


def lora(config: Config) -> Any:
    """The adapter's settings: every linear layer but the head, scale 2 (alpha = 2 r)."""
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def progress_callback(total: int, on_progress: OnProgress | None, stop_after: int | None) -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if on_progress:
                on_progress("training", state.global_step, total)
            if stop_after and state.global_step >= stop_after:
                control.should_training_stop = True

    return Progress()


def observer(observe: Observe) -> Any:
    from transformers import TrainerCallback

    class Observer(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            if state.global_step == 0:
                observe(0, model)

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            observe(state.global_step, model)

    return Observer()


def save_adapter(model: Any, world: scales.World, folder: Path) -> None:
    """Save the LoRA weights; the folder appears only when it is whole, and names no path of this machine."""
    unfinished = folder.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished, safe_serialization=True)
    (unfinished / "README.md").unlink(missing_ok=True)
    settings = json.loads((unfinished / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = portable(world.policy_path())
    write_json(unfinished / "adapter_config.json", settings)
    for file in unfinished.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner only
    unfinished.rename(folder)


def portable(policy_path: str) -> str:
    """Where a clone has the base model; a hub id as it is, a folder elsewhere by its last name."""
    folder = Path(policy_path)
    if folder.is_relative_to(paths.DATA):
        return str("data" / folder.relative_to(paths.DATA))
    return folder.name if folder.is_absolute() else policy_path


# --- evaluation and the record --------------------------------------------------------------------


def policy(config: Config, world: scales.World, adapter: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a run: the base, with the adapter merged into it unless the arm is 'base'."""
    model, tokenizer = world.policy()
    if config.arm != "base":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    return model.eval(), tokenizer


def _evaluate(
    config: Config, world: scales.World, work: Path, on_progress: OnProgress | None, hardware: Hardware
) -> None:
    if (work / "evaluation.parquet").exists():
        return
    model, tokenizer = policy(config, world, work / "adapter")
    if hardware.dtype == "bfloat16":
        model.to("cuda")
    began = time.monotonic()
    rows = evaluate(
        model,
        tokenizer,
        world.benchmarks(config.eval_problems),
        world.correct,
        config.eval_temperatures,
        config.eval_samples,
        config.cap,
        config.seed,
        (lambda done, total: on_progress("evaluating", done, total)) if on_progress else None,
        hardware.evaluation_batch,
    )
    write_json(work / "evaluation.json", {"seconds": time.monotonic() - began})
    write_parquet(work / "evaluation.parquet", rows)


def _assemble(config: Config, work: Path, hardware: Hardware) -> Path:
    """Put the record together in the work folder; returns the record's folder there."""
    record = work / "record"
    shutil.rmtree(record, ignore_errors=True)
    record.mkdir()
    shutil.copy(work / "evaluation.parquet", record)
    evaluation_seconds = json.loads((work / "evaluation.json").read_text())["seconds"]
    tokens, training_seconds = 0, 0.0
    if config.arm != "base":
        for name in RECORDED:
            shutil.copy(work / name, record)
        shutil.copytree(work / "adapter", record / "adapter")
        last = records.read_steps(record / "steps.csv").iloc[-1]
        tokens, training_seconds = int(last["generated_tokens"]), float(last["seconds"])
    write_json(
        record / "run.json",
        {
            "config": config.to_dict(),
            **_stamp(config),
            "commit": commit(),
            "versions": versions(),
            "seconds": round(training_seconds + evaluation_seconds, 1),
            "training_seconds": round(training_seconds, 1),
            "evaluation_seconds": round(evaluation_seconds, 1),
            "generated_tokens": tokens,
            "status": "complete",
            **_machine(hardware),
        },
    )
    return record


def _machine(hardware: Hardware) -> dict[str, Any]:
    """What a run was cut to fit; nothing for one process in float32, which needs no cutting."""
    if hardware == Hardware() and launch.ranks() == 1:
        return {}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {"hardware": asdict(hardware), "ranks": launch.ranks(), "device": device}


def versions() -> dict[str, str]:
    """Versions of Python and of what the numbers depend on."""
    found = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}
