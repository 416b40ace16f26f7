"""Is this text a correct answer?  `grade` says so in this process, `egrc.evaluation.pool` where none can hang us.

The final answer is taken out by `egrc.evaluation.answers`; it and the gold one are read by `egrc.evaluation.reading`
and compared part by part.  Where either was not read whole, only whole texts are compared, and the reason says so.  A
missing or cut answer, or one too costly to compare, is wrong; it is not an error.
"""

from __future__ import annotations

import random
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

import sympy
from math_verify.grader import sympy_expr_eq

from egrc.evaluation.answers import LONGEST, Gold, Grade, extract, key, tidy, unit, without_unit
from egrc.evaluation.reading import Node, read

# 9^9^9 is evaluated inside one call that Python cannot interrupt.
_TOWER = re.compile(r"\d[\s)}]*(?:\^|\*\*)[\s({-]*(?:\d+[\s)}]*(?:\^|\*\*|!)|\d{6,})")
_OPTION = re.compile(r"\s*\(?([A-J])(?:\)|[.:]|\s*$)")
_DOMAIN = re.compile(r",?\s*\\text\s*\{\s*,?\s*(?:for|where|with)\b.*$")


def grade(completion: str, gold: Gold) -> Grade:
    """Grade one completion against its gold answer, or several of which any will do, in this thread and for as long
    as it takes; only `egrc.evaluation.pool` has a limit."""
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
    if gold.endswith("%") != answer.endswith("%"):
        a, b = read(left), read(right)
        if isinstance(a, sympy.Basic) and isinstance(b, sympy.Basic):
            a, b = (a / 100, b) if gold.endswith("%") else (a, b / 100)
            return "equal" if equal(a, b) else "not equal"
    return "not equal as texts" if unread else "not equal"


def _alternatives(answer: str) -> list[str]:
    r"""'x \approx y' is x or y where they are about the same; anything else is itself."""
    parts = re.split(r"\\approx(?![a-zA-Z])", answer)
    with suppress(Exception):
        a, b = (complex(read(part.rpartition("=")[2])) for part in parts)
        if abs(a - b) <= 0.02 * max(abs(a), abs(b)):
            return parts
    return [answer]


# --- comparing --------------------------------------------------------------------------------------------------------


def equal(gold: Node, answer: Node) -> bool:
    """Are two trees equal?  Lists in any order but with every entry as often, tuples and intervals in theirs."""
    gold, answer = (_distinct(node) if _kind(node) == "set" else node for node in (gold, answer))
    a, b = _kind(gold), _kind(answer)
    if {a, b} == {"=", "equation"}:
        return _same_equation(*(("equation", read(n[1]), n[2]) if _kind(n) == "=" else n for n in (gold, answer)))
    if "=" in (a, b) and not {a, b} & {"list", "cup"}:
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


def _distinct(node: Node) -> Node:
    """A set in braces holds each element once."""
    kept: list[Node] = []
    for part in node[1:]:
        kept += [] if any(equal(part, other) for other in kept) else [part]
    return ("list", *kept)


def _matched(left: list[Node], right: list[Node]) -> bool:
    """Of equally many, has each a partner of its own?"""
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
    """Two expressions: numbers exactly where both are rational, else closely; formulas at points, then by sympy."""
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
        if a.free_symbols == b.free_symbols and len(a.free_symbols) == 1:
            return bool(a.as_set() == b.as_set())
    with suppress(Exception):
        return not (isinstance(a, sympy.Ne) or isinstance(b, sympy.Ne)) and bool(sympy_expr_eq(a, b, 6, 15))
    return False


def _same_number(a: sympy.Expr, b: sympy.Expr) -> bool:
    """Exactly where both are rational; a decimal stands for what rounds to it at its sixth place, also relatively."""
    with suppress(Exception):
        a, b = (sympy.nsimplify(v, rational=True) if v.is_Float else v for v in (a.doit(), b.doit()))
        decimals = [v.is_Rational and set(sympy.factorint(v.q, limit=10)) <= {2, 5} for v in (a, b)]
        if a == b or all(decimals):
            return bool(a == b)
        x, y = (sympy.N(v, 40) for v in (a, b))
        size = max(abs(x), abs(y))
        loose = any(decimals) and not (a.is_Integer or b.is_Integer)
        bound = min(sympy.Float("5e-7"), size * sympy.Float("2e-6")) if loose else size * sympy.Float("1e-25")
        return bool(x.is_finite and y.is_finite and abs(x - y) <= bound)
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
