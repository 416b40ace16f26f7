"""Is this text a correct answer?  `grade` says so in this process, `egrc.evaluation.pool` where none can hang us.

The final answer is taken out by `egrc.evaluation.answers`; latex2sympy2_extended, math-verify's parser, reads it and the
gold one.  Lists, intervals and equations are taken apart here, so that their parts are compared one by one.  Where
either side was not read whole, only whole texts are compared, and the reason says so.  A missing or cut answer, or one
too costly to compare, is wrong; it is not an error.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import latex2sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
from math_verify.grader import should_treat_as_complex, sympy_expr_eq

from egrc.evaluation.answers import LONGEST, Grade, extract, key, tidy, unit, without_unit

Gold = str | Sequence[str]
"""The accepted answer, or several of which any will do."""
NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")

for _name in ("math_verify.parser", "math_verify.grader", "latex2sympy2_extended.math_normalization"):
    logging.getLogger(_name).setLevel(logging.ERROR)

# 9^9^9 is evaluated inside one call that Python cannot interrupt.
_TOWER = re.compile(r"\d[\s)}]*(?:\^|\*\*)[\s({-]*(?:\d+[\s)}]*(?:\^|\*\*|!)|\d{6,})")
# What the parser reads only in part, or as something else: a base, an ellipsis, two numbers side by side, a time.
_UNREAD = re.compile(r"\\approx|\\overline|\d\s*_|\\[lcv]?dots|\.\.\.|\d\s+\d|\d:\d|\\langle|\\\||\\begin\{cases|\\text|\\mathrm|[?'\"\n$]")
_WORDS = re.compile(r"(?<![\\A-Za-z{])(?!(?:sin|cos|tan|log|ln|exp|max|min)\b)[A-Za-z]{3,}(?![A-Za-z])")
_NAME = re.compile(r"\\?[A-Za-z]+(?:_(?:\{[^{}]*\}|\w))?'*(?:\s*\(\s*[a-z](?:\s*,\s*[a-z])*\s*\))?\s*")
_BUILDER = re.compile(r"\\\{\s*([a-zA-Z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.+?)\s*\\\}")
_IMAGINARY = re.compile(r"(?s)^(?!.*(?:\\sum|\\prod|_\{?i)).*(?<![a-zA-Z\\])i(?![a-zA-Z])")
_OPTION = re.compile(r"\s*\(?([A-J])(?:\)|[.:]|\s*$)")
_DOMAIN = re.compile(r",?\s*\\text\s*\{\s*,?\s*(?:for|where|with)\b.*$")


def grade(completion: str, gold: Gold, truncated: bool = False) -> Grade:
    """Grade one completion against its gold answer, or several of which any will do, in this thread and for as long
    as it takes; only `egrc.evaluation.pool` has a limit."""
    if truncated:
        return Grade(False, None, "truncated")
    answer = extract(completion)
    if answer is None:
        return Grade(False, None, "no answer")
    if len(answer) > LONGEST:
        return Grade(False, answer[:LONGEST], "too long")
    if _TOWER.search(tidy(answer)):
        return Grade(False, answer, "too costly")
    reasons = [compare(g, answer) for g in ([gold] if isinstance(gold, str) else gold)]
    right = [reason for reason in reasons if reason.startswith("equal")]
    return Grade(bool(right), answer, right[0] if right else reasons[0] if reasons else "not equal")


def correct(completion: str, gold: Gold) -> bool:
    """Is the completion's final answer equal to the gold one?"""
    return grade(completion, gold).correct


def warm_up() -> None:
    """Read one answer of each form: the parser builds tables at the first of each, which later ones use."""
    for text in ("12", r"\frac{3}{4}", r"2\sqrt{3}", "x^2-1", "(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}", r"\ln x \le 5"):
        compare(text, f"{text}+1")


