"""The real world: which model it takes, what it refuses, and what it asks."""

from pathlib import Path

import pytest

from egrc.checks import ConfigError
from egrc.evaluation.problems import key, load
from egrc.worlds import hub, real
from egrc.worlds.real import FILE, SVAMP, VARIABLE, Real
from egrc.worlds.smol import Smol


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(VARIABLE, raising=False)
    return monkeypatch


def test_a_folder_is_taken_as_it_is_and_its_template_makes_the_prompt(named: pytest.MonkeyPatch) -> None:
    named.setenv(VARIABLE, Smol().policy_path())
    world = Real()
    assert world.policy_path() == Smol().policy_path()
    text = world.prompt("How many?<|im_end|>")
    assert text.endswith("<|im_start|>assistant\n") and "How many? \n\nReason step by step" in text
    (tested,) = world.benchmarks(60).values()
    assert len(tested) == 60 and tested.to_list() == Real().benchmarks(60)["svamp"].to_list()
    assert tested[0]["prompt"].startswith("<|im_start|>system")
    with pytest.raises(ConfigError, match="is measured, not trained"):
        world.train_problems(0)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file, nor a folder"), (b"cut", "is not the measured one .SHA-256 ")]
)
def test_a_file_that_is_missing_or_another_is_refused(
    named: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, message: str
) -> None:
    file = tmp_path / FILE
    if content:
        file.write_bytes(content)
    named.setenv(VARIABLE, str(file))
    with pytest.raises(ConfigError, match=message):
        Real().policy_path()


def test_any_other_file_is_converted_under_its_own_hash(named: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "Mine.gguf"
    file.write_bytes(b"abc")  # SHA-256 of this: ba7816bf 8f01cfea ...
    named.setenv(VARIABLE, str(file))
    named.setattr(real, "converted", lambda gguf, name: f"{gguf.name} as {name}")
    assert Real().policy_path() == "Mine.gguf as mine-ba7816bf8f01"


def test_an_id_is_asked_of_the_hub_and_where_there_is_none_the_message_says_what_to_do(
    named: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, str]] = []
    named.setattr(hub, "snapshot", lambda *what: asked.append(what) or "folder")
    named.setenv(VARIABLE, "owner/name")
    assert Real().policy_path() == "folder" and asked == [("owner/name", "main")]
    named.delenv(VARIABLE)
    named.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(hub.HubError, match=f"or name a copy of it, or another model, in {VARIABLE}$"):
        Real().policy_path()


def test_its_problems_were_chosen_by_their_text_alone() -> None:
    keys = [key(problem.text) for problem in load(SVAMP, "svamp")]
    assert len(keys) == 200 and keys == sorted(keys)  # the first of all 1,000 in this order
    assert max(keys) < "4"  # and so about a fifth of what a hash can be
