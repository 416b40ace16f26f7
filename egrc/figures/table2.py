"""Table 2: the six benchmarks (and Minerva), every model that was evaluated here, and published rows beside them.

Three parts that are never mixed: our rows, each with its interval and protocol; what exists of each model, set by set,
with what is missing and why; and published numbers (`data/published.csv`), under protocols of their own.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from egrc.evaluation import benchmarks
from egrc.experiments import evaluations
from egrc.experiments.records import RecordError
from egrc.figures import typeset
from egrc.paths import DATA, FIGURES, ROOT, shown
from egrc.worlds.deepseek import NOT_RUN

SETS = (*benchmarks.SIX, "minerva")
NO_COPY = "no copy of the set at hand"
AT_HAND = ("gsm8k", "math500", "amc23", "aime24")
"""The sets of which we had a copy.  No other was ever read by this project."""
MODELS = {
    **{"smol": "SmolLM2-135M-Instruct", "real": "Qwen2.5-Coder-0.5B-Instruct"},
    **{"gpu": "R1-Distill-Qwen-1.5B", "gpu-7b": "R1-Distill-Qwen-7B"},
}
"""By scale.  The pocket world has problems of its own: table 1."""
WANTED = {"smol": ("base",), "real": ("base",), "gpu": ("base", "egrc"), "gpu-7b": ("base", "egrc")}
"""Who is listed even where there are no rows."""
GIVEN = ROOT / "data" / "published.csv"
PUBLISHED = (
    *("model", "method", "benchmark", "accuracy", "tokens", "length_share", "accuracy_change", "protocol", "source"),
)
"""Columns of the published numbers: accuracy in %, mean completion tokens, tokens as a share of the base's, and the
change of accuracy in the source's words."""
COMMAND = "python -m egrc evaluate --scale {scale} --benchmark {benchmark} --data DIR"
"""What makes rows; without --data the set comes from the hub."""
NOTES = (
    "Ours: estimate [95% interval]. pass@1 is the mean over k samples of each problem, then over problems; intervals "
    "resample problems, given the samples; where no problem was solved, or all were, they are the exact binomial ones. "
    "Majority: a vote among the k samples, ties shared. Tokens are completion tokens, end token included, of right and "
    "wrong answers; an answer cut at the cap is wrong. Minutes: by the clock, on one core that did other work, too.",
    "Problems are chosen by a hash of their text. There is no mean over sets: they differ in size and difficulty, and "
    "the sets at hand are not all six. Which six benchmarks the paper used is not public in what we could read.",
    "Published rows were made by others, on other models, with other prompts, samples, temperatures and caps: they "
    "show what is known, and no row of ours may be ranked among them.",
)


def published(file: Path = GIVEN) -> pd.DataFrame:
    """The published numbers, columns `PUBLISHED`, empty text where a source gives none.  Raises RecordError."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise RecordError(f"{shown(file)}: cannot be read ({error}); restore it") from error
    if list(table.columns) != list(PUBLISHED) or not table["source"].str.len().all():
        raise RecordError(f"{shown(file)}: expected the columns {', '.join(PUBLISHED)}, and a source in each row")
    return table


def ours(data: Path = DATA) -> pd.DataFrame:
    """`egrc.experiments.evaluations.table` of what was asked of real models, set by set, then model by model."""
    found = [e for scale in MODELS for e in evaluations.load_all(scale, data) if e.settings["benchmark"] in SETS]
    return evaluations.table(sorted(found, key=lambda e: SETS.index(e.settings["benchmark"])))


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """One row a model, one column a set: 'pass@1 % [interval] @ tokens', or why there is none."""
    there = {
        (line["scale"], line["who"], line["benchmark"]): f"{percent(line, 'accuracy')} @ {line['mean_tokens']:.0f}"
        for _, line in table.iterrows()
    }
    rows = []
    for scale in MODELS:
        lacking = {b: "not recorded" if b in AT_HAND else NO_COPY for b in SETS}
        lacking = dict.fromkeys(SETS, NOT_RUN) if scale.startswith("gpu") else lacking
        for who in dict.fromkeys((*WANTED[scale], *(w for s, w, _ in there if s == scale))):
            cells = {benchmarks.get(b).title: there.get((scale, who, b), lacking[b]) for b in SETS}
            rows.append({"model": f"{MODELS[scale]}, {who}", **cells})
    return pd.DataFrame(rows)


def details(table: pd.DataFrame) -> pd.DataFrame:
    """Our rows as text, with their protocol."""
    lines = []
    for _, line in table.iterrows():
        row = {"set": benchmarks.get(line["benchmark"]).title, "model": f"{MODELS[line['scale']]}, {line['who']}"}
        row |= {"n": str(line["problems"]), "k": str(line["samples"]), "T": f"{line['temperature']:g}"}
        row |= {"top_p": f"{line['top_p']:g}", "cap": str(line["cap"])}
        row |= {"pass@1 (%)": percent(line, "accuracy"), "majority (%)": percent(line, "majority")}
        row |= {"tokens": number(line, "mean_tokens"), "thinking": number(line, "thinking_tokens")}
        row |= {"answer": number(line, "answer_tokens"), "cut (%)": percent(line, "truncated")}
        lines.append(row | {"minutes": f"{line['seconds'] / 60:.0f}"})
    return pd.DataFrame(lines)


def number(line: pd.Series, name: str, scale: int = 1, digits: int = 0) -> str:
    """'220 [205, 236]'."""
    return "{} [{}, {}]".format(*(f"{scale * line[name + part]:.{digits}f}" for part in ("", "_low", "_high")))


def percent(line: pd.Series, name: str) -> str:
    """'4.2 [2.0, 6.8]', in %."""
    return number(line, name, 100, 1)


def parts(data: Path = DATA) -> dict[str, pd.DataFrame]:
    """Title to table; a dash where a source gives no number.  Raises RecordError."""
    table = ours(data)
    titles = {"accuracy": "accuracy (%)", "length_share": "tokens / base's", "accuracy_change": "accuracy against base"}
    return {
        "What there is: pass@1 in % [95% interval] @ mean tokens": overview(table),
        "Ours, with protocol": details(table),
        "Published, under protocols of their own": published().replace("", "–").rename(columns=titles),
    }


def write(data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table2.md and table2.tex.  Raises RecordError, or `egrc.atomic.WriteError`."""
    return typeset.write(out / "table2", NOTES, parts(data))
