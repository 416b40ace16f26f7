"""`make bench`: what a step costs beside plain TRL and beside a hand-written loop, memory, and `make paper`.

All three take steps on the same model, adapters, problems and batch, under two loads: completions of one fixed length,
so that all do the same work; and completions as long as the policy writes them, where EGRC leaves out rows that have
ended (`egrc.ended`) and the others go as far as the longest.  They take turns, a fresh one each time, because a shared
machine drifts.

Parts of a step:

    generate   sampling the completions
    score      rewards and advantages
    backward   everything else: forward for the loss, backward, optimiser, gate, records
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from egrc import paths
from egrc.atomic import write_json, write_text
from egrc.config import Config
from egrc.controller import Recipe
from egrc.experiments import scales
from egrc.experiments.run import lora, set_up, versions
from egrc.methods.egrc import Compress
from egrc.paper import FOLLOWING, RUNS, spent
from egrc.trainer import EGRCConfig, EGRCTrainer

TARGETS = {"egrc_over_trl": 1.05, "peak_memory_gb": 2.0, "paper_seconds": 90.0}
PARTS = ("generate", "score", "backward", "step")
LOADS = {"fixed": True, "written": False}
"""By name: does every completion have one fixed length?"""
Seconds = dict[str, list[float]]


def bench(scale: str, repeats: int = 5, steps: int = 4, out: Path | None = None) -> str:
    """Measure, write data/bench/<scale>.json, and as a table <scale>.md; return the table.

    `repeats` turns of each loop, `steps` counted steps a turn (one more, uncounted, warms up).
    """
    set_up()
    config = scales.config(scale, "egrc")
    memory = peak_memory(scale)  # first: a child's peak counts what its parent held when it was started
    report = {
        "scale": scale,
        "prompts": config.prompts_per_step,
        "group_size": config.group_size,
        "tokens": {load: length(config, fixed) for load, fixed in LOADS.items()},
        "turns": repeats,
        "steps": steps,
        "machine": {"cpus": os.cpu_count(), "architecture": platform.machine()},
        "versions": versions(),
        "loads": {load: summary(_measure(config, load, repeats, steps + 1)) for load in LOADS},
        "peak_memory_gb": memory,
        "paper": spent(scale),
        "targets": TARGETS,
    }
    file = out or paths.DATA / "bench" / f"{scale}.json"
    write_json(file, report)
    write_text(file.with_suffix(".md"), table(report) + "\n")
    return table(report)


def length(config: Config, fixed: bool) -> int:
    """Tokens of every completion, or the most that one may have."""
    return config.recipe.phases[0].budget if fixed else config.cap


def _measure(config: Config, load: str, repeats: int, steps: int) -> pd.DataFrame:
    """Seconds of every step but each turn's first; columns loop, turn, part, seconds."""
    loops: dict[str, Callable[[Config, int, bool], Seconds]] = {"egrc": _egrc, "trl": _trl, "hand": _hand}
    rows = []
    for turn in range(repeats):
        for name, loop in loops.items():
            seconds = loop(config, steps, LOADS[load])
            rows += [{"loop": name, "turn": turn, "part": p, "seconds": s} for p, ss in seconds.items() for s in ss[1:]]
            print(f"bench: {load}, turn {turn + 1}/{repeats}, {name}", file=sys.stderr)
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Median milliseconds (quartiles) by loop and part; ratios of steps, median over turns (extremes).

    `rows`: columns loop, turn, part, seconds.
    """
    milliseconds: dict[str, Any] = {}
    for (loop, part), group in rows.groupby(["loop", "part"], sort=False):
        low, median, high = (1000 * group["seconds"].quantile([0.25, 0.5, 0.75])).round(1)
        milliseconds.setdefault(loop, {})[part] = {"median": median, "low": low, "high": high}
    by_turn = rows[rows["part"] == "step"].groupby(["turn", "loop"])["seconds"].median().unstack()
    pairs = {
        "egrc_over_trl": ("egrc", "trl"),
        "egrc_over_hand": ("egrc", "hand"),
        "trl_over_hand": ("trl", "hand"),
    }
    ratios = {name: by_turn[a] / by_turn[b] for name, (a, b) in pairs.items()}
    return {
        "milliseconds": milliseconds,
        "ratios": {
            name: {"median": round(r.median(), 3), "low": round(r.min(), 3), "high": round(r.max(), 3)}
            for name, r in ratios.items()
        },
    }


def table(report: dict[str, Any]) -> str:
    """The report as text."""

    def spread(cell: dict[str, float], digits: int) -> str:
        return f"{cell['median']:.{digits}f} ({cell['low']:.{digits}f} to {cell['high']:.{digits}f})"

    lines = []
    for load, found in report["loads"].items():
        most = report["tokens"][load]
        tokens = f"{most} tokens, all of them" if LOADS[load] else f"as many tokens as are written, up to {most}"
        cells = {loop: {p: spread(c, 0) for p, c in parts.items()} for loop, parts in found["milliseconds"].items()}
        batch = f"{report['prompts']} problems x {report['group_size']} x {tokens}"
        lines += [
            f"Milliseconds a step, median (quartiles): {batch}",
            "",
            pd.DataFrame(cells).T.reindex(columns=PARTS).fillna("").to_markdown(),
            "",
            *(f"* {name.replace('_', ' ')}: {spread(r, 2)}" for name, r in found["ratios"].items()),
            "",
        ]
    lines += [
        f"* peak memory of a training process: {report['peak_memory_gb']:.2f} GB",
    ]
    lines += [f"* `{command}`: {_seconds(spent_on)}" for command, spent_on in report["paper"].items()]
    if not report["paper"]:
        lines.append(f"* make paper: not measured (run `make paper SCALE={report['scale']}` first)")
    return "\n".join(lines)


def _seconds(parts: dict[str, float]) -> str:
    """What a `make paper` took; of one that trains, its runs and what had to follow them apart."""
    trained = [f"{parts[part]:.0f} s {part}" for part in (RUNS, FOLLOWING) if part in parts]
    if "total" not in parts:
        return f"{', '.join(trained)} (then stopped)"
    return f"{parts['total']:.0f} s" + (f", of which {', '.join(trained)}" if trained else "")


def peak_memory(scale: str) -> float:
    """Largest resident set, in GB, of a process that takes three EGRC steps and evaluates a few problems."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "egrc", "train", "--scale", scale, "--arm", "egrc", "--out", out]
        command += ["--set", "steps=3", "eval_problems=8"]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert child.stderr is not None
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise OSError(f"`{' '.join(command[1:])}` failed:\n{errors.decode(errors='replace')[-2000:]}")
    return round(usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9, 3)


