"""Figure 1: what training does to entropy, length, accuracy and connectors, arm by arm.

Columns are arms, rows are quantities.  Every seed is a thin line, their mean a thick one; the steps in which the gate
explores are shaded, one layer a seed.  The other arms' means stay in grey behind, so that columns can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis.tables import missing
from egrc.controller import AT_DWELL_LIMIT
from egrc.experiments.records import Record, load_all
from egrc.figures import style
from egrc.paths import DATA

ARMS = ("accuracy", "compression", "joint", "egrc", "egrc-reversed")
SMOOTHING = 5
"""Steps of the centred moving average; said in the figure."""


class Row(NamedTuple):
    """A quantity: its column of steps.csv, its axis label, and the column of its reading on fixed prefixes."""

    column: str
    label: str
    probe: str | None = None


ROWS = (
    Row("entropy", "policy entropy\n(nats/token, T = 1)", "probe_entropy"),
    Row("tokens_mean", "completion length\n(tokens)"),
    Row("accuracy", "accuracy of rollouts\n(share correct)"),
    Row("connectors_mean", "connectors\n(per completion)"),
)


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The numbers drawn: one row per arm, seed and step; `gated` arms have two phases, `cause` says why one ended."""
    columns = ["step", "phase", "temperature", *(c for row in ROWS for c in (row.column, row.probe) if c)]
    frames = []
    for r in records:
        causes = {d["step"]: d["cause"] for d in r.decisions if d["phase"] != d["next_phase"]}
        gated = len(r.meta["config"]["recipe"]["phases"]) == 2
        run = r.steps.reindex(columns=columns).assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"])
        frames.append(run.assign(gated=gated, cause=run["step"].map(causes).astype(object)))
    if not frames:
        return pd.DataFrame(columns=[*columns, "arm", "seed", "config", "gated", "cause"])
    return pd.concat(frames, ignore_index=True)


def smooth(values: pd.Series) -> pd.Series:
    """Centred moving average over `SMOOTHING` steps; narrower at both ends."""
    return values.rolling(SMOOTHING, center=True, min_periods=1).mean()


def mean_over_seeds(runs: pd.DataFrame, column: str) -> pd.Series:
    """Mean by step, at the steps that every seed has reached: a mean of fewer would jump where a seed ends."""
    by_step = runs.groupby("step")[column]
    return by_step.mean()[by_step.size() == runs["seed"].nunique()]


def switches(run: pd.DataFrame) -> list[tuple[int, str]]:
    """(first step, name) of every phase after the first, of one seed's steps."""
    changed = run["phase"].ne(run["phase"].shift()).to_numpy()
    return [(int(s), p) for s, p in run.loc[changed, ["step", "phase"]].itertuples(index=False)][1:]


def gate_text(runs: pd.DataFrame) -> str:
    """One line under an arm's name: its phase, or from which step on the gate changed it, seed by seed."""
    moved = [switches(run) for _, run in runs.groupby("seed")]
    if not any(moved):
        return "gate never switched" if runs["gated"].any() else "one phase"
    starts = ", ".join(str(m[0][0]) if m else "never" for m in moved)
    more = ", …" if any(len(m) > 1 for m in moved) else ""
    return f"{next(m[0][1] for m in moved if m)} from {starts}{more}"


def gate_note(drawn: pd.DataFrame) -> str:
    """Where the entropy did NOT set the schedule: seeds whose gate never switched, or only at the dwell limit."""
    parts = []
    for arm, runs in drawn[drawn["gated"] == True].groupby("arm"):  # noqa: E712 - an empty frame holds objects
        causes = [run["cause"].dropna() for _, run in runs.groupby("seed")]
        never = sum(c.empty for c in causes)
        dwell = sum(not c.empty and c.str.startswith(AT_DWELL_LIMIT).all() for c in causes)
        parts += [f"{arm} never switched on {never} of {len(causes)} seeds"] if never else []
        parts += [f"{arm} switched only at the dwell limit on {dwell} of {len(causes)} seeds"] if dwell else []
    return f"Gate: {'; '.join(parts)}." if parts else ""


