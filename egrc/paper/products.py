"""What `make paper` makes: figures, tables and executed notebooks, in a pool of processes, one for each core."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
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
from egrc.figures import FIGURES, NAMES, picture

EPOCH = "1763424000"  # any fixed date: files that carry a date of making are the same bytes every time


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
    from egrc.figures import style

    module = import_module(FIGURES[name])
    if scale not in getattr(module, "SCALES", (scale,)):
        return []
    try:
        figure, numbers = module.draw(scale)
    except measure.NotMade as reason:
        print(f"egrc: {name} is not drawn: {reason}")
        return []
    written = style.save(figure, numbers, paths.figures(scale) / name)
    shared.keep(picture(name, scale), written[-1].read_bytes())  # the PNG, for the notebooks
    return written


def execute(notebook: Path, scale: str, out: Path) -> Any:
    """Papermill; returns the executed notebook.  The kernel is this interpreter's, whatever JUPYTER_PATH offers.

    Raises PapermillExecutionError.
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
        str(notebook), str(out / notebook.name), {"SCALE": scale, "FRESH": False},
        cwd=str(paths.NOTEBOOKS), kernel_name="python3", language="python", kernel_manager_class=OwnKernel,
        progress_bar=False, request_save_on_cell_execute=False,  # saved once, at the end, whether or not a cell fails
        shutdown_kernel="immediate",  # there is nothing that a kernel has to tidy up
    )  # fmt: skip


def make(scale: str, only: Collection[str] | None = None) -> None:
    """Draw all, then run the notebooks (or `only` some of these, by name), and say how many seconds each took.

    Raises ConfigError for an unknown name; JobsError with what failed (the rest is made) and the end of its log.
    """
    folder, logs, out = paths.BUILD / "paper" / scale, paths.BUILD / "logs" / "paper", paths.BUILD / "notebooks"
    books = sorted(paths.NOTEBOOKS.glob("*.ipynb"), reverse=True)  # the later ones compute more
    known = {**dict.fromkeys(drawings(scale)), **{book.stem: book for book in books}}
    if unknown := sorted({*(only or ())} - known.keys()):
        raise ConfigError(f"no {', '.join(unknown)} at scale {scale!r}: choose from {', '.join(known)}")
    wanted = {name: book for name, book in known.items() if not only or name in only}
    logs.mkdir(parents=True, exist_ok=True)
    env = {"SOURCE_DATE_EPOCH": EPOCH, shared.FOLDER: str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path()}
    with alone(folder):
        shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
        folder.mkdir()
        pool = ProcessPool(min(os.cpu_count() or 1, len(wanted)), initializer=_begin, initargs=[env],
                           context=get_context("spawn"))  # fmt: skip
        try:
            made = {name: pool.schedule(_make, (name, book, scale, out, logs / f"{name}.log"))
                    for name, book in wanted.items()}  # fmt: skip
            for name, future in made.items():
                print(f"  {name:<28} {'failed' if future.exception() else f'{future.result():6.1f} s'}")
        except BaseException:
            pool.stop()
            raise
        finally:
            pool.close()
            pool.join()
            shutil.rmtree(folder)
    if failed := [name for name, future in made.items() if future.exception()]:
        raise JobsError("\n".join(f"{name} failed; {tail(logs / f'{name}.log')}" for name in failed))


def _begin(env: dict[str, str]) -> None:
    """Of each process, which ends with its parent, also where that was killed."""
    parent = parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    os.environ |= env


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
