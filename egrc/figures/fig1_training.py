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
from egrc.controller import AT_DWELL_LIMIT
from egrc.experiments.records import Record, load_all
from egrc.figures import dots, style
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
COLUMNS = ["arm", "seed", "config", "step", "phase", "temperature", "gated", "cause", PROBE, *ROWS]


def tidy(records: Sequence[Record]) -> pd.DataFrame:
    """The numbers drawn: a row per arm, seed and step; `gated` arms have several phases, `cause` says why one ended."""
    frames = []
    for r in records:
        causes = {d["step"]: d["cause"] for d in r.decisions if d["phase"] != d["next_phase"]}
        run = r.steps.assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"])
        run["gated"] = len(r.meta["config"]["recipe"]["phases"]) > 1
        frames.append(run.assign(cause=run["step"].map(causes).astype(object)).reindex(columns=COLUMNS))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def smooth(values: pd.Series) -> pd.Series:
    """Centred moving average over `SMOOTHING` steps; narrower at both ends."""
    return values.rolling(SMOOTHING, center=True, min_periods=1).mean()


def mean_over_seeds(runs: pd.DataFrame, column: str) -> pd.Series:
    """Mean by step, at the steps that every seed has reached: a mean of fewer would jump where a seed ends."""
    by_step = runs.groupby("step")[column]
    return by_step.mean()[by_step.size() == runs["seed"].nunique()]


def gate(runs: pd.DataFrame) -> str:
    """A line or two under an arm's name: from which step on its gate changed the phase, the first and the last seed,
    and on how many that was not for the entropy, but for the dwell limit."""
    moved = [switches(run) for _, run in runs.groupby("seed")]
    if not any(moved):
        return "gate never switched" if runs["gated"].any() else "one phase"
    limit = runs["cause"].dropna().str.startswith(AT_DWELL_LIMIT).sum()
    first, last = min(m[0][0] for m in moved if m), max(m[0][0] for m in moved if m)
    when = f"{next(m[0][1] for m in moved if m)} from {first}" + (f" to {last}" if last > first else "")
    never = f" ({moved.count([])} never)" if [] in moved else ""
    return when + never + (f" ({limit} at the dwell limit)" if limit else "")


def panel(ax: Axes, column: str, arm: str, drawn: pd.DataFrame) -> None:
    """One quantity of one arm, the other arms' means in grey behind; exploring steps shaded, switches ruled."""
    for _, runs in drawn[drawn["arm"] != arm].groupby("arm"):
        ax.plot(smooth(mean_over_seeds(runs, column)), color="0.86", linewidth=0.9, zorder=0)
    runs, tint = drawn[drawn["arm"] == arm], style.colour(arm)
    if runs.empty:
        ax.text(0.5, 0.15, "no record", transform=ax.transAxes, ha="center", color=style.GREY, style="italic",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        return
    for _, run in runs.groupby("seed"):
        exploring = run["phase"].eq("explore").to_numpy()
        ax.fill_between(run["step"], 0, 1, where=exploring, transform=ax.get_xaxis_transform(), step="mid", color=tint,
                        alpha=0.14 / runs["seed"].nunique(), linewidth=0)  # fmt: skip
        for start, _ in switches(run):
            ax.axvline(start - 0.5, color=style.GREY, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
        ax.plot(run["step"], smooth(run[column]), color=tint, linewidth=0.6, alpha=0.6)
        if column == "entropy":
            ax.plot(run.set_index("step")[PROBE].dropna(), color="0.2", linewidth=0.5, alpha=0.5, linestyle="--")
    ax.plot(smooth(mean_over_seeds(runs, column)), color=tint, linewidth=1.8)
    if column == "entropy":
        ax.plot(mean_over_seeds(runs, PROBE).dropna(), color="0.2", linewidth=1.1, linestyle="--")


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from the records of a scale under a data folder."""
    drawn = tidy([r for r in load_all(scale, data) if r.arm in ARMS])
    hot = drawn.loc[drawn["phase"] == "explore", "temperature"].max()
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 6.3))
        axes = figure.subplots(len(ROWS), len(ARMS), sharex=True, sharey="row", squeeze=False)
        for line, (column, label) in zip(axes, ROWS.items(), strict=True):
            line[0].set_ylabel(label)
            for ax, arm in zip(line, ARMS, strict=True):
                panel(ax, column, arm, drawn)
            line[0].set_ylim(bottom=0)
        for ax, arm in zip(axes[0], ARMS, strict=True):
            ax.set_title(arm, color=style.colour(arm), fontweight="bold", pad=22)
            runs = drawn[drawn["arm"] == arm]
            note = "" if runs.empty else gate(runs).replace(" (", "\n(")
            ax.annotate(note, (0.5, 1), (0, 3), xycoords="axes fraction", ha="center",
                        textcoords="offset points", va="bottom", fontsize=6.5, color=style.GREY)  # fmt: skip
        for ax in axes[-1]:
            ax.set_xlabel("training step")
        figure.align_ylabels(axes[:, 0])
        bottom = style.caption(figure, [
            f"Thin: one seed; thick: mean over seeds; centred moving averages over {SMOOTHING} steps. Grey: the other "
            "arms' means. " + f"Shaded: explore phase, rollouts at T = {hot:g} (elsewhere 1). " * int(hot > 0)
            + "Dotted: the gate switches. Entropy is always computed at T = 1: solid on the rollouts, dashed on fixed "
            "prefixes (not smoothed). " + dots.missing(ARMS, drawn)
        ])  # fmt: skip
        figure.subplots_adjust(left=0.085, right=0.99, top=0.92, bottom=bottom, hspace=0.16, wspace=0.1)
    return figure, drawn
