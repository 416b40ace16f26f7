"""Table 3: the peers, our own arms and the ablations of EGRC beside the main arms, against the base, with intervals.

Every arm that the studies `STUDIES` of a scale name, all at the temperature that suits the base best; the columns are
those of table 1 (`egrc.analysis.tables`).  First what each arm cost: the trials that its settings were chosen from
(`egrc.analysis.search`), generated tokens and seconds of training.  Arms without a record are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from egrc.analysis import search, tables
from egrc.controller import EntropyGate
from egrc.experiments import records, scales
from egrc.experiments.records import Record, RecordError
from egrc.experiments.shared import once
from egrc.figures import table1, typeset
from egrc.methods import MAIN, OURS
from egrc.paths import DATA, FIGURES

STUDIES = ("peers", "plus", "fronts", "dilemma", "ablations")
FAMILIES: dict[str, tuple[str, ...]] = {
    "main": MAIN[1:],
    "ours": ("egrc-plus", *OURS),
    "peers: cut earlier": ("truncation", "dler", "da-dler", "dot"),
    "peers: paid by length": ("arora-zanette", "laser-d", "lc-r1", "deepcompress", "tokensqueeze"),
    "peers: keep entropy": ("entropy-floor", "kl-cov", "adaptive-entropy", "top-entropy"),
}
"""What an arm has in common with others; a variant at another length belongs with its method, the base to none."""
ABLATION = "ablation"
COLUMNS = ("accuracy", "gain_best", "tokens", "share", "removed")


# --- which runs ---------------------------------------------------------------------------------------------------


def wanted(scale: str) -> dict[str, tuple[int, ...]]:
    """Arms, the main ones first, and the seeds that are asked of each; empty where a scale has no such study."""
    s = scales.SCALES[scale]
    studies = [name for name in STUDIES if name in s.studies]
    asked = [(arm, seed) for arm in s.arms for seed in s.seeds] if studies else []
    asked += [run for name in studies for run in scales.study_runs(scale, name)]
    return {arm: tuple(sorted({seed for a, seed in asked if a == arm})) for arm, _ in asked}


def load(scale: str, data: Path = DATA, ablations: bool = True) -> list[Record]:
    """The records at hand of what is `wanted`, in its order, without the ablations if so asked.

    Raises RecordError where the scale has no such studies, or no base was evaluated.
    """
    asked = {arm: own for arm, own in wanted(scale).items() if ablations or family(scale, arm) != ABLATION}
    if not asked:
        raise RecordError(f"scale {scale!r} has none of the studies {', '.join(STUDIES)}: they are not made there")
    order = {run: i for i, run in enumerate((arm, seed) for arm, seeds in asked.items() for seed in seeds)}
    found = [r for r in records.load_all(scale, data, studies=True) if (r.arm, r.seed) in order]
    if not any(r.arm == "base" for r in found):
        raise RecordError(f"no record of the base at scale {scale!r}: evaluate it with `make train ARM=base`")
    return sorted(found, key=lambda r: order[r.arm, r.seed])


def missing(scale: str, found: Iterable[Record], arms: Iterable[str] | None = None) -> str:
    """What a reader must be told: arms (of some) without a record, or with fewer seeds than asked; else empty."""
    asked = {arm: len(seeds) for arm, seeds in wanted(scale).items() if arms is None or arm in arms}
    told = tables.missing(asked, [(r.arm, r.seed) for r in found], asked)
    reasons: dict[str, list[str]] = {}
    for arm, reason in (line.split(": ") for line in told):
        reasons.setdefault(reason, []).append(arm)
    groups = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in reasons.items())
    return f"Missing: {groups}." if told else ""


@once
def rows(found: Sequence[Record], at: float) -> pd.DataFrame:
    """`egrc.analysis.tables.evaluations` of records at one temperature.  Raises RecordError if a run lacks it."""
    table = tables.evaluations(found)
    here = table[np.isclose(table["temperature"], at)].reset_index(drop=True)
    there = set(here[["arm", "seed"]].itertuples(index=False, name=None))
    if lacking := [r.name for r in found if (r.arm, r.seed) not in there]:
        raise RecordError(f"not evaluated at temperature {at:g}: {', '.join(lacking)}; train them again")
    return here


def compare(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """`egrc.analysis.tables.compare` of `rows`, without the temperature."""
    floor = tables.floors(scale, table["benchmark"].unique())
    lines = tables.compare(table, floor, table["temperature"].iloc[0], COLUMNS)
    return lines.drop(columns="temperature")


# --- what an arm is -----------------------------------------------------------------------------------------------


def method(scale: str, arm: str) -> str:
    """The arm itself, or the one that it is a variant of; `egrc-plus` and its lengths keep that name."""
    return "egrc-plus" if arm in scales.PLUS_AND_FRONT else scales.SCALES[scale].variants.get(arm, (arm, {}))[0]


def fronts(scale: str, arms: Iterable[str], focus: str) -> dict[str, list[str]]:
    """Those methods of which several lengths are among `arms`, with these; `focus` in any case, if it is there."""
    of: dict[str, list[str]] = {}
    for arm in arms:
        of.setdefault(method(scale, arm), []).append(arm)
    return {name: own for name, own in of.items() if len(own) > 1 or name == focus}


def family(scale: str, arm: str) -> str:
    """A name in `FAMILIES`, 'base' or 'ablation'."""
    if arm in scales.ABLATIONS:
        return ABLATION
    of = method(scale, arm)
    return next((name for name, members in FAMILIES.items() if of in members), of)


def differs(scale: str, arm: str) -> str:
    """'egrc: r = 0.02', the settings in which a variant differs from its arm; empty for an arm of its own."""
    of, settings = scales.SCALES[scale].variants.get(arm, (arm, {}))
    return "" if of == arm else f"{of}: {_plain(settings, scales.config(scale, of).recipe.gate) or 'as it is'}"


def _plain(settings: Mapping[str, Any], gate: EntropyGate) -> str:
    found = []
    for name, value in settings.items():
        if isinstance(value, EntropyGate):
            value = {field: v for field, v in value.settings().items() if v != gate.settings().get(field)}
        elif isinstance(value, type):
            value = value.__name__
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        found += [f"{f'{name} {part}'.strip()} = {v}" for part, v in inner]
    return ", ".join(found)


def trials(scale: str, data: Path = DATA) -> dict[str, int]:
    """Recorded trials by arm; `egrc-plus` was chosen from those of all candidates, so they count as its own."""
    file = data / scale / search.search_file(scale).name
    made = pd.read_csv(file)["arm"].value_counts().to_dict() if file.exists() else {}
    return made | ({"egrc-plus": sum(made.get(arm, 0) for arm in OURS)} if scales.PLUS in made else {})


def costs(scale: str, found: Sequence[Record], data: Path = DATA) -> pd.DataFrame:
    """One line per trained arm: family, settings, trials, seeds, generated tokens and seconds of training (means)."""
    lines, tried = [], trials(scale, data)
    for arm in dict.fromkeys(r.arm for r in found if r.arm != "base"):
        runs = [r for r in found if r.arm == arm]
        own = [r.meta for r in runs]
        line = {"arm": arm, "family": family(scale, arm), "settings": differs(scale, arm)}
        line |= {"trials": tried.get(arm, 0), "seeds": len(own)}
        line["generated_tokens"] = sum(m["generated_tokens"] for m in own) / len(own)
        line["seconds"] = sum(m.get("training_seconds", m["seconds"]) for m in own) / len(own)
        lines.append(line)
    columns = ["arm", "family", "settings", "trials", "seeds", "generated_tokens", "seconds"]
    return pd.DataFrame(lines, columns=columns)


# --- as text ------------------------------------------------------------------------------------------------------


def pretty(lines: pd.DataFrame) -> pd.DataFrame:
    """`compare`'s lines of one benchmark as text."""
    out = pd.DataFrame({"arm": lines["arm"], "seeds": lines["seeds"].astype(str)})
    for name in COLUMNS:
        out[table1.TITLES[name]] = [table1.cell(line, name) for _, line in lines.iterrows()]
    return out


