"""The trainer on a tiny random model: what it adds to TRL's, and what it must leave alone."""

from __future__ import annotations

import inspect
import json
import math
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import tiny
import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig, PeftModel
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from egrc.checks import ConfigError
from egrc.controller import Recipe, replay
from egrc.entropy import CLASSES, TokenClasses, token_entropy
from egrc.evaluation.pool import Grader as MathGrader
from egrc.methods.controls import ByLength, Soft
from egrc.methods.dler import DaDler
from egrc.methods.egrc import Compress, Shaped, default_recipe
from egrc.methods.entropy_floor import EntropyFloor
from egrc.methods.kl_cov import KlCov
from egrc.methods.ours import BriefSteps, Guard
from egrc.objective import Objective, Rollouts
from egrc.trainer import EGRCConfig, EGRCTrainer

COLUMNS = [
    *(["step", "phase", "weight_compress", "temperature", "budget", "accuracy", "reward", "advantage_positive_share"]),
    *(["tokens_mean", "tokens_correct_mean", "truncated", "entropy", "entropy_smoothed", "entropy_sampling"]),
    *(["entropy_total", "connectors_mean"]),
    *(f"{what}_{c}" for what in ("entropy", "share", "gradient") for c in CLASSES),
    *("probe_entropy", *(f"probe_entropy_{c}" for c in CLASSES)),
    *(["loss", "grad_norm", "learning_rate", "generated_tokens", "seconds"]),
]


def single(kind: type[Objective] = Objective, **settings: Any) -> Recipe:
    """One phase for the whole run."""
    return Recipe((kind("compress", 12, **settings),))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[EGRCTrainer, pd.DataFrame, pd.DataFrame]:
    """Five steps, the switch after the second; every rollout of every step kept."""
    folder = tmp_path_factory.mktemp("run")
    trainer = tiny.trainer(folder, tiny.recipe(dwell=2), max_steps=5, record_rollouts_every=1)
    trainer.train()
    records = folder / "records"
    return trainer, pd.read_csv(records / "steps.csv"), pd.read_parquet(records / "rollouts.parquet")


# --- what it relies on -------------------------------------------------------------------------------------


def test_trl_is_the_version_whose_private_names_are_used() -> None:
    assert trl.__version__.startswith("1.16.")


@pytest.mark.parametrize(
    "name",
    [
        *("_calculate_rewards", "_generate_and_score_completions", "_get_grad_norm", "_get_train_sampler"),
        *("_save_checkpoint", "compute_loss"),
    ],
)
def test_overridden_methods_have_the_signature_of_the_installed_ones(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(c, name)) for c in (EGRCTrainer, GRPOTrainer))
    assert list(ours.parameters) == list(theirs.parameters)
    defaults = [{k: p.default for k, p in s.parameters.items()} for s in (ours, theirs)]
    assert defaults[0] == defaults[1]


def test_vllm_reads_its_temperature_and_length_at_every_call() -> None:
    """Not run here (no GPU): the names that `_enter` sets must be the ones that `generate` reads."""
    source = inspect.getsource(VLLMGeneration.generate)
    assert "self.temperature" in source and "self.max_completion_length" in source


def test_vllm_is_given_the_phase() -> None:
    backend = SimpleNamespace(temperature=1.0, max_completion_length=12)
    trainer = SimpleNamespace(use_vllm=True, vllm_generation=backend, temperature=1.0)
    EGRCTrainer._enter(trainer, Objective("explore", 7, temperature=1.4))
    assert (trainer.temperature, backend.temperature, backend.max_completion_length) == (1.4, 1.4, 7)


# --- scoring and advantages against TRL's own -----------------------------------------------------------------


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


