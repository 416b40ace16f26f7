"""Which arm beats which, and which keeps the bounds, on arms whose means can be worked out by hand."""

import pandas as pd
import pytest

from egrc.analysis import fronts

ARMS = {  # tokens and correct answers of 4 problems, on benchmarks a and b
    "base": ((40, 60), (2, 2)),
    "short": ((10, 20), (2, 2)),
    "good": ((20, 30), (4, 4)),
    "poor": ((20, 30), (4, 2)),
}


def test_standing_against_one_arm() -> None:
    rows = pd.DataFrame(
        [
            {"arm": arm, "seed": 0, "benchmark": b, "id": i, "tokens": t, "correct": i < c}
            for arm, (tokens, correct) in ARMS.items()
            for b, t, c in zip("ab", tokens, correct, strict=True)
            for i in range(4)
        ]
    )
    table = fronts.standing(rows, "poor", 20).set_index("arm")
    assert table["outcome"].to_dict() == {"base": "beaten", "short": "shorter, less accurate", "good": "at or above"}
    assert table.loc["short", ["tokens", "tokens_low", "accuracy"]].tolist() == [-10, -10, -0.25]
    assert table.loc["good", "share"] == 1  # solves all that it solves, at equal length
    assert fronts.standing(rows, "x", 20).empty
    with pytest.raises(ValueError, match="different problems"):
        fronts.standing(rows[(rows["arm"] != "poor") | (rows["id"] > 0)], "poor")


def test_the_worst_benchmark_the_bounds_and_who_stands_above() -> None:
    def line(arm: str, benchmark: str, gain: float, removed: float, by: float = 0.01) -> dict[str, object]:
        both = {"gain_best": gain, "removed": removed}
        ends = {f"{k}{part}": v + d for k, v in both.items() for part, d in (("_low", -by), ("_high", by))}
        return {"arm": arm, "benchmark": benchmark, **both, **ends}

    nan = float("nan")
    lines = pd.DataFrame(
        [
            line("lossy", "mean", 0.0, 0.96), line("lossy", "a", 0.1, 1.0), line("lossy", "b", -0.1, 0.92),
            line("sound", "mean", 0.02, 0.95), line("sound", "a", 0.06, 1.0), line("sound", "b", -0.02, 0.9),
            line("twin", "mean", 0.02, 0.95), line("twin", "a", 0.06, 1.0), line("twin", "b", -0.02, 0.9),
            line("long", "mean", -0.02, -0.1), line("long", "a", 0.01, -0.1), line("long", "b", -0.05, -0.1),
            line("vague", "mean", 0.0, 0.95, 0.03), line("vague", "a", 0.0, 0.95), line("vague", "b", 0.0, 0.95),
            line("base", "mean", nan, nan), line("base", "a", nan, nan),
        ]
    )  # fmt: skip
    table = fronts.bounds(lines).set_index("arm")
    assert table["worst"].to_dict() == {"lossy": "b", "sound": "b", "twin": "b", "long": "b", "vague": "a"}
    assert table.loc["lossy", ["change", "low", "high"]].tolist() == pytest.approx([-0.1, -0.11, -0.09])
    assert table["collapsed"].str.len().to_dict() == {"lossy": 1, "sound": 0, "twin": 0, "long": 0, "vague": 0}
    # a loss at the bound is no collapse; of an interval that reaches below the bound the lower end decides
    assert table["within"].to_dict() == {"lossy": False, "sound": True, "twin": True, "long": False, "vague": False}
    assert table["above"].to_dict() == {
        "lossy": (), "sound": ("twin",), "twin": ("sound",), "long": ("lossy", "sound", "twin", "vague"),
        "vague": ("lossy", "sound", "twin"),
    }  # fmt: skip
