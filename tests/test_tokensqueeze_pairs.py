"""TokenSqueeze's pairs: depth, selection, redundant steps and their divergence, each worked out by hand."""

import math
import random

import pytest
import torch

from egrc.methods.tokensqueeze import WINDOW, Grammar, Trace, depth, divergence, pairs, rewrite, split
from egrc.worlds.pocket.tokenizer import build_tokenizer, word_class


@pytest.mark.parametrize(
    ("correct", "samples", "alpha", "positives"),
    [
        (4, 8, 1.0, 2),  # q = 1/2 of 4
        (6, 8, 1.0, 2),  # q = 1/4 of 6 = 1.5
        (1, 8, 1.0, 1),  # q = 7/8 of 1
        (8, 8, 1.0, 1),  # q = 0: ours, one at least
        (0, 8, 1.0, 0),
        (16, 32, 0.5, 4),  # q = 1/4 of 16
        (5, 10, 0.4, 1),  # q = 1/5 of 5, exactly 1: rounding must not make it 2
        (30, 50, 0.25, 3),  # q = 1/10 of 30, which floats make a little more than 3
    ],
)
def test_depth_by_hand(correct, samples, alpha, positives):
    assert depth(correct, samples, alpha) == positives


def trace(length, correct=True):
    return Trace(tuple(range(length)), correct)


def test_the_shortest_correct_ones_are_positives():
    wrong = trace(1, correct=False)
    chosen, others = split([trace(9), trace(3), wrong, trace(5), trace(7), wrong, wrong, wrong], alpha=1.0)
    assert [len(t.ids) for t in chosen] == [3, 5]  # c = 4 of 8
    assert [len(t.ids) for t in others if t.correct] == [7, 9] and sum(not t.correct for t in others) == 4


def test_rejected_ones_are_longer_or_wrong():
    others = [trace(4), trace(3), trace(2, correct=False), trace(6, correct=False)]
    found = pairs([(7, 7, 7)], others, random.Random(0))
    assert {w for w, _ in found} == {(7, 7, 7)}
    assert [len(rejected) for _, rejected in found] == [4, 2, 6]  # not the correct one of equal length


def test_no_more_pairs_than_allowed_and_always_the_same():
    others = [trace(n) for n in range(10, 30)]
    found = pairs([(1,), (2,)], others, random.Random(3), most=7)
    assert len(set(found)) == 7 and found == pairs([(1,), (2,)], others, random.Random(3), most=7)


# --- steps that say again what was said ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grammar():
    words = build_tokenizer().convert_ids_to_tokens(range(len(build_tokenizer())))
    return Grammar(words, [word_class(w) == "connector" for w in words])


def ids(text):
    return tuple(build_tokenizer().convert_tokens_to_ids(text.split()))


def words(grammar, found):
    return " ".join(grammar.words[i] for i in found)


CHECKED = "so 3 +4 = 0 . wait check 3 +4 = 0 right . then 0 -1 = 6 . # 6 <eos>"
AGAIN = "so 3 +4 = 0 . then 0 -1 = 6 . hmm again 3 +4 = 0 . 0 -1 = 6 . # 6 <eos>"
TRIES = "so try 3 . 3 +4 = 0 . gap 0 -5 = 2 no . but try 3 . 3 +4 = 0 . gap 0 -5 = 2 no . wait try 1 . 1 +4 = 5 . "
TRIES += "gap 5 -5 = 0 yes . # 1 <eos>"


@pytest.mark.parametrize(
    ("text", "span"),
    [
        (CHECKED, "wait check 3 +4 = 0 right ."),
        (AGAIN, "hmm again 3 +4 = 0 . 0 -1 = 6 ."),
        (TRIES, "but try 3 . 3 +4 = 0 . gap 0 -5 = 2 no ."),
        ("wait again 3 +4 = 0 . so 0 -1 = 6 . # 6 <eos>", "wait again 3 +4 = 0 ."),
    ],
)
def test_redundant_steps(grammar, text, span):
    begin, end = grammar.redundant(ids(text))
    assert words(grammar, ids(text)[begin:end]) == span


@pytest.mark.parametrize(
    "text",
    [
        "3 +4 0 -1 6 # 6 <eos>",  # compact: nothing to drop
        "so 3 +4 = 0 . then 0 -1 = 6 . # 6 <eos>",  # every step is needed
        "so try 3 . 3 +4 = 0 . gap 0 -5 = 2 no . wait try 1 . 1 +4 = 5 . gap 5 -5 = 0 yes . # 1 <eos>",  # other tries
        "so 3 +4 = 0 . wait check 3 +4",  # cut inside
        "wait again",
        "wait",
        "",
    ],
)
def test_traces_without_redundant_steps(grammar, text):
    assert grammar.redundant(ids(text)) is None


