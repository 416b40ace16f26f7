"""Processes of a test's own, forked from it: what took seconds to import is there, and they may be killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch


def start(work: Callable[..., Any], *args: Any, **env: str) -> BaseProcess:
    """Begin `work(*args)` in a process with one thread, and with these variables in its environment."""
    process = get_context("fork").Process(target=_work, args=(env, work, args))
    process.start()
    return process


def _work(env: dict[str, str], work: Callable[..., Any], args: tuple) -> None:
    os.environ |= env
    torch.set_num_threads(1)
    work(*args)


def exit_code(process: BaseProcess, timeout: float = 1200) -> int | None:
    """Wait for it: 0, 1 where it raised something (its traceback is in our stderr), minus the signal that killed it."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
    return process.exitcode
