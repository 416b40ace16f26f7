"""Is what was chosen still true on problems drawn afterwards?  The deciding arms, asked what no choice has seen.

The first test problems of each benchmark have been looked at with every run, so they cannot confirm a choice.  Here
come the next `PROBLEMS` of the same stream, asked at the base's best temperature, of every seed of the deciding arms
(`Scale.deciding`) and of the base.  `egrc-plus` was chosen on training problems before; arms that joined
later are asked the same, and nothing may be chosen by the answers: another choice needs problems after these.

What has to hold was fixed before any of it was asked (issue of the frontier; [ours]), for an arm against the base:

    removed    at least `search.PLUS_REMOVED` of the removable length is gone
    accuracy   the interval's lower end of the mean difference lies above -`NOT_BELOW`
    worst      no benchmark loses more than -`search.WORST`, by its estimate
    front      no other arm of those asked removes at least as much at an accuracy at least as high (estimates)

`python -m egrc confirm` makes data/confirmation/<scale>.parquet, a row for each answer; <scale>.json says what made it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from egrc import paths
from egrc.analysis.headline import Headline, headline
from egrc.analysis.search import PLUS_REMOVED, WORST
from egrc.atomic import write_json, write_parquet
from egrc.checks import ConfigError
from egrc.experiments import fingerprint, records, scales
from egrc.experiments.jobs import Job, run_jobs

PROBLEMS = 400
"""A benchmark; planned before the runs (`data/power`)."""
NOT_BELOW = 0.02
"""How far below the base the lower end of accuracy's interval may lie."""
KEPT = ("benchmark", "id", "correct", "tokens", "truncated")


def deciding(scale: str) -> list[tuple[str, int]]:
    """Arm and seed of all that is asked: base first.  Raises ConfigError where a scale has no such arms."""
    s = scales.SCALES[scale]
    if not s.deciding:
        raise ConfigError(f"scale {scale!r} has no arms to confirm: none decide there")
    asked = [("base", seed) for seed in s.seeds] + [run for name in s.studies for run in scales.study_runs(scale, name)]
    return [(arm, seed) for arm in ("base", *s.deciding) for seed in sorted({k for of, k in asked if of == arm})]


def recorded(scale: str) -> list[tuple[str, int]]:
    """Those of `deciding` that have been trained."""
    return [run for run in deciding(scale) if paths.run_folder(paths.DATA, scale, *run).exists()]


def file(scale: str, data: Path | None = None) -> Path:
    """Where the answers are."""
    return (data or paths.DATA) / "confirmation" / f"{scale}.parquet"


# --- asking ---------------------------------------------------------------------------------------


def ask(scale: str, arm: str, seed: int, on_progress: Callable[[int, int], None] | None = None) -> Path:
    """Ask one run's policy, and keep the answers in the build folder.  Raises RecordError without its weights."""
    from egrc.analysis.tables import compared_at
    from egrc.evaluation.evaluate import evaluate
    from egrc.experiments.run import policy, set_up

    set_up()
    world, record = scales.world(scale), records.load(scale, arm, seed)
    if not record.has_weights:
        raise records.RecordError(f"{record.name} holds no weights: train it again")
    model, tokenizer = policy(record.config, world, record.path / "adapter")
    asked, at = unseen(scale), (compared_at(scale),)
    rows = evaluate(model, tokenizer, asked, world.correct, at, 1, record.config.cap, seed, on_progress)
    rows = rows[list(KEPT)].assign(arm=arm, seed=seed)
    write_parquet(_part(scale, arm, seed), rows)
    return _part(scale, arm, seed)


def unseen(scale: str) -> dict[str, Any]:
    """`PROBLEMS` test problems of each benchmark that come after those of the records.

    Raises ConfigError where a benchmark has not so many.
    """
    asked = scales.config(scale, "base").eval_problems
    drawn = {b: p.select(range(asked, len(p))) for b, p in scales.world(scale).benchmarks(asked + PROBLEMS).items()}
    if few := [b for b, p in drawn.items() if len(p) < PROBLEMS]:
        raise ConfigError(f"{', '.join(few)}: fewer than {PROBLEMS} problems are left")
    return drawn


