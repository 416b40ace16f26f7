"""Figure 1: what training does to entropy, length, accuracy and connectors, arm by arm.

Columns are arms, rows are quantities.  Every seed is a thin line, their mean a thick one; the steps in which the gate
explores are shaded, one layer a seed.  The other arms' means stay in grey behind, so that columns can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from egrc.analysis.ablations import switches
from egrc.analysis.tables import missing
from egrc.controller import AT_DWELL_LIMIT
from egrc.experiments.records import Record, load_all
from egrc.figures import style
from egrc.paths import DATA

ARMS = ("accuracy", "compression", "joint", "egrc", "egrc-reversed")
SMOOTHING = 5
"""Steps of the centred moving average; said in the figure."""
PROBE = "probe_entropy"
ROWS = {
    "entropy": "policy entropy\n(nats/token, T = 1)",
    "tokens_mean": "completion length\n(tokens)",
    "accuracy": "accuracy of rollouts\n(share correct)",
    "connectors_mean": "connectors\n(per completion)",
}
"""Columns of steps.csv and their labels; with the first goes `PROBE`, its reading on fixed prefixes."""
COLUMNS = ["step", "phase", "temperature", PROBE, *ROWS]


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The numbers drawn: one row per arm, seed and step; `gated` arms have two phases, `cause` says why one ended."""
    frames = [pd.DataFrame(columns=[*COLUMNS, "arm", "seed", "config", "gated", "cause"]).astype({"gated": bool})]
    for r in records:
        causes = {d["step"]: d["cause"] for d in r.decisions if d["phase"] != d["next_phase"]}
        gated = len(r.meta["config"]["recipe"]["phases"]) == 2
        run = r.steps.reindex(columns=COLUMNS).assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"])
        frames.append(run.assign(gated=gated, cause=run["step"].map(causes).astype(object)))
    return pd.concat(frames[1:] or frames, ignore_index=True)


def smooth(values: pd.Series) -> pd.Series:
    """Centred moving average over `SMOOTHING` steps; narrower at both ends."""
    return values.rolling(SMOOTHING, center=True, min_periods=1).mean()


def mean_over_seeds(runs: pd.DataFrame, column: str) -> pd.Series:
    """Mean by step, at the steps that every seed has reached: a mean of fewer would jump where a seed ends."""
    by_step = runs.groupby("step")[column]
    return by_step.mean()[by_step.size() == runs["seed"].nunique()]


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
    for arm, runs in drawn[drawn["gated"]].groupby("arm"):
        causes = [run["cause"].dropna() for _, run in runs.groupby("seed")]
        never = sum(c.empty for c in causes)
        dwell = sum(not c.empty and c.str.startswith(AT_DWELL_LIMIT).all() for c in causes)
        parts += [f"{arm} never switched on {never} of {len(causes)} seeds"] if never else []
        parts += [f"{arm} switched only at the dwell limit on {dwell} of {len(causes)} seeds"] if dwell else []
    return f"Gate: {'; '.join(parts)}." if parts else ""


def panel(ax: Axes, column: str, arm: str, drawn: pd.DataFrame) -> None:
    """One quantity of one arm, the other arms' means in grey behind; exploring steps shaded, switches ruled."""
    for _, runs in drawn[drawn["arm"] != arm].groupby("arm"):
        ax.plot(smooth(mean_over_seeds(runs, column)), color="0.86", linewidth=0.9, zorder=0)
    runs, colour = drawn[drawn["arm"] == arm], style.colour(arm)
    if runs.empty:
        ax.text(0.5, 0.15, "no record", transform=ax.transAxes, ha="center", color=style.GREY, style="italic",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        return
    for _, run in runs.groupby("seed"):
        starts = [(run["step"].iloc[0], run["phase"].iloc[0]), *switches(run), (run["step"].iloc[-1] + 1, "")]
        for (start, phase), (end, _) in zip(starts, starts[1:], strict=False):
            if phase == "explore":
                ax.axvspan(start - 0.5, end - 0.5, color=colour, alpha=0.14 / runs["seed"].nunique(), linewidth=0)
        for start, _ in starts[1:-1]:
            ax.axvline(start - 0.5, color=style.GREY, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
        ax.plot(run["step"], smooth(run[column]), color=colour, linewidth=0.6, alpha=0.6)
        if column == "entropy":
            ax.plot(run.set_index("step")[PROBE].dropna(), color="0.2", linewidth=0.5, alpha=0.5, linestyle="--")
    ax.plot(smooth(mean_over_seeds(runs, column)), color=colour, linewidth=1.8)
    if column == "entropy":
        ax.plot(mean_over_seeds(runs, PROBE).dropna(), color="0.2", linewidth=1.1, linestyle="--")


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure, and what is missing from it; the phases' temperatures come from the records."""
    phases = drawn.groupby("phase")["temperature"].max()
    hot = f"T = {phases['explore']:g}" if "explore" in phases else "a higher T"
    lacking = missing(ARMS, drawn[["arm", "seed"]].drop_duplicates().itertuples(index=False, name=None))
    return [
        f"Thin: one seed; thick: mean over seeds; centred moving averages over {SMOOTHING} steps. Grey: the other "
        f"arms' means. Shaded: explore phase, rollouts at {hot} (elsewhere T = 1); dotted: the gate switches. Entropy "
        "is always computed at T = 1: solid on the rollouts, dashed on fixed prefixes (not smoothed).",
        f"{gate_note(drawn)} {lacking}".strip(),
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder."""
    drawn = tidy([r for r in load_all(scale, data) if r.arm in ARMS])
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.3))
        axes = figure.subplots(len(ROWS), len(ARMS), sharex=True, sharey="row", squeeze=False)
        for line, (column, label) in zip(axes, ROWS.items(), strict=True):
            line[0].set_ylabel(label)
            for ax, arm in zip(line, ARMS, strict=True):
                panel(ax, column, arm, drawn)
            line[0].set_ylim(bottom=0)
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
