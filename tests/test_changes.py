"""How far a policy moved, in every reading of entropy: by hand."""

import numpy as np
import pandas as pd
import pytest

from egrc.analysis import changes

PROBLEMS, SAMPLES, SEEDS = 12, 4, (0, 1)
BY_HAND = {"per_token": 0.25, "per_completion": 5, "prefix": 5, "tokens": 8, "distinct": 0.75, "coverage": 0.75}
"""What the arm has more than the base of the quantity that moved, in the rows of `policies`."""


def policies(quantity: str, arm: str = "accuracy") -> pd.DataFrame:
    """Rows of base and arm, two benchmarks: the arm has more of a quantity, everything else is alike."""

    def line(i: int, name: str, seed: int, number: int) -> dict:
        up = {q: q == quantity and name == arm for q in BY_HAND}
        correct = number == 0 or (quantity == "coverage" and not up["coverage"])
        same = quantity == "distinct" and not up["distinct"]
        nats = 10.0 + 5 * (up["per_token"] or up["per_completion"] or up["prefix"])
        return {
            "kind": "prefix" if quantity == "prefix" else "completion", "benchmark": "ab"[i % 2], "id": str(i),
            "arm": name, "seed": seed, "sample": number, "entropy_sum": nats, "tokens": 20 + 8 * up["tokens"],
            "correct": correct, "text_key": "0" if same else str(number),
        }  # fmt: skip

    runs = [(i, name, seed) for i in range(PROBLEMS) for name in (arm, "base") for seed in SEEDS]
    return pd.DataFrame([line(*run, k) for run in runs for k in range(SAMPLES)])


@pytest.mark.parametrize("quantity", BY_HAND)
def test_a_policy_that_moved(quantity):
    found = changes.change(policies(quantity), "accuracy", quantity, n_boot=50)
    assert found[:3] == pytest.approx([BY_HAND[quantity]] * 3) and (found.n, found.seeds) == (PROBLEMS, len(SEEDS))
    assert found.by_seed == pytest.approx([found.estimate] * len(SEEDS))


def test_a_seed_alone_is_compared_with_all_of_the_base():
    rows = policies("tokens")
    rows.loc[(rows["arm"] == "accuracy") & (rows["seed"] == 1), "tokens"] -= 10
    rows.loc[(rows["arm"] == "base") & (rows["seed"] == 1), "tokens"] -= 4
    found = changes.change(rows, "accuracy", "tokens", n_boot=10)
    assert found.by_seed == (8 + 2, 8 - 10 + 2)
    assert found.estimate == 8 - 5 + 2


def test_entropy_per_token_is_one_sum_by_another():
    """A problem of 30 tokens at 1 nat and three of 10 at 0: (30 + 0)/60, although benchmarks and problems differ."""
    rows = policies("per_token").query("id in ['0', '1', '2', '4'] and seed == 0")
    mine, long = rows["arm"] == "accuracy", rows["id"] == "1"
    rows.loc[mine, "entropy_sum"], rows.loc[mine, "tokens"] = np.where(long, 30, 0)[mine], np.where(long, 30, 10)[mine]
    assert changes.change(rows, "accuracy", "per_token", n_boot=10).estimate == pytest.approx(30 / 60 - 10 / 20)


def test_rows_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="no rows of arm 'egrc'.*accuracy"):
        changes.change(policies("tokens"), "egrc", "tokens")
    with pytest.raises(ValueError, match="not asked the same.*'0'"):
        changes.change(policies("tokens").iloc[2 * SAMPLES :], "accuracy", "tokens")
