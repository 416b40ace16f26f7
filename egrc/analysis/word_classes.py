"""Words of a real model's completions: how subword tokens make them, their classes, their entropy; defined once, here.

**Words.**  `texts` decodes tokens, `split` joins them: letters (with inner apostrophes and hyphens), numbers (with
inner points and commas), runs of one sign, LaTeX commands, line breaks.  Blanks belong to the word that they precede.
Where one token covers the end of a word and the next one's beginning, the two are one word.

**Classes.**  `classify` goes by fixed lists; no model tags.  Connectors are the 100 explicit connectives that the Penn
Discourse Treebank 2.0 annotates (`PENN`).  All lists were fixed before any entropy was looked at.  [ours]

**Entropy of a word**, in nats at T=1: the SUM of its tokens' next-token entropies, by the chain rule an unbiased
estimate of the entropy of choosing the whole word, however the tokenizer cuts it.  Beside it: the entropy at its FIRST
token, which does not grow with digits and rare spellings.  What holds by only one of them depends on the definition.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CLASSES = ("connector", "number", "operator", "punctuation", "function", "content", "layout")
"""'layout' is line breaks, blanks at the end, and the token that ends the turn."""
_PENN = """
accordingly, additionally, after, afterward, also, alternatively, although, and, as, as a result, as an alternative,
as if, as long as, as soon as, as though, as well, because, before, before and after, besides, but, by comparison, by
contrast, by then, consequently, conversely, earlier, either or, else, except, finally, for, for example, for
instance, further, furthermore, hence, however, if, if and when, if then, in addition, in contrast, in fact, in other
words, in particular, in short, in sum, in the end, in turn, indeed, insofar as, instead, later, lest, likewise,
meantime, meanwhile, moreover, much as, neither nor, nevertheless, next, nonetheless, nor, now that, on the contrary,
on the one hand on the other hand, on the other hand, once, or, otherwise, overall, plus, previously, rather,
regardless, separately, similarly, simultaneously, since, so, so that, specifically, still, then, thereafter, thereby,
therefore, though, thus, till, ultimately, unless, until, when, when and if, whereas, while, yet
"""
_AMBIGUOUS = """
after, afterward, and, as, before, earlier, either or, else, except, for, later, lest, meantime, neither nor, nor, once,
or, plus, previously, regardless, separately, simultaneously, thereafter, till, until, when
"""
PENN, AMBIGUOUS = (tuple(" ".join(p.split()) for p in listed.split(",")) for listed in (_PENN, _AMBIGUOUS))
STRICT = tuple(phrase for phrase in PENN if phrase not in AMBIGUOUS)
"""The explicit connectives of the Penn Discourse Treebank 2.0 (The PDTB Research Group 2007, annotation manual, IRCS
technical report 203), all of them as they stand there; 'either or' and its like are written with a gap.  Those that in
word problems mostly are plain conjunctions, prepositions or times, left out of `worlds.smol`'s list of tokens, too.
The strict list is `PENN` without them.  [ours]"""

_PARTS = {"on the one hand on the other hand": ("on the one hand", "on the other hand"), "if then": ("if", "then")}
_GAPPED = {"either": "or", "neither": "nor"}
"""Connectives with a gap: those whose halves stand for themselves, and those whose first half needs the second."""

OPERATORS = frozenset(
    (*"+-*/=<>^×÷·≤≥≠≈±−", "==", "<=", ">=", r"\times", r"\div", r"\cdot", r"\pm", r"\le", r"\ge", r"\approx")
)
_CARDINALS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion
"""
_FUNCTION = """
a an the this that these those each every either neither any some all both no another other such what which whose much
many more most few fewer less least several enough
i you he she it we they me him her us them my your his its our their mine yours hers ours theirs myself yourself himself
herself itself ourselves themselves who whom there someone anyone everyone something anything everything nothing none
about above across against along among around at behind below beneath beside between beyond by despite down during from
in inside into like near of off on onto out outside over per past than through throughout to toward towards under up
upon via with within without after and as before except for nor or plus since till until when lest once whether where
how why because although though if unless while whereas but so yet
am is are was were be been being do does did doing done have has had having will would shall should can could may might
must cannot not won't let
"""
CARDINALS, FUNCTION = frozenset(_CARDINALS.split()), frozenset(_FUNCTION.split())
"""Determiners, pronouns, prepositions and conjunctions (where no list has them as connectors), auxiliaries.  [ours]"""

WORD = re.compile(
    r"\s*\n"  # line breaks, with the blanks before them
    r"|[^\S\n]*(?:"
    r"[^\W\d_]+(?:[-'’][^\W\d_]+)*"  # step-by-step, doesn't
    r"|\d+(?:[.,]\d+)*"  # 1,250.50
    r"|\\[A-Za-z]+"  # \times
    r"|([^\w\s]|_)\1*)"  # ####
    r"|\s+"  # blanks at the end
)
_END = re.compile(r"[.!?;:]+")
_LONGEST = max(len(phrase.split()) for phrase in PENN)


class Word(NamedTuple):
    """Consecutive tokens, from number `start` to before `stop`, and their text: '' for a special token."""

    text: str
    start: int
    stop: int


