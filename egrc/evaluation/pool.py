"""Grading in worker processes (`pebble.ProcessPool`): no completion can hang or crash its caller.

Math-verify's parser and sympy can spend for ever inside one call that Python cannot interrupt.  So before each answer a
worker sets a timer of the kernel's, which ends the worker after `limit` seconds of its own processor time; pebble ends
it after `SLACK` times as many by the clock, and starts another.  Workers are forked from a server that has read in
the grader but neither torch nor pandas, nor the caller's main module.  For Linux and macOS.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import types
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from pebble import ProcessExpired, ProcessPool

from egrc.checks import ConfigError
from egrc.evaluation.answers import Grade, extract

Gold = str | Sequence[str]
"""The accepted answer, or several of which any will do."""
SLACK = 10
"""By the clock, an answer may take this many times the processor time it may take: machines are busy."""
RENEW = 5000
"""Answers after which a worker is replaced, because sympy remembers."""


class PoolError(OSError):
    """The workers cannot be used; the message says why."""


def _start(process: BaseProcess) -> None:
    """Start without reading in the caller's main module, and with it torch; a script needs no main guard."""
    with _starting:
        main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
        try:
            BaseProcess.start(process)
        finally:
            sys.modules["__main__"] = main


class _ForkedProcess(ForkServerProcess):
    start = _start


class _SpawnedProcess(SpawnProcess):
    start = _start


class _Forked(ForkServerContext):
    Process = _ForkedProcess


class _Spawned(SpawnContext):
    """For a forked child, which cannot use its parent's server."""

    Process = _SpawnedProcess


_starting = threading.Lock()


