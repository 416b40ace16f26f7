"""The scale of the paper: DeepSeek-R1-Distill-Qwen, 1.5B (`gpu`) and 7B (`gpu-7b`), on real mathematics.

NOT YET RUN ON A GPU.  What needs no GPU is tested: prompts, grading, errors, the split of the batch.

The models are those that the published frontier of length reduction is measured on; which two the paper used is not
public in what we could read [ours].  Training problems are DeepScaleR's, without those that stand in a test set.
Revisions are commits that many public projects pin; no hub was reached from here.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING

from egrc.checks import require
from egrc.config import Config
from egrc.evaluation import benchmarks, gold
from egrc.evaluation.contamination import decontaminate
from egrc.evaluation.pool import Pool
from egrc.evaluation.problems import Problem
from egrc.evaluation.sampling import require_vllm
from egrc.worlds import base, hub, launch
from egrc.worlds.launch import LONGEST_PROMPT, Hardware

if TYPE_CHECKING:  # the dry run needs none of them
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from egrc.entropy import TokenClasses

NOT_RUN = "not yet run on a GPU"
PAD = "<|vision_pad|>"
"""A token of the vocabulary that a text model has no use for.  The published tokenizer pads with the end token; then
padding could not be told from an end."""
USER, ASSISTANT, THINK, END = "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"
TRAIN = ("agentica-org/DeepScaleR-Preview-Dataset", "b6ae8c60f5c1f2b594e2140b91c49c9ad0949e29")
"""Data set and commit: about 40,000 problems (AIME and AMC before 2023, Omni-MATH, STILL).  [ours]"""

log = logging.getLogger(__name__)


def prompt(problem: str, template: str = benchmarks.PROMPT) -> str:
    """The problem as the models' chat template puts it, up to where thinking begins.

    Without the token of the beginning, which the tokenizer adds.
    """
    return f"{USER}{benchmarks.asked(problem, template)}{ASSISTANT}{THINK}\n"


class Gpu:
    """The `World` of scale gpu: the 1.5B model."""

    name, synthetic = "gpu", False
    HUB = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    REVISION = "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562"
    CONTEXT = 131072
    """Tokens that the model reads, prompt and answer together."""
    VOCABULARY = 151936
    """Rows of the head: more than the tokenizer has tokens."""

    def __init__(self) -> None:
        self.correct = Pool(prefix=THINK)
        """Does what follows '</think>' state this answer?  Thinking that does not end has not answered."""

    # --- the model

    def policy_path(self) -> str:
        return self.HUB

    def preflight(self, config: Config, hardware: Hardware) -> None:
        """Before anything long: the GPU, vLLM (to train), the model on the hub, the problems.

        Raises ConfigError (whatever hub and problems lack is one, too), in one line that says what to do.
        """
        require_gpu(self.name)
        if config.arm != "base" and hardware.vllm:
            require_vllm()
        hub.require(self.HUB, self.REVISION)
        _ = self.training

    def policy(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Model (eval mode, bfloat16) and tokenizer (own pad), from safetensors, without remote code.

        Raises `HubError` where the hub does not give them, `ConfigError` for another tokenizer.
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
        model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
        return model, tokenizer

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raises ConfigError where the tokenizer does not do what prompts and grading rest on."""
        asked = [{"role": "user", "content": benchmarks.PROMPT.replace("{problem}", "1 + 1?")}]
        template = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(prompt("1 + 1?"))["input_ids"]
        end = tokenizer.decode(tokenizer(END, add_special_tokens=False)["input_ids"], skip_special_tokens=True)
        faults = {
            "its chat template is another": template != (tokenizer.bos_token or "") + prompt("1 + 1?"),
            "it does not begin a prompt with one token of beginning": ids[:2].count(tokenizer.bos_token_id) != 1,
            f"it drops {END} as a special token": end.strip() != END,
            f"it has no token {PAD}": PAD not in tokenizer.get_vocab(),
        }
        wrong = "; ".join(fault for fault, is_so in faults.items() if is_so)
        require(not wrong, f"the tokenizer of {self.HUB} is not the one that this world was written for: {wrong}")

    # --- problems and tokens

    def train_problems(self, seed: int) -> Dataset:
        """Columns prompt, answer, benchmark; shuffled.  Raises ConfigError where the sets are out of reach."""
        return base.dataset(self.training, prompt).remove_columns("id").shuffle(seed=seed)

    def benchmarks(self, n: int, split: str = "test") -> dict[str, Dataset]:
        """Of each of the six sets the same n problems, or all; 'search' takes n training problems."""
        if split != "test":
            return {"deepscaler": _rows(base.drawn(self.training, n, split), benchmarks.PROMPT)}
        sets = {name: base.drawn(benchmarks.load(name), n, split) for name in benchmarks.SIX}
        return {name: _rows(problems, benchmarks.REGISTRY[name].prompt) for name, problems in sets.items()}

    @cached_property
    def training(self) -> list[Problem]:
        """The training set without what stands in a test set."""
        clean = decontaminate(read_training(*TRAIN), [p for name in benchmarks.REGISTRY for p in benchmarks.load(name)])
        log.warning("%s", clean)
        return list(clean.kept)

    def token_classes(self, tokenizer: PreTrainedTokenizerBase) -> TokenClasses:
        """As at scale smol: by a token's own spelling, numbers digit by digit."""
        from egrc.entropy import lexical_classes
        from egrc.worlds.smol import CONNECTORS

        return lexical_classes(tokenizer, CONNECTORS, size=self.VOCABULARY)

    def probe_prefixes(self) -> list[str]:
        return base.probes(prompt)

    def floor_tokens(self, benchmark: str) -> float | None:
        return None  # nobody knows the shortest correct procedure here


class Gpu7B(Gpu):
    """The `World` of scale gpu-7b."""

    name = "gpu-7b"
    HUB = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"
    REVISION = "916b56a44061fd5cd7d6a8fb632557ed4f724f60"
    VOCABULARY = 152064


def _rows(problems: list[Problem], template: str) -> Dataset:
    return base.dataset(problems, partial(prompt, template=template)).remove_columns("benchmark")


def read_training(repo: str, revision: str) -> list[Problem]:
    """The training set's usable rows: a problem, a readable answer, a prompt of at most `LONGEST_PROMPT` bytes (and so
    at most as many tokens).  How many these are is logged.
    """
    table, kept = benchmarks.fetch(repo, revision, "train"), []
    for number, row in enumerate(table.select_columns(["problem", "answer"]), 1):
        text = row["problem"]
        if not isinstance(text, str) or not text.strip() or len(prompt(text).encode()) > LONGEST_PROMPT:
            continue
        with suppress(ValueError):
            kept.append(Problem(f"deepscaler/{number}", text, gold.latex(row["answer"], row), "", "deepscaler"))
    log.warning("%s: %d of %d rows used", repo, len(kept), len(table))
    return kept


def require_gpu(scale: str) -> None:
    """Raises ConfigError without a GPU, or where one process sees several: torch would split batches over them."""
    import torch

    build = "" if torch.version.cuda else f" (torch {torch.__version__} is a build without CUDA)"
    there = f"scale {scale} needs a GPU, and torch sees none{build}: the scales pocket and smol run on a CPU"
    require(torch.cuda.is_available(), there)
    seen = torch.cuda.device_count()
    require(
        launch.ranks() > 1 or seen == 1,
        f"one process, and it sees {seen} GPUs: start one for each with `accelerate launch --config_file "
        f"configs/accelerate/ddp.yaml --num_processes {seen} -m egrc train ...`, or set CUDA_VISIBLE_DEVICES=0",
    )
