"""A trained adapter for others: safetensors and a model card, whose numbers come from the record; and adapters from
others, checked before use."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from egrc import paths
from egrc.atomic import WriteError, publish_folder, write_text
from egrc.checks import ConfigError
from egrc.evaluation.evaluate import summarise
from egrc.experiments import records, scales
from egrc.experiments.dryrun import flat
from egrc.experiments.fingerprint import portable
from egrc.experiments.records import Record, RecordError

ADAPTER = ("adapter_config.json", "adapter_model.safetensors")
LIMITS = {
    "pocket": (
        "The world is synthetic: clock arithmetic in about a hundred words. Divisions that must be guessed, checks "
        "that are sure and connectors drawn at random are in it by construction. Nothing about real models follows "
        "from these numbers alone."
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


def export(record: Record, out: Path) -> Path:
    """Write a record's adapter and its card into a new folder.

    Raises RecordError where the record has no adapter, WriteError where there is something in `out` already, or it
    cannot be written.
    """
    adapter = record.path / "adapter"
    if record.arm == "base":
        raise RecordError(f"{record.name}: the arm 'base' is not trained, so there is no adapter to export")
    if missing := [name for name in ADAPTER if not (adapter / name).is_file()]:
        raise RecordError(f"{paths.shown(adapter)}: no {', '.join(missing)}; restore the record or train it again")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise WriteError(f"{out} is there already, and nothing is overwritten: name another folder")
    with tempfile.TemporaryDirectory() as folder:
        for name in ADAPTER:
            shutil.copy(adapter / name, folder)
        write_text(Path(folder) / "README.md", card(record))
        publish_folder(Path(folder), out)
    out.chmod(0o755)  # a temporary folder is the owner's only
    return out


def card(record: Record) -> str:
    """The model card: what was run, on which data, settings, results, and what does not follow from them."""
    base = json.loads((record.path / "adapter" / ADAPTER[0]).read_text(encoding="utf-8"))["base_model_name_or_path"]
    on_hub = base.count("/") == 1 and not base.startswith("data/")  # 'owner/name', and not a path of the repository
    named = f"base_model: {base}\n" if on_hub else ""
    stale, config, scale = records.stale(record), record.config, record.scale
    warning = f"\nThe record is stale ({stale}): today's code may not produce it.\n" if stale else ""
    tested = summarise(record.evaluation).query("benchmark != 'mean'").groupby("benchmark", sort=False)["problems"]
    return f"""---
library_name: peft
{named}tags: [egrc, grpo, lora, reasoning-compression]
---

# egrc: {record.name}

## What this is

The run `{record.name}` of the package `egrc`, an independent companion to *Entropy-Guided Reasoning Compression* \
(arXiv 2511.14258): a LoRA adapter of `{base}`, trained with the arm `{record.arm}`.
{warning}
## Data

Trained on the training problems of scale `{scale}`, {len(record.steps)} steps x {config.prompts_per_step} problems x \
{config.group_size} rollouts, {record.meta["generated_tokens"]:,} tokens generated. Tested on problems that were held \
out: {", ".join(f"{name} ({n})" for name, n in tested.first().items())}.

## Settings

{_settings(record)}

## Results

{_results(record)}

## Limits

{LIMITS.get(scale, LIMITS["gpu"])} One run with one seed: for the spread over seeds see the package.

## Again

```bash
python -m egrc train --scale {scale} --arm {record.arm} --seed {record.seed} --out FOLDER
```
"""


def _settings(record: Record) -> str:
    rows = flat(record.config) | {f"version of {k}": v for k, v in record.meta["versions"].items()}
    rows |= {k: record.meta[k] for k in ("hardware", "ranks", "device") if k in record.meta}
    return _markdown(pd.DataFrame(list(rows.items()), columns=["setting", "value"]))


def _results(record: Record) -> str:
    """Beside the base's of the same seed, where it was evaluated; shares with three digits, tokens with one."""
    table, key = summarise(record.evaluation), ["benchmark", "temperature"]
    note = "The base was not evaluated with this seed, so there is no comparison."
    base = paths.run_folder(record.path.parents[3], record.scale, "base", record.seed)
    if (base / "run.json").is_file():
        before = summarise(Record.load(base).evaluation)[[*key, "accuracy", "mean_tokens"]]
        table = table.merge(before, on=key, how="left", suffixes=("", " of the base"))
        note = (
            "Held-out problems, 'samples' answers to each; temperature 0 is greedy. Tokens are completion tokens. "
            "Compare at the temperature that suits the base best."
        )
    for name in table.select_dtypes("number").columns.difference(["problems", "samples", "temperature"]):
        table[name] = table[name].map(f"{{:.{1 if 'tokens' in name else 3}f}}".format)
    return f"{_markdown(table)}\n\n{note}"


def _markdown(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, disable_numparse=True)


def check_adapter(folder: Path, scale: str) -> scales.World:
    """The scale's world with the model that an adapter belongs to; no path in it is followed.  Raises ConfigError
    unless the folder holds an adapter, as safetensors, of a model of this scale."""
    if missing := [name for name in ADAPTER if not (folder / name).is_file()]:
        where = "a folder that `python -m egrc export` wrote, or a record's adapter/"
        raise ConfigError(f"{folder} has no {missing[0]}: name {where} (weights in other formats are not read)")
    try:
        named = json.loads((folder / ADAPTER[0]).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder / ADAPTER[0]}: not an adapter's settings ({error}): export it again") from error
    worlds = [scales.world(scale, seed=seed) for seed in scales.runs(scale)[1]]
    known = {portable(world.policy_path()): world for world in worlds}
    if named not in known:
        bases = " or ".join(map(repr, known))
        raise ConfigError(f"{folder} was trained on {named!r}, but scale {scale} starts from {bases}: name its scale")
    return known[named]
