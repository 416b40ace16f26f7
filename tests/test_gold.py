"""Gold answers as data sets write them, and what is made of each."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.gold import after_hashes, integer_to_999, latex, number, olympiad


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_is_read_alike_however_it_is_written(n):
    minus, size = "-" if n < 0 else "", abs(n)
    spellings = [n, float(n), np.int64(n), np.float64(n), str(n), f"{n:,}", f"{n}.0", f"{n}.", f" {n:,}.00 ", f"${n}$"]
    spellings += [f"{minus}\\${size:,}", f"{n}%", f"{n}\\%", f"{n} eggs", f"{n} square feet", f"\\boxed{{{n}}}"]
    spellings += [f"{minus}00{size}", str(n).replace("-", "\u2212"), f"{n}^\\circ", f"${n}^{{\\circ}}$", f"{n}\u00b0"]
    assert {number(spelling, {}) for spelling in spellings} == {(str(n),)}


@given(st.decimals(-1000, 1000, places=3))
def test_decimals_lose_their_last_zeros_and_nothing_else(d):
    for spelling in (str(d), float(d)):
        (read,) = number(spelling, {})
        assert Decimal(read) == d
        assert not read.endswith(".") and "E" not in read and read != "-0"
        assert "." not in read or not read.endswith("0")


@pytest.mark.parametrize(
    ("read", "cell", "golds"),
    [
        (number, 1e20, ("100000000000000000000",)),
        (number, "-0", ("0",)),
        (number, ".50", ("0.5",)),
        (number, "+3", ("3",)),
        (number, "3/4", ("3/4",)),
        (number, "1,234,567.80", ("1234567.8",)),
        (number, [27.0, "1,000"], ("27", "1000")),
        (number, np.array(["27", "1000"]), ("27", "1000")),
        (number, "['27', '1,000']", ("27", "1000")),
        (integer_to_999, "073", ("73",)),
        (integer_to_999, 204.0, ("204",)),
        (integer_to_999, r"336^\circ", ("336",)),  # as copies of AIME 2025 have it
        (after_hashes, "a #### 1\nb\n#### 1,234", ("1234",)),
        (after_hashes, "####  $18 ", ("18",)),
        (after_hashes, "#### 5 hours", ("5",)),
        (after_hashes, "####-7", ("-7",)),
        (latex, r"$\frac{1}{2}$", (r"\frac{1}{2}",)),
        (latex, r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}",)),
        (latex, r"\boxed{1}, \boxed{2}", (r"\boxed{1}, \boxed{2}",)),  # two boxes, not one around both
        (latex, r"\$18.90", (r"\$18.90",)),  # a dollar that is meant
        (latex, r"5.4 \text{ cents}", (r"5.4 \text{ cents}",)),
        (latex, "[1, 2]", ("[1, 2]",)),  # an interval, not a list
        (latex, "['a, b']", ("a, b",)),
        (latex, ["$1$", "1", "2"], ("1", "2")),
        (latex, "4.5e33", ("4.5e33",)),
        (latex, "['torn", ("['torn",)),
    ],
)
def test_answers_by_hand(read, cell, golds):
    assert read(cell, {}) == golds


@pytest.mark.parametrize(
    "cell",
    [
        *("", " ", "many", "5 x", "5 pi", "5 million", "2 dozen", "5x", "1,23", "12,34", "1 234", "1e3", "3/0", "--3"),
        *("1.2.3", "1/2/3", "(1, 2)", "x=5", "5 or 6", "\u0663", ".", "$", None, float("nan"), float("inf"), True),
        *({"a": 1}, [], [1, None], [[1]], ["1", ""], pd.NA, np.array([])),
    ],
)
def test_what_is_no_number_is_refused_and_shown(cell):
    with pytest.raises(ValueError, match="expected a|no answer"):
        number(cell, {})


@pytest.mark.parametrize(
    ("read", "cells", "message"),
    [
        (integer_to_999, [1000, -1, 2.5, "1/2", "2024"], "from 0 to 999"),
        (after_hashes, ["18", "#### ", "#### so many", "### 18", 18, None, ["#### 18"]], "expected"),
        (latex, ["", "  ", "$$", r"\boxed{}", None, float("nan"), [], [None], {"a": 1}, False], "no answer|expected"),
    ],
)
def test_other_answers_are_refused(read, cells, message):
    for cell in cells:
        with pytest.raises(ValueError, match=message):
            read(cell, {})


@pytest.mark.parametrize("flag", [True, "True", "true", 1, np.True_, False, "False", None])
def test_olympiad_wants_all_of_several_answers_or_accepts_any(flag):
    wanted = ("1, -2",) if flag not in (False, "False", None) else ("1", "-2")
    assert olympiad(["$1$", "$-2$"], {"is_multiple_answer": flag}) == wanted
