"""What the notebooks show: the source that is run, and rollouts whose uncertain tokens can be seen.  [ours]

Nothing here computes a result.  What is returned displays itself in Jupyter and is plain text elsewhere.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Sequence
from html import escape
from importlib import import_module
from importlib.util import find_spec
from math import exp
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from egrc.analysis.shown import Shown
from egrc.experiments import shared
from egrc.figures import FIGURES, picture, style

LEVELS = (
    (1.1, "'", "background:#fff3cd;color:#222;text-decoration:underline dotted"),
    (2.0, "''", "background:#ffd07a;color:#222;text-decoration:underline"),
    (4.0, "'''", "background:#f79d5c;color:#222;text-decoration:underline;font-weight:bold"),
)
"""A token's perplexity exp(entropy), "about how many words it hesitates between": from which one on, its mark in plain
text, its style in HTML, which print and colour-blind readers see, too."""
BLOCK = '<div style="margin:0.6em 0"><b>{}</b><div style="font-family:monospace;line-height:1.7">{}</div></div>'


def source(*objects: Any) -> Shown:
    """The source of functions or classes of the package, as it is run, highlighted.

    Raises TypeError for what has no Python source (a number, a built-in).
    """
    text = "\n\n".join(textwrap.dedent(inspect.getsource(thing)).rstrip() for thing in objects)
    return Shown(text, markdown=f"```python\n{text}\n```")


def header(*modules: ModuleType | str) -> Shown:
    """Docstrings of modules, which are read and not imported (TRL would take seconds).  Raises ValueError for none."""
    texts = []
    for module in modules:
        spec = find_spec(module if isinstance(module, str) else module.__name__)
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text("utf-8"))) if spec and spec.origin else None
        if text is None:
            raise ValueError(f"{module} has no docstring to show")
        texts.append(text)
    whole = "\n\n\n".join(texts)
    return Shown(whole, markdown=f"```text\n{whole}\n```")


def figure(name: str, scale: str) -> Shown:
    """A figure of the paper: the picture that `make paper` has just drawn; elsewhere it is drawn here.

    Raises RecordError where a record or a measurement is missing.
    """
    drawn = shared.kept(picture(name, scale))
    if drawn is None:
        drawn = style.rendered(import_module(FIGURES[name]).draw(scale)[0], "png")
    return Shown(name, png=drawn)


def rollout(row: pd.Series | dict[str, Any]) -> Shown:
    """One recorded rollout with its tokens marked by their entropy.

    `row` is a row of ``rollouts.parquet``: prompt, tokens (strings), entropies (nats at T=1), correct, length.
    """
    tokens = [(str(token), sum(exp(nats) >= bound for bound, *_ in LEVELS))
              for token, nats in zip(row["tokens"], row["entropies"], strict=True)]  # fmt: skip
    title = f"{row['prompt']}   [{row['length']} tokens, {'correct' if row['correct'] else 'not correct'}]"
    marks, styles = (("", *(level[i] for level in LEVELS)) for i in (1, 2))
    words = " ".join(f'<span style="{styles[k]}">{escape(token)}</span>' for token, k in tokens)
    key = " ".join(f'<span style="{styles[k]}">from {level[0]:g}</span>' for k, level in enumerate(LEVELS, 1))
    plain = " ".join(token + marks[k] for token, k in tokens)
    legend = ", ".join(f"{mark} from {bound:g}" for bound, mark, _ in LEVELS)
    html = BLOCK.format(escape(title), f"{words}<br><small>hesitates between about so many words: {key}</small>")
    return Shown(f"{title}\n{plain}\n(exp of the entropy: {legend})", html=html)


def texts(titles: Sequence[str], bodies: Sequence[str]) -> Shown:
    """Several texts one under the other, each with a title."""
    pairs = list(zip(titles, bodies, strict=True))
    html = "".join(BLOCK.format(escape(title), escape(body)) for title, body in pairs)
    return Shown("\n\n".join(f"{title}\n{body}" for title, body in pairs), html=html)


def same_problem(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Evaluation rows of both tables whose text was kept, paired by problem and temperature, sample 0.

    Ordered by how near the first table's length is to its median: the first is an ordinary case, not the best one.
    Columns end in ``_before`` and ``_after``.  Raises ValueError when no pair has texts.
    """
    kept = [rows[rows["text"].fillna("").ne("") & rows["sample"].eq(0)] for rows in (before, after)]
    pairs = kept[0].merge(kept[1], on=["benchmark", "id", "temperature", "sample"], suffixes=("_before", "_after"))
    if pairs.empty:
        raise ValueError("no problem has its text recorded in both tables: evaluate both with the same seed")
    length = pairs["tokens_before"]
    return pairs.iloc[(length - length.median()).abs().argsort(kind="stable")].reset_index(drop=True)
