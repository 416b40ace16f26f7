"""Adapters for others: what is written, that it computes the same, what its card says and from where."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import stub_records
import torch
from transformers import AutoModelForCausalLM

from egrc import paths
from egrc.__main__ import main
from egrc.atomic import WriteError
from egrc.evaluation.evaluate import summarise
from egrc.experiments import records, scales
from egrc.experiments.export import ADAPTER, card, export, settings
from egrc.experiments.records import Record, RecordError
from egrc.experiments.run import policy


@pytest.fixture(scope="module")
def record() -> Record:
    return records.load("pocket", "egrc", 0)


@pytest.fixture(scope="module")
def merged(record: Record, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(record, tmp_path_factory.mktemp("merged") / "model", merge=True)


def test_an_adapter_and_its_card(record: Record, tmp_path: Path) -> None:
    out = export(record, tmp_path / "adapter")
    assert sorted(f.name for f in out.iterdir()) == ["README.md", *ADAPTER]
    for name in ADAPTER:
        assert (out / name).read_bytes() == (record.path / "adapter" / name).read_bytes()


def test_merged_weights_say_what_base_and_adapter_say(record: Record, merged: Path) -> None:
    assert not [f.name for f in merged.iterdir() if f.suffix in (".bin", ".pt", ".pkl", ".pth")]
    assert {"README.md", "model.safetensors", "config.json", "tokenizer.json"} <= {f.name for f in merged.iterdir()}
    model, tokenizer = policy(record.config, scales.world("pocket"), record.path / "adapter")
    again = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32).eval()
    base, _ = scales.world("pocket").policy()
    asked = tokenizer(scales.world("pocket").probe_prefixes()[:4], padding=True, return_tensors="pt")
    with torch.no_grad():
        mine, theirs, untrained = (m(**asked).logits for m in (model, again, base))
    assert torch.equal(mine, theirs) and not torch.allclose(mine, untrained)


def test_nothing_names_this_machine(merged: Path) -> None:
    for file in merged.iterdir():
        assert str(paths.ROOT).encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize("there", ["file", "folder"])
def test_nothing_is_overwritten(record: Record, tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(WriteError, match="is there already, and nothing is overwritten"):
        export(record, out)
    assert (out if there == "file" else out / "mine").read_text() == "mine"


def test_an_empty_folder_may_be_filled(record: Record, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert (export(record, tmp_path / "out") / "README.md").exists()


def test_what_has_no_adapter_cannot_be_exported(record: Record, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="the arm 'base' is not trained"):
        export(records.load("pocket", "base", 0), tmp_path / "out")
    shutil.copytree(record.path, tmp_path / "damaged")
    (tmp_path / "damaged" / "adapter" / ADAPTER[1]).unlink()
    with pytest.raises(RecordError, match="no adapter_model.safetensors; restore the record"):
        export(Record.load(tmp_path / "damaged"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["export", "--arm", "egrc", "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    assert main(asked) == 1
    out, err = capsys.readouterr()
    assert str(tmp_path / "out") in out
    assert err.startswith("egrc: ") and "is there already" in err and err.count("\n") == 1


# --- the card -----------------------------------------------------------------------------------------------------


def rows(text: str, section: str) -> list[list[str]]:
    """The cells of a section's table, without its rule."""
    part = text.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if not set("".join(line)) <= set(":- ")]


def test_the_card_holds_the_records_own_numbers(record: Record) -> None:
    said = card(record)
    assert re.findall(r"^## (.*)$", said, re.MULTILINE) == [
        "What this is", "Data", "Settings", "Results", "Limits", "Again",
    ]  # fmt: skip
    head, *lines = rows(said, "Results")
    own = summarise(record.evaluation)
    base = summarise(records.load("pocket", "base", 0).evaluation)
    assert len(lines) == len(own)
    first = dict(zip(head, lines[0], strict=True))
    assert (first["accuracy"], first["mean_tokens"]) == (f"{own['accuracy'][0]:.3f}", f"{own['mean_tokens'][0]:.1f}")
    assert first["accuracy of the base"] == f"{base['accuracy'][0]:.3f}"
    shown = dict(rows(said, "Settings")[1:])
    assert shown["learning_rate"] == str(record.config.learning_rate) and shown["seed"] == "0"
    assert shown["compress: budget"] == str(record.config.recipe.phases[0].budget)
    assert f"{record.meta['generated_tokens']:,} tokens generated" in said and f"{len(record.steps)} steps" in said
    assert "synthetic" in said.split("## Limits")[1]


def test_another_record_gives_another_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers made up by hand, so that none can be a literal of the code."""
    monkeypatch.setattr(records, "stale", lambda record: "changed since: egrc.experiments.run")
    made = Record.load(stub_records.write(tmp_path, "joint", 7))
    (made.path / "adapter").mkdir(exist_ok=True)
    (made.path / "adapter" / ADAPTER[0]).write_text(json.dumps({"base_model_name_or_path": "owner/model"}))
    stub_records.steps().head(1).assign(phase="joint").to_csv(made.path / "steps.csv", index=False)
    said = card(made)
    assert "`pocket/joint/seed-7`" in said and "base_model: owner/model" in said
    assert "stale (changed since: egrc.experiments.run)" in said
    assert "The base was not evaluated with this seed" in said
    assert "forward-3" in said and "1 steps" in said


def test_settings_are_all_there(record: Record) -> None:
    shown = set(settings(record)["setting"])
    assert {f for f in type(record.config).__dataclass_fields__ if f != "recipe"} <= shown
    assert {"gate: low", "compress: r", "explore: temperature", "version of torch"} <= shown