@lru_cache(maxsize=4096)
def compare(gold: str, answer: str) -> str:
    """'equal' or 'not equal'; with 'as texts' where either was not read whole."""
    gold, answer = tidy(gold), tidy(answer)
    if key(gold) == key(answer):
        return "equal"
    letters = [_OPTION.match(re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", text)) for text in (gold, answer)]
    if letters[0] and letters[1] and len(key(gold)) <= 3:
        return "equal" if letters[0][1] == letters[1][1] else "not equal"
    if not (_DOMAIN.search(gold) and _DOMAIN.search(answer)):
        gold, answer = _DOMAIN.sub("", gold), _DOMAIN.sub("", answer)
    if unit(gold) and unit(answer) and unit(gold) != unit(answer):
        return "not equal"
    left, right = without_unit(gold), without_unit(answer)
    if key(left) == key(right):
        return "equal"
    unread = False
    for one, other in dict.fromkeys([(gold, answer), (left, right)]):
        for shown in _alternatives(other):
            a, b = read(one), read(shown)
            if a is None or b is None:
                unread = True
            elif equal(a, b):
                return "equal"
            elif one == left:
                unread = False
    per_cent = [text.rstrip().endswith("%") for text in (gold, answer)]
    if per_cent == [True, False] or per_cent == [False, True]:
        a, b = read(left), read(right)
        hundredth = sympy.Rational(1, 100)
        if isinstance(a, sympy.Basic) and isinstance(b, sympy.Basic):
            a, b = (a * hundredth, b) if per_cent[0] else (a, b * hundredth)
            return "equal" if equal(a, b) else "not equal"
    return "not equal as texts" if unread else "not equal"


def _alternatives(answer: str) -> list[str]:
    r"""'x \approx y' is x or y where they are about the same; anything else is itself."""
    parts = re.split(r"\\approx(?![a-zA-Z])", answer)
    if len(parts) != 2:
        return [answer]
    with suppress(Exception):
        a, b = (complex(read(part.rpartition("=")[2])) for part in parts)
        if abs(a - b) <= 0.02 * max(abs(a), abs(b)):
            return parts
    return [answer]


# --- reading: an expression, or (kind, parts) for lists, intervals and equations; None where not read whole -----------

Node = Any


@lru_cache(maxsize=4096)
def read(text: str) -> Node | None:
    r"""A tidied answer as a tree: sympy's, ('list', ...), ('(]', ...), ('cup', ...), ('=', name, value)."""
    text = re.sub(r"(?<![\d.])([1-9]\d{0,2})((?:,\s*\d{3})+)(?![\d,])", _grouped, text.strip())
    if builder := _BUILDER.fullmatch(text):
        condition = _leaf(builder[2])
        return condition if isinstance(condition, (sympy.core.relational.Relational, sympy.And)) else None
    if len(pieces := _split(text, r"\\cup(?![a-zA-Z])")) > 1:
        return _node("cup", pieces)
    if len(pieces := _split(text, r"[,;]")) > 1:
        return _node("list", pieces)
    if match := re.fullmatch(r"(\\\{|\(|\[|\])(.*)(\\\}|\)|\]|\[)", text, re.DOTALL):
        inner = _split(match[2], r"[,;]")
        if _closed(match[2]) and (len(inner) > 1 or match[1] == r"\{"):
            kind = "list" if match[1] == r"\{" and match[3] == r"\}" else match[1] + match[3]
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
        if kind == "list" and named is not None:
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
    if number := re.fullmatch(r"([-+]?)\s*(\d{1,60}(?:\.\d{0,60})?|\.\d{1,60})(?:/(\d{1,30}))?", plain.strip()):
        if number[3] is None or int(number[3]):
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


# --- comparing --------------------------------------------------------------------------------------------------------


def equal(gold: Node, answer: Node) -> bool:
    """Are two trees equal?  Lists in any order but with every entry as often, tuples and intervals in theirs."""
    a, b = _kind(gold), _kind(answer)
    if {a, b} == {"=", "equation"}:
        return _same_equation(*(("equation", read(n[1]), n[2]) if _kind(n) == "=" else n for n in (gold, answer)))
    if "=" in (a, b) and not {a, b} & {"list", "cup"}:
        if a == b == "=" and gold[1] != answer[1] and len(gold[1]) + len(answer[1]) > 2 and "(" not in gold[1]:
            return gold[1].strip("\\") == answer[1].strip("\\") and equal(gold[2], answer[2])
        if a == b == "=" and gold[1] != answer[1]:
            return False
        gold, answer = (gold[2] if a == "=" else gold), (answer[2] if b == "=" else answer)
        return equal(gold, answer)
    if "equation" in (a, b):
        if a != b:
            return b == "equation" and equal(gold, answer[2])
        return _same_equation(gold, answer)
    if a == b == "":
        return _same(gold, answer)
    if "" in (a, b) or {a, b} == {"list", "cup"}:
        return _same_set(gold, answer)
    left, right = list(gold[1:]), list(answer[1:])
    if len(left) != len(right):
        return False
    if "list" in (a, b) and {a, b} <= {"list", "()"} or a == b == "cup":
        names = [[part[1] for part in side if _kind(part) == "="] for side in (left, right)]
        if len(set(names[0])) == len(left) > 1 and not names[1] or a != b:
            return all(equal(x, y) for x, y in zip(left, right, strict=True))
        return _matched(left, right)
    return (a == b or len(left) > 2 and {a, b} <= {"()", "[]", "list"}) and all(map(equal, left, right))


def _kind(node: Node) -> str:
    return node[0] if isinstance(node, tuple) else ""


def _matched(left: list[Node], right: list[Node]) -> bool:
    rest = list(right)
    for x in left:
        partner = next((i for i, y in enumerate(rest) if equal(x, y)), None)
        if partner is None:
            return False
        del rest[partner]
    return True


def _same_equation(gold: Node, answer: Node) -> bool:
    """Does one equation say what the other says: are their differences the same up to a constant factor?"""
    with suppress(Exception):
        (a, b), (c, d) = gold[1:], answer[1:]
        if _same(a, c) and _same(b, d):
            return True
        ratio = sympy.cancel(sympy.expand(a - b).doit() / sympy.expand(c - d).doit())
        return bool(ratio.is_number and ratio.is_finite and ratio != 0)
    return False


def _same_set(gold: Node, answer: Node) -> bool:
    """An inequality against an interval."""
    with suppress(Exception):
        sets = [_set(side) for side in (gold, answer)]
        return bool(sets[0] == sets[1])
    return False


def _set(node: Node) -> sympy.Set:
    if _kind(node) in ("cup", "list"):
        return sympy.Union(*map(_set, node[1:]))
    if _kind(node) in ("()", "(]", "[)", "[]", "]]", "][", "[["):
        return sympy.Interval(*node[1:], left_open=node[0][0] in "(]", right_open=node[0][1] in ")[")
    return node.as_set()


def _same(a: Any, b: Any) -> bool:
    """Two expressions: numbers exactly where both are rational, else to many places; formulas at points, then by sympy."""
    if a == b:
        return True
    if isinstance(a, sympy.MatrixBase) or isinstance(b, sympy.MatrixBase):
        shapes = getattr(a, "shape", 0) == getattr(b, "shape", 1)
        return shapes and all(_same(x, y) for x, y in zip(a.flat(), b.flat(), strict=True))
    if not (isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)):
        return _same_relation(a, b)
    if not (a.free_symbols or b.free_symbols):
        return _same_number(a, b)
    if a.free_symbols != b.free_symbols and (a.is_Symbol or b.is_Symbol):
        return False
    told = _at_points(a, b)
    if told is None:
        with suppress(Exception):
            return bool(sympy.simplify(a.doit() - b.doit()) == 0)
    return bool(told)


def _same_relation(a: Any, b: Any) -> bool:
    """Inequalities, by math-verify; 'not equal to' by the two sides' difference."""
    if isinstance(a, sympy.Ne) and isinstance(b, sympy.Ne):
        return _same_equation(("equation", *a.args), ("equation", *b.args))
    with suppress(Exception):
        return not (isinstance(a, sympy.Ne) or isinstance(b, sympy.Ne)) and bool(sympy_expr_eq(a, b, 6, 15))
    return False


def _same_number(a: sympy.Expr, b: sympy.Expr) -> bool:
    with suppress(Exception):
        a, b = a.doit(), b.doit()
        rough = a.has(sympy.Float) or b.has(sympy.Float)
        a, b = (sympy.nsimplify(x, rational=True) if x.is_Float else x for x in (a, b))
        if a == b:
            return True
        decimal = any(x.is_Rational and set(sympy.factorint(x.q, limit=10)) <= {2, 5} for x in (a, b))
        if a.is_Rational and b.is_Rational and all(
            set(sympy.factorint(x.q, limit=10)) <= {2, 5} for x in (a, b)
        ):
            return False
        x, y = (sympy.N(v, 40) for v in (a, b))
        if not (x.is_finite and y.is_finite):
            return False
        size = max(abs(x), abs(y))
        loose = decimal and (rough or not (a.is_Integer or b.is_Integer))
        return bool(abs(x - y) <= (min(sympy.Float("5e-7"), size * sympy.Float("2e-6")) if loose else size * 1e-25))
    return False


_POINTS = (0.61803, 1.27324, 2.71294, -0.43429, -1.70711, 3.35988)


def _at_points(a: sympy.Expr, b: sympy.Expr) -> bool | None:
    """Equal at points of several signs, where both are real?  None where that cannot be told."""
    if a.has(sympy.core.function.AppliedUndef, sympy.Sum, sympy.Product, sympy.Integral, sympy.Derivative, sympy.Limit):
        return None
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    draw = random.Random(0)
    seen = 0
    try:
        for n in range(10):
            point = {s: sympy.Float(abs(draw.choice(_POINTS)) * (1 if n < 3 else draw.choice((1, -1)))
                                    + draw.random() / 7, 30) for s in symbols}  # fmt: skip
            x, y = (sympy.N(v.subs(point), 25) for v in (a, b))
            if not (x.is_number and y.is_number and x.is_finite and y.is_finite):
                continue
            if n >= 3 and not (x.is_real and y.is_real):
                continue
            seen += 1
            if abs(x - y) > 1e-12 * max(abs(x), abs(y), 1e-300):
                return False
    except Exception:
        return None
    return True if seen >= 3 else None
