"""Samples -> rows -> numbers.

`evaluate` asks a model every problem of every benchmark and returns one row per answer; `summarise` makes accuracy,
pass@k and completion tokens of such rows.  Their intervals are in `egrc.evaluation.intervals`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from egrc.checks import grade

if TYPE_CHECKING:  # a reader of records needs neither
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 256
KEPT_TEXTS = 4  # problems per benchmark and temperature whose text is kept
Progress = Callable[[int, int], None]


# --- sampling -------------------------------------------------------------------------------------


def derived_seed(seed: int, benchmark: str, temperature: float) -> int:
    """A seed for each benchmark and temperature: results do not depend on what else is evaluated."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{benchmark}/{temperature!r}".encode()).digest()[:4])


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benchmarks: Mapping[str, Dataset],
    correct: Callable[[str, str], bool],
    temperatures: tuple[float, ...],
    samples: int,
    cap: int,
    seed: int,
    on_progress: Progress | None = None,
    batch: int = BATCH,
) -> pd.DataFrame:
    """Sample answers to every problem and grade them.

    Parameters
    ----------
    benchmarks : name -> table with columns id, prompt, answer.
    correct : grades a text (special tokens removed) against an answer; a truncated text is wrong unasked.
    temperatures : 0 is greedy, and gets one sample; the others get `samples`.
    cap : completion tokens, end of sequence included, after which an answer is cut.
    on_progress : called with the answers done and wanted, after every batch.

    Returns
    -------
    Columns benchmark, id, temperature, sample, correct, tokens (end of sequence included), truncated, text
    (of a few, else None).  The same seed, machine and versions give the same rows.

    Raises
    ------
    ValueError
        A benchmark without problems.
    """
    for name, problems in benchmarks.items():
        if len(problems) == 0:
            raise ValueError(f"benchmark {name!r} has no problems: check its file or data directory")
    jobs = [(b, t, 1 if t == 0 else samples) for b in benchmarks for t in temperatures]
    total, done = sum(len(benchmarks[b]) * n for b, _, n in jobs), 0
    rows: list[dict[str, Any]] = []
    for benchmark, temperature, n in jobs:
        problems = benchmarks[benchmark].to_list()
        asked = [(p, s) for p in problems for s in range(n)]
        ids = tokenizer([p["prompt"] for p, _ in asked])["input_ids"]
        order = sorted(
            range(len(asked)), key=lambda i: len(ids[i])
        )  # stable: little padding, fixed composition
        sampled: dict[int, list[int]] = {}
        for chunk, outputs in _batches(
            model, tokenizer, ids, order, temperature, cap, batch, (seed, benchmark)
        ):
            sampled |= dict(zip(chunk, outputs, strict=True))
            done += len(chunk)
            if on_progress:
                on_progress(done, total)
        kept = {p["id"] for p in problems[:KEPT_TEXTS]}
        texts = [tokenizer.decode(sampled[i], skip_special_tokens=True) for i in range(len(asked))]
        graded = grade(correct, texts, [problem["answer"] for problem, _ in asked])
        for i, (problem, sample) in enumerate(asked):
            ended, text = sampled[i][-1] == tokenizer.eos_token_id, texts[i]
            rows.append(
                {
                    **{
                        "benchmark": benchmark,
                        "id": problem["id"],
                        "temperature": temperature,
                        "sample": sample,
                    },
                    **{
                        "correct": ended and graded[i],
                        "tokens": len(sampled[i]),
                    },
                    **{"truncated": not ended, "text": text if problem["id"] in kept else None},
                }
            )
    return pd.DataFrame(rows)


def _batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: list[list[int]],
    order: list[int],
    temperature: float,
    cap: int,
    batch: int,
    seed: tuple[int, str],
) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Positions of `ids` and their completions, batch by batch; leaves the global random state as it was."""
    import torch
    from transformers import GenerationConfig

    from egrc.ended import left_out

    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    settings = GenerationConfig(
        max_new_tokens=cap,
        eos_token_id=eos,
        pad_token_id=pad,
        suppress_tokens=None if pad == eos else [pad],  # a sampled pad would pass for an ended answer
        **({"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}),
    )
    model.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad(), left_out(model, [eos]):
        torch.manual_seed(derived_seed(*seed, temperature))
        for start in range(0, len(order), batch):
            chunk = order[start : start + batch]
            inputs = tokenizer.pad(
                {"input_ids": [ids[i] for i in chunk]}, padding_side="left", return_tensors="pt"
            )
            out = model.generate(**inputs.to(model.device), generation_config=settings)
            completions = out[:, inputs["input_ids"].shape[1] :].tolist()
            yield chunk, [_until(c, eos) for c in completions]


def _until(tokens: list[int], eos: int) -> list[int]:
    return tokens[: tokens.index(eos) + 1] if eos in tokens else tokens


# --- summaries ------------------------------------------------------------------------------------


def pass_at_k(correct: int, samples: int, k: int) -> float:
    """Chance that k of the samples, drawn without replacement, hold a correct one: the unbiased estimator.

    Raises ValueError unless 1 <= k <= samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k={k}: pass@k needs 1 <= k <= samples ({samples})")
    return 1 - comb(samples - correct, k) / comb(samples, k)


def summarise(rows: pd.DataFrame, k: int | None = None) -> pd.DataFrame:
    """One line per benchmark and temperature, and their plain mean as benchmark 'mean'.

    Columns: benchmark, temperature, problems, samples (per problem), accuracy, pass@k (k: as many as all
    problems have, unless given), mean_tokens, mean_tokens_correct (NaN where nothing is correct), truncated
    (a share).
    """
    lines = []
    for (benchmark, temperature), group in rows.groupby(["benchmark", "temperature"], sort=False):
        per_problem = group.groupby("id")["correct"].agg(["sum", "size"])
        tries = k or int(per_problem["size"].min())
        passed = [pass_at_k(int(c), int(n), tries) for c, n in per_problem.itertuples(index=False)]
        lines.append(
            {
                **{"benchmark": benchmark, "temperature": temperature, "problems": len(per_problem)},
                **{"samples": len(group) / len(per_problem), "accuracy": group["correct"].mean()},
                **{"pass@k": float(np.mean(passed)), "mean_tokens": group["tokens"].mean()},
                "mean_tokens_correct": group.loc[group["correct"], "tokens"].mean(),
                "truncated": group["truncated"].mean(),
            }
        )
    table = pd.DataFrame(lines)
    means = table.drop(columns="benchmark").groupby("temperature", sort=False).mean().reset_index()
    means["problems"] = table.groupby("temperature", sort=False)["problems"].sum().to_numpy()
    return pd.concat([table, means.assign(benchmark="mean")], ignore_index=True)
