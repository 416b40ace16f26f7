"""The rule that chooses settings, by hand; and that the settings in use are the ones it chose."""

from __future__ import annotations

import pandas as pd
import pytest
from egrc.methods.arms import MAIN, OURS, PEERS

from egrc.analysis import search
from egrc.atomic import write_json
from egrc.checks import ConfigError
from egrc.experiments import scales
from egrc.experiments.jobs import JobsError


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
    """Planned and made: a trial that search.csv lacks would be less effort for its arm."""
    planned = {(arm, k) for arm, settings in search.TRIALS["pocket"].items() for k in range(len(settings))}
    assert len(planned) == 2 * len(search.TRIALS["pocket"])
    table = pd.read_csv(search.search_file("pocket"))
    made = list(table[table.arm != "base"][["arm", "trial"]].itertuples(index=False, name=None))
    assert sorted(made) == sorted(planned)


def test_the_settings_in_use_are_the_chosen_ones():
    table = pd.read_csv(search.search_file("pocket"))
    tried = [arm for arm in search.TRIALS["pocket"] if arm in set(table.arm)]
    assert set(MAIN) - {"base"} <= set(tried)
    for arm in tried:
        settings = search.TRIALS["pocket"][arm][search.chosen(table, arm)]
        assert scales.config("pocket", arm, **settings) == scales.config("pocket", arm), f"search.csv chose {settings}"
    chosen = search.plus(table)
    assert chosen is None or chosen == (scales.PLUS, search.chosen(table, scales.PLUS))


def test_the_strongest_peers_are_those_of_the_rule():
    table = pd.read_csv(search.search_file("pocket"))
    assert tuple(search.strongest(table)[:3]) == scales.STRONGEST
    made_up = pd.DataFrame(
        [("base", 0, 99, 0.6), ("dot", 0, 50, 0.5), ("dot", 1, 60, 0.56), ("dler", 0, 55, 0.55), ("lc-r1", 0, 10, 0.0)],
        columns=["arm", "trial", "tokens_best", f"{search.BY_BENCHMARK}hole"],
    )
    assert search.strongest(made_up) == ["dler", "dot"]  # dot's shorter trial has lost the hole, and lc-r1's only one


def test_no_recorded_run_has_a_seed_of_the_search():
    seeds = {seed for name in scales.SCALES["pocket"].studies for _, seed in scales.study_runs("pocket", name)}
    assert search.SEED not in seeds | set(scales.runs("pocket")[1])


def test_every_peer_and_candidate_has_trials_that_are_runs():
    trials = search.TRIALS["pocket"]
    assert set(PEERS) | set(OURS) <= set(trials)
    for arm, options in trials.items():
        first, second = (scales.config("pocket", arm, **settings) for settings in options)
        assert first != second
        assert first.steps * first.prompts_per_step == second.steps * second.prompts_per_step, "the same rollouts"


def candidates(**of: tuple[float, float, float]) -> pd.DataFrame:
    """Base and all candidates: accuracy, tokens, and accuracy on one benchmark (the base: 0.6, 120, 0.4; floor 20)."""
    rows = {"base": (0.6, 120.0, 0.4), **dict.fromkeys(OURS, (0.1, 100.0, 0.1)), **of}
    names = ("accuracy_best", "tokens_best", f"{search.BY_BENCHMARK}hole")
    table = pd.DataFrame(rows.values(), columns=names).assign(arm=list(rows), trial=1, floor_tokens=20)
    others = table[table.arm != "base"].assign(trial=0, accuracy_best=0.1, tokens_best=100.0)
    return pd.concat([others.assign(**{names[2]: 0.1}), table], ignore_index=True)


@pytest.mark.parametrize(
    "of, expected",
    [
        # both remove 95 of 100 tokens and keep the benchmark: the more accurate
        ({"egrc-steps": (0.7, 25, 0.35), "egrc-guard": (0.8, 25, 0.35)}, "egrc-guard"),
        # the more accurate one has lost the benchmark
        ({"egrc-steps": (0.7, 25, 0.35), "egrc-guard": (0.8, 25, 0.34)}, "egrc-steps"),
        # none that keeps the benchmark removes enough: the one that removes most
        ({"egrc-steps": (0.9, 40, 0.4), "egrc-guard": (0.7, 26, 0.4), "egrc-cycles": (0.9, 20, 0.1)}, "egrc-guard"),
        # all have lost it: the one that has lost least
        ({"egrc-steps": (0.6, 90, 0.2), "egrc-guard": (0.9, 20, 0.15)}, "egrc-steps"),
    ],
)
def test_plus_is_chosen_by_its_rule(of, expected):
    assert search.plus(candidates(**of)) == (expected, 1)


def test_plus_waits_for_all_trials_of_all_candidates():
    table = candidates()
    assert search.plus(table[table.arm != "egrc-steps"]) is None
    assert search.plus(table[(table.arm != "egrc-steps") | (table.trial == 1)]) is None


def test_the_base_is_judged_anew_where_its_benchmarks_are_not_known(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "search_file", lambda scale: tmp_path / "search.csv")
    pd.DataFrame([{"arm": "base", "trial": 0}, {"arm": "egrc", "trial": 0}]).to_csv(tmp_path / "search.csv")
    assert list(search._old_rows("pocket").arm) == ["egrc"]


def test_a_trial_that_fails_leaves_the_others_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "search_file", lambda scale: tmp_path / "search.csv")
    monkeypatch.setattr(search.paths, "BUILD", tmp_path)

    def jobs(wanted):
        row = {"arm": "base", "trial": 0, f"{search.BY_BENCHMARK}hole-3": 0.4}
        write_json(tmp_path / "search/pocket/base-0.json", row)
        raise JobsError("dler trial 1 failed")

    monkeypatch.setattr(search, "run_jobs", jobs)
    with pytest.raises(JobsError):
        search.search("pocket", ["dler"])
    assert list(pd.read_csv(tmp_path / "search.csv").arm) == ["base"]
    with pytest.raises(ConfigError, match="no trials of nonsense"):
        search.search("pocket", ["nonsense"])
