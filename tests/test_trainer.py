"""The trainer on a tiny random model: what it adds to TRL's, and what it must leave alone."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
import transformers
from datasets import Dataset, DatasetDict
from peft import LoraConfig, PeftModel
from trl import GRPOConfig, GRPOTrainer

import egrc.trainer
from egrc.checks import ConfigError
from egrc.controller import Recipe, replay
from egrc.entropy import CLASSES, token_entropy
from egrc.methods.ablations import EntropyBonus
from egrc.methods.controls import ByLength, Soft
from egrc.methods.egrc import Compress, default_recipe
from egrc.objective import Objective, Rollouts
from egrc.trainer import EGRCConfig, EGRCTrainer


def single(kind: type[Objective] = Objective, **settings: Any) -> Recipe:
    """One phase for the whole run."""
    return Recipe((kind("compress", 12, **settings),))


def records(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, list[dict]]:
    """Steps, rollouts and decisions."""
    log = (folder / "records" / "decisions.jsonl").read_text().splitlines()
    rollouts = pd.read_parquet(folder / "records" / "rollouts.parquet")
    return pd.read_csv(folder / "records" / "steps.csv"), rollouts, [json.loads(line) for line in log]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[EGRCTrainer, pd.DataFrame, pd.DataFrame, list[dict]]:
    """Five steps, the switch after the second; every rollout of every step kept."""
    folder = tmp_path_factory.mktemp("run")
    trainer = tiny.trainer(folder, tiny.recipe(dwell=2), max_steps=5, record_rollouts_every=1)
    trainer.train()
    return trainer, *records(folder)


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_scores_equal_those_of_trls_fused_head(tmp_path: Path, temperature: float) -> None:
    trainer = tiny.trainer(tmp_path, single(temperature=temperature))
    ids = torch.randint(3, len(tiny.VOCABULARY), (5, 14), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # left padding
    mask[1, -2:] = 0  # right padding
    arguments = (trainer.model.eval(), ids, mask, 6)
    ours = trainer._get_per_token_logps_and_entropies(*arguments, batch_size=2, compute_entropy=True)
    theirs = GRPOTrainer._get_per_token_logps_and_entropies(trainer, *arguments, compute_entropy=True)
    seen = mask[:, -6:].bool()
    for mine, its in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(mine[seen], its[seen], rtol=1e-5, atol=1e-5)


def trained(folder: Path, recipe: Recipe, **settings: Any) -> tuple[EGRCTrainer, dict[str, torch.Tensor]]:
    """One step of plain gradient descent: a difference of the gradients is one of the weights."""
    plain = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    trainer = tiny.trainer(folder, recipe, **plain, **settings)
    trainer.train()
    return trainer, {n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights after a step of plain GRPO."""
    return trained(tmp_path_factory.mktemp("plain"), single())[1]


@dataclass
class Partial(Objective):
    """Plain GRPO: the advantage counts at the first tokens only, and every token takes part with its share."""

    tokens: int = 12
    share: float = 1.0

    def token_advantages(self, r, advantages):
        each = super().token_advantages(r, advantages)
        return each * (torch.arange(each.shape[1]) < self.tokens)

    def keep(self, t):
        return torch.full_like(t.logp, self.share)


BLENDED = Recipe((Partial("compress", 12, share=0.0), Objective("explore", 12)), Soft())


@pytest.mark.parametrize("recipe, share", [(single(Partial), 1.0), (single(Partial, share=0.0), 0.0), (BLENDED, 0.75)])
def test_tokens_take_part_by_their_share(tmp_path, monkeypatch, plain, recipe: Recipe, share: float) -> None:
    """Under a soft gate that gives a quarter to a phase that leaves all tokens out, three quarters of the gradient."""
    monkeypatch.setattr(Soft, "weights", (0.25, 0.75))
    start = {n: p.detach() for n, p in tiny.trainer(tmp_path, single()).model.named_parameters()}
    assert any((weight - start[name]).any() for name, weight in plain.items())
    for name, weight in trained(tmp_path, recipe)[1].items():
        torch.testing.assert_close(weight - start[name], share * (plain[name] - start[name]), rtol=1e-4, atol=1e-7)


def test_trls_loss_takes_an_advantage_for_each_token(tmp_path: Path, plain: dict[str, torch.Tensor]) -> None:
    _, three = trained(tmp_path, single(Partial, tokens=3))
    assert not all(torch.equal(three[name], weight) for name, weight in plain.items())


