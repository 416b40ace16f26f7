"""Table 3: the peers, our own arms and the ablations of EGRC beside the main arms, against the base, with intervals.

Every arm that the studies of a scale name (`analysis.tables.wanted`), all at the temperature that suits the base best;
the columns are those of table 1.  First what each arm cost: the trials that its settings were chosen from
(`egrc.analysis.search`), generated tokens and seconds of training.  Arms without a record are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from egrc.analysis import search, tables
from egrc.analysis.tables import wanted
from egrc.controller import EntropyGate
from egrc.experiments import scales
from egrc.experiments.records import Record
from egrc.figures import table1, typeset
from egrc.methods import MAIN, OURS
from egrc.paths import DATA, FIGURES

FAMILIES: dict[str, tuple[str, ...]] = {
    "main": MAIN[1:],
    "ours": tuple(OURS),
    "peers: cut earlier": ("truncation", "dler", "da-dler", "dot"),
    "peers: paid by length": ("arora-zanette", "laser-d", "lc-r1", "deepcompress", "tokensqueeze"),
    "peers: keep entropy": ("entropy-floor", "kl-cov", "ceeh", "adaptive-entropy", "top-entropy"),
}
"""What an arm has in common with others; a variant at another length belongs with its method, the base to none."""
COLUMNS = ("accuracy", "gain_best", "tokens", "share", "removed")


def load(scale: str, data: Path = DATA) -> list[Record]:
    """The records at hand of what is `wanted`, in its order.

    Raises RecordError where the scale has no such studies, or no base was evaluated.
    """
    return tables.load(scale, wanted(scale), data)


def missing(scale: str, found: Iterable[Record], arms: Iterable[str] | None = None) -> str:
    """What a reader must be told: arms (of some) without a record, or with fewer seeds than asked; else empty."""
    asked = {arm: len(seeds) for arm, seeds in wanted(scale).items() if arms is None or arm in arms}
    return tables.missing(asked, [(r.arm, r.seed) for r in found])


def compare(table: pd.DataFrame, scale: str) -> pd.DataFrame:
    """`egrc.analysis.tables.compare` of rows at one temperature (`tables.rows_at`)."""
    floor = tables.floors(scale, table["benchmark"].unique())
    return tables.compare(table, floor, table["temperature"].iloc[0], COLUMNS).drop(columns="temperature")


def family(scale: str, arm: str) -> str:
    """A name in `FAMILIES`, 'base' or 'ablation'; a variant's is that of its method."""
    of = scales.SCALES[scale].variants.get(arm, (arm, {}))[0]
    known = next((name for name, members in FAMILIES.items() if of in members), of)
    return "ablation" if arm in scales.ABLATIONS else known


def differs(scale: str, arm: str) -> str:
    """'egrc: r = 0.02', the settings in which a variant differs from its arm; empty for an arm of its own."""
    of, settings = scales.SCALES[scale].variants.get(arm, (arm, {}))
    if of == arm:
        return ""
    gate, changes = scales.config(scale, of).recipe.gate.settings(), []
    for name, value in settings.items():
        if isinstance(value, EntropyGate):
            value = {field: v for field, v in value.settings().items() if v != gate.get(field)}
        inner = value if isinstance(value, Mapping) else {"": value.__name__ if isinstance(value, type) else value}
        changes += [f"{f'{name} {part}'.strip()} = {v}" for part, v in inner.items()]
    return f"{of}: {', '.join(changes) or 'as it is'}"


def trials(scale: str, data: Path = DATA) -> dict[str, int]:
    """Recorded trials by arm."""
    file = data / scale / search.search_file(scale).name
    return pd.read_csv(file)["arm"].value_counts().to_dict() if file.exists() else {}


def costs(scale: str, runs: Sequence[Record], data: Path = DATA) -> pd.DataFrame:
    """One line per trained arm: family, settings, trials, seeds, generated tokens and seconds of training (means)."""
    lines, tried = [], trials(scale, data)
    for arm in dict.fromkeys(r.arm for r in runs if r.arm != "base"):
        own = [r.meta for r in runs if r.arm == arm]
        tokens = sum(m["generated_tokens"] for m in own) / len(own)
        seconds = sum(m.get("training_seconds", m["seconds"]) for m in own) / len(own)
        line = {"arm": arm, "family": family(scale, arm), "settings": differs(scale, arm) or "–"}
        line |= {"trials": str(tried.get(arm, "–")), "seeds": str(len(own))}
        lines.append(line | {"generated (thousand tokens)": f"{tokens / 1000:.0f}", "training (s)": f"{seconds:.0f}"})
    return pd.DataFrame(lines)


def write(scale: str = "pocket", data: Path = DATA, out: Path = FIGURES) -> list[Path]:
    """Write table3.md and table3.tex.  Raises RecordError, or `egrc.atomic.WriteError`."""
    runs, at = load(scale, data), tables.compared_at(scale, data)
    lines = compare(tables.rows_at(runs, at), scale)
    found = {"What each arm cost": costs(scale, runs, data), **table1.parts(lines, columns=COLUMNS)}
    notes = [
        f"All at T = {at:g}, the temperature that suits the base best. {table1.CELLS}R{table1.LENGTH}",
        "All arms took as many rollouts. What they generated for them differs, as shorter ones cost less; seconds also "
        "depend on what else the machine was doing. "
        "Trials: settings of this arm that were tried on training problems (`analysis.search`); a variant takes "
        "what was found for its arm. Nothing is corrected for the number of comparisons: of twenty arms that change "
        "nothing, one is expected to lie apart by its interval.",
        missing(scale, runs),
    ]
    return typeset.write(out / "table3", [line for line in notes if line], found)
