"""TokenSqueeze's loss by hand, and a whole run on a tiny model: samples, pairs, training, resume, record."""

import math
import shutil

import pandas as pd
import pytest
import tiny
import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import DPOConfig

from egrc.checks import ConfigError
from egrc.config import Config
from egrc.controller import Recipe
from egrc.entropy import lexical_classes
from egrc.experiments import run
from egrc.experiments.records import Record
from egrc.methods import tokensqueeze_train as squeeze
from egrc.methods.tokensqueeze import Squeeze
from egrc.worlds.launch import Hardware

PROMPT, SHORT, LONG = [1, 3], [4, 2], [3, 4, 4, 3, 4, 2]  # bos 3 | 4 eos | 3 4 4 3 4 eos


class World:
    """The tiny model as a scale's world."""

    def __init__(self, folder):
        self.path = tiny.save(folder)

    def policy_path(self):
        return self.path

    def policy(self):
        return LlamaForCausalLM.from_pretrained(self.path).eval(), tiny.tokenizer()

    def train_problems(self, seed):
        return tiny.dataset(12)

    def benchmarks(self, n, split="test"):
        rows = tiny.dataset(n)
        return {"sums": rows.add_column("id", rows["prompt"])}

    def correct(self, completion, answer):
        return tiny.even(completion, answer)

    def token_classes(self, tokenizer):
        return lexical_classes(tokenizer, size=len(tokenizer))


def config(**changed):
    """3 steps of 4 problems x 4 rollouts."""
    first = Squeeze("squeeze", 12)
    given = {"steps": 3, "prompts_per_step": 4, "group_size": 4, "cap": 12, "eval_problems": 3, "checkpoint_every": 1}
    return Config("pocket", "egrc", Recipe((first,)), seed=1, lora_rank=4, **{**given, **changed})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squeeze, "AT_ONCE", 32)  # eight problems, so that there are two files
        yield World(tmp_path_factory.mktemp("tiny"))


# --- the loss -----------------------------------------------------------------------------------------------------


def pair_trainer(folder, length_weight, uniform):
    """One pair; `uniform`: a head of zeros, so that all of the five tokens are equally likely."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=5, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes))
    with torch.no_grad():
        model.lm_head.weight.mul_(0 if uniform else 20)
    args = DPOConfig(
        str(folder), loss_type=["sigmoid", "sft"], loss_weights=[0.5, 0.5], beta=0.2, precompute_ref_log_probs=True,
        max_length=None, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    rows = {"prompt_ids": [PROMPT], "chosen_ids": [SHORT], "rejected_ids": [LONG]}
    return squeeze.SqueezeTrainer(
        model=model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tiny.tokenizer(),
        peft_config=run.lora(config()), length_weight=length_weight,
    )  # fmt: skip


def loss(trainer):
    batch = trainer.data_collator([trainer.train_dataset[0]])
    return trainer.compute_loss(trainer.model, batch).item()


@pytest.mark.parametrize("length_weight", [0.0, 1.0, 2.0, -1.0])
def test_the_loss_before_training_by_hand(length_weight, tmp_path):
    # policy = base, so only lambda log(6 / 2) is left in the sigmoid, whose -log is log(1 + 3^-lambda); uniform over 5
    found = loss(pair_trainer(tmp_path, length_weight, uniform=True))
    assert found == pytest.approx(0.5 * math.log(1 + 3**-length_weight) + 0.5 * math.log(5), rel=1e-5)


def log_likelihood(model, completion):
    logp = model(input_ids=torch.tensor([PROMPT + completion])).logits.log_softmax(-1)[0]
    return sum(logp[len(PROMPT) - 1 + i, token].item() for i, token in enumerate(completion))


def test_the_loss_of_a_changed_policy_from_plain_logits(tmp_path):
    trainer = pair_trainer(tmp_path, length_weight=1.5, uniform=False)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
        policy = [log_likelihood(trainer.model, y) for y in (SHORT, LONG)]
        with trainer.model.disable_adapter():
            base = [log_likelihood(trainer.model, y) for y in (SHORT, LONG)]
    ratio = (policy[0] - base[0]) - (policy[1] - base[1])
    assert abs(ratio) > 0.01
    dpo = math.log(1 + math.exp(-(0.2 * ratio + 1.5 * math.log(3))))
    assert loss(trainer) == pytest.approx(0.5 * dpo + 0.5 * -policy[0] / 2, rel=1e-4)


# --- samples and pairs --------------------------------------------------------------------------------------------


def test_the_budget_is_that_of_the_other_arms(world, tmp_path):
    c = config()
    samples = squeeze.sample(c, world, tmp_path)
    assert len(samples) == c.steps * c.prompts_per_step * c.group_size
    assert samples.groupby("problem").size().eq(c.group_size).all()
    lengths = samples["ids"].map(len)
    assert lengths.max() <= 12 and not samples.loc[samples["ids"].map(lambda ids: ids[-1] != 2), "correct"].any()


def test_files_of_samples_that_are_there_stay(world, tmp_path):
    first = squeeze.sample(config(), world, tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    files[1].unlink()
    again = squeeze.sample(config(), world, tmp_path)
    assert again["ids"].map(list).tolist() == first["ids"].map(list).tolist()


def rows_of(problem, *traces):
    return [{"problem": problem, "prompt_ids": [1, problem], "ids": ids, "correct": ok} for ids, ok in traces]


def test_pairs_are_all_used_before_any_comes_again(world):
    samples = pd.DataFrame(rows_of(3, ([4, 2], True), ([4, 4, 2], True), ([4, 4, 4, 2], True), ([4], False)))
    c = config(steps=1, prompts_per_step=1, group_size=8)  # four pairs wanted
    found = squeeze.make_pairs(c, world, samples)
    assert len(found) == 4 and (found["accuracy"] == 0.75).all()
    assert found["chosen_ids"].tolist() == [(4, 2)] * 4
    assert {len(ids) for ids in found["rejected_ids"][:3]} == {1, 3, 4}


def test_samples_without_a_pair_are_refused(world):
    samples = pd.DataFrame(rows_of(3, ([4, 2], False), ([4, 4, 2], False)) + rows_of(4, ([4, 2], True), ([5, 2], True)))
    with pytest.raises(ConfigError, match="no sampled problem"):
        squeeze.make_pairs(config(), world, samples)


# --- a run --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """A run's work folder, and what it said."""
    work, said = tmp_path_factory.mktemp("whole"), []
    run.train(config(), world, work, lambda *progress: said.append(progress))
    return work, said