def test_group_advantages_equal_trls(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, single(Shaped, r=0.1))
    seen = {}
    original = GRPOTrainer._generate_and_score_completions

    def capture(self, inputs):
        output = original(self, inputs)
        seen["theirs"] = output["advantages"].clone()
        return output

    GRPOTrainer._generate_and_score_completions = capture
    try:
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        output = trainer._generate_and_score_completions(batch)
    finally:
        GRPOTrainer._generate_and_score_completions = original
    assert output["advantages"].any()
    torch.testing.assert_close(output["advantages"], seen["theirs"].unsqueeze(1).expand_as(output["advantages"]))


# --- advantages by token ---------------------------------------------------------------------------------------


MANY_STEPS = TokenClasses(("operator", "connector"), torch.arange(len(tiny.VOCABULARY)) % 2)
"""Every second word opens a step, so that random rollouts of 12 tokens have some."""


def trained(folder: Path, recipe: Recipe, **settings: Any) -> tuple[EGRCTrainer, dict[str, torch.Tensor]]:
    """One step of plain gradient descent: a difference of the gradients is one of the weights."""
    plain = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    trainer = tiny.trainer(folder, recipe, token_classes=MANY_STEPS, **plain, **settings)
    trainer.train()
    return trainer, {n: p.detach() for n, p in trainer.model.named_parameters() if p.requires_grad}


def test_trls_loss_takes_an_advantage_for_each_token(tmp_path: Path) -> None:
    """With the steps' brevity at weight 0 the advantages are those of the group, spread over the tokens."""
    ended = {"correct": lambda *_: True}  # whatever ends is correct
    trainer, by_token = trained(tmp_path / "steps", single(BriefSteps, length_weight=0.0), **ended)
    assert trainer._pushes[0].shape == trainer._pushes[1].shape and trainer._buffered_inputs[0]["advantages"].dim() == 2
    _, by_rollout = trained(tmp_path / "group", single(), **ended)
    for name, weight in by_rollout.items():
        torch.testing.assert_close(by_token[name], weight, rtol=1e-5, atol=1e-8)
    _, brief = trained(tmp_path / "brief", single(BriefSteps, length_weight=1.0), **ended)
    assert not all(torch.equal(brief[name], weight) for name, weight in by_rollout.items())


def test_steps_are_those_of_the_rollouts(tmp_path: Path) -> None:
    """Recomputed from the recorded tokens: in a correct rollout, the briefest step is pushed up, the longest down."""
    trainer, _ = trained(tmp_path, single(BriefSteps, length_weight=1.0), correct=lambda *_: True)
    operators = set(tiny.VOCABULARY[::2])
    names, token_ids = trainer._tokenizer.convert_ids_to_tokens, [row["token_ids"] for row in trainer._rows]
    ids = torch.tensor([ids + [0] * (12 - len(ids)) for ids in token_ids])
    phase, r = trainer.phase, trainer._rollouts
    r.classes = MANY_STEPS.ids[ids]
    r.mask = torch.tensor([[1] * len(ids) + [0] * (12 - len(ids)) for ids in token_ids])
    pushed, pushes = phase.token_advantages(r, trainer._advantages) - trainer._advantages.unsqueeze(1), 0
    for g in range(0, len(token_ids), 4):
        seen = []
        for row in range(g, g + 4):
            parts = [[]]
            for t, word in enumerate(names(token_ids[row])):
                parts += [[]] if word in operators else []
                parts[-1].append(t)
            counted = [part for part in parts[:-1] if part] if r.correct[row] else []
            seen += [(len(part), pushed[row, part]) for part in counted]
            rest = sorted(set(range(12)) - {t for part in counted for t in part})
            assert not pushed[row, rest].any(), "the last step, padding and wrong rollouts"
        pushes += len(seen)
        for length, push in seen:
            assert push.unique().numel() == 1
            below = length < sum(n for n, _ in seen) / len(seen)
            assert len({n for n, _ in seen}) == 1 or bool(push[0] > 0) == below
    assert pushes > 3, "there was something to see"