class Pool:
    """Grades answers in order, in `workers` processes, each answer within `limit` seconds of processor time.

    >>> with Pool(workers=2, limit=1.0) as pool:
    ...     grades = pool.grade([(r"so \\boxed{4}", "4"), ("9^9^9^9", ("5", "five"))])

    The workers start at the first answer.  `memory` bounds each one's address space in bytes (Linux).  A forked child
    of this process gets workers of its own.  Raises ConfigError for settings that make no sense, PoolError once closed.
    """

    def __init__(self, workers: int | None = None, limit: float = 1.0, memory: int = 2 << 30) -> None:
        workers = os.cpu_count() or 1 if workers is None else workers
        if workers < 1 or memory < 1 or not 0 < limit < float("inf"):
            raise ConfigError(f"workers={workers}, limit={limit}, memory={memory}: each must be positive and finite")
        self.workers, self.limit, self.memory = workers, limit, memory
        self.counts: Counter[str] = Counter()
        """Verdicts by reason, see `Grade`."""
        self.replaced = 0
        """How many times a worker ended in the middle of an answer, and another took its place."""
        self.ahead = 64 * workers
        """Pairs that are read before the first of them is graded, at most."""
        self._closed = False
        self._fresh(_Forked())

    def stream(self, pairs: Iterable[tuple[str, Gold] | None]) -> Iterator[Grade]:
        """Grades of (completion, gold) pairs, in their order, while they are being read; memory is bounded.

        None among them is no pair: everything before it is handed over before the next is asked for.
        """
        waiting: deque[tuple[Future[Grade], str, list[str]]] = deque()
        try:
            for pair in pairs:
                if pair is not None:
                    waiting.append(self._submit(*pair))
                while waiting and (pair is None or len(waiting) >= self.ahead):
                    yield self._result(*waiting.popleft())
            while waiting:
                yield self._result(*waiting.popleft())
        finally:
            for future, *_ in waiting:
                future.cancel()

    def grade(self, pairs: Iterable[tuple[str, Gold]]) -> list[Grade]:
        """Grades of (completion, gold) pairs, in their order."""
        return list(self.stream(pairs))

    def correct(self, completion: str, answer: Any) -> bool:
        """Is this completion right?  `answer`: the accepted one, or a list of which any will do."""
        return self.all_correct([completion], [answer])[0]

    def all_correct(self, completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
        """`correct` of each completion and its answer.  Raises ValueError where there are more of either."""
        golds = [_references(answer) for answer in answers]
        return [grade.correct for grade in self.grade(zip(completions, golds, strict=True))]

    def close(self) -> None:
        """End the workers.  Answers that are still being graded get none."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None and self._home == os.getpid():
            self._at_exit.cancel()
            pool.stop()
            pool.join()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fresh(self, context: ForkServerContext | SpawnContext) -> None:
        self._home, self._lock, self._context = os.getpid(), threading.Lock(), context
        self._pool: ProcessPool | None = None

    def _started(self) -> ProcessPool:
        if self._home != os.getpid():  # forked: those workers are the parent's
            self._fresh(_Spawned())
        with self._lock:
            if self._closed:
                raise PoolError("the pool is closed")
            if self._pool is not None and not self._pool.active:  # all workers were ended from outside
                self._pool.stop()
                self._pool = None
            if self._pool is None:
                self._context.set_forkserver_preload(["egrc.evaluation.grading"])
                limits = (self.limit, self.memory)
                self._pool = ProcessPool(self.workers, RENEW, _initialise, limits, context=self._context)
                # also at the end of a forked child, where atexit does not reach, before its children are waited for
                self._at_exit = Finalize(None, self.close, exitpriority=100)
            return self._pool

    def _submit(self, completion: str, gold: Gold) -> tuple[Future[Grade], str, list[str]]:
        golds = [gold] if isinstance(gold, str) else list(gold)
        for text in (completion, *golds):
            if not isinstance(text, str):
                raise TypeError(f"expected texts, found {type(text).__name__} {text!r:.40}")
        task = (completion, golds, self.limit)
        return self._started().schedule(_graded, args=task, timeout=SLACK * self.limit), completion, golds

    def _result(self, future: Future[Grade], completion: str, golds: list[str], again: bool = True) -> Grade:
        try:
            grade = future.result()
        except TimeoutError:
            grade = Grade(False, self._shown(completion), "time limit")
            self.replaced += 1
        except (ProcessExpired, BrokenProcessPool) as ended:
            self.replaced += 1
            if isinstance(ended, ProcessExpired) and ended.exitcode == -signal.SIGPROF:
                grade = Grade(False, self._shown(completion), "time limit")
            elif again:  # ended from outside, perhaps
                return self._result(*self._submit(completion, golds), again=False)
            else:
                grade = Grade(False, None, "crashed")
        self.counts[grade.reason] += 1
        return grade

    def _shown(self, completion: str) -> str | None:
        """The final answer of a completion whose comparison took too long."""
        try:
            return self._started().schedule(_extracted, args=(completion,), timeout=SLACK * self.limit).result()
        except (TimeoutError, ProcessExpired, BrokenProcessPool):
            return None


class Grader:
    """A trainer's or an evaluation's grader: one answer, or a batch of them side by side.

    The workers start at the first answer and end with the process, or at `close`.  `answer`: the accepted one, or a
    list of which any will do.  `prefix` is put before each completion.
    """

    def __init__(self, prefix: str = "", workers: int | None = None) -> None:
        self.prefix, self.workers = prefix, workers
        self.pool: Pool | None = None

    def __call__(self, completion: str, answer: Any) -> bool:
        return self.batch([completion], [answer])[0]

    def batch(self, completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
        """Is each completion right?"""
        if self.pool is None:
            self.pool = Pool(self.workers)
        return self.pool.all_correct([self.prefix + c for c in completions], answers)

    def close(self) -> None:
        """End the workers; the next answer starts new ones."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None


def reference(gold: str) -> str:
    """The gold answer that is meant: of a GSM8K reference, what follows '####'."""
    return (extract(gold) or gold) if "####" in gold else gold


def _references(answer: Any) -> list[str]:
    several = answer if isinstance(answer, (list, tuple)) else [answer]
    return [reference(str(gold)) for gold in several]


# --- in the worker ------------------------------------------------------------------------------------------------


def _initialise(limit: float, memory: int) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # an ignored one would have been inherited
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))
    from egrc.evaluation.grading import warm_up  # sympy: not in the caller

    warm_up()


def _graded(completion: str, golds: list[str], limit: float) -> Grade:
    from egrc.evaluation.grading import grade

    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        return grade(completion, golds)
    except MemoryError:
        return Grade(False, None, "out of memory")
    except Exception:
        return Grade(False, None, "crashed")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _extracted(completion: str) -> str | None:
    return extract(completion)
