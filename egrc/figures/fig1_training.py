"""Figure 1: what training does to entropy, length and accuracy.

Panels are quantities; every seed of an arm is a thin line, their mean a thick one; a triangle where a gate switches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis.ablations import switches
from egrc.controller import AT_DWELL_LIMIT
from egrc.experiments.records import Record, load_all
from egrc.figures import dots, style
from egrc.paths import DATA

ARMS = ("accuracy", "compression", "joint", "egrc", "egrc-reversed")
SMOOTHING = 5
"""Steps of the centred moving average; said in the figure."""
END = 10
"""Steps at either end whose means the titles compare."""
PANELS = {
    "entropy": ("Entropy on the rollouts", "nats per token, T = 1"),
    "probe_entropy": ("Entropy after fixed prefixes", "nats, T = 1"),
    "tokens_mean": ("Length", "tokens per completion"),
    "accuracy": ("Accuracy of rollouts", "share correct"),
}
"""Columns of steps.csv, with title and unit."""
COLUMNS = ["arm", "seed", "config", "step", "phase", "temperature", "cause", *PANELS]


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The numbers drawn: a row per arm, seed and step; `cause` says why a phase ended."""
    frames = []
    for r in records:
        causes = {d["step"]: d["cause"] for d in r.decisions if d["phase"] != d["next_phase"]}
        run = r.steps.assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"])
        frames.append(run.assign(cause=run["step"].map(causes).astype(object)).reindex(columns=COLUMNS))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def course(run: pd.DataFrame, column: str) -> pd.Series:
    """A quantity by step, as a centred moving average (narrower at both ends); the probe's few readings as they are."""
    values = run.set_index("step")[column].dropna()
    return values if column == "probe_entropy" else values.rolling(SMOOTHING, center=True, min_periods=1).mean()


def ways(drawn: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """Which arms fell, and which rose, from the first to the last steps in every seed."""
    runs = drawn.groupby(["arm", "seed"], sort=False)[column]
    change = (runs.apply(lambda x: x.tail(END).mean() - x.head(END).mean())).groupby("arm", sort=False)
    return {"fell": list(change.max().index[change.max() < 0]), "rose": list(change.min().index[change.min() > 0])}


def gates(drawn: pd.DataFrame) -> str:
    """When the gates switched, and how many of them at the dwell limit, which is not for the entropy."""
    said = []
    for arm, runs in drawn.groupby("arm", sort=False):
        first = [moved[0][0] for _, run in runs.groupby("seed") if (moved := switches(run))]
        limit = runs["cause"].dropna().str.startswith(AT_DWELL_LIMIT).sum()
        if first:
            span = f"{min(first)} to {max(first)}" if max(first) > min(first) else f"{first[0]}"
            said.append(f"{arm} at step {span}" + f" ({limit} at the dwell limit)" * int(limit > 0))
    return f"Triangles: the gate switches, {'; '.join(said)}." if said else "No gate switched."


def panel(ax: Axes, column: str, drawn: pd.DataFrame) -> None:
    """One quantity, all arms; their names stand at the ends of their means."""
    ends = {}
    for arm in (a for a in ARMS if a in set(drawn["arm"])):
        runs, tint = drawn[drawn["arm"] == arm], style.colour(arm)
        each = [course(run, column) for _, run in runs.groupby("seed")]
        for line, (_, run) in zip(each, runs.groupby("seed"), strict=True):
            ax.plot(line, color=tint, linewidth=0.5, alpha=0.55)
            for start, _ in switches(run):
                at = line[line.index <= start]
                ax.plot(start, at.iloc[-1], "v", color=tint, markersize=4, markeredgecolor="white", zorder=4,
                        markeredgewidth=0.4)  # fmt: skip
        mean = pd.concat(each, axis=1, join="inner").mean(axis=1)  # a mean of fewer would jump where a seed ends
        ax.plot(mean, color=tint, linewidth=1.8, zorder=3)
        ends[arm] = mean.iloc[-1]
    ax.set_ylim(bottom=0)
    ax.set_xlim(left=0)
    title, unit = PANELS[column]
    ax.set_title(f"{title}\n{dots.message(ways(drawn, column) if ends else {}, list(ends), room=48)}", loc="left")
    ax.set(xlabel="training step", ylabel=unit)
    dots.name_ends(ax, ends)


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder."""
    drawn = tidy([r for r in load_all(scale, data) if r.arm in ARMS])
    hot = drawn.loc[drawn["phase"] == "explore", "temperature"].max()
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 5.2))
        axes = figure.subplots(2, 2)
        bottom = style.caption(figure, [
            f"Thin: one seed; thick: mean over seeds; moving averages over {SMOOTHING} steps (prefixes: as read). "
            f"{gates(drawn)} Before, egrc is compression, by construction. "
            + f"Explore phases sample at T = {hot:g}. " * int(hot > 0)
            + f"Fell, rose: the last {END} steps against the first, in every seed. {dots.missing(ARMS, drawn)}"
        ])  # fmt: skip
        figure.subplots_adjust(left=0.075, right=0.885, top=0.92, bottom=bottom, hspace=0.5, wspace=0.55)
        for ax, column in zip(axes.flat, PANELS, strict=True):
            panel(ax, column, drawn)
    return figure, drawn