def test_tokens_beyond_a_cut_are_not_trained_on(tmp_path: Path) -> None:
    trainer, _ = trained(tmp_path, single(DaDler))
    r, phase = trainer._rollouts, trainer.phase
    budget = phase.budgets(r)
    assert set(budget.tolist()) <= {6, 12}
    advantages = phase.token_advantages(r, trainer._advantages)
    for row, tokens in enumerate(budget.tolist()):
        assert not advantages[row, tokens:].any()
        assert not (phase.good(r)[row] and r.length[row] > tokens)


@pytest.mark.parametrize("kind, at", [(KlCov, 0.1), (EntropyFloor, 1.1)])
def test_left_out_tokens_have_no_gradient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, at: float
) -> None:
    """Nothing moves where all tokens are left out; all moves as without the rule where none is."""
    recipe = single(kind, tokens_at=at)
    start = {n: p.detach().clone() for n, p in tiny.trainer(tmp_path, recipe).model.named_parameters()}
    _, plain = trained(tmp_path / "plain", single())
    _, ruled = trained(tmp_path / "ruled", recipe)
    assert any(not torch.equal(ruled[name], weight) for name, weight in plain.items())
    for keep, expected in ((False, start), (True, plain)):
        monkeypatch.setattr(kind, "keep", lambda self, t, k=keep: torch.full_like(t.logp, k, dtype=torch.bool))
        _, weights = trained(tmp_path / str(keep), recipe)
        assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())


