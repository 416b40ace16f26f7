"""The rules that choose settings, by hand; that the settings in use are the chosen ones; that trials are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from egrc.analysis import search
from egrc.checks import ConfigError
from egrc.experiments import scales
from egrc.experiments.jobs import JobsError
from egrc.methods import MAIN, OURS, PEERS


def trials(arm: str, *rows: tuple[float, float, float]) -> pd.DataFrame:
    """Accuracy, tokens, and accuracy on one benchmark (the base: 0.6, 120, 0.4; the floor is 20)."""
    base = pd.DataFrame([("base", 0, 0.6, 0.6, 120, 0.4)])
    own = pd.DataFrame([(arm, k, a, a, tokens, hole) for k, (a, tokens, hole) in enumerate(rows)])
    names = ["arm", "trial", "accuracy_t1", "accuracy_best", "tokens_best", f"{search.BY_BENCHMARK}hole"]
    return pd.concat([base, own], ignore_index=True).set_axis(names, axis=1).assign(floor_tokens=20)


@pytest.mark.parametrize(
    ("arm", "rows", "expected"),
    [
        ("accuracy", ((0.7, 90, 0.4), (0.8, 200, 0.4)), 1),  # the most accurate, however long
        ("egrc", ((0.60, 25, 0.4), (0.70, 40, 0.4)), 1),  # both remove 80 of 100 tokens: the more accurate
        ("egrc", ((0.60, 25, 0.4), (0.70, 41, 0.4)), 0),  # the more accurate one removes too little
        ("egrc", ((0.60, 50, 0.4), (0.70, 60, 0.4)), 0),  # none removes enough: the shorter
    ],
)
def test_the_rule_by_hand(arm, rows, expected):
    assert search.chosen(trials(arm, *rows), arm) == expected


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        # both remove 95 of 100 tokens and keep the benchmark: the more accurate
        ({"egrc-steps": (0.7, 25, 0.36), "egrc-guard": (0.8, 25, 0.36)}, "egrc-guard"),
        # the more accurate one has lost the benchmark
        ({"egrc-steps": (0.7, 25, 0.36), "egrc-guard": (0.8, 25, 0.34)}, "egrc-steps"),
        # none that keeps the benchmark removes enough: the one that removes most
        ({"egrc-steps": (0.9, 40, 0.4), "egrc-guard": (0.7, 26, 0.4), "egrc-cycles": (0.9, 20, 0.1)}, "egrc-guard"),
        # all have lost it: the one that has lost least
        ({"egrc-steps": (0.6, 90, 0.2), "egrc-guard": (0.9, 20, 0.15)}, "egrc-steps"),
    ],
)
def test_plus_is_chosen_by_its_rule_once_all_candidates_were_tried(of, expected):
    poor = (0.1, 100, 0.1)
    table = pd.concat([trials(arm, poor, of.get(arm, poor)) for arm in OURS], ignore_index=True).drop_duplicates()
    assert search.plus(table) == (expected, 1)
    assert search.plus(table[(table["arm"] != "egrc-steps") | (table["trial"] == 1)]) is None


def test_the_settings_in_use_are_the_chosen_ones():
    """Every arm had as many trials, planned and made: one that search.csv lacks would be less effort for its arm."""
    table, planned = pd.read_csv(search.search_file("pocket")), search.TRIALS["pocket"]
    assert {*MAIN[1:], *PEERS, *OURS} <= set(planned) and {len(settings) for settings in planned.values()} == {2}
    made = table[table["arm"] != "base"][["arm", "trial"]].itertuples(index=False, name=None)
    assert sorted(made) == sorted((arm, k) for arm in planned for k in range(2))
    for arm, options in planned.items():
        first, second = (scales.config("pocket", arm, **settings) for settings in options)
        assert first != second and first.steps * first.prompts_per_step == second.steps * second.prompts_per_step
        assert (first, second)[search.chosen(table, arm)] == scales.config("pocket", arm)
    assert search.plus(table) == (scales.PLUS, search.chosen(table, scales.PLUS))
    assert tuple(search.strongest(table)[:3]) == scales.STRONGEST
    seeds = {seed for name in scales.SCALES["pocket"].studies for _, seed in scales.study_runs("pocket", name)}
    assert search.SEED not in seeds | set(scales.runs("pocket")[1])


def test_the_strongest_peers_keep_every_benchmark():
    table = pd.concat([trials("dot", (0, 50, 0.3), (0, 60, 0.36)), trials("dler", (0, 55, 0.36)),
                       trials("lc-r1", (0, 10, 0.0))])  # fmt: skip
    assert search.strongest(table) == ["dler", "dot"]  # dot's shorter trial has lost the hole, and lc-r1's only one


def test_a_trial_that_fails_leaves_the_others_rows(tmp_path, monkeypatch):
    def trial(scale, arm, k):
        if arm == "dler" and k == 1:
            raise FloatingPointError("diverged")
        return {"arm": arm, "trial": k}

    monkeypatch.setattr(search, "search_file", lambda scale: tmp_path / "search.csv")
    monkeypatch.setattr(search, "run_trial", trial)
    monkeypatch.setattr(search, "ProcessPoolExecutor", lambda mp_context: ThreadPoolExecutor(1))
    with pytest.raises(JobsError, match="dler trial 1 failed: FloatingPointError"):
        search.search("pocket", ["dler"])
    made = pd.read_csv(tmp_path / "search.csv")
    assert sorted(zip(made["arm"], made["trial"], strict=True)) == [("base", 0), ("dler", 0)]
    monkeypatch.setattr(search, "run_trial", lambda scale, arm, k: {"arm": arm, "trial": k})
    assert len(search.search("pocket", ["dler"])) == 3  # only what is missing
    with pytest.raises(ConfigError, match="no trials of nonsense"):
        search.search("pocket", ["nonsense"])