def _part(scale: str, arm: str, seed: int) -> Path:
    return paths.BUILD / "confirmation" / scale / f"{arm}-seed-{seed}-{_weights(scale, arm, seed)}.parquet"


def _weights(scale: str, arm: str, seed: int) -> str:
    """Hash of what is asked: the run's adapter; of the base, its own weights."""
    if arm == "base":
        return fingerprint.folder_hash(scales.world(scale).policy_path())
    return fingerprint.folder_hash(str(records.load(scale, arm, seed).path / "adapter"))


def make(scale: str, fresh: bool = False) -> Path:
    """Ask all deciding runs that are recorded, two side by side, and write the answers; what was asked before a kill is
    not asked again, and what is there and not stale stays.  Raises JobsError where one failed, after the others.
    """
    if not fresh and stale(scale) is None:
        return file(scale)
    runs = recorded(scale)
    parts = {run: _part(scale, *run) for run in runs}
    if fresh:
        for part in parts.values():
            part.unlink(missing_ok=True)
    command = [sys.executable, "-m", "egrc", "confirm", "--scale", scale, "--only"]
    logs = paths.BUILD / "logs" / "confirm"
    jobs = [Job(f"{a}/seed-{k}", [*command, a, str(k)], logs / f"{a}-{k}.log") for a, k in runs]
    run_jobs([job for job, part in zip(jobs, parts.values(), strict=True) if not part.exists()])
    write_parquet(file(scale), pd.concat([pd.read_parquet(part) for part in parts.values()], ignore_index=True))
    write_json(file(scale).with_suffix(".json"), stamp(scale))
    return file(scale)


def stamp(scale: str) -> dict[str, Any]:
    """What the answers hang on."""
    return {
        "problems": PROBLEMS,
        "after": scales.config(scale, "base").eval_problems,
        "weights": {f"{arm}/seed-{seed}": _weights(scale, arm, seed) for arm, seed in recorded(scale)},
    }


def stale(scale: str, data: Path | None = None) -> str | None:
    """Why the answers have to be made: they are missing, or something that they hang on has changed; else None."""
    path = file(scale, data)
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return "missing"
    then, now = json.loads(path.with_suffix(".json").read_text(encoding="utf-8")), stamp(scale)
    changed = ", ".join(key for key in now if then.get(key) != now[key])
    return f"stale ({changed} changed)" if changed else None


def load(scale: str, data: Path | None = None) -> pd.DataFrame:
    """Columns `KEPT`, arm, seed.  Raises RecordError where it was not made, or for other weights or by other code."""
    path = file(scale, data)
    if reason := stale(scale, data):
        raise records.RecordError(f"{paths.shown(path)} is {reason}: `python -m egrc confirm --scale {scale}` makes it")
    return pd.read_parquet(path)


# --- judging --------------------------------------------------------------------------------------


def judged(scale: str) -> dict[str, Headline]:
    """`judge` of a scale's answers.  Raises RecordError as `load` does."""
    from egrc.analysis.tables import floors

    rows = load(scale)
    return judge(rows, floors(scale, rows["benchmark"].unique()))


def judge(rows: pd.DataFrame, floors: Mapping[str, float]) -> dict[str, Headline]:
    """Of every arm in `rows` (see `load`) but the base: both quantities against the base."""
    rows = rows.assign(temperature=0.0)  # all were asked at the same one
    sides = {str(arm): own for arm, own in rows.groupby("arm", sort=False)}
    return {arm: headline(sides["base"], own, floors, 0.0) for arm, own in sides.items() if arm != "base"}


