"""Figure 3: the entropy conflict, in all readings of "entropy": each objective alone, then both in one reward.

Rows are quantities; the first columns are arms along training, the last one is what they came to on held-out problems,
as a difference from the base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from egrc.analysis import changes, mix, rows, tables
from egrc.evaluation.intervals import paired_bootstrap
from egrc.experiments.records import Record, RecordError, load_all
from egrc.experiments.shared import once
from egrc.figures import style
from egrc.figures.fig1_training import mean_over_seeds, smooth
from egrc.paths import DATA

SCALES = ("pocket",)

ARMS = ("accuracy", "compression", "joint")
N_BOOT = 1000


class Row(NamedTuple):
    """A quantity: its column of steps.csv, its label, its name in `egrc.analysis.changes` (or 'accuracy')."""

    column: str
    label: str
    quantity: str


ROWS = (
    Row("entropy", "entropy per token\n(nats, T = 1)", "per_token"),
    Row("entropy_total", "entropy per\ncompletion (nats)", "per_completion"),
    Row("probe_entropy", "entropy after fixed\nprefixes (nats)", "prefix"),
    Row("tokens_mean", "completion length\n(tokens)", "tokens"),
    Row("accuracy", "accuracy\n(share correct)", "accuracy"),
)
PARTS = {"mix": ("-", "s"), "certainty": ("--", "o")}
"""Line and marker of each part of a change of entropy per token."""


# --- the numbers ----------------------------------------------------------------------------------


def along(records: list[Record]) -> pd.DataFrame:
    """One row per arm, seed and step: the rows' columns, and the split of the change of entropy per token."""
    frames = []
    for r in records:
        split = mix.of_run(r)[["step", "total", *PARTS]]
        own = r.steps[["step", *(row.column for row in ROWS)]].merge(split, on="step")
        frames.append(own.assign(arm=r.arm, seed=r.seed, config=r.meta["config_hash"]))
    return pd.concat(frames, ignore_index=True)


@once
def after(policies: pd.DataFrame) -> pd.DataFrame:
    """Arm minus base on held-out problems: columns arm, quantity, seed (empty: mean over seeds), value, low, high."""
    lines: list[dict[str, Any]] = []
    for arm in [a for a in ARMS if a in set(policies["arm"])]:
        for row in ROWS:
            lines += _accuracy(policies, arm) if row.quantity == "accuracy" else _change(policies, arm, row.quantity)
        lines += _split(policies, arm)
    return pd.DataFrame(lines)


def _change(policies: pd.DataFrame, arm: str, quantity: str) -> list[dict[str, Any]]:
    c = changes.change(policies, arm, quantity, N_BOOT)
    line = {"arm": arm, "quantity": quantity}
    means = [line | {"value": c.estimate, "low": c.low, "high": c.high}]
    return means + [line | {"seed": seed, "value": value} for seed, value in c.by_seed.items()]


def _accuracy(policies: pd.DataFrame, arm: str) -> list[dict[str, Any]]:
    asked = policies[policies["kind"] == "completion"].assign(temperature=1.0)
    own, base = asked[asked["arm"] == arm], asked[asked["arm"] == "base"]
    line = {"arm": arm, "quantity": "accuracy"}
    found = dict(zip(("value", "low", "high"), paired_bootstrap(own, base, "accuracy", N_BOOT), strict=True))
    alone = {seed: paired_bootstrap(one, base, "accuracy", 1)[0] for seed, one in own.groupby("seed")}
    return [line | found, *(line | {"seed": seed, "value": value} for seed, value in alone.items())]


def _split(policies: pd.DataFrame, arm: str) -> list[dict[str, Any]]:
    said = policies[policies["kind"] == "completion"]
    own, base = said[said["arm"] == arm], said[said["arm"] == "base"]
    found = mix.between(base, own, N_BOOT).set_index("part").loc[list(PARTS)].rename(columns={"estimate": "value"})
    lines = [{"arm": arm, "quantity": part, **line} for part, line in found.to_dict("index").items()]
    for seed, one in own.groupby("seed"):
        alone = mix.between(base, one, 1).set_index("part")["estimate"]
        lines += [{"arm": arm, "quantity": part, "seed": seed, "value": alone[part]} for part in PARTS]
    return lines


# --- the drawing ----------------------------------------------------------------------------------


def training(ax: Axes, runs: pd.DataFrame, row: Row, tint: Any) -> None:
    """Every seed thin, their mean thick; prefixes are read now and then, and not smoothed."""
    known = runs.dropna(subset=row.column)
    even = smooth if len(known) == len(runs) else (lambda values: values)
    for _, run in known.groupby("seed"):
        ax.plot(run["step"], even(run[row.column]), color=tint, linewidth=0.6, alpha=0.6)
    ax.plot(even(mean_over_seeds(known, row.column)), color=tint, linewidth=1.8)


def splitting(ax: Axes, runs: pd.DataFrame, tint: Any) -> None:
    """The change of entropy per token since the first steps, and its two parts."""
    ax.axhline(0, color="0.8", linewidth=0.6, zorder=0)
    for name, (line, _) in PARTS.items():
        for _, run in runs.groupby("seed"):
            ax.plot(run["step"], run[name], color=tint, linewidth=0.5, alpha=0.6, linestyle=line)
        ax.plot(mean_over_seeds(runs, name), color=tint, linewidth=1.5, linestyle=line)


