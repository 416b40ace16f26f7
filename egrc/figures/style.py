"""How every figure looks, and how it is saved: colours by arm, type sizes for print, bytes that repeat.

Figures are made without pyplot, so there is no backend to choose and no state to share.
"""

from __future__ import annotations

import hashlib
import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from egrc.atomic import write_bytes

NAMES = ("black", "orange", "sky", "green", "yellow", "blue", "vermillion", "purple")
OKABE_ITO = dict(zip(NAMES, mpl.color_sequences["okabe_ito"], strict=True))
"""Okabe and Ito's palette, told apart under the common colour-vision deficiencies."""

COLOURS = {
    "base": OKABE_ITO["black"],
    "accuracy": OKABE_ITO["green"],
    "compression": OKABE_ITO["sky"],
    "joint": OKABE_ITO["orange"],
    "egrc": OKABE_ITO["blue"],
    "egrc-reversed": OKABE_ITO["vermillion"],
}
"""One colour an arm, in every figure."""

GREY = "0.45"
WIDTH = 7.1  # inches: two columns of a conference page
CAPTION_LETTERS = 140  # in a line of that width
DIGITS = 9  # of the numbers that a figure's stamp is made of: more than are seen, fewer than are computed alike

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so the bytes do not depend on installed fonts
    "font.size": 7.5,
    **{"axes.titlesize": 8.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7},
    **{"axes.linewidth": 0.6, "axes.titlepad": 4, "axes.spines.top": False, "axes.spines.right": False},
    **dict.fromkeys(("xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    "lines.solid_capstyle": "round",
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,  # TrueType outlines: embedded, and editable text
    "svg.hashsalt": "egrc",
}


def context() -> Any:
    """The style, for the length of a `with`: seaborn's ticks, our sizes."""
    return mpl.rc_context(sns.axes_style("ticks") | RC)


def colour(arm: str) -> Any:
    """Colour of an arm; an arm of a reader's own gets a purple."""
    return COLOURS.get(arm, OKABE_ITO["purple"])


def caption(figure: Figure, paragraphs: Sequence[str]) -> float:
    """Write under a figure how to read it: a figure travels without the text around it.

    Returns the height, as a fraction of the figure's, at which axes may begin: above the caption and their own labels.
    """
    lines = [line for text in paragraphs for line in textwrap.wrap(text, CAPTION_LETTERS)]
    size, spacing, height = 6.5, 1.35, figure.get_figheight() * 72  # points
    figure.text(0.012, 4 / height, "\n".join(lines), fontsize=size, color="0.25", va="bottom", linespacing=spacing)
    return (len(lines) * size * spacing + 40) / height


def data_hash(drawn: pd.DataFrame) -> str:
    """SHA-256 of the numbers a figure shows, the runs' config hashes among them; other processors get the same one.

    Sums differ in their last bits from one processor or library to the next, so every column of floats is rounded to
    `DIGITS` digits of its largest number; a zero that came out as 1e-17 is a zero.
    """
    drawn = drawn.infer_objects()  # a column of floats may have been joined as one of objects
    numbers = drawn.select_dtypes("float")
    largest = numbers.abs().where(np.isfinite(numbers)).max()
    whole = {name: float(f"{top:.{DIGITS}g}") for name, top in largest.items() if top > 0}  # 0.99...9 is 1.0
    places = {name: DIGITS - 1 - math.floor(math.log10(top)) for name, top in whole.items()}
    rounded = drawn.assign(**(numbers[list(places)].round(places) + 0.0))  # + 0.0: no -0.0
    return hashlib.sha256(rounded.to_csv(index=False).encode()).hexdigest()


def save(figure: Figure, drawn: pd.DataFrame, stem: Path) -> list[Path]:
    """Write stem.pdf and stem.png, the same bytes for the same numbers and lock.  Raises `egrc.atomic.WriteError`.

    The metadata name what was drawn by its hash, not the commit: a committed figure cannot contain its own commit.
    """
    digest = f"egrc data sha256:{data_hash(drawn)}"
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Title": stem.name, "Subject": digest, "CreationDate": None},  # a date would differ every time
        "png": {"Title": stem.name, "Description": digest},
    }
    for kind, facts in metadata.items():
        write_bytes(stem.with_name(f"{stem.name}.{kind}"), rendered(figure, kind, facts))
    return [stem.with_name(f"{stem.name}.{kind}") for kind in metadata]


def rendered(figure: Figure, kind: str, metadata: dict[str, Any] | None = None) -> bytes:
    """The file of a figure: kind is 'pdf' or 'png'."""
    buffer = io.BytesIO()
    with context():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
