"""The rule that chooses settings, by hand; that the settings in use are the chosen ones; that trials are kept."""

import pandas as pd
import pytest

from egrc.analysis import search
from egrc.checks import ConfigError
from egrc.experiments import scales
from egrc.methods import MAIN, OURS


def trials(arm: str, *rows: tuple[float, float]) -> pd.DataFrame:
    """Accuracy and tokens (the base: 0.6, 120; the floor is 20)."""
    table = pd.DataFrame([("base", 0, 0.6, 120), *((arm, k, *row) for k, row in enumerate(rows))])
    names = ["arm", "trial", "accuracy_best", "tokens_best"]
    return table.set_axis(names, axis=1).assign(floor_tokens=20, accuracy_t1=table[2])


@pytest.mark.parametrize(
    ("arm", "rows", "expected"),
    [
        ("accuracy", ((0.7, 90), (0.8, 200)), 1),  # the most accurate, however long
        ("egrc", ((0.60, 25), (0.70, 40)), 1),  # both remove 80 of 100 tokens: the more accurate
        ("egrc", ((0.60, 25), (0.70, 41)), 0),  # the more accurate one removes too little
        ("egrc", ((0.60, 50), (0.70, 60)), 0),  # none removes enough: the shorter
    ],
)
def test_the_rule_by_hand(arm, rows, expected):
    assert search.chosen(trials(arm, *rows), arm) == expected


def test_the_settings_in_use_are_the_chosen_ones():
    """Every arm had as many trials, planned and made: one that search.csv lacks would be less effort for its arm."""
    table, planned = pd.read_csv(search.search_file("pocket")), search.TRIALS
    assert {*MAIN[1:], *OURS} == set(planned) and {len(settings) for settings in planned.values()} == {2}
    made = table[table["arm"] != "base"][["arm", "trial"]].itertuples(index=False, name=None)
    assert sorted(made) == sorted((arm, k) for arm in planned for k in range(2))
    for arm, options in planned.items():
        first, second = (scales.config("pocket", arm, **settings) for settings in options)
        assert first != second and first.steps * first.prompts_per_step == second.steps * second.prompts_per_step
        # `accuracy` is recorded at the rate of all others, though the rule takes its second trial
        taken = 0 if arm == "accuracy" else search.chosen(table, arm)
        assert (first, second)[taken] == scales.config("pocket", arm)


def test_the_seed_of_the_search_is_no_records():
    runs = {run for name in scales.SCALES["pocket"].studies for run in scales.study_runs("pocket", name)}
    assert search.SEED not in {seed for _, seed in runs} | set(scales.runs("pocket")[1])


def test_only_trials_that_are_missing_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "search_file", lambda scale: tmp_path / "search.csv")
    monkeypatch.setattr(search, "run_trial", lambda scale, arm, k: {"arm": arm, "trial": k})
    assert len(search.search("pocket", ["egrc"])) == len(search.search("pocket", ["egrc"])) == 3
    found = search.search("pocket", ["egrc-plus"])
    assert found.equals(pd.read_csv(tmp_path / "search.csv")) and found["arm"].value_counts()["base"] == 1
    with pytest.raises(ConfigError, match="no trials of nonsense"):
        search.search("pocket", ["nonsense"])
