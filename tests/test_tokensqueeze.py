"""TokenSqueeze: which pairs are made, what rewriting drops, the loss, all by hand; and a run that stops and goes on."""

import math
import random
import shutil

import pandas as pd
import pytest
import tiny
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOConfig

from egrc.checks import ConfigError
from egrc.experiments import run, scales
from egrc.experiments.records import Record
from egrc.methods import tokensqueeze_train as squeeze
from egrc.methods.tokensqueeze import WINDOW, Grammar, Trace, divergence, pairs, rewrite, split
from egrc.worlds.launch import Hardware
from egrc.worlds.pocket import Pocket
from egrc.worlds.pocket.language import BENCHMARKS
from egrc.worlds.pocket.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer(Pocket().clock.vocabulary)


def trace(length, correct=True):
    return Trace(tuple(range(length)), correct)


@pytest.mark.parametrize(
    ("correct", "samples", "alpha", "positives"),
    [
        (4, 8, 1.0, 2),  # q = 1/2 of 4
        (6, 8, 1.0, 2),  # q = 1/4 of 6 = 1.5
        (8, 8, 1.0, 1),  # q = 0: ours, one at least
        (0, 8, 1.0, 0),
        (30, 50, 0.25, 3),  # q = 1/10 of 30, which floats make a little more than 3
    ],
)
def test_how_many_are_positives_by_hand(correct, samples, alpha, positives):
    chosen, others = split([trace(n, n < correct) for n in range(samples)], alpha)
    assert len(chosen) == positives and len(others) == samples - positives


def test_the_shortest_correct_ones_are_held_against_longer_or_wrong_ones():
    wrong = trace(1, correct=False)
    chosen, others = split([trace(9), trace(3), wrong, trace(5), trace(7), wrong, wrong, wrong], alpha=1.0)
    assert [len(t.ids) for t in chosen] == [3, 5]  # c = 4 of 8
    assert [len(t.ids) for t in others if t.correct] == [7, 9] and sum(not t.correct for t in others) == 4
    others = [trace(4), trace(3), trace(2, correct=False), trace(6, correct=False)]
    found = pairs([(7, 7, 7)], others, random.Random(0))
    assert [len(rejected) for _, rejected in found] == [4, 2, 6]  # not the correct one of equal length
    some = pairs([(1,), (2,)], [trace(n) for n in range(10, 30)], random.Random(3), most=7)
    assert len(set(some)) == 7


GRAMMAR = Grammar.of(TOKENIZER, Pocket().token_classes(TOKENIZER))


def ids(text):
    return tuple(TOKENIZER.convert_tokens_to_ids(text.split()))


def words(found):
    return " ".join(GRAMMAR.words[i] for i in found)


PLAIN = "so 3 +1 4 . then 4 /4 1 . # 1 <eos>"
CHECKED = "so 3 +1 4 . wait check 3 +1 4 -4 0 yes . then 4 /4 1 . # 1 <eos>"
AGAIN = "so 3 +1 4 . then 4 /4 1 . hmm again 3 +1 4 . 4 /4 1 . # 1 <eos>"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (CHECKED, "wait check 3 +1 4 -4 0 yes ."),
        (AGAIN, "hmm again 3 +1 4 . 4 /4 1 ."),
        ("wait again 3 +1 4 . so 4 /4 1 . # 1 <eos>", "wait again 3 +1 4 ."),
        ("so 4 /4 2 . but check 2 *4 8 -4 4 no . hmm 4 /4 1 . # 1 <eos>", "but check 2 *4 8 -4 4 no ."),
        (PLAIN, None),  # every step is needed
        ("so 3 +1 4 . wait check 3 +1", None),  # cut inside
        ("wait again", None),
        ("", None),
    ],
)
def test_redundant_steps(text, span):
    found = GRAMMAR.redundant(ids(text))
    assert (found and words(ids(text)[slice(*found)])) == span
    assert found is None or GRAMMAR.redundant(ids(text)[: found[1]], found[0] + 1) is None  # and is not found twice