def test_a_soft_gate_blends_token_masks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a share of 1/4, a phase that leaves all tokens out takes a quarter of the gradient away."""
    monkeypatch.setattr(KlCov, "keep", lambda self, t: torch.zeros_like(t.mask, dtype=torch.bool))
    monkeypatch.setattr(Soft, "weights", (0.25, 0.75))
    start = {n: p.detach().clone() for n, p in tiny.trainer(tmp_path, single()).model.named_parameters()}
    _, whole = trained(tmp_path / "whole", Recipe((Objective("compress", 12), Objective("explore", 12)), Soft()))
    _, masked = trained(tmp_path / "masked", Recipe((KlCov("compress", 12), Objective("explore", 12)), Soft()))
    moved = {name: weight - start[name] for name, weight in whole.items()}
    assert any(change.any() for change in moved.values())
    for name, weight in masked.items():
        torch.testing.assert_close(weight - start[name], 0.75 * moved[name], rtol=1e-4, atol=1e-7)


def test_the_gate_may_read_the_length(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, tiny.recipe(gate=ByLength))
    trainer.train()
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    log = [json.loads(line) for line in (tmp_path / "records" / "decisions.jsonl").read_text().splitlines()]
    assert [d["entropy"] for d in log] == list(steps["tokens_mean"]) != list(steps["entropy"])


def test_the_guard_reads_the_connectors_share(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, tiny.recipe(gate=Guard, fraction=0.5))
    trainer.train()
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    log = [json.loads(line) for line in (tmp_path / "records" / "decisions.jsonl").read_text().splitlines()]
    assert [d["mass"] for d in log] == list(steps["share_connector"])


@pytest.mark.parametrize("recipe", [Recipe((BriefSteps("compress", 12),)), tiny.recipe(gate=Guard)])
def test_token_classes_that_the_recipe_needs_are_asked_for(tmp_path: Path, recipe: Recipe) -> None:
    classes = TokenClasses(("word",), torch.zeros(len(tiny.VOCABULARY), dtype=torch.long))
    with pytest.raises(ConfigError, match="operator|connector"):
        tiny.trainer(tmp_path, recipe, token_classes=classes).train()


# --- phases ----------------------------------------------------------------------------------------------------


def test_the_phase_sets_generation_and_scoring(run) -> None:
    trainer, steps, rollouts = run
    compress, explore = trainer.recipe.phases
    assert list(steps["phase"]) == ["compress"] * 2 + ["explore"] * 3
    for phase, rows in ((compress, steps[:2]), (explore, steps[2:])):
        assert set(rows["temperature"]) == {phase.temperature}
        assert set(rows["budget"]) == {phase.budget}
        assert rollouts.loc[rollouts["phase"] == phase.name, "length"].max() == phase.budget
    assert trainer.temperature == trainer.generation_config.temperature == explore.temperature
    assert trainer.generation_kwargs["temperature"] == explore.temperature
    assert trainer.generation_config.max_new_tokens == explore.budget
    assert trainer.max_completion_length == 12, "the loss divides by the same constant in every phase"


def test_hot_sampling_is_hotter(run) -> None:
    _, steps, _ = run
    cold, hot = steps[:2], steps[2:]
    assert (cold["entropy_sampling"] == cold["entropy"]).all()
    assert (hot["entropy_sampling"] > hot["entropy"]).all()


def test_absolute_advantages_push_only_what_was_rewarded(run) -> None:
    _, steps, _ = run
    absolute = steps[:2]
    assert (absolute["advantage_positive_share"] == absolute["accuracy"]).all()
    assert (absolute["accuracy"] > 0).all()


def test_rewards_are_those_of_the_phase(run) -> None:
    trainer, steps, rollouts = run
    for phase, step in ((trainer.recipe.phases[0], 1), (trainer.recipe.phases[1], 5)):
        kept = rollouts[rollouts["step"] == step]
        correct, length = torch.tensor(kept["correct"].to_numpy()), torch.tensor(kept["length"].to_numpy())
        reward = phase.rewards(Rollouts(correct, length, 4))
        assert steps["reward"][step - 1] == pytest.approx(reward.mean().item(), rel=1e-6)


def test_soft_gate_blends(tmp_path: Path) -> None:
    recipe = tiny.recipe(gate=Soft, low=0.9, high=1.1)
    trainer = tiny.trainer(tmp_path, recipe)
    trainer.train()
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    assert steps["weight_compress"][0] == 1
    assert 0 < steps["weight_compress"][1] < 1
    weights = json.loads((tmp_path / "records" / "decisions.jsonl").read_text().split("\n")[1])
    compress, explore = (p.advantages(trainer._rollouts, p.rewards(trainer._rollouts)) for p in recipe.phases)
    w = weights["weights"]
    torch.testing.assert_close(trainer._advantages, w[0] * compress + w[1] * explore)


# --- records ---------------------------------------------------------------------------------------------------


def test_columns(run) -> None:
    _, steps, rollouts = run
    assert list(steps.columns) == COLUMNS
    assert list(steps["step"]) == [1, 2, 3, 4, 5]
    assert list(rollouts.columns) == [
        *("step", "prompt", "answer", "text", "tokens", "token_ids", "entropies", "classes", "correct", "length"),
        *("phase", "temperature"),
    ]
    finite = steps.drop(columns=[c for c in steps if c.startswith(("probe_", "tokens_correct"))])
    assert finite.notna().all(axis=None)


def test_entropies_are_those_of_the_policy_at_temperature_one(run) -> None:
    """Before the first update the adapter is zero, so the base model itself must give every recorded number."""
    trainer, steps, rollouts = run
    base, tokenizer = tiny.model(), tiny.tokenizer()
    kept = rollouts[rollouts["step"] == 1]
    assert len(kept) == 16
    for row in kept.itertuples():
        prompt = tokenizer(row.prompt)["input_ids"]
        ids = torch.tensor([[*prompt, *row.token_ids]])
        logits = base(ids).logits[0, len(prompt) - 1 : -1]
        assert row.entropies == pytest.approx(token_entropy(logits).tolist(), rel=1e-4)
        assert list(row.tokens) == tokenizer.convert_ids_to_tokens(row.token_ids)
        assert row.length == len(row.token_ids) == len(row.entropies)
        assert list(row.classes) == trainer.token_classes.ids[torch.tensor(row.token_ids)].tolist()
    total = sum(e.sum() for e in kept["entropies"])
    assert steps["entropy"][0] == pytest.approx(total / kept["length"].sum(), rel=1e-5)
    assert steps["entropy_total"][0] == pytest.approx(total / len(kept), rel=1e-5)
    classes = pd.DataFrame({"c": kept["classes"].explode(), "e": kept["entropies"].explode()}).astype(float)
    for number, name in enumerate(CLASSES):
        own = classes[classes["c"] == number]
        assert steps[f"entropy_{name}"][0] == pytest.approx(own["e"].mean(), rel=1e-5)
        assert steps[f"share_{name}"][0] == pytest.approx(len(own) / len(classes))
    assert steps["connectors_mean"][0] == pytest.approx((classes["c"] == 0).sum() / len(kept))


def test_plain_numbers_agree_with_the_rollouts(run) -> None:
    _, steps, rollouts = run
    for step, kept in rollouts.groupby("step"):
        row = steps.iloc[step - 1]
        assert row["accuracy"] == kept["correct"].mean()
        assert row["tokens_mean"] == kept["length"].mean()
        assert row["tokens_correct_mean"] == pytest.approx(kept.loc[kept["correct"], "length"].mean(), nan_ok=True)
        ended = kept["tokens"].map(lambda tokens: tokens[-1] == "<eos>")
        assert row["truncated"] == 1 - ended.mean()
        assert not (kept["correct"] & ~ended).any(), "a cut rollout counts as wrong"
    assert steps["generated_tokens"].iloc[-1] == rollouts["length"].sum()
    assert steps["seconds"].is_monotonic_increasing


def test_decisions_replay_from_their_log(run) -> None:
    trainer, steps, _ = run
    text = (Path(trainer.args.record_dir) / "decisions.jsonl").read_text()
    log = [json.loads(line) for line in text.splitlines()]
    again = replay(trainer.recipe, [d["entropy"] for d in log])
    assert [json.loads(json.dumps(d.row())) for d in again] == log
    assert list(steps["entropy"]) == [d["entropy"] for d in log]


def test_probe_is_read_when_due(run) -> None:
    _, steps, _ = run
    assert list(steps["probe_entropy"].notna()) == [True, True, False, True, False]


def test_trls_own_log_goes_on(run) -> None:
    trainer, steps, _ = run
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 5
    for entry, row in zip(logs, steps.itertuples(), strict=True):
        assert entry["loss"] == pytest.approx(row.loss, rel=1e-5, abs=1e-8)
        assert entry["grad_norm"] == pytest.approx(row.grad_norm)
        assert entry["learning_rate"] == row.learning_rate
        assert entry["completions/mean_length"] == pytest.approx(row.tokens_mean)
        assert entry["egrc/entropy"] == row.entropy
        assert "rewards/phase_reward/mean" in entry
    assert list(trainer._logs["advantages"]) == pytest.approx(trainer._advantages.tolist())


def test_few_rollouts_are_kept_and_only_when_due(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, single(), max_steps=5, record_rollouts_every=3, record_rollouts=4)
    trainer.train()
    rollouts = pd.read_parquet(tmp_path / "records" / "rollouts.parquet")
    assert rollouts.groupby("step").size().to_dict() == {1: 4, 3: 4, 5: 4}
    assert (rollouts.groupby("step")["prompt"].nunique() == 4).all(), "one of each problem"


# --- a library -------------------------------------------------------------------------------------------------

QUIET = {"use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "disable_tqdm": True, "max_steps": 2}
SMALL = {"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8}


def test_in_a_few_lines_on_a_readers_model_and_data(tmp_path: Path) -> None:
    path = tiny.save(tmp_path / "model")
    dataset = tiny.dataset()
    trainer = EGRCTrainer(path, args=EGRCConfig(str(tmp_path / "out"), **QUIET, **SMALL), train_dataset=dataset)
    trainer.train()
    assert trainer.recipe.to_dict() == default_recipe(8).to_dict()
    assert isinstance(trainer.model, PeftModel)
    assert {p.name for p in tmp_path.iterdir()} == {"model", "out"}, "no records unless asked for"
    trainer.save_model(str(tmp_path / "adapter"))
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


def test_the_arguments_go_to_json(tmp_path: Path) -> None:
    recipe = tiny.recipe()
    args = EGRCConfig(str(tmp_path), recipe=recipe, max_completion_length=12)
    assert args.temperature == recipe.phases[0].temperature
    assert json.loads(args.to_json_string())["recipe"] == recipe.to_dict()


def test_conversational_prompts(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }} {% endfor %}"
    data = tiny.dataset().map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    graded = []

    def correct(completion: str, answer: str) -> bool:
        graded.append((completion, answer))
        return True

    trainer = tiny.trainer(
        tmp_path, single(), train_dataset=data, processing_class=tokenizer, correct=correct, record_rollouts_every=1
    )
    trainer.train()
    assert all(isinstance(text, str) and answer.isdecimal() for text, answer in graded)
    rollouts = pd.read_parquet(tmp_path / "records" / "rollouts.parquet")
    assert set(rollouts["prompt"]) <= set(tiny.dataset()["prompt"])


def test_extra_reward_functions_count(tmp_path: Path) -> None:
    def sevens(completions: list[str], **_: Any) -> list[float]:
        return [float(text.split().count("7")) for text in completions]

    trainer = tiny.trainer(
        tmp_path,
        single(Compress),
        reward_funcs=[sevens],
        reward_weights=[0.5],
        record_rollouts_every=1,
        max_steps=2,
    )
    trainer.train()
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    rollouts = pd.read_parquet(tmp_path / "records" / "rollouts.parquet")
    expected = rollouts["correct"] + 0.5 * rollouts["text"].map(lambda text: text.split().count("7"))
    assert list(steps["reward"]) == pytest.approx(list(expected.groupby(rollouts["step"]).mean()), rel=1e-6)
    assert (steps["reward"] > steps["accuracy"]).all()
    assert trainer._advantages.tolist() == pytest.approx(trainer._rewards.tolist())


def test_evaluation_leaves_the_gate_alone(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, tiny.recipe(), eval_dataset=tiny.dataset(4), per_device_eval_batch_size=4)
    before = trainer.gate.state_dict()
    assert math.isfinite(trainer.evaluate()["eval_reward"])
    assert trainer.gate.state_dict() == before


class Gambler(transformers.TrainerCallback):
    """Draws from the global random state between steps, as an evaluation or a reader's callback may."""

    def on_step_end(self, args, state, control, **kwargs):
        torch.rand(7)


