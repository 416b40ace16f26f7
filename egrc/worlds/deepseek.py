"""The scale of the paper: DeepSeek-R1-Distill-Qwen, 1.5B (`gpu`) and 7B (`gpu-7b`), on real mathematics.

NOT YET RUN ON A GPU.  What needs no GPU is tested: prompts, grading, errors, the split of the batch, the estimates.

The models are those that the published frontier of length reduction is measured on (`paper.md`); which two the paper
used is not public in what we could read [ours].  Training problems are DeepScaleR's, without those that stand in a test
set.  Revisions are commits that many public projects pin; no hub was reached from here.

The architectures' numbers are spelt out, so that the weights' size is known without the hub; `policy` refuses a
checkpoint that differs.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd

from egrc.checks import ConfigError
from egrc.config import Config
from egrc.evaluation import benchmarks, gold
from egrc.evaluation.contamination import decontaminate
from egrc.evaluation.pool import Grader
from egrc.evaluation.problems import HANDMADE, Problem, key
from egrc.evaluation.problems import load as load_problems
from egrc.worlds import hub, launch
from egrc.worlds.launch import LONGEST_PROMPT, Hardware

if TYPE_CHECKING:  # the dry run needs neither
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config

    from egrc.entropy import TokenClasses

NOT_RUN = "not yet run on a GPU"
GB = 1e9
PAD = "<|vision_pad|>"
"""A token of the vocabulary that a text model has no use for.  The published tokenizer pads with the end token; then
padding could not be told from an end."""
USER, ASSISTANT, THINK, END = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"
TRAIN = ("agentica-org/DeepScaleR-Preview-Dataset", "b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29")
"""Data set and commit: about 40,000 problems (AIME and AMC before 2023, Omni-MATH, STILL).  [ours]"""
VLLM = "0.31.0"
"""The newest vLLM that TRL 1.16 names as supported.  Its metadata ask for our torch, and for an older transformers than
our lock's; the extra `vllm` has versions that all metadata admit.  TRL's trainer imports vLLM in both modes, also where
a server generates, so one environment must hold them all."""
INSTALL = "python3 -m venv .venv-gpu && .venv-gpu/bin/pip install -e '.[vllm]'"
"""How that environment is made."""
_MARKS = re.compile(r"<[|｜][^<>|｜]{1,40}[|｜]>")

log = logging.getLogger(__name__)


def prompt(problem: str, template: str = benchmarks.PROMPT) -> str:
    """The problem as the models' chat template puts it, up to where thinking begins.

    Without the token of the beginning, which the tokenizer adds.  Marks inside a problem, written by others, are
    blanked: they must not end the turn.
    """
    return f"{USER}{template.replace('{problem}', _MARKS.sub(' ', problem))}{ASSISTANT}{THINK}\n"


def split(completion: str) -> tuple[str, str]:
    """(thinking, answer): parted at the last '</think>'; without one all of it is thinking."""
    thinking, end, answer = completion.rpartition(END)
    return (thinking, answer) if end else (completion, "")


class Gpu:
    """The `World` of scale gpu: the 1.5B model."""

    name = "gpu"
    HUB = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    REVISION = "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562"
    NUMBERS: dict[str, Any] = {
        "num_hidden_layers": 28,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "tie_word_embeddings": False,
    }

    def __init__(self) -> None:
        self._train: list[Problem] = []
        self._tests: dict[str, list[Problem]] = {}
        self.correct = Grader(THINK)
        """Does what follows '</think>' state this answer?  Thinking that does not end has not answered."""

    # --- the model

    def weights_gb(self) -> float:
        """GB of the base weights in bfloat16, counted on the meta device."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(self.model_config())
        return 2 * sum(p.numel() for p in model.parameters()) / GB

    def model_config(self) -> Qwen2Config:
        """The same numbers as a transformers config, enough to build the model on the meta device."""
        from transformers import Qwen2Config

        return Qwen2Config(**self.NUMBERS, rms_norm_eps=1e-6, max_position_embeddings=131072)

    def policy_path(self) -> str:
        """The hub id; the commit is a constant of this module."""
        return self.HUB

    def preflight(self, config: Config, hardware: Hardware) -> None:
        """Before anything long: the GPU, vLLM (to train), the GPU's memory, the model on the hub, the problems.

        Raises ConfigError (`HubError` and `ProblemError` are such), in one line that says what to do.
        """
        require_gpu(self.name)
        if config.arm != "base":
            require_vllm(hardware)
        require_memory(self.name, lambda total: self.needed_gb(hardware, total), hardware)
        hub.require(self.HUB, self.REVISION)
        self._training_problems()

    def needed_gb(self, hardware: Hardware, device_gb: float) -> float:
        """GB that one device needs at the least: the base weights and colocated vLLM's share, before any activation."""
        return self.weights_gb() + (hardware.vllm_share * device_gb if hardware.vllm == "colocate" else 0.0)

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model (eval mode, bfloat16) and tokenizer (own pad), from safetensors, without remote code.

        Raises `HubError` where the hub does not give them, `ConfigError` where they are not what is spelt out here.
        """
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = hub.snapshot(self.HUB, self.REVISION)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.check_tokenizer(tokenizer)
        tokenizer.pad_token, tokenizer.padding_side = PAD, "left"
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
        ).eval()
        self.check_config(model.config)
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        return model, tokenizer

    def check_config(self, config: Any) -> None:
        """Stop where a checkpoint's architecture is not the one that is spelt out here.  Raises ConfigError."""
        other = {k: getattr(config, k) for k, v in self.NUMBERS.items() if getattr(config, k) != v}
        if other:
            raise ConfigError(f"{self.HUB}: its config says {other}, egrc/worlds/deepseek.py says otherwise: correct NUMBERS there")  # noqa: E501

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Stop where the tokenizer does not do what prompts and grading rest on.  Raises ConfigError."""
        asked = [{"role": "user", "content": benchmarks.PROMPT.replace("{problem}", "1 + 1?")}]
        template = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        begin = tokenizer.bos_token or ""
        ids = tokenizer(prompt("1 + 1?"))["input_ids"]
        end = tokenizer.decode(tokenizer(END, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
        wrong = {
            "its chat template is another": template != begin + prompt("1 + 1?"),
            "it does not begin a prompt with one token of beginning": ids[:2].count(tokenizer.bos_token_id) != 1,
            f"it drops {END} as a special token": end.strip() != END,
            f"it has no token {PAD}": PAD not in tokenizer.get_vocab(),
        }
        if any(wrong.values()):
            said = "; ".join(what for what, is_so in wrong.items() if is_so)
            raise ConfigError(f"the tokenizer of {self.HUB} is not the one that egrc/worlds/deepseek.py was written for: {said}")  # noqa: E501

    # --- problems

    def train_problems(self, seed: int) -> Dataset:
        """Columns prompt, answer, benchmark; shuffled.  Raises `HubError` or `ProblemError`."""
        rows = [
            {"prompt": prompt(p.text), "answer": list(p.gold), "benchmark": p.source} for p in self._training_problems()
        ]
        return _dataset(rows).shuffle(seed=seed)

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """Of each of the six sets the same n problems, or all; 'search' takes n training problems."""
        if split not in ("test", "search"):
            raise ConfigError(f"no split {split!r}: choose test or search")
        sets = self._test_sets() if split == "test" else {"deepscaler": self._training_problems()}
        names = benchmarks.SIX if split == "test" else tuple(sets)
        return {name: _dataset(list(_rows(name, sorted(sets[name], key=lambda p: key(p.text))[:n]))) for name in names}

    def _test_sets(self) -> dict[str, list[Problem]]:
        self._tests = self._tests or {name: benchmarks.load(name) for name in benchmarks.REGISTRY}
        return self._tests

    def _training_problems(self) -> list[Problem]:
        if not self._train:
            tests = [p for problems in self._test_sets().values() for p in problems]
            found = decontaminate(read_training(*TRAIN), tests)
            log.warning("%s", str(found).splitlines()[0])
            self._train = list(found.kept)
        return self._train

    # --- answers and tokens

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        """As at scale smol: by a token's own spelling, numbers digit by digit."""
        from egrc.entropy import lexical_classes
        from egrc.worlds.smol import CONNECTORS

        return lexical_classes(tokenizer, CONNECTORS, size=self.NUMBERS["vocab_size"])

    def probe_prefixes(self) -> list[str]:
        """Prompts of the shipped problems, each with the first half (in words) of its worked steps as thinking."""
        return [prompt(p.text) + _half(p.solution) for p in load_problems(HANDMADE)]

    def floor_tokens(self, benchmark: str) -> float | None:
        """None: nobody knows the shortest correct procedure here."""
        return None