def test_an_entropy_bonus_is_added_to_the_advantages(tmp_path: Path) -> None:
    """Nothing is rewarded, so only the bonus moves anything."""
    weights = []
    for below in (0.0, 99.0):
        recipe = single(EntropyBonus, entropy_weight=0.3, below=below)
        trainer, after = trained(tmp_path / str(below), recipe, correct=lambda *_: False)
        weights.append(after)
        scores, advantages = trainer._scores, trainer._micro_batch["advantages"]
        expected = -0.3 * (scores.logp + scores.entropy_sampling) if below else torch.zeros_like(advantages)
        torch.testing.assert_close(advantages, expected)
    assert not any(weight.any() for name, weight in weights[0].items() if "lora_B" in name), "B starts at 0"
    assert any(weight.any() for name, weight in weights[1].items() if "lora_B" in name)


def test_the_phase_sets_generation_scoring_and_rewards(run) -> None:
    trainer, steps, rollouts, _ = run
    assert list(steps["phase"]) == ["compress"] * 2 + ["explore"] * 3
    for phase, rows in zip(trainer.recipe.phases, (steps[:2], steps[2:]), strict=True):
        assert set(rows["temperature"]) == {phase.temperature} and set(rows["budget"]) == {phase.budget}
        kept = rollouts[rollouts["phase"] == phase.name]
        assert kept["length"].max() == phase.budget
        first = kept[kept["step"] == kept["step"].min()]
        r = Rollouts(torch.tensor(first["correct"].to_numpy()), torch.tensor(first["length"].to_numpy()), 4)
        assert rows["reward"].iloc[0] == pytest.approx(phase.rewards(r).mean().item(), rel=1e-6)
    assert trainer.max_completion_length == 12, "the loss divides by the same constant in every phase"
    assert (steps["entropy_sampling"][:2] == steps["entropy"][:2]).all()
    assert (steps["entropy_sampling"][2:] > steps["entropy"][2:]).all(), "hot sampling is hotter"


def test_entropies_are_those_of_the_policy_at_temperature_one(run) -> None:
    """Before the first update the adapter is zero, so the base model itself must give every recorded number."""
    trainer, steps, rollouts, _ = run
    base, tokenizer = tiny.model(), tiny.tokenizer()
    kept = rollouts[rollouts["step"] == 1]
    assert len(kept) == 16
    for row in kept.itertuples():
        prompt = tokenizer(row.prompt)["input_ids"]
        logits = base(torch.tensor([[*prompt, *row.token_ids]])).logits[0, len(prompt) - 1 : -1]
        assert row.entropies == pytest.approx(token_entropy(logits).tolist(), rel=1e-4)
        assert list(row.tokens) == tokenizer.convert_ids_to_tokens(row.token_ids) and row.length == len(row.token_ids)
        assert list(row.classes) == trainer.token_classes.ids[torch.tensor(row.token_ids)].tolist()
    total = sum(e.sum() for e in kept["entropies"])
    assert steps["entropy"][0] == pytest.approx(total / kept["length"].sum(), rel=1e-5)
    assert steps["entropy_total"][0] == pytest.approx(total / len(kept), rel=1e-5)
    classes = pd.DataFrame({"c": kept["classes"].explode(), "e": kept["entropies"].explode()}).astype(float)
    for number, name in enumerate(CLASSES):
        own = classes[classes["c"] == number]
        assert steps[f"entropy_{name}"][0] == pytest.approx(own["e"].mean(), rel=1e-5)
    assert steps["connectors_mean"][0] == pytest.approx((classes["c"] == 0).sum() / len(kept))


