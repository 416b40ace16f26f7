"""Tables as text: every part under its heading, nothing that LaTeX would swallow."""

from pathlib import Path

import pandas as pd

from egrc.figures import typeset

TABLE = pd.DataFrame({"arm": ["a_b"], "removed (%)": ["9.0 − 1"]})


def test_markdown_has_a_section_a_part_and_says_where_there_is_none() -> None:
    text = typeset.markdown("Table 9", ["Read so."], {"one": TABLE, "two": TABLE[:0]})
    assert text.startswith("# Table 9\n\nRead so.\n\n## one\n\n| arm ")
    assert text.endswith("## two\n\nNone yet.\n") and "9.0 − 1" in text


def test_latex_escapes_what_would_hide_the_rest_of_a_line() -> None:
    body = typeset.longtable(TABLE, "95% removed", "tab:x", "ll")
    text = typeset.latex(["100%."], [body])
    assert r"a\_b" in text and r"95\% removed" in text and r"100\%." in text and "9.0 $-$ 1" in text
    assert "%" not in "".join(text.splitlines()[1:]).replace(r"\%", "")
    assert r"\label{tab:x}" in text and text.count(r"\begin{longtable}{ll}") == 1


def test_both_files_are_written(tmp_path: Path) -> None:
    written = typeset.write(tmp_path / "table9", "m", "l")
    assert [p.name for p in written] == ["table9.md", "table9.tex"]
    assert [p.read_text() for p in written] == ["m", "l"]
