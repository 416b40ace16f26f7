"""Words of a real model's completions: how subword tokens make them, their classes, their entropy; defined once, here.

**Words.**  SmolLM2 writes text in subword tokens ("Ġther", "efore") and numbers digit by digit.  `texts` decodes
tokens, `split` joins them into words: letters (with inner apostrophes and hyphens), numbers (with inner points and
commas), runs of one sign, LaTeX commands, line breaks.  Blanks belong to the word that they precede.  A word never
cuts a token: where one token covers the end of a word and the next one's beginning, the two are one word.

**Classes.**  `classify` tags every word by fixed lists and rules, all kinds in the same way; no model tags.
Connectors are the 100 explicit connectives that the Penn Discourse Treebank 2.0 annotates (`PENN`); the paper's
examples ("therefore", "thus", "as a result") are among them.  All lists were fixed before any entropy was looked at.
[ours]

**Entropy of a word**, in nats at T=1: the SUM of its tokens' next-token entropies.  By the chain rule the expected sum
is the entropy of the choice of the whole word, however the tokenizer cuts words: a vocabulary that spells "therefore"
in one token and one that spells it in two give the same expectation.  The sum along one sampled word is an unbiased
estimate of it; a mean over the word's tokens is not, because it falls when a word is cut into more pieces.  The
alternative, kept beside it: the entropy at the word's FIRST token, the uncertainty of the decision to open this word;
it does not grow with digits and rare spellings.  A conclusion that holds by only one of them depends on the
definition.  Both leave to the next word the uncertainty of whether this one ends here.  [ours]
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # a reader of recorded words needs no tokenizer
    from transformers import PreTrainedTokenizerBase

CLASSES = ("connector", "number", "operator", "punctuation", "function", "content", "layout")
"""'layout' is line breaks, blanks at the end, and the token that ends the turn."""


def _phrases(listed: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in listed.split(","))


PENN = _phrases(
    "accordingly, additionally, after, afterward, also, alternatively, although, and, as, as a result, "
    "as an alternative, as if, as long as, as soon as, as though, as well, because, before, before and after, "
    "besides, but, by comparison, by contrast, by then, consequently, conversely, earlier, either or, else, except, "
    "finally, for, for example, for instance, further, furthermore, hence, however, if, if and when, if then, "
    "in addition, in contrast, in fact, in other words, in particular, in short, in sum, in the end, in turn, indeed, "
    "insofar as, instead, later, lest, likewise, meantime, meanwhile, moreover, much as, neither nor, nevertheless, "
    "next, nonetheless, nor, now that, on the contrary, on the one hand on the other hand, on the other hand, once, "
    "or, otherwise, overall, plus, previously, rather, regardless, separately, similarly, simultaneously, since, so, "
    "so that, specifically, still, then, thereafter, thereby, therefore, though, thus, till, ultimately, unless, "
    "until, when, when and if, whereas, while, yet"
)
"""The 100 explicit connectives of the Penn Discourse Treebank 2.0 (The PDTB Research Group 2007, annotation manual,
IRCS technical report 203), all of them as they stand there; 'either or' and its like are written with a gap."""
AMBIGUOUS = _phrases(
    "after, afterward, and, as, before, earlier, either or, else, except, for, later, lest, meantime, neither nor, "
    "nor, once, or, plus, previously, regardless, separately, simultaneously, thereafter, till, until, when"
)
"""Those that in word problems mostly are plain conjunctions, prepositions or times; `worlds.smol` left them out of its
list of tokens, too.  The strict list is `PENN` without them.  [ours]"""
STRICT = tuple(phrase for phrase in PENN if phrase not in AMBIGUOUS)

_PARTS = {"on the one hand on the other hand": ("on the one hand", "on the other hand"), "if then": ("if", "then")}
_GAPPED = {"either": "or", "neither": "nor"}
"""Connectives with a gap: those whose halves stand for themselves, and those whose first half needs the second."""

OPERATORS = frozenset(
    (*"+-*/=<>^×÷·≤≥≠≈±−", "==", "<=", ">=", r"\times", r"\div", r"\cdot", r"\pm", r"\le", r"\ge", r"\approx")
)
_CARDINALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion"
)
CARDINALS = frozenset(_CARDINALS.split())
_DETERMINERS = (
    "a an the this that these those each every either neither any some all both no another other such what which "
    "whose much many more most few fewer less least several enough"
)
_PRONOUNS = (
    "i you he she it we they me him her us them my your his its our their mine yours hers ours theirs myself yourself "
    "himself herself itself ourselves themselves who whom there someone anyone everyone something anything everything "
    "nothing none"
)
_PREPOSITIONS = (  # and conjunctions, for where the strict list does not take them for connectors
    "about above across against along among around at behind below beneath beside between beyond by despite down "
    "during from in inside into like near of off on onto out outside over per past than through throughout to toward "
    "towards under up upon via with within without after and as before except for nor or plus since till until when "
    "lest once whether where how why because although though if unless while whereas but so yet"
)
_AUXILIARIES = (
    "am is are was were be been being do does did doing done have has had having will would shall should can could "
    "may might must cannot not won't let"
)
FUNCTION = frozenset(f"{_DETERMINERS} {_PRONOUNS} {_PREPOSITIONS} {_AUXILIARIES}".split())
"""[ours]"""

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


@dataclass(frozen=True)
class Word:
    """Consecutive tokens that make one word."""

    text: str
    """With the blanks before it; '' for a special token."""
    start: int
    """Number of its first token in the completion."""
    stop: int
    """Number of the token after its last one."""


# --- from tokens to words -------------------------------------------------------------------------


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
        if i in special:
            found.append(None)
        elif unknown := set(token or "?") - as_byte.keys():
            raise ValueError(f"token {number} ({token!r}) has {min(unknown)!r}: no byte-level vocabulary writes that")
        else:
            found.append(decoder.decode(bytes(as_byte[c] for c in token)))
    return _with_rest(found, decoder.decode(b"", final=True))


def _with_rest(found: list[str | None], rest: str) -> list[str | None]:
    """`rest`, what a cut character left behind, goes to the last token that has a text."""
    last = max((i for i, text in enumerate(found) if text is not None), default=None)
    if rest and last is not None:
        found[last] = (found[last] or "") + rest
    return found


def split(texts: Sequence[str | None]) -> list[Word]:
    """Tokens' texts (None: special) into words that cover them all, in order; see the module's header."""
    spoken = "".join(text or "" for text in texts)
    opening = {match.start() for match in WORD.finditer(spoken)}
    starts, position, hanging = [], 0, False  # hanging: the token before made only a part of this one's character
    for i, text in enumerate(texts):
        apart = i == 0 or text is None or texts[i - 1] is None
        if apart or (position in opening and not hanging):
            starts.append(i)
        hanging = text == ""
        position += len(text or "")
    return [Word("".join(t or "" for t in texts[a:b]), a, b) for a, b in pairwise([*starts, len(texts)])]


# --- classes --------------------------------------------------------------------------------------


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
    for first, second in _GAPPED.items():
        if f"{first} {second}" in known:
            for i in (i for i, word in enumerate(spelt) if word == first):
                if second in _rest_of_sentence(spelt, words, i):
                    found[i] = f"{first} {second}"
    return found


def _rest_of_sentence(spelt: Sequence[str], words: Sequence[str], i: int) -> Sequence[str]:
    ends = (j for j in range(i, len(words)) if not spelt[j] or _END.fullmatch(spelt[j]))
    return spelt[i : next(ends, len(words))]


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
    if word in OPERATORS:
        return "punctuation" if _is_bullet(words, i) else "operator"
    if word == "x" and 0 < i < len(words) - 1 and all(_is_number(_spelling(words[j])) for j in (i - 1, i + 1)):
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


def _is_bullet(words: Sequence[str], i: int) -> bool:
    opens = i == 0 or "\n" in words[i - 1]
    return words[i].strip() in ("-", "*", "+") and opens and i + 1 < len(words) and words[i + 1][:1].isspace()


# --- entropy --------------------------------------------------------------------------------------


def word_entropies(entropies: Sequence[float], words: Iterable[Word]) -> tuple[np.ndarray, np.ndarray]:
    """Each word's entropy, nats, float64 [words]: the sum over its tokens, and the first token's alone.

    `entropies` [tokens] are the tokens' next-token entropies at T=1.  Raises ValueError where the words do not cover
    just these tokens, or an entropy is NaN or negative.
    """
    values = np.asarray(entropies, float)
    starts, stop = [], 0
    for word in words:
        if word.start != stop or word.stop <= word.start:
            raise ValueError(f"word {len(starts)} ({word.text!r}) begins at token {word.start}, not {stop}")
        starts.append(word.start)
        stop = word.stop
    if stop != len(values):
        raise ValueError(f"{len(values)} entropies, but the words have {stop} tokens: they are not of one completion")
    bad = ~(values >= 0)
    if bad.any():
        raise ValueError(f"token {int(bad.argmax())}: entropy {values[bad.argmax()]}; expected nats, 0 or more")
    if not starts:
        return values, values
    return np.add.reduceat(values, starts), values[starts]
