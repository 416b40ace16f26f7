"""One question to the base and to an adapter; what an adapter from outside may not do."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from peft import PeftModel

from egrc.__main__ import main
from egrc.checks import ConfigError
from egrc.evaluation import sampling
from egrc.experiments import records, scales
from egrc.experiments.export import ADAPTER, export
from egrc.experiments.generate import before_and_after, check_adapter


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(records.load("pocket", "egrc", 0), tmp_path_factory.mktemp("export") / "adapter")


@pytest.fixture(scope="module")
def problem() -> str:
    return scales.world("pocket").benchmarks(1)["forward-3"][0]["id"]


def test_text_and_length_before_and_after(problem: str, adapter: Path) -> None:
    found = before_and_after("pocket", problem, adapter, temperature=0.0)
    model, tokenizer = scales.world("pocket").policy()
    for who in ("base", "adapter"):
        model = PeftModel.from_pretrained(model, str(adapter)).eval() if who == "adapter" else model
        (ids,) = sampling.sample(model, tokenizer, [tokenizer(problem).input_ids], 320, (0, "question"), 0.0)
        assert (found[who].tokens, found[who].text) == (len(ids), tokenizer.decode(ids, skip_special_tokens=True))
        assert not found[who].truncated
    assert list(found) == ["base", "adapter"] and found["base"] != found["adapter"]


def test_without_an_adapter_only_the_base_answers(problem: str) -> None:
    short = before_and_after("pocket", problem, temperature=0.0, cap=3)
    assert list(short) == ["base"] and short["base"].tokens == 3 and short["base"].truncated
    assert str(short["base"]).startswith("3 tokens, cut at the cap\n")
    one, again, other = (before_and_after("pocket", problem, seed=s, temperature=1.0)["base"] for s in (1, 1, 2))
    assert one == again != other


def test_the_command(problem: str, adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--adapter", str(adapter), "--temperature", "0", problem]) == 0
    out = capsys.readouterr().out
    assert re.match(r"base: \d+ tokens\n.+\n\nadapter: \d+ tokens\n.+\n$", out)


@pytest.mark.parametrize("asked", ["What is 3 + 4?", "   ", ""])
def test_what_the_model_cannot_read(asked: str) -> None:
    with pytest.raises(ConfigError, match="cannot read this.*ask, for example, '.*[?]'"):
        before_and_after("pocket", asked)


# --- adapters from outside ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "has no adapter_config.json"),
        ("{", "not an adapter's settings.*export it again"),
        ("[]", "not an adapter's settings"),
        ("{}", "not an adapter's settings"),
        ('{"base_model_name_or_path": "owner/other"}', "was trained on 'owner/other', but scale pocket starts from"),
        ('{"base_model_name_or_path": "../../secret"}', "starts from 'data/pocket/base'"),  # it is not followed
    ],
)
def test_what_is_no_adapter_of_this_base_is_refused(
    adapter: Path, tmp_path: Path, settings: str | None, message: str
) -> None:
    shutil.copy(adapter / ADAPTER[1], tmp_path)
    if settings is not None:
        (tmp_path / ADAPTER[0]).write_text(settings)
    with pytest.raises(ConfigError, match=message):
        before_and_after("pocket", "3 + 4 ?", tmp_path)


def test_weights_in_another_format_are_not_read(adapter: Path, tmp_path: Path) -> None:
    shutil.copy(adapter / ADAPTER[0], tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ConfigError, match="has no adapter_model.safetensors.*other formats are not read"):
        check_adapter(tmp_path, "pocket")


@pytest.mark.parametrize("rank", [None, 3])
def test_weights_that_are_cut_or_of_another_shape_are_one_line(
    adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rank: int | None
) -> None:
    shutil.copytree(adapter, tmp_path / "a")
    if rank is None:
        (tmp_path / "a" / ADAPTER[1]).write_bytes((adapter / ADAPTER[1]).read_bytes()[:100])
    else:
        said = json.loads((adapter / ADAPTER[0]).read_text()) | {"r": rank}
        (tmp_path / "a" / ADAPTER[0]).write_text(json.dumps(said))
    assert main(["generate", "--adapter", str(tmp_path / "a"), "5 *4 -2 +3 ?"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("egrc: ") and "cannot be used: " in err and err.endswith("copy or export it again\n")