def test_what_happens_between_steps_does_not_change_the_rollouts(tmp_path: Path) -> None:
    tables = []
    for name, callbacks in (("quiet", []), ("gambler", [Gambler()])):
        tiny.trainer(tmp_path / name, single(), callbacks=callbacks).train()
        tables.append(pd.read_csv(tmp_path / name / "records" / "steps.csv").drop(columns="seconds"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_a_model_that_has_adapters_keeps_them(tmp_path: Path) -> None:
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trainer = tiny.trainer(tmp_path, single(), peft_config=lora, max_steps=1)
    trainer.train()
    trained = [n for n, p in trainer.model.named_parameters() if p.requires_grad]
    assert trained and all("q_proj" in n for n in trained)


def test_the_entropy_bonus_of_trl_gets_a_gradient(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, single(Compress), correct=lambda *_: False, entropy_coef=0.1)
    trainer.train()
    steps = pd.read_csv(tmp_path / "records" / "steps.csv")
    assert (steps["grad_norm"] > 0).all(), "no reward, so only the bonus can push"


def test_default_grader_takes_gsm8ks_references_and_lists_and_never_hangs() -> None:
    cases = [
        ("so it is 72", "72", True),
        ("so it is 71", "72", False),
        ("\\boxed{\\frac{1}{2}}", "0.5", True),
        ("The answer is 18.", "Janet sells 9 eggs.\n#### 18", True),
        ("The answer is 9.", "Janet sells 9 eggs.\n#### 18", False),
        ("#### 5", 5, True),
        ("#### 5", ["4", "5"], True),
        ("\\boxed{10^{-10^{10}}}", "3", False),
    ]
    grader = MathGrader()
    completions, answers, verdicts = zip(*cases, strict=True)
    assert grader.batch(completions, answers) == list(verdicts)
    grader.close()


# --- errors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, message",
    [
        (Dataset.from_dict({"question": ["1"] * 9, "answer": ["1"] * 9}), "no column 'prompt'.*rename_column"),
        (Dataset.from_dict({"question": ["1"] * 9}), "no column 'prompt' and 'answer'"),
        (Dataset.from_dict({"prompt": [], "answer": []}), "0 training problems"),
        (tiny.dataset(3), "3 training problems, but a step takes 4"),
        (None, "train_dataset=None"),
    ],
)
def test_data_that_cannot_be_trained_on(tmp_path: Path, data: Dataset | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.trainer(tmp_path, single(), train_dataset=data)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_generations": 1}, "at least 2 generations"),
        ({"num_iterations": 2}, "on-policy"),
        ({"steps_per_generation": 2, "gradient_accumulation_steps": 4}, "on-policy"),
        ({"max_completion_length": 11}, "budget 12 above max_completion_length=11"),
        ({"max_completion_length": None}, "set it to the largest budget"),
        ({"save_total_limit": 1}, "save_total_limit=1"),
        ({"probe_every": 0}, "probe_every"),
    ],
)
def test_settings_that_cannot_be_trained_with(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.trainer(tmp_path, single(), **settings)


def test_plain_grpo_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="EGRCConfig"):
        EGRCTrainer(tiny.model(), args=GRPOConfig(str(tmp_path), **QUIET, **SMALL), train_dataset=tiny.dataset())


