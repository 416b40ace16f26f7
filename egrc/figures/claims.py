"""figures/claims.md: what the records say of each claim of the paper, with intervals; see `egrc.analysis.claims`."""

from __future__ import annotations

from pathlib import Path

from egrc.analysis import claims
from egrc.atomic import write_text

SCALES = ("pocket", "real")
HEAD = """# The paper's claims, and what our runs say

The claims of the paper's abstract, each as predicates over rows (all [ours]; the bounds were fixed before the runs).
`base`: the policy from which all arms start. **Bold**: the reading that decides. *Not supported* also where an interval
crosses its bound; *premise absent* where what the claim presupposes did not happen. Intervals are 95%, over problems
given the seeds. `python -m egrc claims` prints the same.
"""


def write(out: Path) -> list[Path]:
    """Write claims.md for all scales that have runs.  Raises RecordError, or `egrc.atomic.WriteError`."""
    parts = [f"## Scale `{scale}`\n\n{claims.show(claims.verdicts(scale)).markdown}\n" for scale in SCALES]
    write_text(out / "claims.md", "\n".join([HEAD, *parts]))
    return [out / "claims.md"]
