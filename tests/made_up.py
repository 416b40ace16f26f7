"""Made-up measurements for tests: random, small, and never written outside a test's folder."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import synthetic

from egrc.analysis import measure
from egrc.analysis.interventions import CONDITIONS, KEPT, OF_ARM
from egrc.atomic import write_parquet

CLASSES = ("connector", "number", "operator", "other")
WORDS = {"connector": ("so", "then", "wait"), "number": tuple("123456"), "operator": ("+1", "="), "other": (".", "#")}
REAL_WORDS = {
    "connector": (" So", "Therefore", " because", " and"), "number": (" 12", " 3"), "operator": (" +", " ="),
    "punctuation": (".", ","), "function": (" the", " of"),
    "content": (" apples", " cake", " children", " recommendations"), "layout": ("\n",),
}  # fmt: skip
MEAN = {"connector": 1.5, "content": 1.2, "number": 0.3}
GROUP = 8


def rollouts(
    seed: int = 0,
    problems: int = 6,
    samples: int = 2,
    words: dict[str, tuple[str, ...]] = WORDS,
    tokenizer: str = "made up",
) -> pd.DataFrame:
    """A rollout table: two benchmarks, connectors uncertain, lists of 30 to 50 entries."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(problems):
        for sample in range(samples):
            n = int(rng.integers(30, 50))
            classes = rng.choice(list(words), n)
            line = {"benchmark": ("forward-3", "hole-2")[i % 2], "id": f"{i} +1 ?", "seed": seed, "sample": sample}
            line |= {"tokenizer": tokenizer, "prompt": f"{i} +1 ?", "correct": bool(rng.random() < 0.7)}
            line |= {"truncated": False, "length": n, "tokens": [str(rng.choice(words[c])) for c in classes]}
            nats = rng.gamma(2, [MEAN.get(c, 0.1) / 2 for c in classes]).astype(np.float32)
            lines.append(line | {"entropies": nats, "classes": classes.tolist()})
    return pd.DataFrame(lines)


def interventions(seeds: int = 3, problems: int = 6, of: str = "pocket") -> pd.DataFrame:
    """Rows of `interventions`: raising connectors lengthens, forbidding them shortens."""
    frames = []
    for number, (arm, conditions) in enumerate(OF_ARM[of].items()):
        for seed in range(seeds):
            for condition in conditions:
                rng = np.random.default_rng([number, seed, list(CONDITIONS).index(condition)])
                rows = rollouts(seed, problems).assign(scale=of, arm=arm, condition=condition)
                n = len(rows)
                scale = {"suppressed": 0.2, "logits +2": 1.6, "forced": 1.4}.get(condition, 1.0) * (1 - 0.3 * number)
                length = (scale * rng.normal(90, 10, n)).clip(5).round()
                sums = {"length": length.astype(int), "connectors": (length / 10).astype(int), "entropy": 0.3 * length}
                sums |= {"entropy_sampled": 0.25 * length, "cost": 0.0 if condition == "none" else 0.1 * length}
                sums |= {"touched": 2, "gradient_square": 0.1 * length, "disagreement": 0.1 * length}
                rows = rows.assign(**sums, correct=rng.random(n) < 0.6)
                frames.append(rows if (arm, condition) == ("base", "none") else rows.assign(**dict.fromkeys(KEPT)))
    return pd.concat(frames, ignore_index=True)


def policies(arms: dict[str, float]) -> pd.DataFrame:
    """Rows of `policies`: every arm has its own length, and entropy goes with it."""
    frames = []
    for number, (arm, factor) in enumerate(arms.items()):
        for seed in range(3):
            rng = np.random.default_rng([seed, number])
            for kind, names, samples in (("completion", ("forward-3", "hole-2"), 4), ("prefix", ("prefix",), 1)):
                n = 6 * samples * len(names)
                tokens = rng.normal(90 * factor, 5, n) if kind == "completion" else np.ones(n)
                rows = pd.DataFrame({"benchmark": np.repeat(names, 6 * samples), "tokens": tokens, "kind": kind})
                rows = rows.assign(id=[f"p{i // samples}" for i in range(n)], sample=np.arange(n) % samples)
                rows = rows.assign(correct=rng.random(n) < 0.7, truncated=False, text_key=rng.integers(0, 3, n))
                for c in CLASSES:
                    rows[f"n_{c}"] = tokens / len(CLASSES)
                    rows[f"entropy_{c}"] = tokens * MEAN.get(c, 0.1) * rng.normal(factor, 0.05, n).clip(0.1)
                rows["entropy_sum"] = rows[[f"entropy_{c}" for c in CLASSES]].sum(axis=1)
                frames.append(rows.assign(arm=arm, seed=seed, scale="pocket", tokenizer="t", part=f"{arm}/seed-{seed}"))
    return pd.concat(frames, ignore_index=True)