# --- the loops ------------------------------------------------------------------------------------


def _arguments(config: Config, steps: int, fixed: bool, out: str) -> dict[str, Any]:
    """What both trainers are given; under the fixed load completions cannot end before their last token."""
    most = length(config, fixed)
    return {
        "output_dir": out,
        "max_steps": steps,
        "per_device_train_batch_size": config.prompts_per_step * config.group_size,
        "num_generations": config.group_size,
        "max_completion_length": most,
        "generation_kwargs": {"min_new_tokens": most} if fixed else {},
        "learning_rate": config.learning_rate,
        "loss_type": config.loss_type,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
    }


def _egrc(config: Config, steps: int, fixed: bool) -> Seconds:
    world = scales.world(config.scale)
    model, tokenizer = world.policy()
    recipe = Recipe((Compress("compress", length(config, fixed), r=0.1),))
    with tempfile.TemporaryDirectory() as out:
        trainer = _timed(EGRCTrainer)(
            model=model,
            args=EGRCConfig(recipe=recipe, record_dir=out, **_arguments(config, steps, fixed, out)),
            train_dataset=world.train_problems(0),
            processing_class=tokenizer,
            correct=world.correct,
            token_classes=world.token_classes(tokenizer),
            probe_prefixes=world.probe_prefixes(),
            peft_config=lora(config),
        )
        return trainer.run()


