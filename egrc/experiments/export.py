"""A trained adapter for others: safetensors and a model card, alone or merged into its base.

The card says what was run, on which data, with which settings and results, and what does not follow from it.  All
numbers come from the record.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.atomic import WriteError, publish_folder, write_text
from egrc.evaluation.evaluate import summarise
from egrc.experiments import records, scales
from egrc.experiments.records import Record, RecordError

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
LIMITS = {
    "pocket": (
        "The world is synthetic: clock arithmetic in about fifty words. Useless re-checks, connectors drawn at random "
        "and giving up are in it by construction. Nothing about real models follows from these numbers alone."
    ),
    "smol": (
        "A few steps, to show that the trainer runs on a real model. They train nothing: this is not evidence for or "
        "against the method."
    ),
    "gpu": (
        "Trained and graded on competition mathematics with checkable answers, and on nothing else. Brevity was "
        "rewarded: other skills, other languages and safety behaviour were not measured and may have changed."
    ),
}


def export(record: Record, out: Path, merge: bool = False) -> Path:
    """Write a record's adapter and its card into a new folder; with `merge`, the whole model with the adapter in it.

    Raises
    ------
    RecordError
        The record has no adapter.
    WriteError
        There is something in `out` already, or it cannot be written.
    """
    adapter = record.path / "adapter"
    if record.arm == "base":
        raise RecordError(f"{record.name}: the arm 'base' is not trained, so there is no adapter to export")
    missing = [name for name in ADAPTER if not (adapter / name).is_file()]
    if missing:
        raise RecordError(f"{paths.shown(adapter)}: no {', '.join(missing)}; restore the record or train it again")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WriteError(f"{out} is there already, and nothing is overwritten: name another folder")
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "export"
        made.mkdir()
        if merge:
            _merged(record, made)
        else:
            for name in ADAPTER:
                shutil.copy(adapter / name, made)
        write_text(made / "README.md", card(record, merge))
        publish_folder(made, out)
    return out


def _merged(record: Record, folder: Path) -> None:
    from egrc.experiments.run import policy

    model, tokenizer = policy(record.config, scales.world(record.scale), record.path / "adapter")
    model.save_pretrained(folder)  # safetensors; transformers writes no others
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes for the owner only


# --- the card -----------------------------------------------------------------------------------------------------


def card(record: Record, merged: bool = False) -> str:
    """The model card: what, data, settings, results, limits.  Raises RecordError for a damaged record."""
    base = base_model(record)
    what = "the base model with a LoRA adapter merged into it" if merged else "a LoRA adapter"
    stale = records.stale(record)
    again = f"train --scale {record.scale} --arm {record.arm} --seed {record.seed}"
    sections = {
        "What this is": (
            f"The run `{record.name}` of the package `egrc`, an independent companion to *Entropy-Guided Reasoning "
            f"Compression* (arXiv 2511.14258): {what} of `{base}`, trained with the arm `{record.arm}`."
            + (f"\n\nThe record is stale ({stale}): today's code may not produce it." if stale else "")
        ),
        "Data": _data(record),
        "Settings": _markdown(settings(record)),
        "Results": _results(record),
        "Limits": f"{LIMITS[_kind(record.scale)]} One run with one seed: for the spread over seeds see the package.",
        "Again": f"```bash\npython -m egrc {again} --out FOLDER\n```",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"{_front_matter(base, merged)}\n# egrc: {record.name}\n\n{body}\n"


def base_model(record: Record) -> str:
    """The base as the adapter names it: a hub id, or where a clone of the repository has it."""
    settings = json.loads((record.path / "adapter" / ADAPTER[0]).read_text(encoding="utf-8"))
    return str(settings["base_model_name_or_path"])


def _kind(scale: str) -> str:
    return scale if scale in LIMITS else "gpu"


def _front_matter(base: str, merged: bool) -> str:
    lines = ["library_name: " + ("transformers" if merged else "peft")]
    lines += [f"base_model: {base}"] if _is_hub_id(base) else []
    lines += ["tags: [egrc, grpo, lora, reasoning-compression]"]
    return "\n".join(["---", *lines, "---", ""])


def _is_hub_id(base: str) -> bool:
    """'owner/name', and not a path of the repository?"""
    return base.count("/") == 1 and not base.startswith("data/")


def _data(record: Record) -> str:
    tested = summarise(record.evaluation).query("benchmark != 'mean'")
    named = ", ".join(f"{b} ({n})" for b, n in tested.groupby("benchmark", sort=False)["problems"].first().items())
    tokens, steps = record.meta["generated_tokens"], len(record.steps)
    config = record.config
    asked = f"{steps} steps x {config.prompts_per_step} problems x {config.group_size} rollouts"
    return (
        f"Trained on the training problems of scale `{record.scale}`, {asked}, {tokens:,} tokens generated. "
        f"Tested on problems that were held out: {named}."
    )


def settings(record: Record) -> pd.DataFrame:
    """Every setting of the run; columns setting, value."""
    config = record.config
    rows: dict[str, Any] = {k: v for k, v in vars(config).items() if k != "recipe"}
    for phase in config.recipe.phases:
        rows |= {f"{phase.name}: {k}": v for k, v in vars(phase).items() if k != "name"}
    if len(config.recipe.phases) > 1:
        rows |= {f"gate: {k}": v for k, v in config.recipe.gate.settings().items()}
    rows |= {f"version of {k}": v for k, v in record.meta["versions"].items()}
    rows |= {k: record.meta[k] for k in ("hardware", "ranks", "device") if k in record.meta}
    return pd.DataFrame(list(rows.items()), columns=["setting", "value"])


def _results(record: Record) -> str:
    after = summarise(record.evaluation)
    base = paths.run_folder(record.path.parents[3], record.scale, "base", record.seed)
    if not (base / "run.json").is_file():
        return f"{_markdown(_readable(after))}\n\nThe base was not evaluated with this seed, so there is no comparison."
    before = summarise(Record.load(base).evaluation)
    key = ["benchmark", "temperature"]
    both = after.merge(before[[*key, "accuracy", "mean_tokens"]], on=key, how="left", suffixes=("", " of the base"))
    return (
        f"{_markdown(_readable(both))}\n\nHeld-out problems, 'samples' answers to each; temperature 0 is greedy. "
        "Tokens are completion tokens. Compare at the temperature that suits the base best."
    )


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    """Shares with three digits, tokens with one; NaN as a dash."""
    whole = ("problems", "samples", "temperature")
    digits = {c: 1 if "tokens" in c else 3 for c in table.select_dtypes("number") if c not in whole}
    shown = {c: table[c].map(lambda x, n=n: "-" if pd.isna(x) else f"{x:.{n}f}") for c, n in digits.items()}
    return table.assign(**shown)


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)