def test_records_agree_with_each_other_and_with_trls_log(run) -> None:
    trainer, steps, rollouts, log = run
    for step, kept in rollouts.groupby("step"):
        row = steps.iloc[step - 1]
        assert row["accuracy"] == kept["correct"].mean() and row["tokens_mean"] == kept["length"].mean()
        ended = kept["tokens"].map(lambda tokens: tokens[-1] == "<eos>")
        assert row["truncated"] == 1 - ended.mean()
        assert not (kept["correct"] & ~ended).any(), "a cut rollout counts as wrong"
    assert steps["generated_tokens"].iloc[-1] == rollouts["length"].sum()
    assert list(steps["probe_entropy"].notna()) == [True, True, False, True, False]
    again = replay(trainer.recipe, [d["entropy"] for d in log])
    assert [json.loads(json.dumps(asdict(d))) for d in again] == log
    assert list(steps["entropy"]) == [d["entropy"] for d in log]
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry, row in zip(logs, steps.itertuples(), strict=True):
        assert entry["loss"] == pytest.approx(row.loss, rel=1e-5, abs=1e-8)
        assert entry["grad_norm"] == pytest.approx(row.grad_norm) and entry["learning_rate"] == row.learning_rate
        assert entry["egrc/entropy"] == row.entropy and "rewards/phase_reward/mean" in entry
    assert list(trainer._logs["advantages"]) == pytest.approx(trainer._advantages.tolist())


def test_few_rollouts_are_kept_when_due_and_a_gate_may_read_something_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(egrc.trainer, "KEPT", 4)
    tiny.trainer(tmp_path, tiny.recipe(gate=ByLength), max_steps=5, record_rollouts_every=3).train()
    steps, rollouts, log = records(tmp_path)
    assert rollouts.groupby("step")["prompt"].nunique().to_dict() == {1: 4, 3: 4, 5: 4}, "one of each problem"
    assert len(rollouts) == 12
    assert [d["entropy"] for d in log] == list(steps["tokens_mean"]) != list(steps["entropy"])


def test_in_a_few_lines_on_a_readers_model_and_data(tmp_path: Path) -> None:
    args = EGRCConfig(
        str(tmp_path / "out"), use_cpu=True, report_to="none", max_steps=1, per_device_train_batch_size=4,
        num_generations=2, max_completion_length=8,
    )  # fmt: skip
    assert json.loads(args.to_json_string())["recipe"] == default_recipe(8).to_dict()
    trainer = EGRCTrainer(tiny.save(tmp_path / "model"), args=args, train_dataset=tiny.dataset().to_list())
    trainer.train()
    assert isinstance(trainer.model, PeftModel)
    assert {p.name for p in tmp_path.iterdir()} == {"model", "out"}, "no records unless asked for"


def test_conversations_extra_rewards_and_an_adapter_of_ones_own(tmp_path: Path) -> None:
    tokenizer, graded = tiny.tokenizer(), []
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    data = tiny.dataset().map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})

    def sevens(completions: list, **_: Any) -> list[float]:
        return [float(c[-1]["content"].split().count("7")) for c in completions]

    trainer = tiny.trainer(
        tmp_path, single(Compress), train_dataset=data, processing_class=tokenizer, record_rollouts_every=1,
        correct=lambda text, answer: graded.append((text, answer)) or True, reward_funcs=[sevens],
        reward_weights=[0.5], peft_config=LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"),
        max_steps=2,
    )  # fmt: skip
    trainer.train()
    steps, rollouts, _ = records(tmp_path)
    assert all(isinstance(text, str) and answer.isdecimal() for text, answer in graded)
    assert set(rollouts["prompt"]) <= set(tiny.dataset()["prompt"])
    expected = rollouts["correct"] + 0.5 * rollouts["text"].map(lambda text: text.split().count("7"))
    assert list(steps["reward"]) == pytest.approx(list(expected.groupby(rollouts["step"]).mean()), rel=1e-6)
    assert trainer._advantages.tolist() == pytest.approx(trainer._rewards.tolist())
    assert all("q_proj" in n for n, p in trainer.model.named_parameters() if p.requires_grad)


class Gambler(transformers.TrainerCallback):
    """Draws from the global random state between steps, as a reader's callback may."""

    def on_step_end(self, args, state, control, **kwargs):
        torch.rand(7)


