"""The parts of README.md that hold measured numbers: written from data/, between markers, never by hand.

    <!-- generated: world -->  ...  <!-- end -->

`python -m egrc.experiments.readme` brings them up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from egrc.atomic import write_text
from egrc.experiments.records import Record
from egrc.paths import DATA, ROOT

README = ROOT / "README.md"
SECTION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def world_section() -> str:
    """Version and hash of the pocket world, and its criteria as measured."""
    measured = json.loads((DATA / "pocket" / "world.json").read_text(encoding="utf-8"))
    what = f"version {measured['version']}, hash `{measured['hash']}`"
    said = f"The pocket world last changed on {measured['changed']} ({what})."
    return f"{said} Its criteria, measured without looking at any arm:\n\n{_table(measured['criteria'])}\n"


def bench_section() -> str:
    """What `make bench` wrote, scale by scale."""
    files = sorted((DATA / "bench").glob("*.md"))
    if not files:
        return "Not measured yet.\n"
    return "\n".join(f"Scale `{file.stem}`. {file.read_text(encoding='utf-8')}" for file in files)


def grading_section() -> str:
    """What `python -m egrc.evaluation.bench_grading` wrote."""
    from egrc.evaluation import bench_grading

    file = DATA / "bench" / "grading.json"
    if not file.exists():
        return "Not measured yet.\n"
    return f"{bench_grading.table(json.loads(file.read_text(encoding='utf-8')))}\n"


def results_section(scale: str = "pocket") -> str:
    """The headline's two quantities for every trained main arm, with the benchmark that lost most beside the mean."""
    from egrc.experiments import records

    return _results(records.load_all(scale), scale)


def frontier_section(scale: str = "pocket") -> str:
    """The same for what the studies set beside EGRC: peers and our own, as far as they were trained."""
    from egrc.experiments import records, scales
    from egrc.figures import table3

    studied = {arm for name in ("peers", "plus") for arm in scales.study(scale, name)}
    found = [run for run in records.load_all(scale, studies=True) if run.arm in {"base", *studied}]
    missing = sorted(studied - {run.arm for run in found})
    said = f"\nNot trained yet: {', '.join(f'`{arm}`' for arm in missing)}.\n" if missing else ""
    tried = table3.trials(scale)
    lines = _results(found, scale, {"trials": lambda runs: tried.get(runs[0].arm, 0), "seeds": len})
    return lines + said + _fronts(scale, "egrc-plus")


def _fronts(scale: str, focus: str) -> str:
    """Methods at several lengths, as frontiers against that of `focus`; empty where it was not trained."""
    from egrc.analysis import dilemma, fronts, tables
    from egrc.figures import table3

    drawn = dilemma.means(table3.rows(table3.load(scale, ablations=False), tables.compared_at(scale)))
    methods = table3.fronts(scale, drawn.arms, focus)
    if focus not in methods:
        return ""
    lines = fronts.gap_lines(fronts.gaps(drawn, methods, focus), focus)
    title = f"Methods at several lengths. {fronts.GAPS} {focus} [95% interval]:"
    return "\n".join(["", title, "", *(f"* {line}" for line in lines), ""])


def _results(runs: list[Record], scale: str, more: Mapping[str, Callable[[list[Record]], Any]] | None = None) -> str:
    from egrc.analysis import headline, tables

    at, base = tables.compared_at(scale), headline.rows(runs, "base")
    floors = tables.floors(scale, base["benchmark"].unique())
    lines = []
    for arm in dict.fromkeys(run.arm for run in runs if run.arm != "base"):
        own = [run for run in runs if run.arm == arm]
        found = headline.headline(base, headline.rows(runs, arm), floors, at)
        worst = found.by_benchmark["accuracy"].idxmin()
        lines.append(
            {
                "arm": f"`{arm}`",
                **{name: of(own) for name, of in (more or {}).items()},
                "removable length removed (%)": _percent(found.removed),
                "accuracy - base (points)": _percent(found.accuracy),
                "worst benchmark (points)": f"{worst} {100 * found.by_benchmark['accuracy'][worst]:+.1f}",
                "headline": found.verdict,
                "minutes a run": f"{sum(run.meta['seconds'] / 60 for run in own) / len(own):.0f}",
            }
        )
    return f"{_table(lines)}\n"


def confirmation_section(scale: str = "pocket") -> str:
    """What the deciding arms did on the confirmation's problems, predicate by predicate, and of ours in a sentence."""
    from egrc.experiments import confirm

    if not confirm.file(scale).exists():
        return "Not made yet.\n"
    lines = confirm.verdicts(confirm.judged(scale))
    ours = [confirm.said(lines, arm) for arm in ("egrc-plus", "egrc") if arm in set(lines["arm"])]
    return "\n\n".join([confirm.markdown(lines), *ours]) + "\n"


def claims_section() -> str:
    """What was found of each claim, in the pocket world and on the real model."""
    from egrc.analysis import claims

    return "\n\n".join(claims.markdown(scale) for scale in ("pocket", "smol")) + "\n"


def _percent(interval: Any) -> str:
    return f"{100 * interval.estimate:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


SECTIONS: dict[str, Callable[[], str]] = {
    "results": results_section,
    "frontier": frontier_section,
    "confirmation": confirmation_section,
    "claims": claims_section,
    "world": world_section,
    "grading": grading_section,
    "bench": bench_section,
}


def render(text: str) -> str:
    """The README's text with every generated section as of now.  Raises KeyError for an unknown section."""
    return SECTION.sub(lambda match: f"{match[1]}{SECTIONS[match[2]]()}{match[3]}", text)


def write(path: Path = README) -> bool:
    """Bring the file up to date; returns whether it changed.  Raises `egrc.atomic.WriteError`."""
    old = path.read_text(encoding="utf-8")
    new = render(old)
    if new != old:
        write_text(path, new)
    return new != old


def _table(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g")


if __name__ == "__main__":
    print(f"{README.name}: {'brought up to date' if write() else 'was up to date'}")