class Poison(transformers.TrainerCallback):
    """Turns what the next step computes into something that is no number."""

    def __init__(self, where: str) -> None:
        self.where = where

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step == 1:
            parameter = next(p for p in model.parameters() if p.requires_grad)
            if self.where == "gradient":
                parameter.register_hook(lambda gradient: gradient * math.nan)
            else:
                parameter.data.fill_(math.nan)


@pytest.mark.parametrize("where, message", [("gradient", "the gradient's norm is nan")])
def test_a_number_that_is_none_stops_the_run(tmp_path: Path, where: str, message: str) -> None:
    trainer = tiny.trainer(
        tmp_path, single(), callbacks=[Poison(where)], save_strategy="steps", save_steps=1, max_steps=4
    )
    with pytest.raises(FloatingPointError, match=f"step [23]: .*{message}.*Lower learning_rate"):
        trainer.train()
    weights = [p for p in trainer.model.parameters() if p.requires_grad]
    if where == "gradient":
        assert all(p.isfinite().all() for p in weights), "stopped before the update"


def test_nan_loss_stops_the_run(tmp_path: Path) -> None:
    trainer = tiny.trainer(tmp_path, single())
    trainer._compute_loss = lambda model, inputs: torch.tensor(math.nan, requires_grad=True)
    with pytest.raises(FloatingPointError, match="step 1: the loss is nan. Lower learning_rate"):
        trainer.train()


def test_disk_full_while_recording(run, tmp_path: Path) -> None:
    """The limit on a file's size makes a real write fail in its middle; what was there before stays."""
    recorder = run[0].recorder
    files = {p: p.read_bytes() for p in recorder.folder.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        with pytest.raises(OSError, match="[Ff]ree some space"):
            recorder.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {p: p.read_bytes() for p in recorder.folder.iterdir()} == files