def pretty_costs(table: pd.DataFrame) -> pd.DataFrame:
    """`costs` as text: tokens in thousands, seconds whole."""
    return pd.DataFrame(
        {
            **{name: table[name] for name in ("arm", "family")},
            "settings": table["settings"].replace("", "–"),
            "trials": table["trials"].map(lambda n: str(n) if n else "–"),
            "seeds": table["seeds"].astype(str),
            "generated (thousand tokens)": [f"{n / 1000:.0f}" for n in table["generated_tokens"]],
            "training (s)": [f"{s:.0f}" for s in table["seconds"]],
        }
    )


def notes(at: float, lacking: str) -> list[str]:
    """How to read the table, and what is missing from it."""
    said = [
        f"All at T = {at:g}, the temperature that suits the base best. Estimate [95% interval, paired bootstrap over "
        "problems given the seeds] (lowest to highest seed). Removable length is base's tokens - compact floor. The "
        "mean is the plain mean over benchmarks of each column.",
        "All arms took as many rollouts. What they generated for them differs, as shorter ones cost less; seconds also "
        "depend on what else the machine was doing, and on the code of the day (most runs would be faster now). "
        "Trials: settings of this arm that were tried on training problems (`analysis.search`); a variant takes "
        "what was found for its arm; `egrc-plus` is the choice among all of our candidates, whose trials are counted "
        "together. Nothing is corrected for the number of comparisons: of twenty arms that change nothing, one is "
        "expected to lie apart by its interval.",
    ]
    return said + ([lacking] if lacking else [])


def parts(scale: str, runs: Sequence[Record], data: Path = DATA) -> dict[str, pd.DataFrame]:
    """Heading to table, as text, of `load`'s runs.  Raises RecordError."""
    found = {"What each arm cost": pretty_costs(costs(scale, runs, data))}
    lines = compare(rows(runs, tables.compared_at(scale, data)), scale)
    for benchmark, own in lines.groupby("benchmark", sort=False):
        found[table1.heading(str(benchmark), own["floor"].iloc[0])] = pretty(own)
    return found


def latex(said: Sequence[str], found: Mapping[str, pd.DataFrame]) -> str:
    """A longtable for each part."""
    bodies = [
        typeset.longtable(table, heading, f"tab:peers-{i}", "lp{3cm}p{5cm}" + "l" * 4 if not i else "l" * 7)
        for i, (heading, table) in enumerate(found.items())
    ]
    return typeset.latex(said, bodies)


def write(scale: str = "pocket", data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table3.md and table3.tex.  Raises RecordError, or `egrc.atomic.WriteError`."""
    runs = load(scale, data)
    said, found = notes(tables.compared_at(scale, data), missing(scale, runs)), parts(scale, runs, data)
    return typeset.write(out / "table3", typeset.markdown("Table 3", said, found), latex(said, found))