def tug(scale: str = "pocket", seeds: int = 3, problems: int = 6) -> pd.DataFrame:
    """Rows of `tug`: random gradients, larger on connectors, which both objectives push down."""
    lines = []
    for seed in range(seeds):
        for permutation in (-1, 0, 1):
            for token_class in _sets(scale, permutation):
                lines += _set(scale, seed, permutation, token_class, problems)
    return pd.DataFrame(lines)


def _sets(scale: str, permutation: int) -> tuple[str, ...]:
    """The real model's random sets are of connectors only."""
    if permutation < 0:
        return ("all", *CLASSES) if scale == "pocket" else ("connector", "all")
    return CLASSES if scale == "pocket" else ("connector",)


def _set(scale: str, seed: int, permutation: int, token_class: str, problems: int) -> list[dict[str, object]]:
    rng = np.random.default_rng([seed, permutation + 1, len(token_class)])
    advantages = np.random.default_rng(seed).normal(size=(2, problems, GROUP))
    size = 3.0 if permutation < 0 and token_class.startswith(("connector", "all")) else 1.0
    a, c = size * rng.normal(size=(2, problems, 12))
    lines = []
    for i in range(problems):
        line = {"part": f"base/seed-{seed}", "scale": scale, "tokenizer": "made up", "arm": "base", "seed": seed}
        line |= {"step": 0, "permutation": permutation, "token_class": token_class, "problem": i}
        line |= {"benchmark": ("forward-3", "hole-2")[i % 2], "id": f"{i} +1 ?", "tokens": 20}
        line |= {"advantage_accuracy": advantages[0, i] - advantages[0, i].mean()}
        line |= {"advantage_compression": np.abs(advantages[1, i])}
        line |= {"scores": rng.normal(size=GROUP) - 0.5 * advantages[1, i]}
        line |= {"gram_accuracy": a[: i + 1] @ a[i], "gram_compression": c[: i + 1] @ c[i]}
        lines.append(line | {"gram_cross": (a[: i + 1] @ c[i] + c[: i + 1] @ a[i]) / 2})
    return lines


def words(problems: int = 12) -> pd.DataFrame:
    """Rows of `words`: as a rollout table, with the lists by another list of connectors and by subword token."""
    table = rollouts(0, problems, 4, REAL_WORDS, "made up too").assign(scale="real", benchmark="svamp")
    starts = [np.arange(len(t)) for t in table["tokens"]]
    strict = [["function" if w == " and" else c for w, c in zip(*row, strict=True)]
              for row in zip(table["tokens"], table["classes"], strict=True)]  # fmt: skip
    return table.assign(
        classes_strict=strict,
        entropies_first=[0.8 * nats for nats in table["entropies"]],
        starts=starts,
        subwords=table["tokens"],
        subword_entropies=table["entropies"],
        answer="1", text="", subword_ids=starts,
    )  # fmt: skip


def strip() -> pd.DataFrame:
    """Rows of `strip`: answers that get shorter, in one arm without connectors at last."""
    lines = []
    for arm, seed, step, sample in product(("egrc", "joint"), range(3), (0, 20, 40), range(3)):
        n, classes = 20 - step // 3 + sample, CLASSES[1:] if (arm, step) == ("egrc", 40) else CLASSES
        line = {"arm": arm, "seed": seed, "step": step, "sample": sample, "shown": sample == 1, "correct": step > 0}
        line |= {"benchmark": "hole-4", "id": "5 *4 ?", "length": n, "tokens": ["x"] * n}
        lines.append(line | {"classes": [classes[i % len(classes)] for i in range(n)]})
    return pd.DataFrame(lines).assign(scale="pocket", tokenizer="made up", truncated=False)


def write(data: Path, seeds: int = 3) -> Path:
    """All of them, as files in a data folder.  Returns it."""
    for name, scale, table in (
        ("interventions", "pocket", interventions(seeds)),
        ("tug", "pocket", tug("pocket", seeds)),
        ("policies", "pocket", policies(synthetic.LENGTH)),
        ("strip", "pocket", strip()),
        ("interventions", "real", interventions(min(seeds, 2), of="real")),
        ("words", "real", words()),
        ("tug_words", "real", tug("real", 1)),
    ):
        write_parquet(measure.file(name, scale, data), table)
    return data
