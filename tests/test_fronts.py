"""Which arm beats which, on arms whose means can be worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from egrc.analysis import dilemma, fronts
from egrc.analysis.dilemma import Means

ARMS = {  # tokens and correct answers of 4 problems, on benchmarks a and b
    "base": ((40, 60), (2, 2)),
    "short": ((10, 20), (2, 2)),
    "good": ((20, 30), (4, 4)),
    "poor": ((20, 30), (4, 2)),
}


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "benchmark": b, "id": i, "tokens": t, "correct": i < c}
            for arm, (tokens, correct) in ARMS.items()
            for b, t, c in zip("ab", tokens, correct, strict=True)
            for i in range(4)
        ]
    )


def test_means_are_plain_over_benchmarks(rows: pd.DataFrame) -> None:
    found = dilemma.means(rows, 20)
    assert dict(zip(found.arms, found.tokens[0], strict=True)) == {"base": 50, "short": 15, "good": 25, "poor": 25}
    assert dict(zip(found.arms, found.accuracy[0], strict=True)) == {"base": 0.5, "short": 0.5, "good": 1, "poor": 0.75}
    assert found.tokens.shape == found.accuracy.shape == (21, 4)
    assert (found.tokens == found.tokens[0]).all()  # lengths do not vary within a benchmark
    with pytest.raises(ValueError, match="not every arm was asked"):
        dilemma.means(rows[(rows["arm"] != "poor") | (rows["id"] > 0)])


def test_the_front_has_what_no_other_arm_is_at_or_above(rows: pd.DataFrame) -> None:
    table = fronts.front(dilemma.means(rows, 20)).set_index("arm")
    assert list(table.index[table["on"]]) == ["short", "good"]
    assert table["share"]["short"] == 1 and table["share"]["base"] == 0
    assert table["share"]["good"] > 0.9  # unless all problems drawn are those that all solve
    twin = rows[rows["arm"] == "good"].assign(arm="twin")
    twins = fronts.front(dilemma.means(pd.concat([rows, twin])))
    assert list(twins.loc[twins["on"], "arm"]) == ["short", "good", "twin"]  # equals do not beat each other


def test_standing_against_one_arm(rows: pd.DataFrame) -> None:
    table = fronts.standing(dilemma.means(rows, 20), "poor").set_index("arm")
    assert table["outcome"].to_dict() == {"base": "beaten", "short": "shorter, less accurate", "good": "at or above"}
    assert table.loc["short", ["tokens", "tokens_low", "accuracy"]].tolist() == [-10, -10, -0.25]
    assert table.loc["good", "share"] == 1  # solves all that it solves, at equal length
    assert fronts.standing(dilemma.means(rows, 20), "x").empty


def test_fronts_are_compared_at_equal_length() -> None:
    tokens, accuracy = (np.array([v] * 3, float) for v in ([10, 30, 20, 90], [0.5, 0.7, 0.7, 0.9]))
    found = Means(["short", "long", "focus", "far"], tokens, accuracy)
    methods = {"method": ["short", "long"], "focus": ["focus"], "far": ["far"]}
    method, far = (line for _, line in fronts.gaps(found, methods, "focus").iterrows())
    assert method["estimate"] == method["low"] == method["high"] == pytest.approx(-0.1)  # 0.6 at 20 tokens
    assert (method["settings"], method["apart"], far["apart"]) == (2, 0, 1)
    assert np.isnan(far["estimate"]) and (far["low"], far["high"]) == (-np.inf, np.inf)
    assert fronts.gaps(found, methods, "absent").empty


def test_the_worst_benchmark_and_the_bounds() -> None:
    def line(arm: str, benchmark: str, gain: float, removed: float) -> dict[str, object]:
        both = {"gain_best": gain, "removed": removed}
        ends = {f"{k}{part}": v + d for k, v in both.items() for part, d in (("_low", -0.01), ("_high", 0.01))}
        return {"arm": arm, "benchmark": benchmark, **both, **ends}

    nan = float("nan")
    lines = pd.DataFrame(
        [
            line("lossy", "mean", 0.0, 0.96), line("lossy", "a", 0.1, 1.0), line("lossy", "b", -0.1, 0.92),
            line("sound", "mean", 0.02, 0.95), line("sound", "a", 0.06, 1.0), line("sound", "b", -0.02, 0.9),
            line("long", "mean", -0.02, -0.1), line("long", "a", 0.01, -0.1), line("long", "b", -0.05, -0.1),
            line("base", "mean", nan, nan), line("base", "a", nan, nan),
        ]
    )  # fmt: skip
    table = fronts.worst(lines).set_index("arm")
    assert table["worst"].to_dict() == {"lossy": "b", "sound": "b", "long": "b"}
    assert table.loc["lossy", ["change", "low", "high"]].tolist() == pytest.approx([-0.1, -0.11, -0.09])
    assert table["collapsed"].to_dict() == {"lossy": ("b",), "sound": (), "long": ()}  # at the bound is not below it
    assert table["within"].to_dict() == {"lossy": False, "sound": True, "long": False}
