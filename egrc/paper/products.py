"""What `make paper` makes: figures, tables and executed notebooks, in a pool of processes, one for each core.

A process loads papermill and matplotlib once for all that it makes; a number that one of them has worked out the others
read (`experiments.shared`).  Same records, same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import import_module
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from pebble import ProcessPool

from egrc import paths
from egrc.analysis import measure
from egrc.checks import ConfigError
from egrc.experiments import shared
from egrc.experiments.jobs import JobsError, python_path, tail
from egrc.experiments.records import alone
from egrc.figures import NAMES

EPOCH = "1763424000"  # any fixed date: files that carry a date of making are the same bytes every time
Say = Callable[[str], None]


# --- what there is to make ------------------------------------------------------------------------


def drawings(scale: str) -> dict[str, Callable[[], list[Path]]]:
    """Figures and tables of a scale by name; each call writes one and returns its files."""
    from egrc.figures import claims, table1, table2, table3  # they load matplotlib

    out = paths.figures(scale)
    drawn: dict[str, Callable[[], list[Path]]] = {name: partial(_figure, name, scale) for name in NAMES}
    drawn["table1"] = partial(table1.write, scale, out=out)
    if scale == "pocket":  # table 2 is of all scales, and stands once
        drawn |= {"table2": partial(table2.write, out=out), "claims": partial(claims.write, out)}
    if table3.wanted(scale):
        drawn["table3"] = partial(table3.write, scale, out=out)
    return drawn


def _figure(name: str, scale: str) -> list[Path]:
    from egrc.experiments.evaluations import NotEvaluated
    from egrc.figures import FIGURES, picture, style

    module = import_module(FIGURES[name])
    if scale not in getattr(module, "SCALES", (scale,)):
        return []
    try:
        figure, numbers = module.draw(scale)
    except (measure.NotMade, NotEvaluated) as reason:
        print(f"egrc: {name} is not drawn: {reason}")
        return []
    written = style.save(figure, numbers, paths.figures(scale) / name)
    (png,) = (file for file in written if file.suffix == ".png")
    shared.keep(picture(name, scale), png.read_bytes())  # for the notebooks
    return written


def notebooks(scale: str, say: Say) -> list[Path]:
    """The notebooks to run, the later ones first, which compute more; says which cannot be run yet."""
    books = {book: lacking(book, scale) for book in sorted(paths.NOTEBOOKS.glob("*.ipynb"), reverse=True)}
    for book, needs in books.items():
        if needs:
            say(f"egrc: notebook {book.stem} is not run: it needs {', '.join(needs)}")
    return [book for book, needs in books.items() if not needs]


def lacking(notebook: Path, scale: str) -> list[str]:
    """The measurements that a notebook cannot do without (its metadata name them) and that were not made yet."""
    needs = json.loads(notebook.read_text(encoding="utf-8"))["metadata"].get("egrc", {}).get("needs", [])
    return [name for name in needs if name in measure.missing(scale)]


def execute(notebook: Path, scale: str, out: Path, fresh: bool = False) -> Any:
    """Papermill; returns the executed notebook.  The kernel is this interpreter's, whatever JUPYTER_PATH offers.

    `fresh` is false in `make paper`: what had to be made anew is there by then.  Raises PapermillExecutionError.
    """
    import papermill  # takes seconds
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpecManager

    class OwnKernel(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            # in no folder there is a kernel, so "python3" is the one of the ipykernel that is installed here
            super().__init__(kernel_spec_manager=KernelSpecManager(kernel_dirs=[]), **settings)

    out.mkdir(parents=True, exist_ok=True)
    return papermill.execute_notebook(
        str(notebook), str(out / notebook.name), {"SCALE": scale, "FRESH": fresh},
        cwd=str(paths.NOTEBOOKS), kernel_name="python3", language="python", kernel_manager_class=OwnKernel,
        progress_bar=False, request_save_on_cell_execute=False,  # saved once, at the end, whether or not a cell fails
        shutdown_kernel="immediate",  # there is nothing that a kernel has to tidy up
    )  # fmt: skip


# --- who makes it ---------------------------------------------------------------------------------


def make(
    scale: str,
    books: Sequence[Path],
    check: Callable[[], object],
    only: Collection[str] | None = None,
    say: Say = print,
) -> None:
    """Draw all, then run the notebooks (or `only` some of them, by name), and say how many seconds each took.

    `check` is called while the processes load their libraries; they begin when it has returned.
    Raises what it raises; JobsError: what failed (the rest is made), with the end of its log.
    """
    folder, logs, out = paths.BUILD / "paper" / scale, paths.BUILD / "logs" / "paper", paths.BUILD / "notebooks"
    logs.mkdir(parents=True, exist_ok=True)
    env = {"SOURCE_DATE_EPOCH": EPOCH, shared.FOLDER: str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
    workers = min(os.cpu_count() or 1, len(only or [*NAMES, *books]))
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        folder.mkdir()
        pool = ProcessPool(workers, initializer=_load, initargs=[env], context=get_context("spawn"))
        try:
            pool.schedule(int)  # starts them
            check()
            known = {**dict.fromkeys(drawings(scale)), **{book.stem: book for book in books}}
            if unknown := sorted({*(only or ())} - known.keys()):
                raise ConfigError(f"no {', '.join(unknown)} at scale {scale!r}: choose from {', '.join(known)}")
            made = {
                name: pool.schedule(_make, (name, book, scale, out, logs / f"{name}.log"))
                for name, book in known.items()
                if not only or name in only
            }
            for name, future in made.items():
                say(f"  {name:<28} {'failed' if future.exception() else f'{future.result():6.1f} s'}")
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.close()
            pool.join()
            shutil.rmtree(folder)
    if failed := [name for name, future in made.items() if future.exception()]:
        raise JobsError("\n".join(f"{name} failed; {tail(logs / f'{name}.log')}" for name in failed))


def _load(env: dict[str, str]) -> None:
    """Of each process: what all that it makes needs."""
    from egrc.figures import FIGURES

    parent = parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()  # where it was killed
    os.environ |= env
    for library in ("papermill", *FIGURES.values()):
        import_module(library)


def _make(name: str, notebook: Path | None, scale: str, out: Path, log: Path) -> float:
    """Make one, all output into its log; returns the seconds."""
    began = time.monotonic()
    with log.open("wb") as lines:
        for stream in (1, 2):
            os.dup2(lines.fileno(), stream)
    try:
        execute(notebook, scale, out) if notebook else drawings(scale)[name]()
    except Exception as error:
        traceback.print_exc()
        raise JobsError(str(error)) from None  # others of ours, or papermill's, may not reach the parent whole
    finally:
        sys.stdout.flush()
    return time.monotonic() - began
