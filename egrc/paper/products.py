"""What `make paper` makes: figures, tables, executed notebooks.  Two makers share the work.

A maker is a process that takes the first product nobody has taken, makes it, and takes the next.  It loads papermill
and matplotlib once for all of its products, and what one maker has worked out the other reads (`experiments.shared`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from egrc import paths
from egrc.atomic import write_json
from egrc.experiments import measure, shared
from egrc.experiments.jobs import Job, JobsError, run_jobs, tail

EPOCH = "1763424000"  # any fixed date: files that carry a date of making are the same bytes every time
MAKERS = 2
DRAWN = "figures and tables"
Say = Callable[[str], None]


# --- what there is to make ------------------------------------------------------------------------


def drawings(scale: str) -> dict[str, Callable[[], list[Path]]]:
    """Figures and tables of a scale by name; each call writes one and returns its files."""
    from egrc.figures import NAMES, claims, table1, table2, table3

    out = paths.figures(scale)
    found: dict[str, Callable[[], list[Path]]] = {name: partial(_figure, name, scale) for name in NAMES}
    found["table1"] = lambda: table1.write(scale, out=out)
    if scale == "pocket":  # table 2 is of all scales, and stands once
        found["table2"] = lambda: table2.write(out=out)
        found["claims"] = lambda: claims.write(out)
    if table3.wanted(scale):
        found["table3"] = lambda: table3.write(scale, out=out)
    return found


def _figure(name: str, scale: str) -> list[Path]:
    from egrc.experiments.evaluations import NotEvaluated
    from egrc.figures import FIGURES, picture, style

    module = import_module(FIGURES[name])
    if scale not in getattr(module, "SCALES", (scale,)):
        return []
    try:
        figure, drawn = module.draw(scale)
    except (measure.NotMade, NotEvaluated) as reason:
        print(f"egrc: {name} is not drawn: {reason}")
        return []
    written = style.save(figure, drawn, paths.figures(scale) / name)
    (png,) = (file for file in written if file.suffix == ".png")
    shared.keep(picture(name, scale), png.read_bytes())  # for the notebooks
    return written


def draw(scale: str) -> list[Path]:
    """Draw every figure and write the tables, in this process; returns their files.  Same records, same bytes."""
    found = drawings(scale)
    return [file for name in found for file in _draw(found, name)]


def notebooks(scale: str, say: Say) -> list[Path]:
    """The notebooks to run, the later ones first, which compute more; says which cannot be run yet."""
    found = []
    for notebook in sorted(paths.NOTEBOOKS.glob("[0-9]*.ipynb"), reverse=True):
        if needed_first := lacking(notebook, scale):
            say(f"egrc: notebook {notebook.stem} is not run: it needs {', '.join(needed_first)}")
        else:
            found.append(notebook)
    return found


def lacking(notebook: Path, scale: str) -> list[str]:
    """The measurements that a notebook cannot do without (its metadata name them) and that were not made yet."""
    needs = json.loads(notebook.read_text(encoding="utf-8"))["metadata"].get("egrc", {}).get("needs", [])
    return [name for name in needs if name in measure.missing(scale)]


def execute(notebook: Path, scale: str, out: Path) -> None:
    """Papermill.  FRESH is false: what had to be made anew is there by then.  Raises PapermillExecutionError."""
    import papermill

    out.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(
        str(notebook), str(out / notebook.name), {"SCALE": scale, "FRESH": False},
        cwd=str(notebook.parent), kernel_name="python3", language="python", progress_bar=False,
        request_save_on_cell_execute=False,  # once, at the end, whether or not a cell fails
        shutdown_kernel="immediate",  # there is nothing that a kernel has to tidy up
    )  # fmt: skip


# --- who makes it ---------------------------------------------------------------------------------


def make(scale: str, drawn: Sequence[str], run: Sequence[Path], check: Callable[[], None]) -> dict[str, float]:
    """Have all of it made, the drawings first; returns the seconds of each, those of all drawings together.

    `check` is called while the makers load their libraries; they begin when it has returned.
    Raises what it raises, or JobsError: what failed (the rest is made), with the end of its log.
    """
    with shared.folder() as folder:
        tasks = {**dict.fromkeys(drawn), **{notebook.stem: str(notebook) for notebook in run}}
        logs, out = paths.BUILD / "logs" / "paper", paths.BUILD / "notebooks"
        write_json(folder / "tasks.json", {"scale": scale, "logs": str(logs), "out": str(out), "tasks": tasks})
        command = [sys.executable, "-m", "egrc.paper.products", str(folder)]
        env = {"SOURCE_DATE_EPOCH": EPOCH, shared.FOLDER: str(folder)}
        makers = [Job(f"maker {i + 1}", command, logs / f"maker-{i + 1}.log", env) for i in range(MAKERS)]

        def begin() -> None:
            check()
            (folder / "go").touch()

        run_jobs(makers, MAKERS, meanwhile=begin)
        ended = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in tasks}
    if failed := [name for name, end in ended.items() if end["failed"]]:
        raise JobsError("\n".join(f"{name} failed; {tail(logs / f'{name}.log')}" for name in failed))
    seconds = {name: end["seconds"] for name, end in ended.items()}
    together = {DRAWN: sum(seconds[name] for name in drawn)} if drawn else {}
    return {**together, **{name: seconds[name] for name in tasks if name not in drawn}}


def take(folder: Path) -> None:
    """A maker's whole life: load, wait for the word, make what is left."""
    from egrc.figures import FIGURES

    for library in ("papermill", *FIGURES.values()):
        import_module(library)
    given: dict[str, Any] = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    scale, tasks = given["scale"], given["tasks"]
    drawn = drawings(scale)
    parent = os.getppid()
    while not (folder / "go").exists():
        if os.getppid() != parent:  # it was killed, and will not give the word
            return
        time.sleep(0.05)
    for number, (name, notebook) in enumerate(tasks.items(), 1):
        try:
            os.close(os.open(folder / f"{name}.taken", os.O_CREAT | os.O_EXCL))
        except FileExistsError:  # the other maker has it
            continue
        print(f"making {number}/{len(tasks)}", flush=True)
        run = partial(execute, Path(notebook), scale, Path(given["out"])) if notebook else partial(_draw, drawn, name)
        write_json(folder / f"{name}.json", _end(run, Path(given["logs"]) / f"{name}.log"))


def _draw(drawn: Mapping[str, Callable[[], list[Path]]], name: str) -> list[Path]:
    """Make one and say what was written."""
    written = drawn[name]()
    for file in written:
        print(f"egrc: wrote {paths.shown(file)}")
    return written


def _end(work: Callable[[], object], log: Path) -> dict[str, Any]:
    """Run it, its output into its log: how long it took, and did it fail?  `make` reports that; the others go on."""
    began, failed = time.monotonic(), False
    with log.open("w", encoding="utf-8") as lines, contextlib.redirect_stdout(lines):
        try:
            work()
        except Exception:
            traceback.print_exc(file=lines)
            failed = True
    return {"seconds": round(time.monotonic() - began, 1), "failed": failed}


if __name__ == "__main__":
    take(Path(sys.argv[1]))
