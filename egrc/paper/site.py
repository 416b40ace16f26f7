"""`make site`: README, pages, tables and executed notebooks as a static site that needs no network.

Sphinx with MyST-NB: what Jupyter Book 1 is made of, in three packages; Jupyter Book 2 would need node.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.atomic import write_text
from egrc.checks import require

WIDGET = "application/vnd.jupyter.widget-view+json"  # moves only with a kernel; a still picture stands beside it
PARTS = {"Lessons": "notebooks/[0-9]*.ipynb", "Appendices": "notebooks/[a-z]_*.ipynb", "Pages": "site/*.md",
         "Tables": "figures/**/*.md"}  # fmt: skip


def build(out: Path = paths.BUILD / "site", books: Sequence[Path] | None = None) -> Path:
    """Write the site of these executed notebooks (default: all in build/notebooks); returns its folder.

    Raises ConfigError where a notebook was not run, or Sphinx has an error; with all notebooks, also where a link leads
    nowhere, or it has another warning.
    """
    from sphinx.cmd.build import build_main  # of the extra `site`

    strict = [] if books else ["-W", "--keep-going"]
    books = books or [paths.BUILD / "notebooks" / book.name for book in sorted(paths.NOTEBOOKS.glob("*.ipynb"))]
    missing = [book.stem for book in books if not book.exists()]
    require(not missing, f"not executed yet: {', '.join(missing)}: `make paper` runs them")
    source = out.with_name(f"{out.name}-source")
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in ("site", "figures"):
        shutil.copytree(paths.ROOT / folder, source / folder)
    shutil.copy(paths.ROOT / "CITATION.cff", source)
    for book in books:
        notebook = json.loads(book.read_text(encoding="utf-8"))
        write_text(source / "notebooks" / book.name, json.dumps(page(notebook)))
    trees = []
    for caption, pattern in PARTS.items():
        names = sorted(str(file.relative_to(source).with_suffix("")) for file in source.glob(pattern))
        trees += ["```{toctree}", ":hidden:", ":maxdepth: 1", f":caption: {caption}", *names, "```", ""]
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    write_text(source / "index.md", "\n".join([readme, *trees]))
    failed = build_main(["-q", *strict, "-c", str(source / "site"), str(source), str(out)])
    require(not failed, f"the site in {paths.shown(out)} has the faults that are named above")
    return out


def page(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook as its page: no parameters, solutions folded away, no widget that cannot move."""
    cells = [cell for cell in notebook["cells"] if not {"parameters", "injected-parameters"} & tags(cell)]
    for cell in cells:
        if "solution" in tags(cell):
            cell["metadata"]["tags"] = ["hide-cell"]
        if "outputs" in cell:
            cell["outputs"] = [output for output in cell["outputs"] if WIDGET not in output.get("data", {})]
    metadata = {name: value for name, value in notebook["metadata"].items() if name in ("kernelspec", "language_info")}
    return notebook | {"cells": cells, "metadata": metadata}


def tags(cell: dict[str, Any]) -> set[str]:
    return set(cell["metadata"].get("tags", []))


if __name__ == "__main__":
    print(f"egrc: the site is in {paths.shown(build())}")
