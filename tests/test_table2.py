"""Table 2: ours with interval and protocol, empty places with their reason, published rows apart."""

import pandas as pd
import pytest
from test_evaluations import rows, write

from egrc.evaluation import benchmarks
from egrc.experiments.records import RecordError
from egrc.figures import table2
from egrc.worlds.deepseek import NOT_RUN


@pytest.fixture
def data(tmp_path):
    """One set asked of the smol base, and one of pocket."""
    write(tmp_path, rows({"a": "rr", "b": "1x"}), benchmark="math500", problems=2, cap=100)
    write(tmp_path, scale="pocket", benchmark="forward-3")
    return tmp_path


def test_every_place_has_a_number_or_a_reason(data):
    write(data, rows({"a": "rr", "b": "11"}), benchmark="math500", who="egrc-seed-0")
    table = table2.overview(table2.ours(data)).set_index("model")
    assert list(table.columns) == [benchmarks.get(b).title for b in table2.SETS]
    smol = table.loc["SmolLM2-135M-Instruct, base"]
    assert smol["MATH-500"] == "50.0 [0.0, 100.0] @ 33"  # (10 + 11 + 10 + 100) / 4
    assert smol["GSM8K"] == "not recorded" and smol["AIME 2025"] == smol["Minerva"] == table2.NO_COPY
    assert table.loc["SmolLM2-135M-Instruct, egrc-seed-0", "MATH-500"].startswith("50.0")
    gpu = table[table.index.str.contains("R1-Distill")]
    assert (gpu == NOT_RUN).all(axis=None) and len(gpu) == 4 == len(table) - 3  # nothing of pocket


def test_our_rows_carry_their_protocol(data):
    (line,) = table2.details(table2.ours(data)).to_dict("records")
    protocol = [line[name] for name in ("set", "n", "k", "T", "top_p", "cap")]
    assert protocol == ["MATH-500", "2", "2", "0.6", "0.95", "100"]
    assert line["pass@1 (%)"] == line["majority (%)"] == "50.0 [0.0, 100.0]"
    assert line["tokens"].startswith("33 [") and line["cut (%)"] == "25.0 [0.0, 50.0]"


def test_published_rows_have_a_source_and_bad_ones_are_refused(tmp_path):
    table = table2.published()
    assert set(table["method"]) >= {"base", "DA-DLER", "DLER", "DOT-4K", "LC-R1", "TokenSqueeze", "EGRC"}
    known = table[table["accuracy"] != ""]
    assert known["accuracy"].astype(float).between(0, 100).all() and known["tokens"].astype(float).gt(100).all()
    assert (table["source"].str.len() > 10).all() and (table["protocol"].str.len() > 10).all()
    assert (table.loc[table["accuracy"] == "", "length_share"].str.fullmatch(r"\d+(-\d+)?%")).all()
    file = tmp_path / "published.csv"
    with pytest.raises(RecordError, match="cannot be read"):
        table2.published(file)
    file.write_text("model,method\na,b\n")
    with pytest.raises(RecordError, match="published.csv: expected the columns model, method"):
        table2.published(file)
    pd.DataFrame([["x"] * 8 + [""]], columns=table2.PUBLISHED).to_csv(file, index=False)
    with pytest.raises(RecordError, match="a source in each row"):
        table2.published(file)


def test_files_repeat_and_published_rows_stand_apart(data, tmp_path):
    one, two = ([file.read_text() for file in table2.write(data, tmp_path / name)] for name in ("one", "two"))
    assert one == two and one[1].count(r"\begin{longtable}") == 3 and r"top\_p" in one[1]
    ours, theirs = one[0].split("## Published, under protocols of their own")
    assert "DLER" in theirs and "DLER" not in ours and "SmolLM2" in ours and "SmolLM2" not in theirs
    assert "no row of ours may be ranked among them" in ours
    nothing = [file.read_text() for file in table2.write(tmp_path / "none", tmp_path)]
    assert "## Ours, with protocol\n\nNone yet." in nothing[0] and nothing[1].count(r"\begin{longtable}") == 2