def mark_phases(ax: Axes, runs: pd.DataFrame, colour: str) -> None:
    """Shade each seed's exploring steps, and rule a line at each switch."""
    layer = 0.14 / runs["seed"].nunique()
    for _, run in runs.groupby("seed"):
        edges = [int(run["step"].iloc[0]), *(s for s, _ in switches(run)), int(run["step"].iloc[-1]) + 1]
        phases = [run["phase"].iloc[0], *(p for _, p in switches(run))]
        for start, end, phase in zip(edges, edges[1:], phases, strict=False):
            if phase == "explore":
                ax.axvspan(start - 0.5, end - 0.5, color=colour, alpha=layer, linewidth=0)
        for start in edges[1:-1]:
            ax.axvline(start - 0.5, color=style.GREY, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)


def panel(ax: Axes, row: Row, arm: str, drawn: pd.DataFrame) -> None:
    """One quantity of one arm, the other arms' means in grey behind."""
    for other, runs in drawn.groupby("arm"):
        if other != arm:
            ax.plot(smooth(mean_over_seeds(runs, row.column)), color="0.86", linewidth=0.9, zorder=0)
    runs = drawn[drawn["arm"] == arm]
    if runs.empty:
        ax.text(0.5, 0.15, "no record", transform=ax.transAxes, ha="center", color=style.GREY, style="italic",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        return
    colour = style.colour(arm)
    mark_phases(ax, runs, colour)
    for _, run in runs.groupby("seed"):
        ax.plot(run["step"], smooth(run[row.column]), color=colour, linewidth=0.6, alpha=0.6)
        if row.probe:
            probed = run.dropna(subset=row.probe)
            ax.plot(probed["step"], probed[row.probe], color="0.2", linewidth=0.5, alpha=0.5, linestyle="--")
    ax.plot(smooth(mean_over_seeds(runs, row.column)), color=colour, linewidth=1.8)
    if row.probe:
        probe = mean_over_seeds(runs, row.probe).dropna()
        ax.plot(probe, color="0.2", linewidth=1.1, linestyle="--")


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure, and what is missing from it; the phases' temperatures come from the records."""
    phases = drawn.groupby("phase")["temperature"].max()
    hot = f"T = {phases['explore']:g}" if "explore" in phases else "a higher T"
    lacking = missing(ARMS, drawn[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    return [
        f"Thin: one seed; thick: mean over seeds; both centred moving averages over {SMOOTHING} steps. "
        "Grey: the other arms' means. "
        f"Shaded: explore phase, rollouts sampled at {hot} (elsewhere T = 1); dotted: the gate switches. "
        "Length, accuracy and connectors are of these rollouts, at their sampling temperature. "
        "Entropy is always computed at T = 1: solid on the rollouts, dashed on fixed prefixes (not smoothed).",
        gate_note(drawn),
        f"Missing: {'; '.join(lacking)}." if lacking else "",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder."""
    drawn = tidy([r for r in load_all(scale, data) if r.arm in ARMS])
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.3))
        axes = figure.subplots(len(ROWS), len(ARMS), sharex=True, sharey="row", squeeze=False)
        for i, row in enumerate(ROWS):
            axes[i, 0].set_ylabel(row.label)
            for ax, arm in zip(axes[i], ARMS, strict=True):
                panel(ax, row, arm, drawn)
            axes[i, 0].set_ylim(bottom=0)
        for ax, arm in zip(axes[0], ARMS, strict=True):
            runs = drawn[drawn["arm"] == arm]
            ax.set_title(arm, color=style.colour(arm), fontweight="bold", pad=13)
            text = "" if runs.empty else gate_text(runs)
            ax.annotate(text, (0.5, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
                        ha="center", va="bottom", fontsize=6.5, color=style.GREY)  # fmt: skip
        for ax in axes[-1]:
            ax.set_xlabel("training step")
        figure.align_ylabels(axes[:, 0])
        bottom = style.caption(figure, caption(drawn))
        figure.subplots_adjust(left=0.085, right=0.99, top=0.93, bottom=bottom, hspace=0.16, wspace=0.1)
    return figure, drawn