class Counting(torch.nn.Module):
    """Predicts token 1 with probability `with_check` where a 'check' was read before, else `without`; two tokens."""

    def __init__(self, with_check, without):
        super().__init__()
        self.check, self.size, self.p = GRAMMAR.words.index("check"), len(GRAMMAR.words), (without, with_check)

    def forward(self, input_ids, attention_mask, use_cache, logits_to_keep):
        seen = (input_ids == self.check).long().cumsum(1) > 0
        p = torch.where(seen, self.p[1], self.p[0])
        logits = torch.full((*input_ids.shape, self.size), -1e4)
        logits[..., 0], logits[..., 1] = (1 - p).log(), p.log()
        return type("Output", (), {"logits": logits[:, -logits_to_keep:]})()


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_divergence_by_hand_and_in_a_batch_with_other_lengths():
    model, prompt, jobs = Counting(0.8, 0.5), ids("3 +1 /4 ?"), []
    for text in (CHECKED, CHECKED.replace("then 4 /4 1 . ", "")):
        full = ids(text)
        begin, end = GRAMMAR.redundant(full)
        jobs.append(([prompt], [full], [full[:begin] + full[end:]], [len(full) - end]))
    both = divergence(model, *(sum(parts, []) for parts in zip(*jobs, strict=True)))
    assert both.tolist() == pytest.approx([8 * kl(0.8, 0.5) / WINDOW, 3 * kl(0.8, 0.5) / WINDOW], rel=1e-5)
    assert divergence(model, *jobs[0]).tolist() == pytest.approx(both[:1].tolist(), rel=1e-6)


def test_what_is_not_missed_is_dropped_and_what_is_missed_stays():
    twice = CHECKED.replace("yes . then", "yes . but check 3 +1 4 -4 0 yes . then")
    prompt, traces = ids("3 +1 /4 ?"), [ids(CHECKED), ids(AGAIN), ids("3 +1 4 /4 1 # 1 <eos>"), ids(twice)]
    step = 8 * kl(0.9, 0.1) / WINDOW  # 0.027
    dropped = rewrite(Counting(0.5, 0.5), [prompt] * 4, traces, GRAMMAR)
    assert {words(dropped[i]) for i in (0, 1, 3)} == {PLAIN} and dropped[2] == traces[2]
    alert = Counting(0.9, 0.1)
    kept = rewrite(alert, [prompt] * 2, traces[:2], GRAMMAR, epsilon=0.99 * step)
    assert kept[0] == traces[0] and kept[1] == dropped[1]  # this model does not look at 'again'
    assert rewrite(alert, [prompt], traces[:1], GRAMMAR, epsilon=1.01 * step)[0] == dropped[0]


PROMPT, SHORT, LONG = [1, 3], [4, 2], [3, 4, 4, 3, 4, 2]  # bos 3 | 4 eos | 3 4 4 3 4 eos


def config(**changed):
    """3 steps of 4 problems x 4 rollouts."""
    small = {"steps": 3, "prompts_per_step": 4, "group_size": 4, "eval_problems": 1, "cap": 96, "checkpoint_every": 1}
    return scales.config("pocket", "tokensqueeze", seed=1, **{**small, **changed})


def pair_trainer(folder, length_weight):
    """One pair, and a tiny model of five words."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=5, pad_token_id=0, bos_token_id=1, eos_token_id=2, **sizes))
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
    args = DPOConfig(
        str(folder), loss_type=["sigmoid", "sft"], loss_weights=[0.5, 0.5], beta=0.2, precompute_ref_log_probs=True,
        max_length=None, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    rows = {"prompt_ids": [PROMPT], "chosen_ids": [SHORT], "rejected_ids": [LONG]}
    return squeeze.SqueezeTrainer(
        model=model, args=args, train_dataset=Dataset.from_dict(rows), processing_class=tiny.tokenizer(),
        peft_config=run.lora(config()), length_weight=length_weight,
    )  # fmt: skip


def log_likelihood(model, completion):
    logp = model(input_ids=torch.tensor([PROMPT + completion])).logits.log_softmax(-1)[0]
    return sum(logp[len(PROMPT) - 1 + i, token].item() for i, token in enumerate(completion))


def test_the_loss_of_a_changed_policy_from_plain_logits(tmp_path):
    trainer = pair_trainer(tmp_path, length_weight=1.5)
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
    loss = trainer.compute_loss(trainer.model, trainer.data_collator([trainer.train_dataset[0]]))
    assert loss.item() == pytest.approx(0.5 * dpo + 0.5 * -policy[0] / 2, rel=1e-4)


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squeeze, "AT_ONCE", 32)  # eight problems at once, so that there are two rounds
        yield Pocket()


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """A run's work folder, and what it said."""
    work, said = tmp_path_factory.mktemp("whole"), []
    run.train(config(), world, work, lambda *progress: said.append(progress))
    return work, said


