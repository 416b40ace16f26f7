"""Figure 11: what a chain of thought looks like along training, one rollout of each recorded step, token by token.

Of the problems of one length in the recorded rollouts of a step, the one whose length is nearest to their median.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from egrc.entropy import CLASSES
from egrc.experiments import records
from egrc.figures import dots, style
from egrc.paths import DATA

SCALES = ("pocket",)
ARMS = ("egrc", "joint")
STEPS = 3
"""Operations of the problems shown."""
TINTS = {"connector": dots.CONNECTOR, "number": "0.35", "operator": "0.6", "other": "0.8"}


def tidy(record: records.Record) -> pd.DataFrame:
    """A line per step: step, phase, prompt, length, correct, and classes, a name for each token."""
    lines = []
    for step, rows in record.rollouts.groupby("step"):
        rows = rows[rows["prompt"].str.count(r"[-+*/]\d") == STEPS]
        middle = rows.loc[(rows["length"] - rows["length"].median()).abs().idxmin()]
        names = [CLASSES[c] for c in middle["classes"]]
        lines.append((step, *middle[["phase", "prompt", "length", "correct"]], names))
    return pd.DataFrame(lines, columns=["step", "phase", "prompt", "length", "correct", "classes"])


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the first seed's recorded rollouts.  Raises RecordError."""
    drawn = {arm: tidy(records.load(scale, arm, 0, data)) for arm in ARMS}
    longest = max(lines["length"].max() for lines in drawn.values())
    shares = {arm: [pd.Series(c).eq("connector").mean() for c in lines["classes"]] for arm, lines in drawn.items()}
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 2.9))
        for ax, (arm, lines) in zip(figure.subplots(1, len(ARMS), sharey=True), drawn.items(), strict=True):
            for y, line in enumerate(lines.itertuples()):
                for x, name in enumerate(line.classes):
                    ax.barh(y, 0.9, 0.72, x, color=TINTS[name], linewidth=0)
                words = f"{line.length}, {'right' if line.correct else 'wrong'}"
                ax.text(line.length + 1, y, words, fontsize=6.5, va="center", color=style.GREY)
            before, after = (f"{shares[arm][i]:.0%}" for i in (0, -1))
            ax.set_title(
                f"{arm}: connectors, {before} of the tokens at first, {after} at last", loc="left", fontsize=7.5
            )
            ax.set(xlim=(0, 1.2 * longest), ylim=(len(lines) - 0.4, -0.6), xlabel="token of the completion")
            ax.set_yticks(range(len(lines)), lines["step"])
        figure.axes[0].set_ylabel("training step")
        handles = [Patch(color=tint, label=name) for name, tint in TINTS.items()]
        figure.axes[1].legend(handles=handles, loc="lower right", frameon=False, fontsize=7)
        bottom = style.caption(figure, [
            f"One rollout of each recorded step (seed 0), of a problem with {STEPS} operations: the one whose length "
            "is nearest to the median of such rollouts; the problems differ. Beside each: its tokens, and the grade."
        ])  # fmt: skip
        figure.subplots_adjust(left=0.06, right=0.985, top=0.92, bottom=bottom, wspace=0.05)
    return figure, pd.concat(
        [lines.assign(arm=arm, classes=lines["classes"].map(" ".join)) for arm, lines in drawn.items()]
    )
