"""Gold answers as data sets write them, and what is made of each."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egrc.evaluation.gold import after_hashes, balanced, integer_to_999, latex, number, olympiad

whole = st.integers(-(2**53), 2**53)


@given(whole)
def test_a_whole_number_is_read_alike_however_it_is_written(n: int) -> None:
    minus, size = "-" if n < 0 else "", abs(n)
    spellings = [n, float(n), np.int64(n), np.float64(n), str(n), f"{n:,}", f"{n}.0", f"{n}.", f" {n:,}.00 ", f"${n}$"]
    spellings += [f"{minus}\\${size:,}", f"{n}%", f"{n}\\%", f"{n} eggs", f"{n} square feet", f"\\boxed{{{n}}}"]
    spellings += [f"{minus}00{size}", str(n).replace("-", "\u2212")]
    assert {number(spelling, {}) for spelling in spellings} == {(str(n),)}


@given(st.decimals(-1000, 1000, places=3))
def test_decimals_lose_their_last_zeros_and_nothing_else(d: Decimal) -> None:
    for spelling in (str(d), float(d)):
        (read,) = number(spelling, {})
        assert Decimal(read) == d
        assert not read.endswith(".") and "E" not in read and read != "-0"
        assert "." not in read or not read.endswith("0")


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        (27.0, "27"),
        (-1.0, "-1"),
        (1e20, "100000000000000000000"),
        (-0.0, "0"),
        ("-0", "0"),
        (".50", "0.5"),
        ("+3", "3"),
        ("3/4", "3/4"),
        ("1,234,567.80", "1234567.8"),
        ("025", "25"),
    ],
)
def test_numbers(cell: object, read: str) -> None:
    assert number(cell, {}) == (read,)


@pytest.mark.parametrize(
    "cell",
    [
        *("", " ", "many", "5 x", "5 pi", "5 million", "2 dozen", "5x", "1,23", "12,34", "1 234", "1e3", "3/0", "--3"),
        *("1.2.3", "1/2/3", "(1, 2)", "x=5", "5 or 6", "\u0663", ".", "$", None, float("nan"), float("inf"), True),
        *({"a": 1}, [], [1, None], [[1]], ["1", ""], pd.NA, np.array([])),
    ],
)
def test_what_is_no_number_is_refused_and_shown(cell: object) -> None:
    with pytest.raises(ValueError, match="expected a|no answer"):
        number(cell, {})


def test_lists_hold_accepted_answers() -> None:
    for cell in ([27.0, "1,000"], (27, 1000), np.array(["27", "1000"]), '["27", "1000"]', "['27', '1,000']"):
        assert number(cell, {}) == ("27", "1000")


@pytest.mark.parametrize(("cell", "read"), [("0", "0"), ("073", "73"), (999, "999"), (204.0, "204")])
def test_aime(cell: object, read: str) -> None:
    assert integer_to_999(cell, {}) == (read,)


@pytest.mark.parametrize("cell", [1000, -1, 2.5, "1/2", "2024"])
def test_aime_has_whole_numbers_to_999(cell: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 999"):
        integer_to_999(cell, {})


@pytest.mark.parametrize(
    ("cell", "read"),
    [("a #### 1\nb\n#### 1,234", "1234"), ("####  $18 ", "18"), ("#### 5 hours", "5"), ("####-7", "-7")],
)
def test_gsm8k(cell: str, read: str) -> None:
    assert after_hashes(cell, {}) == (read,)


@pytest.mark.parametrize("cell", ["18", "#### ", "#### so many", "### 18", 18, None, ["#### 18"]])
def test_gsm8k_without_a_number_after_its_mark(cell: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        after_hashes(cell, {})


@pytest.mark.parametrize(
    ("cell", "read"),
    [
        (r"$\frac{1}{2}$", (r"\frac{1}{2}",)),
        (r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}",)),
        (r"\boxed{1}, \boxed{2}", (r"\boxed{1}, \boxed{2}",)),  # two boxes, not one around both
        (r"\$18.90", (r"\$18.90",)),  # a dollar that is meant
        (r"5.4 \text{ cents}", (r"5.4 \text{ cents}",)),
        ("$x=1$, $y=2$", ("x=1, y=2",)),
        ("[1, 2]", ("[1, 2]",)),  # an interval, not a list
        ("['a, b']", ("a, b",)),
        (["$1$", "1", "2"], ("1", "2")),
        (27.0, ("27",)),
        ("4.5e33", (r"4.5 \times 10^{33}", "4.5e33")),
        ("-1.6E-019", (r"-1.6 \times 10^{-19}", "-1.6E-019")),
        ("2e", ("2e",)),
        ("['torn", ("['torn",)),
    ],
)
def test_latex(cell: object, read: tuple[str, ...]) -> None:
    assert latex(cell, {}) == read


@pytest.mark.parametrize("cell", ["", "  ", "$$", r"\boxed{}", None, float("nan"), [], [None], {"a": 1}, False])
def test_no_latex_is_refused(cell: object) -> None:
    with pytest.raises(ValueError, match="no answer|expected"):
        latex(cell, {})


@pytest.mark.parametrize("flag", [True, "True", "true", 1, np.True_])
def test_olympiad_wants_all_of_several_answers(flag: object) -> None:
    assert olympiad(["$1$", "$-2$"], {"is_multiple_answer": flag}) == ("1, -2",)
    assert olympiad(["$1,-2$"], {"is_multiple_answer": flag}) == ("1,-2",)


@pytest.mark.parametrize("row", [{}, {"is_multiple_answer": False}, {"is_multiple_answer": "False"}])
def test_olympiad_else_accepts_any(row: dict) -> None:
    assert olympiad(["$1$", "$-2$"], row) == ("1", "-2")


@pytest.mark.parametrize(
    ("text", "whether"),
    [("", True), ("{{}}{}", True), (r"\{", True), ("{", False), ("}{", False), (r"\frac{1", False), (r"\\{", False)],
)
def test_balanced(text: str, whether: bool) -> None:
    assert balanced(text) is whether