def _trl(config: Config, steps: int, fixed: bool) -> Seconds:
    world = scales.world(config.scale)
    model, tokenizer = world.policy()

    def accuracy(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        return [float(world.correct(c, a)) for c, a in zip(completions, answer, strict=True)]

    with tempfile.TemporaryDirectory() as out:
        trainer = _timed(GRPOTrainer)(
            model=model,
            reward_funcs=accuracy,
            args=GRPOConfig(**_arguments(config, steps, fixed, out)),
            train_dataset=world.train_problems(0),
            processing_class=tokenizer,
            peft_config=lora(config),
        )
        return trainer.run()


def _timed(trainer: type[GRPOTrainer]) -> Any:
    """The trainer, with clocks around a step and around its generation and scoring."""

    class Timed(trainer):  # type: ignore[valid-type, misc]
        def run(self) -> Seconds:
            self.spent: Seconds = {part: [] for part in PARTS}
            self.remove_callback(PrinterCallback)
            self.add_callback(Clock(self.spent))  # the last callback: its step contains the others' work
            self.train()
            inside = zip(self.spent["step"], self.spent["generate"], self.spent["score"], strict=True)
            self.spent["backward"] = [step - generate - score for step, generate, score in inside]
            return self.spent

        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            out = super()._generate(*args, **kwargs)
            self.spent["generate"].append(time.perf_counter() - began)
            return out

        def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            out = super()._generate_and_score_completions(*args, **kwargs)
            self.spent["score"].append(time.perf_counter() - began - self.spent["generate"][-1])
            return out

    return Timed


class Clock(TrainerCallback):
    """Seconds from the end of one step to the end of the next."""

    def __init__(self, spent: Seconds) -> None:
        self.spent, self.began = spent, 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        self.spent["step"].append(now - self.began)
        self.began = now


def _hand(config: Config, steps: int, fixed: bool) -> Seconds:
    """Sample with a cache, grade, one policy-gradient step: no library but torch, transformers' model and peft."""
    from peft import get_peft_model

    world = scales.world(config.scale)
    base, tokenizer = world.policy()
    model = get_peft_model(base, lora(config))
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=config.learning_rate)
    problems, spent = world.train_problems(0), {part: [] for part in PARTS}
    n = config.prompts_per_step
    for step in range(steps):
        clock = [time.perf_counter()]
        drawn = [problems[i % len(problems)] for i in range(step * n, (step + 1) * n)]
        asked = [problem for problem in drawn for _ in range(config.group_size)]
        encoded = tokenizer([p["prompt"] for p in asked], padding=True, padding_side="left", return_tensors="pt")
        tokens, mask = _sample(model, encoded, length(config, fixed), tokenizer.eos_token_id, fixed)
        new = tokens.shape[1] - encoded["input_ids"].shape[1]
        clock.append(time.perf_counter())
        texts = tokenizer.batch_decode(tokens[:, -new:], skip_special_tokens=True)
        reward = torch.tensor([float(world.correct(t, p["answer"])) for t, p in zip(texts, asked, strict=True)])
        groups = reward.view(n, -1)
        advantage = ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)).flatten()
        clock.append(time.perf_counter())
        logits = model(input_ids=tokens, attention_mask=mask, logits_to_keep=new + 1).logits[:, :-1]
        logp = logits.log_softmax(-1).gather(-1, tokens[:, -new:, None]).squeeze(-1)
        loss = -(advantage[:, None] * logp * mask[:, -new:]).sum() / mask[:, -new:].sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        clock.append(time.perf_counter())
        for part, began, ended in zip(PARTS, clock, clock[1:], strict=False):
            spent[part].append(ended - began)
        spent["step"].append(clock[-1] - clock[0])
    return spent


@torch.no_grad()
def _sample(model: Any, encoded: Any, most: int, eos: int, fixed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts and their sampled tokens, with the mask of what counts; under the fixed load no end token is drawn."""
    ids, mask = encoded["input_ids"], encoded["attention_mask"]
    cache, new, going = None, ids, torch.ones(len(ids), 1, dtype=mask.dtype)
    for _ in range(most):
        out = model(input_ids=new, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache, logits = out.past_key_values, out.logits[:, -1]
        if fixed:
            logits[:, eos] = -torch.inf
        new = torch.multinomial(logits.softmax(-1), 1)
        ids, mask = torch.cat([ids, new], 1), torch.cat([mask, going], 1)
        going = going * (new != eos)
        if not going.any():
            break
    return ids, mask
