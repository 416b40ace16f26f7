r"""How data sets write their gold answers, and what is made of each: a tuple of accepted answers.  [ours]

A reader takes the answer's cell and the whole row; it raises ValueError that says what is wrong with the cell.
Whether a model's answer equals a gold one is not decided here but in `egrc.evaluation.grading`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from itertools import accumulate
from numbers import Real
from typing import Any

import numpy as np

Row = Mapping[str, Any]
Reader = Callable[[Any, Row], tuple[str, ...]]

_DIGITS = re.compile(r"[-+]?(?=\.?\d)(?:\d{1,3}(?:,\d{3})+|\d*)(?:\.\d*)?", re.ASCII)
_SIGNS = re.compile(r"\\\$|\s*(?:\\?%|\^?\s*\{?\s*\\(?:circ|degree)\s*\}?|\u00b0)$")
"""A dollar that is meant, a per cent or degree sign."""


def number(cell: Any, row: Row) -> tuple[str, ...]:
    """A number, or a list of accepted ones, each in its shortest form: 27.0 is '27', '$1,234' is '1234'."""
    return tuple(numeral(entry) for entry in _entries(cell))


def integer_to_999(cell: Any, row: Row) -> tuple[str, ...]:
    r"""An answer of the AIME: a whole number from 0 to 999; '025' is '25', and '336^\circ' is '336'."""
    golds = number(cell, row)
    for gold in golds:
        if not re.fullmatch(r"\d{1,3}", gold):
            raise ValueError(f"expected a whole number from 0 to 999, found {gold}")
    return golds


def after_hashes(cell: Any, row: Row) -> tuple[str, ...]:
    """The number after the last '####' of a worked answer of GSM8K: '... #### 1,234' is '1234'."""
    if not isinstance(cell, str) or "####" not in cell:
        raise ValueError(f"expected text that ends in '#### number', found {brief(cell)}")
    return (numeral(cell.rpartition("####")[2]),)


def latex(cell: Any, row: Row) -> tuple[str, ...]:
    r"""LaTeX, or a list of accepted answers, without dollar signs and a \boxed{} around it."""
    return tuple(dict.fromkeys(_bare(e) if isinstance(e, str) else numeral(e) for e in _entries(cell)))


def olympiad(cell: Any, row: Row) -> tuple[str, ...]:
    """A list of OlympiadBench: where the row says 'is_multiple_answer' all entries are wanted, else any will do.

    [ours] for lists of several; its authors' code compares with the first entry, in which commas join all of them.
    """
    golds = latex(cell, row)
    return (", ".join(golds),) if str(row.get("is_multiple_answer")).lower() in ("true", "1") else golds


def numeral(value: Any) -> str:
    """A number in its shortest form, never scientific; raises ValueError for anything else."""
    text = _SIGNS.sub("", _bare(value)).strip().replace("\u2212", "-") if isinstance(value, str) else ""
    plain = str(value) if isinstance(value, Real) and not isinstance(value, bool) else text.replace(",", "")
    exact = Decimal(plain) if _DIGITS.fullmatch(text) or plain and not text else Decimal("nan")
    if not exact.is_finite():
        raise ValueError(f"expected a number, found {brief(value)}")
    digits = f"{exact:f}"
    return "0" if exact == 0 else digits.rstrip("0").rstrip(".") if "." in digits else digits


def balanced(text: str) -> bool:
    """Does every brace that opens close, in order?  Escaped braces do not count."""
    steps = [{"{": 1, "}": -1}.get(brace, 0) for brace in re.findall(r"\\.|[{}]", text, re.DOTALL)]
    return sum(steps) == 0 <= min(accumulate(steps), default=0)


def brief(value: Any) -> str:
    """Kind and 40 characters of a value, for messages: of a text its end, which says more than its beginning."""
    return f"text {value[-40:]!r}" if isinstance(value, str) else f"{type(value).__name__} {value!r:.40}"


def _entries(cell: Any) -> list[Any]:
    """The answers in a cell, none of them empty: a list's, also of one written as text, or the cell itself."""
    if isinstance(cell, str) and re.match(r"\s*\[\s*[\"']", cell):  # as csv holds them; '[1, 2]' is an interval
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):  # then it is no list
            cell = ast.literal_eval(cell.strip())  # reads literals, runs nothing
    entries = list(cell) if isinstance(cell, (list, tuple, np.ndarray)) else [cell]
    if not entries or not all(_bare(e) if isinstance(e, str) else isinstance(e, Real) and e == e for e in entries):
        raise ValueError(f"no answer: expected a text, a number or a list of them, found {brief(cell)}")
    return entries


def _bare(text: str) -> str:
    r"""Without the dollar signs of mathematics, without a \boxed{} around all of it, without spaces around.

    A tab or form feed that begins it is left: it is what an escape made of \text or \frac, and must be seen.
    """
    plain = re.sub(r"(?<!\\)\$", "", text).rstrip().lstrip(" ")
    boxed = re.fullmatch(r"\\boxed\s*\{(.*)\}", plain, re.DOTALL)
    return boxed[1].rstrip().lstrip(" ") if boxed and balanced(boxed[1]) else plain
