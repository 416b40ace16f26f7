"""What a scale has measured and recorded of the claims (`egrc.analysis.claims`), each table read when first asked for.

It judges nothing.  [ours]
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from egrc import paths
from egrc.analysis import ablations, dilemma, headline, measure, tables, tokens
from egrc.analysis import rows as checked
from egrc.experiments import records, scales

MEASURED = ("pocket", "smol")
"""Scales that have measurements beyond the runs themselves (see `egrc.analysis.measure`)."""
CONTROLS = ("egrc-fixed", "egrc-by-length", "egrc-shuffled", "egrc-reversed")
"""What the gate is held against in claim 7: it does not look, looks at the length, at shuffled entropy; other order."""


class NotMeasured(RuntimeError):
    """What a reading needs is not there; the message says what makes it."""


@dataclass(frozen=True)
class Rows:
    """What a scale has measured.  Each table is read when first asked for, and raises `NotMeasured` if missing;
    a damaged one raises `egrc.experiments.records.RecordError`."""

    scale: str
    data: Path

    def measured(self, name: str) -> Path:
        """The file of a measurement."""
        file = measure.file(name, self.scale, self.data)
        if file.is_file():
            return file
        if self.scale not in MEASURED:
            raise NotMeasured(f"measurement {name} is not made at scale {self.scale} yet")
        raise NotMeasured(f"`python -m egrc measure {name} --scale {self.scale}` makes it")

    def recorded(self, arms: Iterable[str], command: str) -> list[records.Record]:
        """The records of some arms at all seeds of the scale."""
        wanted = [paths.run_folder(self.data, self.scale, a, s) for a in arms for s in scales.runs(self.scale)[1]]
        if not all((folder / "run.json").is_file() for folder in wanted):
            raise NotMeasured(f"`{command}` makes it")
        return [records.Record.load(folder) for folder in wanted]

    @cached_property
    def policies(self) -> pd.DataFrame:
        """A line per completion, and per fixed prefix, of the base and the main arms."""
        return self._checked("policies")

    @cached_property
    def tug(self) -> pd.DataFrame:
        """Gradients on the base's own rollouts."""
        table = self._checked("tug" if self.scale == "pocket" else "tug_words")
        return table[table["arm"] == "base"]

    @cached_property
    def rollouts(self) -> pd.DataFrame:
        """The base's rollouts with the entropy and the class of each token, or word."""
        name, _ = tokens.SOURCES.get(self.scale, ("words", {}))
        self.measured(name)
        return tokens.load_rollouts(self.scale, self.data)

    @cached_property
    def top(self) -> pd.DataFrame:
        """Who is among the 20% of tokens with the highest entropy: a line per class, and per class and seed."""
        each = tokens.each_seed(tokens.top_share, self.rollouts)
        return pd.concat([tokens.top_share(self.rollouts), each], keys=["all", "alone"]).query("`class` == 'connector'")

    @cached_property
    def dilemma(self) -> pd.DataFrame:
        """Evaluation rows of the study `dilemma`, at the temperature that suits the base best."""
        if dilemma.STUDY not in scales.SCALES[self.scale].studies:
            raise NotMeasured(f"scale {self.scale} has no study of it")
        arms = scales.study(self.scale, dilemma.STUDY)
        self.recorded(arms, f"python -m egrc sweep --scale {self.scale} --study {dilemma.STUDY}")
        return dilemma.load(self.scale, self.data)

    @cached_property
    def frontiers(self) -> pd.DataFrame:
        """The readings of the study: a line for each, of all seeds and of each seed alone."""
        alone = [dilemma.readings(own, n_boot=1) for _, own in self.dilemma.groupby("seed")]
        return pd.concat([dilemma.readings(self.dilemma), *alone], keys=["all", *("alone" for _ in alone)])

    @cached_property
    def runs(self) -> list[records.Record]:
        """The records of base and EGRC."""
        return self.recorded(("base", "egrc"), f"python -m egrc sweep --scale {self.scale}")

    @cached_property
    def of_egrc(self) -> headline.Headline:
        """EGRC against the base."""
        base, egrc = (headline.rows(self.runs, arm) for arm in ("base", "egrc"))
        floors = tables.floors(self.scale, base["benchmark"].unique())
        return headline.headline(base, egrc, floors, self.temperature)

    @cached_property
    def sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Evaluation rows of EGRC and of the base, at the temperature that suits the base best."""
        egrc, base = (
            own[np.isclose(own["temperature"], self.temperature)]
            for own in (headline.rows(self.runs, arm) for arm in ("egrc", "base"))
        )
        return egrc, base

    @cached_property
    def ablations(self) -> tuple[list[records.Record], pd.DataFrame, dict[str, float]]:
        """The runs of study `ablations` that are there, their evaluation rows, and the benchmarks' compact floors."""
        if ablations.STUDY not in scales.SCALES[self.scale].studies:
            raise NotMeasured(f"scale {self.scale} has no study of it")
        self.recorded(("base", ablations.WHOLE), f"python -m egrc sweep --scale {self.scale}")
        runs = ablations.load(self.scale, self.data)
        table = ablations.rows(runs, self.scale, self.data)
        return runs, table, tables.floors(self.scale, table["benchmark"].unique())

    @cached_property
    def controls(self) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
        """For each control of the gate that has a run: EGRC minus it, of all seeds (`ablations.compare`) and of each
        seed alone (`ablations.by_seed`)."""
        runs, table, floors = self.ablations
        there = {run.arm for run in runs}
        levels = ablations.levels(table, floors)
        return {
            arm: (
                ablations.compare(table, ablations.WHOLE, arm, floors),
                ablations.by_seed(levels, ablations.WHOLE, arm),
            )
            for arm in CONTROLS
            if arm in there
        }

    @property
    def temperature(self) -> float:
        """See `egrc.analysis.tables.compared_at`."""
        return tables.compared_at(self.scale, self.data)

    def _checked(self, name: str) -> pd.DataFrame:
        self.measured(name)
        return checked.load(name, self.scale, self.data)
