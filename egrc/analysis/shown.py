"""What a notebook displays as a table, a text or a picture, and a terminal as plain text.  [ours]

It computes nothing, and it is not where such things are made: see `egrc.figures.show`, and `show` of a table's module.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

SCREEN_WIDTH = 710  # pixels of a figure, which in print is 7.1 inches wide


@dataclass(frozen=True)
class Shown:
    """Markdown, HTML or a picture for a notebook, with plain text beside it."""

    text: str
    markdown: str | None = None
    html: str | None = None
    png: bytes | None = None

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """What there is, by its type, and how it is to be displayed."""
        png = base64.b64encode(self.png).decode() if self.png else None
        rich = {"text/markdown": self.markdown, "text/html": self.html, "image/png": png}
        data = {"text/plain": self.text} | {kind: value for kind, value in rich.items() if value is not None}
        return data, {"image/png": {"width": SCREEN_WIDTH, "alt": self.text}} if png else {}
