r"""How data sets write their gold answers, and what is made of each: a tuple of accepted answers.  [ours]

A reader takes the answer's cell and the whole row; it raises ValueError that says what is wrong with the cell.
Whether a model's answer equals a gold one is not decided here but in `egrc.evaluation.grading`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import accumulate
from numbers import Integral, Real
from typing import Any

import numpy as np

Row = Mapping[str, Any]
Reader = Callable[[Any, Row], tuple[str, ...]]

# A number as data sets write it: a sign, a dollar, thousands in groups of three, decimals or a divisor, then a per
# cent or degree sign or a unit in words.  '5 x' and '5 million' are no numbers with a unit.
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)(?:\\\$)?(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?P<part>\.\d*)?(?P<over>/[1-9]\d*)?"
    r"(?:\s*\\?%|\s*(?:\^?\s*\{?\s*\\(?:circ|degree)\s*\}?|\u00b0)"
    r"|\s+(?!(?:pi|dozen|hundred|thousand|[mb]illion)s?\b)[A-Za-z]{2,}(?: [A-Za-z]+){0,3})?",
    re.ASCII,
)


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
    return tuple(dict.fromkeys(map(_expression, _entries(cell))))


def olympiad(cell: Any, row: Row) -> tuple[str, ...]:
    """A list of OlympiadBench: where the row says 'is_multiple_answer' all entries are wanted, else any will do.

    [ours] for lists of several; its authors' code compares with the first entry, in which commas join all of them.
    """
    if str(row.get("is_multiple_answer")).lower() in ("true", "1"):
        return (", ".join(map(_expression, _entries(cell))),)
    return latex(cell, row)


def numeral(value: Any) -> str:
    """A number in its shortest form, never scientific; raises ValueError for anything else."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Real) and math.isfinite(value) and not isinstance(value, bool):
        return np.format_float_positional(float(value) + 0.0, trim="-")  # + 0.0: no '-0'
    match = _NUMBER.fullmatch(_bare(value).strip().replace("\u2212", "-")) if isinstance(value, str) else None
    if match is None or not re.search(r"\d", match["whole"] + (match["part"] or "")):
        raise ValueError(f"expected a number, found {brief(value)}")
    whole = match["whole"].replace(",", "").lstrip("0") or "0"
    part = (match["part"] or "").rstrip("0").rstrip(".")
    minus = "-" if match["sign"] == "-" and (whole, part) != ("0", "") else ""
    return f"{minus}{whole}{part}{match['over'] or ''}"


def balanced(text: str) -> bool:
    """Does every brace that opens close, in order?  Escaped braces do not count."""
    steps = [{"{": 1, "}": -1}.get(brace, 0) for brace in re.findall(r"\\.|[{}]", text, re.DOTALL)]
    return sum(steps) == 0 <= min(accumulate(steps), default=0)


def brief(value: Any) -> str:
    """Kind and 40 characters of a value, for messages: of a text its end, which says more than its beginning."""
    return f"text {value[-40:]!r}" if isinstance(value, str) else f"{type(value).__name__} {value!r:.40}"


def _entries(cell: Any) -> list[Any]:
    """The answers in a cell, none of them empty: a list's, also of one written as text, or the cell itself."""
    if isinstance(cell, np.ndarray):  # as parquet holds lists
        cell = cell.tolist()
    if isinstance(cell, str) and re.match(r"\s*\[\s*[\"']", cell):  # as csv holds them; '[1, 2]' is an interval
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError):  # then it is no list
            cell = ast.literal_eval(cell.strip())  # reads literals, runs nothing
    entries = list(cell) if isinstance(cell, (list, tuple)) else [cell]
    if not entries:
        raise ValueError("no answer: the list is empty")
    for entry in entries:
        if entry is None or isinstance(entry, str) and not entry or isinstance(entry, float) and math.isnan(entry):
            raise ValueError("no answer" + (": an entry of the list is empty" if len(entries) > 1 else ""))
        if not isinstance(entry, (str, Real)):
            raise ValueError(f"expected a text, a number or a list of them, found {brief(entry)}")
    return entries


def _expression(value: Any) -> str:
    if not (gold := _bare(value) if isinstance(value, str) else numeral(value)):
        raise ValueError(f"no answer in {brief(value)}")
    return gold


def _bare(text: str) -> str:
    r"""Without the dollar signs of mathematics, without a \boxed{} around all of it, without spaces around.

    A tab or form feed that begins it is left: it is what an escape made of \text or \frac, and must be seen.
    """
    plain = re.sub(r"(?<!\\)\$", "", text).rstrip().lstrip(" ")
    boxed = re.fullmatch(r"\\boxed\s*\{(.*)\}", plain, re.DOTALL)
    return boxed[1].rstrip().lstrip(" ") if boxed and balanced(boxed[1]) else plain