# --- from tokens to words -----------------------------------------------------------------------------------------


def texts(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str | None]:
    """Each token's text, None for a special token; joined they are the completion as the tokenizer decodes it.

    A character that several byte-level tokens make belongs to the last of them; bytes that make none become U+FFFD.
    Raises ValueError for a token that is not of a byte-level vocabulary.
    """
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    as_byte = {character: byte for byte, character in bytes_to_unicode().items()}
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    found: list[str | None] = []
    for number, (i, token) in enumerate(zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)):
        if i not in special and (unknown := set(token or "?") - as_byte.keys()):
            raise ValueError(f"token {number} ({token!r}) has {min(unknown)!r}: no byte-level vocabulary writes that")
        found.append(None if i in special else decoder.decode(bytes(as_byte[c] for c in token)))
    spoken = [i for i, text in enumerate(found) if text is not None]
    if spoken:  # what a cut character left behind
        found[spoken[-1]] = (found[spoken[-1]] or "") + decoder.decode(b"", final=True)
    return found


def split(texts: Sequence[str | None]) -> list[Word]:
    """Tokens' texts (None: special) into words that cover them all, in order; see the module's header."""
    opening = {match.start() for match in WORD.finditer("".join(text or "" for text in texts))}
    starts, position, hanging = [], 0, False  # hanging: the token before made only a part of this one's character
    for i, text in enumerate(texts):
        apart = i == 0 or text is None or texts[i - 1] is None
        if apart or (position in opening and not hanging):
            starts.append(i)
        hanging = text == ""
        position += len(text or "")
    return [Word("".join(t or "" for t in texts[a:b]), a, b) for a, b in pairwise([*starts, len(texts)])]


def word_entropies(entropies: Sequence[float], words: Sequence[Word]) -> tuple[np.ndarray, np.ndarray]:
    """Each word's entropy, nats, float64 [words]: the sum over its tokens, and the first token's alone.

    `entropies` [tokens] are the tokens' next-token entropies at T=1.  Raises ValueError where the words do not cover
    just these tokens.
    """
    values = np.asarray(entropies, float)
    if [0, *(word.stop for word in words)] != [*(word.start for word in words), len(values)]:
        raise ValueError(f"{len(values)} entropies, but the words do not cover these tokens: not of one completion")
    starts = [word.start for word in words]
    return (np.add.reduceat(values, starts), values[starts]) if starts else (values, values)


# --- classes ------------------------------------------------------------------------------------------------------


def connectives(words: Sequence[str], known: Collection[str] = PENN) -> list[str]:
    """For each word the connective it is part of, '' for none; of several the longest, from left to right.

    The words of a connective of several words follow each other, with nothing but blanks between.  Of 'either or' and
    'neither nor' the first word counts if the second follows in the same sentence.
    """
    spelt = [_spelling(word) for word in words]
    phrases = frozenset(part for phrase in known for part in _PARTS.get(phrase, (phrase,)))
    found, i = [""] * len(spelt), 0
    while i < len(spelt):
        sizes = range(min(_LONGEST, len(spelt) - i), 0, -1)
        n = next((n for n in sizes if " ".join(spelt[i : i + n]) in phrases), 0)
        found[i : i + n] = [" ".join(spelt[i : i + n])] * n
        i += max(n, 1)
    for i, first in enumerate(spelt):
        second = _GAPPED.get(first, "")
        ends = (j for j in range(i, len(spelt)) if not spelt[j] or _END.fullmatch(spelt[j]))
        if f"{first} {second}" in known and second in spelt[i : next(ends, len(spelt))]:
            found[i] = f"{first} {second}"
    return found


def classify(words: Sequence[str], strict: bool = False) -> list[str]:
    """The class of every word of a completion, in order: a name of `CLASSES`.  `strict`: by the strict list.

    A connector is what `connectives` finds.  A number has digits or is a cardinal in letters; an operator is a sign of
    arithmetic, or an 'x' between two numbers, but not a dash or star that opens a line before a blank; other signs are
    punctuation; function words are on a list, 'it's' by what stands before the apostrophe.
    """
    marked = connectives(words, STRICT if strict else PENN)
    return ["connector" if marked[i] else _plain_class(words, i) for i in range(len(words))]


def _plain_class(words: Sequence[str], i: int) -> str:
    word = _spelling(words[i])
    if not word:
        return "layout"
    if _is_number(word):
        return "number"
    before, after = (words[j] if 0 <= j < len(words) else "" for j in (i - 1, i + 1))
    if word in OPERATORS:
        opens_line = (i == 0 or "\n" in before) and after[:1].isspace()
        return "punctuation" if word in ("-", "*", "+") and opens_line else "operator"
    if word == "x" and _is_number(_spelling(before)) and _is_number(_spelling(after)):
        return "operator"
    if not any(character.isalnum() for character in word):
        return "punctuation"
    stem, apostrophe, _ = word.partition("'")
    known = {word, stem, stem.removesuffix("n") if apostrophe else stem} & FUNCTION
    return "function" if known else "content"


def _spelling(word: str) -> str:
    return word.strip().lower().replace("’", "'")


def _is_number(word: str) -> bool:
    return word[:1].isdigit() or all(part in CARDINALS for part in word.split("-"))