def test_a_run_leaves_a_record_as_every_arm_does(world, whole):
    work, said = whole
    run._evaluate(config(), world, work, None, Hardware())
    record = Record.load(run._assemble(config(), work, Hardware()))
    steps = record.steps
    samples = pd.concat(map(pd.read_parquet, sorted((work / "samples").iterdir())))
    assert steps["step"].tolist() == [1, 2, 3]
    assert record.meta["generated_tokens"] == samples["ids"].map(len).sum() == steps["generated_tokens"].iloc[0]
    assert steps["seconds"].iloc[0] >= samples["seconds"].sum() > 0
    assert [d["step"] for d in record.decisions] == [1, 2, 3] and {d["phase"] for d in record.decisions} == {"squeeze"}
    assert len(record.rollouts) == squeeze.RECORDED
    assert all(map(len, record.rollouts["tokens"])) and record.rollouts["entropies"].map(len).sum() > 0
    assert set(record.evaluation["benchmark"]) == {"sums"}
    assert said[:2] == [("sampling", 8, 12), ("sampling", 12, 12)] and said[-1] == ("training", 3, 3)


def test_steps_describe_their_pairs(whole):
    work, _ = whole
    pairs, steps = pd.read_parquet(work / "pairs.parquet"), pd.read_csv(work / "steps.csv")
    n = squeeze.per_step(config())
    assert n == 8 and len(pairs) == 3 * n
    second = pairs.iloc[n : 2 * n]
    assert steps["tokens_mean"][1] == pytest.approx(second["chosen_ids"].map(len).mean())
    assert steps["accuracy"][1] == pytest.approx(second["accuracy"].mean())
    # before the first update the policy is the base: the margin is the mean of lambda log(len_l / len_w)
    ratios = pairs.iloc[:n].apply(lambda r: math.log(len(r["rejected_ids"]) / len(r["chosen_ids"])), axis=1)
    assert steps["margin"][0] == pytest.approx(ratios.mean(), rel=1e-4)


def weights(work):
    from safetensors.torch import load_file

    return load_file(work / "adapter" / "adapter_model.safetensors")


class Stop(TrainerCallback):
    """An end as a kill would make it, in step `step`."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_and_equals_the_whole_one(world, whole, tmp_path, monkeypatch):
    made = squeeze._trainer

    def interrupted(*args):
        trainer = made(*args)
        trainer.add_callback(Stop(2))
        return trainer

    shutil.copytree(whole[0] / "samples", tmp_path / "samples")  # as sampled anew, see above
    monkeypatch.setattr(squeeze, "_trainer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.train(config(), world, tmp_path)
    assert not (tmp_path / "adapter").exists()
    monkeypatch.setattr(squeeze, "_trainer", made)
    run.train(config(), world, tmp_path)
    ours, theirs = weights(tmp_path), weights(whole[0])
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    first, second = (pd.read_csv(w / "steps.csv").drop(columns="seconds") for w in (tmp_path, whole[0]))
    pd.testing.assert_frame_equal(first, second)


def test_a_run_that_only_lacks_its_adapter_writes_it(world, whole, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(whole[0], work)
    shutil.rmtree(work / "adapter")
    run.train(config(), world, work)
    ours, theirs = weights(work), weights(whole[0])
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert len(pd.read_csv(work / "steps.csv")) == 3


def test_a_beginning_can_be_replayed(world, whole, tmp_path):
    seen = []
    shutil.copytree(whole[0] / "samples", tmp_path / "samples")
    run.train(config(), world, tmp_path, stop_after=2, observe=lambda step, model: seen.append(step))
    assert seen == [0, 1, 2] and not (tmp_path / "adapter").exists()
    first, second = (pd.read_csv(w / "steps.csv").drop(columns="seconds") for w in (tmp_path, whole[0]))
    pd.testing.assert_frame_equal(first, second.iloc[:2])


def test_several_ranks_are_refused(world, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="one process"):
        run.train(config(), world, tmp_path)