def differences(ax: Axes, drawn: pd.DataFrame, quantities: list[str]) -> None:
    """Arm minus base after training: mean with interval, every seed beside it."""
    ax.axhline(0, color=style.GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=0)
    for i, arm in enumerate(ARMS):
        for j, quantity in enumerate(quantities):
            own = drawn[(drawn["arm"] == arm) & (drawn["quantity"] == quantity)]
            marker = PARTS.get(quantity, ("", "o"))[1]
            x, tint = i + 0.34 * (j - (len(quantities) - 1) / 2), style.colour(arm)
            for _, mean in own[own["seed"].isna()].iterrows():
                ax.plot([x, x], [mean["low"], mean["high"]], color=tint, linewidth=1.1)
                face = "white" if quantity == "certainty" else tint
                ax.plot(x, mean["value"], marker, color=tint, markersize=4, markerfacecolor=face, zorder=3)
            seeds = own.loc[own["seed"].notna(), "value"]
            ax.plot([x + 0.14] * len(seeds), seeds, "o", color=tint, markersize=1.8, markeredgewidth=0)
    ax.set_xlim(-0.6, len(ARMS) - 0.4)
    ax.set_xticks(range(len(ARMS)), ["acc.", "compr.", "joint"])
    ax.yaxis.tick_right()
    ax.spines[["left", "right"]].set_visible([False, True])


def caption(drawn: pd.DataFrame) -> list[str]:
    """How to read the figure, and what is missing from it."""
    steps = drawn[drawn["step"].notna()]
    runs = steps[["arm", "seed"]].drop_duplicates()
    lacking = tables.missing(ARMS, runs.itertuples(index=False, name=None))
    return [
        "Along training: thin, one seed; thick, mean over seeds; centred moving averages over 5 steps (prefixes as "
        "they are). Quantities are of that step's rollouts at T = 1; fixed prefixes are the same contexts for all arms "
        "and steps. Last row: the change of entropy per token since the first steps, split into the mix of connectors, "
        "numbers, operators and other tokens (solid; square) and the certainty within each of these kinds (dashed; "
        "hollow; upwards: less sure).",
        "Last column: arm minus base after training, held-out problems, T = 1: mean over seeds with 95% interval "
        "(bootstrap over problems, or prefixes), each seed beside it (small dots).",
        f"Missing: {'; '.join(lacking)}." if lacking else "",
    ]


def draw(scale: str = "pocket", data: Path = DATA) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, from records and the measurement `policies`.  Raises RecordError."""
    runs = [r for r in load_all(scale, data) if r.arm in ARMS]
    if not runs:
        raise RecordError(f"no records of {', '.join(ARMS)} at scale {scale!r}: train them with `python -m egrc sweep`")
    steps = along(runs)
    ends = after(rows.load("policies", scale, data))
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 8.3))
        n = len(ROWS) + 1
        grid = figure.add_gridspec(n, len(ARMS) + 1, width_ratios=(*[1] * len(ARMS), 0.95))
        for i in range(n):
            first = None
            for j, arm in enumerate(ARMS):
                ax = figure.add_subplot(grid[i, j], sharey=first)
                first = first or ax
                own, tint = steps[steps["arm"] == arm], style.colour(arm)
                if i < len(ROWS):
                    training(ax, own, ROWS[i], tint)
                else:
                    splitting(ax, own, tint)
                ax.tick_params(labelleft=j == 0, labelbottom=i == n - 1)
                if i == 0:
                    ax.set_title(arm, color=tint, fontweight="bold")
            first.set_ylabel(ROWS[i].label if i < len(ROWS) else "change of entropy\nper token (nats)")
            if i < len(ROWS):
                first.set_ylim(bottom=0)
            ax = figure.add_subplot(grid[i, len(ARMS)])
            differences(ax, ends, [ROWS[i].quantity] if i < len(ROWS) else list(PARTS))
            ax.tick_params(labelbottom=i == n - 1)
            if i == 0:
                ax.set_title("after: arm − base")
        for ax in figure.axes[-len(ARMS) - 1 : -1]:
            ax.set_xlabel("training step")
        _key(figure.axes[-len(ARMS) - 1])
        figure.align_ylabels(figure.axes[:: len(ARMS) + 1])
        bottom = style.caption(figure, caption(steps))
        figure.subplots_adjust(left=0.1, right=0.945, top=0.965, bottom=bottom, hspace=0.16, wspace=0.12)
    return figure, pd.concat([steps, ends], ignore_index=True)


def _key(ax: Axes) -> None:
    """Solid and dashed."""
    lines = {name: line for name, (line, _) in PARTS.items()}
    entries = [Line2D([], [], color="0.3", linewidth=1.3, linestyle=line, label=name) for name, line in lines.items()]
    ax.legend(handles=entries, frameon=False, fontsize=6.5, loc="best", handlelength=1.8, labelspacing=0.2)
