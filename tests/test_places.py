"""Where words stand, and connectors against others at the same place: worked by hand."""

import pandas as pd
import pytest

from egrc.analysis import places, tokens


def rollouts() -> pd.DataFrame:
    """Two problems of one rollout; connectors open sentences, where everything is uncertain."""
    words = ["So", " 3", ".", " The", " sum", ":", "\n", " and", " two"]
    classes = ["connector", "number", "punctuation", "function", "content", "punctuation"]
    classes += ["layout", "connector", "content"]
    first = {"tokens": words, "classes": classes, "entropies": [2.0, 9.0, 9.0, 3.0, 1.0, 9.0, 9.0, 1.0, 0.0]}
    second = {"tokens": ["Ann", " so", "."], "classes": ["content", "connector", "punctuation"], "entropies": [5, 2, 9]}
    return pd.DataFrame([first, second]).assign(benchmark=["a", "b"], id=["p", "q"], seed=0)


def test_opens_by_hand() -> None:
    words = ["So", " 3", ".", " He", " (", "so", ".)", "\n", "Now", " a", '."', " b", " 1.5", " c", ":", " d"]
    opening = [w for w, opens in zip(words, places.opens(words), strict=True) if opens]
    assert opening == ["So", " He", "\n", "Now", " b", " d"]
    assert places.opens([]).tolist() == []


def test_places_divide_the_words() -> None:
    table = rollouts()
    opening, inside = (places.at(table, place) for place in places.PLACES)
    assert [list(words) for words in opening["tokens"]] == [["So", " The", "\n", " and"], ["Ann"]]
    assert [list(words) for words in inside["tokens"]] == [[" 3", ".", " sum", ":", " two"], [" so", "."]]
    assert list(opening["entropies"][0]) == [2.0, 3.0, 9.0, 1.0]
    assert sum(map(len, opening["tokens"])) + sum(map(len, inside["tokens"])) == len(tokens.units(table))
    assert table["tokens"][0] == rollouts()["tokens"][0]  # unchanged
    with pytest.raises(ValueError, match="no place 'end': choose one of opening, inside"):
        places.at(table, "end")


def test_against_others_by_hand() -> None:
    found = places.against_others(rollouts(), n_boot=1).set_index("place")
    assert found.loc["opening", ["connectors", "others", "difference"]].tolist() == [1.5, 4.0, -2.5]
    assert found.loc["inside", ["connectors", "others", "difference"]].tolist() == [2.0, 0.5, 1.5]
    assert found["units"].to_dict() == {"opening": 2, "inside": 1} and set(found["problems"]) == {2}


def test_intervals_hold_the_estimate_where_problems_are_alike() -> None:
    one = rollouts().iloc[:1]
    many = pd.concat([*(one.assign(id=str(i)) for i in range(4)), rollouts().iloc[1:]], ignore_index=True)
    found = places.against_others(many, n_boot=50)
    assert (found["low"] == found["difference"]).all() and (found["high"] == found["difference"]).all()