def verdicts(judged: Mapping[str, Headline]) -> pd.DataFrame:
    """One line for each arm and predicate (header): arm, predicate, estimate, low, high, bound, holds."""
    lines = []
    for arm, h in judged.items():
        change = h.by_benchmark["accuracy"]
        at_or_above = [
            name
            for name, other in judged.items()
            if name != arm
            and other.removed.estimate >= h.removed.estimate
            and other.accuracy.estimate >= h.accuracy.estimate
        ]
        seeds = len(h.by_seed)
        left = (h.by_benchmark["arm_tokens"] / h.by_benchmark["base_tokens"]).mean()
        nan = float("nan")
        lines += [
            (arm, "removed", *_numbers(h.removed), PLUS_REMOVED, h.removed.estimate >= PLUS_REMOVED, ""),
            (arm, "accuracy", *_numbers(h.accuracy), -NOT_BELOW, h.accuracy.low > -NOT_BELOW, ""),
            (arm, "worst", change.min(), nan, nan, WORST, bool(change.min() >= WORST), str(change.idxmin())),
            (arm, "front", len(at_or_above), nan, nan, 0, not at_or_above, ", ".join(at_or_above)),
            (arm, "left of base", left, nan, nan, nan, None, "mean over benchmarks; no bound"),
            (arm, "seeds", seeds, nan, nan, nan, None, "no bound"),
        ]
    return pd.DataFrame(lines, columns=["arm", "predicate", "estimate", "low", "high", "bound", "holds", "note"])


def _numbers(interval: Any) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def markdown(lines: pd.DataFrame) -> str:
    """`verdicts` as a Markdown table, a line for each arm."""
    shown = []
    for arm, own in lines.groupby("arm", sort=False):
        of = own.set_index("predicate")
        cells = {"arm": f"`{arm}`", "seeds": f"{of.estimate['seeds']:.0f}"}
        for name, title in (("removed", "removable length removed (%)"), ("accuracy", "accuracy - base (points)")):
            cells[title] = "{:.1f} [{:.1f}, {:.1f}]{}".format(
                *(100 * of.loc[name, ["estimate", "low", "high"]].astype(float)), _mark(of.holds[name])
            )
        worst = 100 * of.estimate["worst"]
        cells["worst benchmark (points)"] = f"{of.note['worst']} {worst:+.1f}{_mark(of.holds['worst'])}"
        cells["asked arms at or above it"] = (of.note["front"] or "nobody") + _mark(of.holds["front"])
        cells["left of the base's tokens (%)"] = f"{100 * of.estimate['left of base']:.0f}"
        shown.append(cells)
    return pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)


def said(lines: pd.DataFrame, arm: str) -> str:
    """Of one arm in `verdicts`, in a sentence: what does not hold, and what does.  Raises KeyError for another arm."""
    of = lines.set_index(["arm", "predicate"]).loc[arm]
    value, low, bound = (100 * of[column].astype(float) for column in ("estimate", "low", "bound"))
    read = {
        "removed": f"{value.removed:.1f}% of the removable length removed, bound {bound.removed:.0f}%",
        "accuracy": f"accuracy {value.accuracy:+.1f} points, its interval's lower end {low.accuracy:+.1f}, "
        f"bound {bound.accuracy:+.0f}",
        "worst": f"worst benchmark {of.note.worst} {value.worst:+.1f} points, bound {bound.worst:+.0f}",
        "front": f"at or above it, of the arms asked: {of.note.front or 'none'}",
    }
    missed, met = ([text for name, text in read.items() if bool(of.holds[name]) is side] for side in (False, True))
    found = f"not supported. Missed: {'; '.join(missed)}" if missed else "supported"
    kept = f" Met: {'; '.join(met)}." if met else ""
    return f"`{arm}`: {found}.{kept} Of the base's tokens {value['left of base']:.0f}% are left."


def _mark(holds: bool) -> str:
    return " ✓" if holds else " ✗"
