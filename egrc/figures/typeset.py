"""Tables 1 to 3 as files: Markdown with a section a part, and the same parts as LaTeX longtables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from egrc.atomic import write_text

PAGE = 22  # cm of a landscape page, shared among a table's columns
HEAD = "% needs \\usepackage{booktabs,longtable}; wide: set it in landscape\n"


def write(stem: Path, notes: Sequence[str], parts: Mapping[str, pd.DataFrame]) -> list[Path]:
    """Write 'tableN.md' and 'tableN.tex': what must be said, then each part under its heading; cells stay as they are.

    Raises `egrc.atomic.WriteError`.
    """
    markdown, latex = [f"# {stem.name.replace('table', 'Table ')}", *notes], [" ".join(notes).replace("%", r"\%")]
    for i, (heading, table) in enumerate(parts.items()):
        body = table.to_markdown(index=False, disable_numparse=True) if len(table) else "None yet."
        markdown.append(f"## {heading}\n\n{body}")
        if len(table):
            latex.append(table.to_latex(
                index=False, longtable=True, escape=True, caption=heading.replace("%", r"\%"),
                label=f"tab:{stem.name}-{i}", column_format=f"p{{{PAGE / table.shape[1]:.1f}cm}}" * table.shape[1],
            ))  # fmt: skip
    texts = {".md": "\n\n".join(markdown) + "\n",
             ".tex": HEAD + "\n\n".join(latex).replace("−", "$-$").replace("–", "--")}  # fmt: skip
    for suffix, text in texts.items():
        write_text(stem.with_suffix(suffix), text)
    return [stem.with_suffix(suffix) for suffix in texts]