class Gpu7B(Gpu):
    """The `World` of scale gpu-7b."""

    name = "gpu-7b"
    HUB = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    REVISION = "916b56a44061fd5cd7d6a8fb632557ed4f724f60"
    NUMBERS = Gpu.NUMBERS | {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    }


# --- what the machine must have -----------------------------------------------------------------------------------


def require_gpu(scale: str) -> None:
    """Raises ConfigError without a GPU, or where one process sees several: torch would split batches over them."""
    import torch

    if not torch.cuda.is_available():
        build = "" if torch.version.cuda else f" (torch {torch.__version__} is a build without CUDA)"
        raise ConfigError(
            f"scale {scale} needs a GPU, and torch sees none{build}: the scales pocket and smol run on a CPU"
        )
    if launch.ranks() == 1 and (seen := torch.cuda.device_count()) > 1:
        raise ConfigError(
            f"one process, and it sees {seen} GPUs: start one for each with `accelerate launch --config_file "
            f"configs/accelerate/ddp.yaml --num_processes {seen} -m egrc train ...`, or set CUDA_VISIBLE_DEVICES=0"
        )


def require_vllm(hardware: Hardware) -> None:
    """Raises ConfigError where the hardware settings want vLLM and it is not installed."""
    if hardware.vllm and find_spec("vllm") is None:
        raise ConfigError(
            f"vLLM is not installed: make an environment that has it, `{INSTALL}` ({NOT_RUN}), activate it and start "
            "again, or let transformers generate, many times more slowly: --on vllm=''"
        )


