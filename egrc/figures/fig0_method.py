"""Figure 0: the method in one look.  A sketch of no run; gate, rewards and advantages are computed by the package.

Below, one step: a problem, its group of rollouts, what each earns, how it pushes, the update.  Above, what decides
between the two phases: the policy's entropy and a gate on it.  Each phase's columns stand below its part of the curve.
"""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle

from egrc.controller import EntropyGate, Recipe, replay
from egrc.figures import style
from egrc.methods.egrc import Compress, Explore
from egrc.objective import Rollouts

SCALES = ("pocket",)  # it is the same at every scale
GATE = EntropyGate(low=0.3535, high=2.0, window=1, dwell=1)
PHASES = (Compress("compress", budget=100, r=0.1), Explore("explore", budget=100, length_weight=0.2, temperature=1.2))
GROUP = Rollouts(torch.tensor([True, True, False, False]), torch.tensor([20, 70, 100, 40]), group_size=4)
GRADES = ("✓ short", "✓ long", "✗ cut at $L$", "✗ wrong")
COLOURS = (style.OKABE_ITO["blue"], style.OKABE_ITO["vermillion"])
WORDS = ("entropy descends:\nconcise steps\nare rewarded", "entropy ascends:\nexploration inside\nthe compact budget")
SAMPLED = ("budget $L$, temperature 1", "smaller $L$, hotter sampling")
REWARD = ("short and right\nearns most", "1 if right,\n0 if not")
ADVANTAGE = ("the reward itself:\nnever below 0", "against the group;\nbrevity if right")
CAPTION = (
    "A sketch, not a run: the curve is made up, and one group stands for both phases; the package computes its rewards "
    "and advantages. Bars to the right push a rollout's probability up, bars to the left push it down. The two phases "
    "are the paper's; the gate as a rule on measured entropy, and the formula of the second advantage, are ours."
)
LEFT, HALF = 0.385, 0.25  # fractions of the figure: where the first phase begins, and the width of each
ARROWS = ((0.114, 0.375, 0.146, 0.375), (0.355, 0.375, 0.383, 0.375), (0.886, 0.375, 0.903, 0.375))
ARROWS += ((0.06, 0.3, 0.06, 0.34), (0.25, 0.605, 0.25, 0.695))
LINE: dict[str, Any] = {"color": "0.3", "linewidth": 1.1}
DASHED: dict[str, Any] = {"color": "0.3", "linewidth": 0.8, "linestyle": (0, (3, 2))}
SMALL, BOLD, BIG = {"fontsize": 6.5}, {"fontweight": "bold"}, {"fontsize": 10, "fontweight": "bold"}
BOX = {"bbox": {"boxstyle": "round,pad=0.8,rounding_size=0.4", "facecolor": "white", "edgecolor": "0.3"}}


def curve() -> pd.DataFrame:
    """An entropy made up to fall and to rise again, and the phase of each step by the gate."""
    x = np.linspace(0, 1, 101)
    entropy = np.where(x < 0.5, 0.3 + 0.7 * np.exp(-5.3 * x), 0.35 + 1.4 * (x - 0.5).clip(0) ** 1.6)
    return pd.DataFrame({"x": x, "entropy": entropy, "phase": [d.phase for d in replay(Recipe(PHASES, GATE), entropy)]})


def column(figure: Figure, left: float, width: float, span: tuple[float, float], title: str, rule: str) -> Axes:
    """Axes with a row for each rollout, from the top down, below a title and a rule."""
    ax = figure.add_axes((left, 0.265, width, 0.215), xlim=span, ylim=(3.5, -0.5))
    ax.axvline(0, color="0.3", linewidth=0.8)
    ax.axis("off")
    figure.text(left + width / 2, 0.58, title, ha="center", va="center", **BOLD)
    figure.text(left + width / 2, 0.558, rule, ha="center", va="top", fontsize=6.2, color="0.25")
    return ax


