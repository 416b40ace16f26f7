r"""A tidied answer as a tree: sympy's expressions, and around them lists, intervals and equations taken apart.

latex2sympy2_extended, math-verify's parser, reads the expressions.  Where it would read only a part, or something else
(a base, an ellipsis, a time of day), `read` returns None, and `egrc.evaluation.grading` compares texts.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from math_verify.grader import should_treat_as_complex

from egrc.evaluation.answers import key

Node = Any
NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
# What the parser reads only in part, or as something else: a base, an ellipsis, two numbers side by side, a time.
_UNREAD = re.compile(
    r"\\approx|\\overline|\d\s*_|\\[lcv]?dots|\.\.\.|\d\s+\d|\d:\d|\\langle|\\\||\\begin\{cases"
    r"|\\text|\\mathrm|[?'\"\n$]"
)
_WORDS = re.compile(r"(?<![\\A-Za-z{])(?!(?:sin|cos|tan|log|ln|exp|max|min)\b)[A-Za-z]{3,}(?![A-Za-z])")
_NAME = re.compile(r"\\?[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?'*(?:\s*\(\s*[a-z](?:\s*,\s*[a-z])*\s*\))?\s*")
_BUILDER = re.compile(r"\\\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.+?)\s*\\\}")
_IMAGINARY = re.compile(r"(?s)^(?!.*(?:\\sum|\\prod|_\{?i)).*(?<![a-zA-Z\\])i(?![a-zA-Z])")

for _name in ("math_verify.parser", "math_verify.grader", "latex2sympy2_extended.math_normalization"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@lru_cache(maxsize=4096)
def read(text: str) -> Node | None:
    r"""A tidied answer as a tree: sympy's, ('list', ...), ('(]', ...), ('cup', ...), ('=', name, value)."""
    text = re.sub(r"(?<![\d.])([1-9]\d{0,2})((?:,\s*\d{3})+)(?![\d,])", _grouped, text.strip())
    if builder := _BUILDER.fullmatch(text):
        condition = _leaf(builder[2])
        return condition if isinstance(condition, (sympy.core.relational.Relational, sympy.And)) else None
    text = re.sub(r"^[a-zA-Z]\s*\\in(?![a-zA-Z])\s*(?=[(\[\\])", "", text)
    if len(pieces := _split(text, r"\\cup(?![a-zA-Z])")) > 1:
        return _node("cup", pieces)
    if len(pieces := _split(text, r"[,;]")) > 1:
        return _node("list", pieces)
    if match := re.fullmatch(r"(\\\{|\(|\[|\])(.*)(\\\}|\)|\]|\[)", text, re.DOTALL):
        inner = _split(match[2], r"[,;]")
        if _closed(match[2]) and (len(inner) > 1 or match[1] == r"\{"):
            kind = "set" if match[1] == r"\{" and match[3] == r"\}" else match[1] + match[3]
            return _node(kind, inner)
        if _closed(match[2]) and match[1] + match[3] in ("()", "[]"):
            return read(match[2])
    sides = re.split(r"(?<![<>!\\])=", text)
    if len(sides) > 1 and not re.search(r"\\(?:equiv|pmod|sum|prod|bigcup)|[<>]|\\(?:le|ge|ne)\b", sides[0]):
        if _NAME.fullmatch(sides[0]):
            value = read(sides[-1])
            return None if value is None else ("=", key(sides[0]), value)
        values = [read(side) for side in (sides[0], sides[-1])]
        return None if None in values else ("equation", *values)
    if match := re.fullmatch(r"(.*?)\\(?:pm|mp)(?![a-zA-Z])(.*)", text, re.DOTALL):
        return _node("list", [f"{match[1]}+{match[2]}", f"{match[1]}-{match[2]}"])
    return _leaf(text)


def _grouped(match: re.Match[str]) -> str:
    return match[1] + re.sub(r"[,\s]", "", match[2])


def _node(kind: str, pieces: list[str]) -> Node | None:
    parts: list[Node] = []
    for piece in pieces:
        part = read(piece) if piece.strip() else None
        if part is None:
            return None
        named = _named(part)
        if kind in ("list", "set") and named is not None:
            parts += named
        else:
            parts.append(part)
    return (kind, *parts)


def _named(part: Node) -> list[Node] | None:
    r"""The entries of 'x = \pm 2' inside a list, which are two."""
    if isinstance(part, tuple) and part[0] == "=" and isinstance(part[2], tuple) and part[2][0] == "list":
        return [("=", part[1], value) for value in part[2][1:]]
    return list(part[1:]) if isinstance(part, tuple) and part[0] == "list" else None


def _split(text: str, separator: str) -> list[str]:
    """The text between separators that stand outside all brackets; an interval's brackets may differ."""
    parts, depth, last = [], 0, 0
    for m in re.finditer(rf"({separator})|\\[a-zA-Z]+|\\.|[\[({{]|[\])}}]", text):
        if m[1] and depth <= 0:
            parts.append(text[last : m.start()])
            last = m.end()
        depth += 1 if m[0] in ("(", "[", "{", r"\{") else -1 if m[0] in (")", "]", "}", r"\}") else 0
    return [*parts, text[last:]]


def _closed(text: str) -> bool:
    depth = 0
    for m in re.finditer(r"\\[a-zA-Z]+|\\.|[\[({]|[\])}]", text):
        depth += 1 if m[0] in ("(", "[", "{", r"\{") else -1 if m[0] in (")", "]", "}", r"\}") else 0
        if depth < 0:
            return False
    return depth == 0


def _leaf(text: str) -> Node | None:
    text = re.sub(r"(?<=\d)\s+(?=\\frac\{?\d)", "", text)
    plain = re.sub(r"(\\(?:sin|cos|tan))\s+(\d+)\s*([a-z])(?![a-zA-Z])", r"\1(\2\3)", text)
    plain = re.sub(r"(\\log_)\{?(\d+)\}?\s*(\d+)", r"\1{\2}{\3}", plain)
    if _UNREAD.search(plain) or _WORDS.search(text) or re.search(r"[^\x20-\x7e]", text) or not text.strip():
        return None
    number = re.fullmatch(r"([-+]?)\s*(\d{1,60}(?:\.\d{0,60})?|\.\d{1,60})(?:/0*([1-9]\d{0,30}))?", plain.strip())
    if number:
        value = sympy.Rational(number[2]) / sympy.Integer(number[3] or 1)
        return -value if number[1] == "-" else value
    try:
        real = not (should_treat_as_complex(plain) or _IMAGINARY.search(plain))
        value = latex2sympy(normalize_latex(plain, NORMAL), is_real=real, normalization_config=None)
        if not real:
            value = value.subs({s: sympy.I for s in value.free_symbols if s.name == "i"})
    except Exception:
        return None
    return value if isinstance(value, (sympy.Basic, sympy.MatrixBase)) else None
