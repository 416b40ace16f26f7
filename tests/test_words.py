"""Words and their classes: worked by hand on text, and as a property of any sequence of tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from egrc.analysis import words as measurement
from egrc.analysis.word_classes import STRICT, Word, classify, connectives, split, texts, word_entropies
from egrc.entropy import token_entropy
from egrc.evaluation.problems import load
from egrc.worlds import smol
from egrc.worlds.real import SVAMP


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(smol.Smol().policy_path())


def words_of(text: str) -> list[str]:
    """Words of a text whose every character is a token."""
    return [word.text for word in split(list(text))]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("So 12 + 3", ["So", " 12", " +", " 3"]), ("It costs $1,250.50.", ["It", " costs", " $", "1,250.50", "."]),
        ("doesn't step-by-step", ["doesn't", " step-by-step"]), ("5-3=2", ["5", "-", "3", "=", "2"]),
        ("**A:**\n\n  - b", ["**", "A", ":", "**", "\n\n", "  -", " b"]),
        ("a  \n#### 5", ["a", "  \n", "####", " 5"]), (r"3 \times 4", ["3", r" \times", " 4"]),
        ("x_1  ", ["x", "_", "1", "  "]), ("3 x 4×5", ["3", " x", " 4", "×", "5"]),
    ],
)  # fmt: skip
def test_words_by_hand(text, expected):
    assert words_of(text) == expected


def test_a_word_never_cuts_a_token():
    assert split(["Ther", "efore", ",", " x", ").\n"]) == [
        Word("Therefore", 0, 2), Word(",", 2, 3), Word(" x", 3, 4), Word(").\n", 4, 5),
    ]  # fmt: skip
    assert [w.text for w in split([" 1", "2.", "5 so", " on"])] == [" 12.5 so", " on"]
    # special tokens stand apart; a character of several tokens begins its word with the first
    assert split(["so", None, "fa", None]) == [Word("so", 0, 1), Word("", 1, 2), Word("fa", 2, 3), Word("", 3, 4)]
    assert split([]) == []
    assert split(["a", " ", "", "é", "t"]) == [Word("a", 0, 1), Word(" ét", 1, 5)]
    assert split(["+", "", "é"]) == [Word("+", 0, 1), Word("é", 1, 3)]


PIECES = ("so", "12", ",", ".", " ", "\n", "as a result", "é", "🙂", "#", "-", "'", "\\", "_", "x")
TEXT = st.lists(st.sampled_from(PIECES))


@given(TEXT.map("".join), st.data())
def test_words_cover_any_cut_of_any_text(text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    tokens = [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    words = split(tokens)
    assert "".join(w.text for w in words) == text
    assert [i for w in words for i in range(w.start, w.stop)] == list(range(len(tokens)))
    assert len(classify([w.text for w in words])) == len(words)


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(17, 49151) | st.integers(17, 400), max_size=12), end=st.booleans())
def test_tokens_give_the_text_back(tokenizer, ids, end):
    ids = ids + [tokenizer.eos_token_id] * end  # single bytes, which need not make characters, are among 17..400
    words = split(texts(ids, tokenizer))
    assert "".join(w.text for w in words) == tokenizer.decode(ids, skip_special_tokens=True)
    assert not end or words[-1] == Word("", len(ids) - 1, len(ids))


def test_connectives_of_several_words():
    said = words_of("As a result, as well as a cat")
    assert said[:4] == ["As", " a", " result", ","]
    assert connectives(said) == ["as a result"] * 3 + [""] + ["as well"] * 2 + ["as", "", ""]
    assert connectives(words_of("as a\nresult")) == ["as", "", "", ""]  # 'as' alone: a line break stands between
    both = words_of("On the one hand 5, on the other hand 6")
    assert connectives(both) == ["on the one hand"] * 4 + [""] * 2 + ["on the other hand"] * 4 + [""]


def test_the_first_half_counts_where_the_second_follows():
    assert connectives(words_of("either 3 or 4")) == ["either or", "", "or", ""]
    assert connectives(words_of("either 3. Or 4")) == ["", "", "", "or", ""]
    assert connectives(words_of("either 3 or 4"), STRICT) == [""] * 4
    assert connectives(words_of("if 3 then 4"), STRICT) == ["if", "", "then", ""]


def test_classes_by_hand():
    said = "Therefore, there are 12 + 3 = 15 red twenty-five apples.\n- So the 4 x 5 don't -"
    words = words_of(said)
    assert dict(zip(words, classify(words), strict=True)) == {
        "Therefore": "connector", ",": "punctuation", " there": "function", " are": "function", " 12": "number",
        " +": "operator", " 3": "number", " =": "operator", " 15": "number", " red": "content",
        " twenty-five": "number", " apples": "content", ".": "punctuation", "\n": "layout", "-": "punctuation",
        " So": "connector", " the": "function", " 4": "number", " x": "operator", " 5": "number", " don't": "function",
        " -": "operator",
    }  # fmt: skip
    assert classify([r" \times", "-", "3", ""]) == ["operator", "operator", "number", "layout"]
    assert classify(["**", "a", "**", "\n", "=", " 5"])[::2] == ["punctuation", "punctuation", "operator"]
    words = words_of("and so for later")
    assert classify(words) == ["connector"] * 4
    assert classify(words, strict=True) == ["function", "connector", "function", "content"]
    assert classify([" won", " won't", " can't", " x", " Mia's", " it's"]) == [
        "content", "function", "function", "content", "content", "function",
    ]  # fmt: skip


def test_word_entropies_by_hand():
    words = split(["Ther", "efore", " 1", "5", None])
    total, first = word_entropies([2.0, 0.5, 1.0, 0.25, 0.0], words)
    assert total.tolist() == [2.5, 1.25, 0.0]
    assert first.tolist() == [2.0, 1.0, 0.0]
    assert [len(x) for x in word_entropies([], [])] == [0, 0]


def test_the_expected_sum_does_not_depend_on_how_words_are_cut():
    """Two words of probability 1/4 and 3/4 with one first letter, or each in one token: H(1/4) either way."""
    h = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    whole = [word_entropies([h], split(["so"]))[0][0], word_entropies([h], split(["sum"]))[0][0]]
    cut = [word_entropies([0.0, h], split(["s", rest]))[0][0] for rest in ("o", "um")]
    assert np.average(cut, weights=[0.25, 0.75]) == pytest.approx(np.average(whole, weights=[0.25, 0.75]))


@pytest.mark.e2e
def test_a_few_rollouts_of_a_model():
    """A few tokens of two problems: the rows' lists agree, and entropies are those of a plain forward pass."""
    torch.set_num_threads(1)
    world, asked = smol.Smol(), load(SVAMP, "svamp")[:2]
    model, tokenizer = world.policy()
    made = [measurement.rollouts((model, tokenizer), world, asked, seed, 0, cap=16) for seed in (0, 0, 1)]
    table, again, other = made
    assert list(table) == list(measurement.COLUMNS) and table["text"].tolist() == again["text"].tolist()
    assert table["text"].tolist() != other["text"].tolist()
    for row, problem in zip(table.to_dict("records"), asked, strict=True):
        ends = "" if row["truncated"] else tokenizer.eos_token
        assert "".join(row["tokens"]) == "".join(row["subwords"]) == row["text"] + ends
        assert row["length"] == len(row["subword_ids"]) == len(row["subword_entropies"]) <= 16
        assert len(row["tokens"]) == len(row["entropies"]) == len(row["classes"]) == len(row["starts"])
        assert row["entropies"].sum() == pytest.approx(row["subword_entropies"].sum(), rel=1e-5)
        assert (row["entropies_first"] <= row["entropies"] + 1e-6).all()
        ids = torch.tensor([tokenizer(world.prompt(problem.text)).input_ids + row["subword_ids"].tolist()])
        with torch.no_grad():
            expected = token_entropy(model(ids).logits[0, -row["length"] - 1 : -1])
        np.testing.assert_allclose(row["subword_entropies"], expected, atol=1e-3)