def draw(scale: str = "pocket", data: Any = None) -> tuple[Figure, pd.DataFrame]:
    """The figure and the numbers in it, which are of no run."""
    drawn = [curve()]
    with style.context():
        figure = Figure(figsize=(style.WIDTH, 4.5))
        write = partial(figure.text, ha="center", va="center", linespacing=1.3)
        top = figure.add_axes((LEFT, 0.655, 2 * HALF, 0.325), xlim=(0, 1), ylim=(0.2, 1.05))
        top.axis("off")
        for i, (phase, colour) in enumerate(zip(PHASES, COLOURS, strict=True)):
            rewards = phase.rewards(GROUP)
            advantages = phase.advantages(GROUP, rewards).tolist()
            drawn.append(pd.DataFrame({"phase": phase.name, "reward": rewards.tolist(), "advantage": advantages}))
            x, middle = LEFT + i * HALF, LEFT + HALF * (0.66 + 0.68 * i)
            figure.add_artist(Rectangle((x, 0.2), HALF, 0.78, color=colour, alpha=0.1, linewidth=0, zorder=-1))
            top.plot("x", "entropy", data=drawn[0][drawn[0]["phase"] == phase.name], color=colour, linewidth=2.2)
            write(middle, 0.945, f"{i + 1}  {phase.name}", color=colour, **BIG)
            write(middle, 0.918, WORDS[i], va="top")
            write(x + HALF / 2, 0.225, SAMPLED[i], **SMALL)
            ax = column(figure, x + 0.03, 0.085, (0, 1), "reward", REWARD[i])
            ax.barh(range(4), rewards.tolist(), 0.6, color=colour)
            ax = column(figure, x + 0.135, 0.1, (-1.1, 1.1), "advantage", ADVANTAGE[i])
            ax.barh(range(4), advantages, 0.6, color=["0.55" if a < 0 else colour for a in advantages])
        ax = column(figure, 0.15, 0.2, (0, 170), "a group of rollouts", "sampled from the policy,\nthen graded")
        for row, (grade, length) in enumerate(zip(GRADES, GROUP.length.tolist(), strict=True)):
            ax.barh([row] * (length // 10), 8, 0.6, left=range(0, length, 10), color="0.6")
            ax.text(105, row, grade, va="center")
        ax.axvline(100, **DASHED)
        for x, title, text in ((0.062, "one problem", "5 *4 /2 +3 ?"), (0.947, "update", "policy\ngradient")):
            write(x, 0.58, title, **BOLD)
            write(x, 0.375, text, **BOX)
        write(0.165, 0.76, "Has the entropy fallen\nbelow low × start?\nThen the next step explores.", **BOX)
        level = 0.655 + 0.325 * (GATE.low - 0.2) / 0.85
        figure.add_artist(Line2D((0.281, LEFT + HALF), (level, level), **DASHED))
        top.plot(0.5, GATE.low, "D", color="0.2", markersize=6)
        figure.add_artist(Line2D((0.947, 0.947, 0.06, 0.06), (0.325, 0.165, 0.165, 0.31), **LINE))
        for a, b, c, d in ARROWS:
            look = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0, **LINE}
            figure.add_artist(FancyArrowPatch((a, b), (c, d), **look))
        write(0.165, 0.875, "entropy gate", **BIG)
        write(0.5, 0.145, "next step, in the phase that the gate has picked", **SMALL)
        write(0.242, 0.65, "mean entropy of the tokens", ha="right", **SMALL)
        write(LEFT + 0.012, level + 0.02, "low × start", ha="left", **SMALL)
        write(LEFT + HALF, level - 0.045, "switch", **SMALL)
        write(LEFT - 0.008, 0.955, "policy entropy", ha="right", **SMALL)
        write(0.878, 0.672, "training steps →", ha="right", **SMALL)
        style.caption(figure, [CAPTION])
    return figure, pd.concat(drawn, ignore_index=True)
