"""The site: two pages of it are built, and hold nothing that a browser would fetch from elsewhere or not find."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
import pytest
from nbformat import v4

from egrc import paths
from egrc.checks import ConfigError
from egrc.paper import site

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Loaded(HTMLParser):
    """What a page loads by itself, and what it links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loads, self.links, self.ids = set[str](), set[str](), set[str]()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = {name: unescape(value or "") for name, value in attrs}
        self.ids.add(of.get("id", ""))
        if "src" in of:
            self.loads.add(of["src"])
        if "href" in of:
            loaded = tag == "link" and of.get("rel") not in ("search", "index", "next", "prev")
            (self.loads if loaded else self.links).add(of["href"])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of one lesson and one appendix, both made up."""
    folder = tmp_path_factory.mktemp("site")
    widget = v4.new_output("display_data", {site.WIDGET: {"model_id": "1"}, "text/plain": "VBox(children=())"})
    picture = v4.new_output("display_data", {"image/png": PNG, "text/plain": "a figure"})
    cells = [
        v4.new_code_cell("SCALE = 'made up'", metadata={"tags": ["parameters"]}),
        v4.new_markdown_cell("# One\n\n[Entropy](../site/glossary.md#entropy) $-\\sum_v p_v$, [A](a_two.ipynb)."),
        v4.new_code_cell("player()", outputs=[widget, picture]),
        v4.new_code_cell("secret = 42", metadata={"tags": ["solution"]}),
    ]
    books = [folder / "00_one.ipynb", folder / "a_two.ipynb"]
    nbformat.write(v4.new_notebook(cells=cells), books[0])
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# Two")]), books[1])
    return site.build(folder / "out", books)


def test_no_page_loads_anything_from_elsewhere_or_anything_that_is_missing(built: Path) -> None:
    pages = {page: Loaded(page) for page in built.rglob("*.html")}
    assert {"index.html", "00_one.html", "a_two.html", "glossary.html", "claims.html"} <= {page.name for page in pages}
    for page, of in pages.items():
        for target in of.loads:
            file = page.parent / unquote(target.split("?")[0])
            assert target.startswith("data:") or file.is_file(), (page.name, target)
    styles = "".join(file.read_text(encoding="utf-8") for file in built.rglob("*.css"))
    assert not re.search(r"url\(['\"]?(https?:)?//|@import", styles)
    assert (built / "searchindex.js").stat().st_size > 1000


def test_a_lesson_is_a_page_with_formulas_folded_solutions_and_links(built: Path) -> None:
    text = (built / "notebooks" / "00_one.html").read_text(encoding="utf-8")
    assert "<math" in text and "made up" not in text and "VBox" not in text
    assert re.search(r"<details.*secret", text, re.DOTALL)
    lesson, glossary = Loaded(built / "notebooks" / "00_one.html"), Loaded(built / "site" / "glossary.html")
    assert "a_two.html" in lesson.links and "../site/glossary.html#entropy" in lesson.links
    (anchor,) = {urldefrag(link).fragment for link in lesson.links if "glossary.html#" in link}
    assert anchor in glossary.ids


def test_a_notebook_that_was_not_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not executed yet: 00_the_idea: `make paper` runs them"):
        site.build(tmp_path / "site", [tmp_path / "00_the_idea.ipynb"])
    assert not (tmp_path / "site").exists() and paths.NOTEBOOKS.exists()
