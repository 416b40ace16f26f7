"""Adapters for others: what is written, that it computes the same, what its card says and from where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from egrc.__main__ import main
from egrc.checks import ConfigError
from egrc.evaluation.evaluate import summarise
from egrc.experiments import records, scales
from egrc.experiments.export import ADAPTER, card, check_adapter, export
from egrc.experiments.records import Record, RecordError
from egrc.experiments.run import adapted


@pytest.fixture(scope="module")
def record() -> Record:
    return records.load("pocket", "egrc", 0)


def test_an_adapter_and_its_card(record: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "adapter"
    out.mkdir()  # an empty folder may be filled
    asked = ["export", "--arm", "egrc", "--out", str(out)]
    assert main(asked) == 0 and str(out) in capsys.readouterr().out
    assert sorted(f.name for f in out.iterdir()) == ["README.md", *ADAPTER]
    for name in ADAPTER:
        assert (out / name).read_bytes() == (record.path / "adapter" / name).read_bytes()
    (out / "README.md").write_text("mine")
    assert main(asked) == 1
    err = capsys.readouterr().err
    assert err.startswith("egrc: ") and "is there already, and nothing is overwritten" in err and err.count("\n") == 1
    assert (out / "README.md").read_text() == "mine"


def test_what_has_no_adapter_cannot_be_exported(record: Record, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="the arm 'base' is not trained"):
        export(records.load("pocket", "base", 0), tmp_path / "out")
    shutil.copytree(record.path, tmp_path / "damaged")
    (tmp_path / "damaged" / "adapter" / ADAPTER[1]).unlink()
    with pytest.raises(RecordError, match="no adapter_model.safetensors; restore the record"):
        export(Record.load(tmp_path / "damaged"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def rows(text: str, section: str) -> list[list[str]]:
    """The cells of a section's table, without its rule."""
    part = text.split(f"## {section}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if not set("".join(line)) <= set(":- ")]


def test_the_card_holds_the_records_own_numbers(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = card(record)
    head, *lines = rows(text, "Results")
    own = summarise(record.evaluation)
    base = summarise(records.load("pocket", "base", 0).evaluation)
    assert len(lines) == len(own)
    first = dict(zip(head, lines[0], strict=True))
    assert (first["accuracy"], first["mean_tokens"]) == (f"{own['accuracy'][0]:.3f}", f"{own['mean_tokens'][0]:.1f}")
    assert first["accuracy of the base"] == f"{base['accuracy'][0]:.3f}"
    shown = dict(rows(text, "Settings")[1:])
    assert {"gate: low", "compress: r", "explore: temperature", "version of torch", "loss_type"} <= shown.keys()
    assert shown["learning_rate"] == str(record.config.learning_rate) and shown["seed"] == "0"
    assert shown["compress: budget"] == str(record.config.recipe.phases[0].budget)
    assert f"{record.meta['generated_tokens']:,} tokens generated" in text and f"{len(record.steps)} steps" in text
    assert "synthetic" in text.split("## Limits")[1]
    monkeypatch.setattr(records, "stale", lambda record: "config changed: cap")
    alone = Record.load(shutil.copytree(record.path, tmp_path / "runs/pocket/egrc/seed-0"))
    text = card(alone)
    assert "stale (config changed: cap)" in text and "The base was not evaluated with this seed" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "has no adapter_config.json: .*other formats are not read"),
        ("{", "not an adapter's settings.*export it again"),
        ("{}", "not an adapter's settings"),
        ('{"base_model_name_or_path": "owner/other"}', "was trained on 'owner/other', but scale pocket starts from"),
        ('{"base_model_name_or_path": "../../secret"}', "starts from 'data/pocket/start-0' or"),  # it is not followed
    ],
)
def test_what_is_no_adapter_of_this_scale_is_refused(tmp_path: Path, settings, message: str) -> None:
    (tmp_path / ADAPTER[1]).touch()
    if settings is not None:
        (tmp_path / ADAPTER[0]).write_text(settings)
    with pytest.raises(ConfigError, match=message):
        check_adapter(tmp_path, "pocket")


@pytest.mark.parametrize("rank", [None, 3])
def test_weights_that_are_cut_or_of_another_shape(record: Record, tmp_path: Path, rank: int | None) -> None:
    made = shutil.copytree(record.path / "adapter", tmp_path / "a")
    if rank is None:
        (made / ADAPTER[1]).write_bytes((made / ADAPTER[1]).read_bytes()[:100])
    else:
        (made / ADAPTER[0]).write_text(json.dumps(json.loads((made / ADAPTER[0]).read_text()) | {"r": rank}))
    with pytest.raises(ConfigError, match="cannot be used: .*copy or export it again$"):
        adapted(scales.world("pocket").policy()[0], made)