def test_a_step_that_stays_is_not_asked_about_again(grammar):
    begin, _ = grammar.redundant(ids(CHECKED))
    assert grammar.redundant(ids(CHECKED), begin + 1) is None


def test_a_vocabulary_without_connectors_has_none():
    assert Grammar(["check", "."], [False, False]).redundant([0, 0, 1, 1]) is None


# --- what is missed -----------------------------------------------------------------------------------------------


class Counting(torch.nn.Module):
    """Predicts token 1 with probability `with_check` where a 'check' was read before, else `without`; two tokens."""

    def __init__(self, check, size, with_check, without):
        super().__init__()
        self.check, self.size, self.p = check, size, (without, with_check)

    def forward(self, input_ids, attention_mask, use_cache):
        seen = (input_ids == self.check).long().cumsum(1) > 0
        p = torch.where(seen, self.p[1], self.p[0])
        logits = torch.full((*input_ids.shape, self.size), -1e4)
        logits[..., 0], logits[..., 1] = (1 - p).log(), p.log()
        return type("Output", (), {"logits": logits})()


def counting(grammar, with_check, without):
    return Counting(grammar.words.index("check"), len(grammar.words), with_check, without)


def kl(p, q):
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def test_divergence_by_hand(grammar):
    begin, end = grammar.redundant(ids(CHECKED))
    full, prompt = ids(CHECKED), ids("3 +4 -1 ?")
    found = divergence(counting(grammar, 0.8, 0.5), [prompt], [full], [full[:begin] + full[end:]], [len(full) - end])
    assert len(full) - end == 9
    assert found.tolist() == pytest.approx([9 * kl(0.8, 0.5) / WINDOW], rel=1e-5)


def test_traces_of_other_lengths_in_the_batch_change_nothing(grammar):
    model, prompt = counting(grammar, 0.8, 0.5), ids("3 +4 -1 ?")
    jobs = []
    for text in (CHECKED, CHECKED.replace("then 0 -1 = 6 . ", "")):
        full = ids(text)
        begin, end = grammar.redundant(full)
        jobs.append(([prompt], [full], [full[:begin] + full[end:]], [len(full) - end]))
    alone = torch.cat([divergence(model, *job) for job in jobs])
    both = divergence(model, *(sum(parts, []) for parts in zip(*jobs, strict=True)))
    assert both.tolist() == pytest.approx(alone.tolist(), rel=1e-6)


def test_what_is_not_missed_is_dropped_and_what_is_missed_stays(grammar):
    prompt, traces = ids("3 +4 -1 ?"), [ids(CHECKED), ids(AGAIN), ids("3 +4 0 -1 6 # 6 <eos>")]
    blind, alert = counting(grammar, 0.5, 0.5), counting(grammar, 0.9, 0.1)
    step = 9 * kl(0.9, 0.1) / WINDOW  # 0.031
    dropped = rewrite(blind, [prompt] * 3, traces, grammar)
    assert words(grammar, dropped[0]) == words(grammar, dropped[1]) == "so 3 +4 = 0 . then 0 -1 = 6 . # 6 <eos>"
    assert dropped[2] == traces[2]
    kept = rewrite(alert, [prompt] * 3, traces, grammar, epsilon=0.99 * step)
    assert kept[0] == traces[0] and kept[1] == dropped[1]  # this model does not look at 'again'
    assert rewrite(alert, [prompt], traces[:1], grammar, epsilon=1.01 * step)[0] == dropped[0]


def test_both_of_two_re_checks_go(grammar):
    twice = CHECKED.replace("right . then", "right . but check 3 +4 = 0 right . then")
    found = rewrite(counting(grammar, 0.5, 0.5), [ids("3 +4 -1 ?")], [ids(twice)], grammar)
    assert words(grammar, found[0]) == "so 3 +4 = 0 . then 0 -1 = 6 . # 6 <eos>"


def test_the_base_misses_no_re_check_but_would_miss_a_step(grammar):
    """The source's epsilon, on the pocket base: it tells what is redundant from what is not."""
    from egrc.worlds.pocket import Pocket

    model, tokenizer = Pocket().policy()
    prompt, full = tuple(tokenizer("3 +4 -1 *2 +5 ?")["input_ids"]), ids(
        "so 3 +4 = 0 . wait check 3 +4 = 0 right . then 0 -1 = 6 . so 6 *2 = 5 . so 5 +5 = 3 . # 3 <eos>"
    )
    check, step = full[:6] + full[14:], full[:14] + full[20:]
    missed = divergence(model, [prompt] * 2, [full] * 2, [check, step], [len(full) - 14, len(full) - 20])
    assert missed[0] < 0.005 < missed[1]
