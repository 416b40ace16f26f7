"""Tables as text, for tables 1 to 3: Markdown with a section a part, LaTeX longtables, files written whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from egrc.atomic import write_text


def markdown(title: str, notes: Sequence[str], parts: Mapping[str, pd.DataFrame]) -> str:
    """A title, what must be said, then each part under its own heading; the cells stay as they are."""
    text = [f"# {title}", *notes]
    for heading, table in parts.items():
        body = table.to_markdown(index=False, disable_numparse=True) if len(table) else "None yet."
        text.append(f"## {heading}\n\n{body}")
    return "\n\n".join(text) + "\n"


def longtable(table: pd.DataFrame, caption: str, label: str, columns: str, index: bool = False) -> str:
    """One LaTeX longtable; `columns` is its column format."""
    return table.to_latex(
        index=index, longtable=True, multirow=False, escape=True, caption=caption.replace("%", r"\%"), label=label,
        column_format=columns,
    )  # fmt: skip


def latex(notes: Sequence[str], bodies: Sequence[str]) -> str:
    """What must be said, then the longtables; needs the packages booktabs and longtable, and a landscape page."""
    text = "\n\n".join([" ".join(notes).replace("%", r"\%"), *bodies])
    head = "% needs \\usepackage{booktabs,longtable}; wide: set it in landscape\n"
    return head + text.replace("−", "$-$").replace("–", "--")


def write(stem: Path, notes: Sequence[str], parts: Mapping[str, pd.DataFrame], bodies: Sequence[str]) -> list[Path]:
    """Write 'tableN.md' with the parts, and 'tableN.tex' with the longtables.  Raises `egrc.atomic.WriteError`."""
    write_text(stem.with_suffix(".md"), markdown(stem.name.replace("table", "Table "), notes, parts))
    write_text(stem.with_suffix(".tex"), latex(notes, bodies))
    return [stem.with_suffix(".md"), stem.with_suffix(".tex")]