def test_what_happens_between_steps_changes_nothing(tmp_path: Path) -> None:
    tables = []
    for name, callbacks in (("quiet", []), ("gambler", [Gambler()])):
        trainer = tiny.trainer(tmp_path / name, single(), callbacks=callbacks, eval_dataset=tiny.dataset(4),
                               per_device_eval_batch_size=4)  # fmt: skip
        trainer.train()
        tables.append(records(tmp_path / name)[0].drop(columns="seconds"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    before = trainer.gate.state_dict()
    assert math.isfinite(trainer.evaluate()["eval_reward"]) and trainer.gate.state_dict() == before


@pytest.mark.parametrize("loss_type", ["dr_grpo", "dapo"])
def test_a_step_whose_completions_are_all_masked_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, loss_type: str
) -> None:
    recipe = tiny.recipe(dwell=1)
    trainer = tiny.trainer(tmp_path, recipe, mask_truncated_completions=True, loss_type=loss_type, max_steps=2)
    generate = EGRCTrainer._generate_single_turn

    def cut(self, prompts, *args):
        return ([[5] * 12] * len(prompts), None) if self.state.global_step == 0 else generate(self, prompts, *args)

    monkeypatch.setattr(EGRCTrainer, "_generate_single_turn", cut)
    trainer.train()
    steps, _, log = records(tmp_path)
    assert "step 1 teaches nothing: every token is masked; 100% of the completions were cut at 12" in caplog.text
    assert math.isnan(steps["entropy"][0]) and log[0]["entropy"] is None and steps["entropy"][1] > 0
    assert [d.next_phase for d in replay(recipe, [d["entropy"] for d in log])] == [d["next_phase"] for d in log]


def test_silent_zero_rewards_and_a_gate_by_the_clock_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tiny.trainer(tmp_path, tiny.recipe(dwell=2), correct=lambda *_: False).train()
    assert "step 1: nothing was rewarded;" in caplog.text and "the median length is" in caplog.text
    assert "step 2: the gate left 'compress' at the dwell limit" in caplog.text


def test_a_models_own_generation_settings_do_not_bend_rollouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    texts, model = [], tiny.model()
    model.generation_config.update(top_k=1, typical_p=0.3, no_repeat_ngram_size=2)
    for name in ("plain", "bent"):
        tiny.trainer(tmp_path / name, single(), max_steps=1, record_rollouts_every=1).train()
        texts.append(records(tmp_path / name)[1]["text"].tolist())
        monkeypatch.setattr(tiny, "model", lambda: model)
    assert texts[0] == texts[1] and model.generation_config.top_k == 1, "and the model keeps them"
    tiny.trainer(tmp_path / "asked", single(), top_p=0.9)
    assert "sampled with {'top_p': 0.9} but scored without" in caplog.text


SUMS = tiny.dataset().to_list()


@pytest.mark.parametrize(
    "data, message",
    [
        (Dataset.from_dict({"question": ["1"] * 9, "answer": ["1"] * 9}), r"no column \['prompt'\].*rename_column"),
        (Dataset.from_dict({"prompt": [], "answer": []}), "0 training problems"),
        (tiny.dataset(3), "3 training problems, but a step takes 4"),
        (DatasetDict(train=tiny.dataset()), r"is a DatasetDict: .*one of its splits"),
        ([{**row, "completions": ""} for row in SUMS], r"columns \['completions'\]"),
        ([*SUMS, {"prompt": "1", "answer": None}], "row 12: the answer is None"),
    ],
)
def test_data_that_cannot_be_trained_on(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.trainer(tmp_path, single(), train_dataset=data)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_iterations": 2}, "on-policy"),
        ({"steps_per_generation": 2, "gradient_accumulation_steps": 4}, "on-policy"),
        ({"max_completion_length": 11}, "budget 12 above max_completion_length=11"),
        ({"max_completion_length": None}, "set it to the largest budget"),
        ({"save_total_limit": 1}, "save_total_limit=1"),
        ({"temperature": 0.7}, "temperature=0.7: each phase has its own"),
        ({"recipe": "egrc"}, "recipe='egrc': give an egrc.controller.Recipe"),
    ],
)
def test_settings_that_cannot_be_trained_with(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.trainer(tmp_path, **{"recipe": single(), **settings})
    with pytest.raises(ConfigError, match="use EGRCConfig instead"):
        EGRCTrainer(tiny.model(), args=GRPOConfig(str(tmp_path), use_cpu=True, bf16=False))


class Poison(transformers.TrainerCallback):
    """Turns what the second step computes into something that is no number."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 1:
            next(p for p in model.parameters() if p.requires_grad).register_hook(lambda gradient: gradient * math.nan)


def test_a_number_that_is_none_stops_the_run_before_the_update(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, single(), callbacks=[Poison()], max_steps=4)
    with pytest.raises(FloatingPointError, match="step 2: the gradient's norm is nan.*lower learning_rate"):
        trainer.train()
    assert all(p.isfinite().all() for p in trainer.model.parameters())