def test_pairs_are_all_used_before_any_comes_again(world):
    base = world.policy()[0]
    columns = ["problem", "prompt_ids", "ids", "correct"]
    traces = [([4, 2], True), ([4, 4, 2], True), ([4, 4, 4, 2], True), ([4], False)]
    samples = pd.DataFrame([(3, [1, 3], ids, right) for ids, right in traces], columns=columns)
    found = squeeze.make_pairs(config(steps=1, prompts_per_step=1, group_size=8), base, GRAMMAR, samples)  # four wanted
    assert len(found) == 4 and (found["accuracy"] == 0.75).all()
    assert found["chosen_ids"].tolist() == [(4, 2)] * 4
    assert {len(ids) for ids in found["rejected_ids"][:3]} == {1, 3, 4}
    hopeless = samples.assign(correct=False)
    with pytest.raises(ConfigError, match="no sampled problem"):
        squeeze.make_pairs(config(), base, GRAMMAR, hopeless)


def test_a_run_leaves_a_record_as_every_arm_does(world, whole):
    work, said = whole
    run._evaluate(config(), world, work, None, Hardware())
    record = Record.load(run._assemble(config(), work, Hardware()))
    steps, pairs = record.steps, pd.read_parquet(work / "pairs.parquet")
    samples = pd.read_parquet(work / "samples.parquet")
    assert len(samples) == 3 * 4 * 4 and samples.groupby("problem").size().eq(4).all(), "the other arms' budget"
    assert not samples.loc[samples["ids"].map(lambda ids: ids[-1] != 2), "correct"].any()
    assert steps["step"].tolist() == [1, 2, 3] and {d["phase"] for d in record.decisions} == {"squeeze"}
    assert record.meta["generated_tokens"] == samples["ids"].map(len).sum() == steps["generated_tokens"].iloc[0]
    assert steps["seconds"].iloc[0] >= samples["seconds"].sum() > 0 and steps["seconds"].is_monotonic_increasing
    assert set(record.evaluation["benchmark"]) == set(BENCHMARKS)
    assert said[:2] == [("sampling", 8, 12), ("sampling", 12, 12)] and said[-1] == ("training", 3, 3)
    assert squeeze.per_step(config()) == 8 and len(pairs) == 24
    assert steps["tokens_mean"][1] == pytest.approx(pairs["chosen_ids"][8:16].map(len).mean())
    assert steps["accuracy"][1] == pytest.approx(pairs["accuracy"][8:16].mean())
    # before the first update the policy is the base: the margin is the mean of lambda log(len_l / len_w)
    ratios = pairs.iloc[:8].apply(lambda r: math.log(len(r["rejected_ids"]) / len(r["chosen_ids"])), axis=1)
    assert steps["margin"][0] == pytest.approx(ratios.mean(), rel=1e-4)


def same(work, other):
    """Are weights and steps alike, but for the seconds?"""
    ours, theirs = (load_file(w / "adapter" / "adapter_model.safetensors") for w in (work, other))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    tables = (pd.read_csv(w / "steps.csv").drop(columns="seconds") for w in (work, other))
    pd.testing.assert_frame_equal(*tables)


def test_a_stopped_run_goes_on_and_equals_the_whole_one(world, whole, tmp_path):
    def stop(step, model):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(config(), world, tmp_path, observe=stop)
    assert (tmp_path / "checkpoints" / "checkpoint-1").is_dir() and not (tmp_path / "adapter").exists()
    run.train(config(), world, tmp_path)
    same(tmp_path, whole[0])
    shutil.rmtree(tmp_path / "adapter")  # as after a kill between the last checkpoint and the adapter
    run.train(config(), world, tmp_path)
    same(tmp_path, whole[0])
