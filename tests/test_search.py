"""The rule that chooses settings, by hand; and that the settings in use are the ones it chose."""

from __future__ import annotations

import pandas as pd
import pytest

from egrc import scales, search


def trials(arm: str, *rows: tuple[float, float]) -> list[dict]:
    names = ("accuracy_t1", "accuracy_best", "tokens_best", "floor_tokens")
    return [{"arm": arm, "trial": k, **dict(zip(names, (a, a, t, 20), strict=True))} for k, (a, t) in enumerate(rows)]


def test_accuracy_takes_the_most_accurate():
    table = pd.DataFrame(trials("base", (0.6, 120)) + trials("accuracy", (0.7, 90), (0.8, 200)))
    assert search.chosen(table, "accuracy") == 1


@pytest.mark.parametrize(
    "rows, expected",
    [
        (((0.60, 25), (0.70, 40)), 1),  # both remove 80 of 100 tokens: the more accurate
        (((0.60, 25), (0.70, 41)), 0),  # the more accurate one removes too little
        (((0.60, 50), (0.70, 60)), 0),  # none removes enough: the shorter
    ],
)
def test_the_others_take_the_most_accurate_that_is_short_enough(rows, expected):
    table = pd.DataFrame(trials("base", (0.6, 120)) + trials("egrc", *rows))
    assert search.chosen(table, "egrc") == expected


def test_every_arm_had_as_many_trials():
    for arms in search.TRIALS.values():
        assert len({len(t) for t in arms.values()}) == 1


def test_the_settings_in_use_are_the_chosen_ones():
    table = pd.read_csv(search.search_file("pocket"))
    for arm, options in search.TRIALS["pocket"].items():
        config = scales.config("pocket", arm)
        for name, value in options[search.chosen(table, arm)].items():
            assert getattr(config, name) == value, f"{arm}: search.csv chose {name}={value}"
    assert search.SEED not in scales.runs("pocket")[1]