def require_memory(scale: str, needed: Callable[[float], float], hardware: Hardware) -> None:
    """Raises ConfigError where less is free on the GPU than is `needed` (GB, of its total GB)."""
    import torch

    own = int(os.environ.get("LOCAL_RANK", "0"))  # asking another rank's GPU would take memory there
    free, total = (b / GB for b in torch.cuda.mem_get_info(own))
    if needed(total) > free:
        raise ConfigError(
            f"too little memory: weights and vLLM alone need {needed(total):.0f} GB, {free:.0f} of {total:.0f} GB "
            f"are free: free the GPU, or {_smaller(hardware)} (scale {scale})"
        )


def _smaller(hardware: Hardware) -> str:
    ways = ["micro_batch=1"] if hardware.micro_batch != 1 else []
    ways += [] if hardware.gradient_checkpointing else ["gradient_checkpointing=True"]
    ways += [] if hardware.vllm == "server" else ["vllm=server"]
    return f"use --on {' '.join(ways)}, or a larger one" if ways else "use a larger one"


# --- training problems --------------------------------------------------------------------------------------------


def read_training(repo: str, revision: str) -> list[Problem]:
    """The training set's usable rows: a problem, a readable answer, a prompt of at most `LONGEST_PROMPT` bytes (and
    so at most as many tokens).

    What is left out is counted in the log.  Raises `ProblemError`; ConfigError where nothing is left.
    """
    table = benchmarks.fetch(repo, revision, "train")  # at that revision and no other
    missing = {"problem", "answer"} - set(table.column_names)
    if missing:
        raise ConfigError(f"{repo}: no column {', '.join(sorted(missing))} (it has {', '.join(table.column_names)})")
    kept = list(usable(table.select_columns(["problem", "answer"])))
    if not kept:
        raise ConfigError(f"{repo}: of {len(table)} rows none has a problem and a readable answer: check its columns")
    log.warning("%s: %d of %d rows used", repo, len(kept), len(table))
    return kept


def usable(rows: Any) -> Iterator[Problem]:
    """Rows with the columns problem and answer as problems; unusable ones are passed over."""
    for number, row in enumerate(rows, 1):
        text = row["problem"]
        if not isinstance(text, str) or not text.strip() or len(prompt(text).encode()) > LONGEST_PROMPT:
            continue
        try:
            golds = gold.latex(row["answer"], row)
        except ValueError:
            continue
        yield Problem(f"deepscaler/{number}", text, golds, "", "deepscaler")


def _rows(name: str, problems: list[Problem]) -> Iterator[dict[str, Any]]:
    template = benchmarks.REGISTRY[name].prompt if name in benchmarks.REGISTRY else benchmarks.PROMPT
    for p in problems:
        yield {"id": p.id, "prompt": prompt(p.text, template), "answer": list(p.gold)}


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _half(text: str) -> str:
    words = text.split(" ")
    return " ".join(words[: len(words) // 2])


# --- whose settings these are -------------------------------------------------------------------------------------

PAPER = "paper [summary]"
OURS = "[ours]"
READING = "paper's idea, formula [ours]"


def whose(config: Config) -> pd.DataFrame:
    """Every setting of a two-stage run with its value and whose it is.  Columns: setting, value, whose.

    The paper's *ideas* are known from public summaries; of its *values* none is, so every number is ours.
    """
    first, second = config.recipe.phases
    lines: list[tuple[str, Any, str]] = [
        ("stages, one switch", config.recipe.gate.max_switches, PAPER),
        ("stage 1: advantage", "beta x reward, positive only", PAPER),
        ("stage 1: shaping", "exponential", PAPER),
        ("stage 1: clipping at L", "reward 0 without an answer at L", PAPER),
        ("stage 2: advantage", "correctness in the group, length among its correct ones", READING),
        ("stage 2: hotter sampling", f"T > 1: {second.temperature > 1}", PAPER),
        ("L of stage 1 (tokens)", first.budget, OURS),
        ("r, reward at L", first.r, OURS),
        ("beta", first.beta, OURS),
        ("L of stage 2 (tokens)", second.budget, OURS),
        ("temperature of stage 2", second.temperature, OURS),
        ("weight of length in stage 2", second.length_weight, OURS),
    ]
    gate = config.recipe.gate.settings().items()
    lines += [(f"gate: {name}", value, OURS) for name, value in gate if name not in ("max_switches", "kind")]
    left_out = ("scale", "arm", "recipe", "seed")
    lines += [(name, value, OURS) for name, value in vars(config).items() if name not in left_out]
    return pd.DataFrame(lines, columns=["setting", "value", "whose"])
