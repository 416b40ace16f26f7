"""Grading in worker processes (`pebble.ProcessPool`): no completion can hang or crash its caller.

Math-verify's parser and sympy can spend for ever inside one call that Python cannot interrupt.  So a worker is ended
after `limit` seconds of its own processor time by a timer of the kernel's, after `SLACK` times as many by the clock by
pebble, which starts another.  Workers are forked from a server that has read in the grader but neither torch nor
pandas, nor the caller's main module.  For Linux and macOS.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import threading
import types
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from queue import Queue
from typing import Any

from pebble import ProcessExpired, ProcessPool

from egrc.checks import require
from egrc.evaluation.answers import Gold, Grade, extract

SLACK = 10
"""By the clock, an answer may take this many times the processor time it may take: machines are busy."""
RENEW = 5000
"""Answers after which a worker is replaced, because sympy remembers."""
MEMORY = 2 << 30
"""Bytes of a worker's address space, at most (Linux)."""


class _Process(ForkServerProcess):
    lock = threading.Lock()

    def start(self) -> None:
        """Without reading in the caller's main module, and with it torch; a script needs no main guard."""
        with self.lock:
            main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
            try:
                super().start()
            finally:
                sys.modules["__main__"] = main


class _Context(ForkServerContext):
    Process = _Process


class Pool(AbstractContextManager):
    """Grades answers in order, in `workers` processes, each answer within `limit` seconds of processor time.

    >>> with Pool(workers=2, limit=1.0) as pool:
    ...     grades = pool.grade([(r"so \\boxed{4}", "4"), ("9^9^9^9", ("5", "five"))])

    Called with one completion and its answer (or answers), it is a trainer's grader; `prefix` is put before each
    completion then.  The workers start at the first answer and end at `close` or with the process.
    Raises ConfigError for settings that make no sense, once closed, and in a forked child, which has no workers.
    """

    def __init__(self, workers: int | None = None, limit: float = 1.0, prefix: str = "") -> None:
        workers = os.cpu_count() or 1 if workers is None else workers
        positive = workers >= 1 and 0 < limit < float("inf")
        require(positive, f"workers={workers}, limit={limit}: each must be positive and finite")
        self.workers, self.limit, self.prefix = workers, limit, prefix
        self.counts: Counter[str] = Counter()  # verdicts by reason, see `Grade`
        self.replaced = 0  # workers that ended in the middle of an answer, so that another took their place
        self.ahead = 64 * workers  # pairs that are read before the first of them is graded, at most
        self._pool: ProcessPool | None = None
        self._closed = False
        self._home, self._lock = os.getpid(), threading.Lock()

    def stream(self, pairs: Iterable[tuple[str, Gold]]) -> Iterator[Grade]:
        """Grades of (completion, gold) pairs, in their order, each as soon as it is there; memory is bounded."""
        waiting: Queue[tuple[Future[Grade], str, list[str]] | BaseException | None] = Queue(self.ahead)

        def read() -> None:
            try:
                for pair in pairs:
                    waiting.put(self._submit(*pair))
                waiting.put(None)
            except BaseException as error:  # what came before is handed over first
                waiting.put(error)

        threading.Thread(target=read, daemon=True).start()
        while (next_one := waiting.get()) is not None:
            if isinstance(next_one, BaseException):
                raise next_one
            yield self._result(*next_one)

    def grade(self, pairs: Iterable[tuple[str, Gold]]) -> list[Grade]:
        """Grades of (completion, gold) pairs, in their order."""
        return list(self.stream(pairs))

    def batch(self, completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
        """Is each completion right?  Raises ValueError where there are more of either."""
        golds = [references(answer) for answer in answers]
        texts = [self.prefix + completion for completion in completions]
        return [grade.correct for grade in self.grade(list(zip(texts, golds, strict=True)))]

    def __call__(self, completion: str, answer: Any) -> bool:
        """Is this completion right?  `answer`: the accepted one, or a list of which any will do."""
        return self.batch([completion], [answer])[0]

    def close(self) -> None:
        """End the workers.  Answers that are still being graded get none."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None and self._home == os.getpid():
            atexit.unregister(self.close)
            pool.stop()
            pool.join()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _started(self) -> ProcessPool:
        require(self._home == os.getpid(), "a pool serves the process that made it: a forked child cannot grade")
        with self._lock:
            require(not self._closed, "the pool is closed")
            if self._pool is not None and not self._pool.active:  # all workers were ended from outside
                self._pool.stop()
                self._pool = None
            if self._pool is None:
                context = _Context()
                context.set_forkserver_preload(["egrc.evaluation.grading"])
                self._pool = ProcessPool(self.workers, RENEW, _initialise, context=context)
                atexit.register(self.close)
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
        except (TimeoutError, ProcessExpired, BrokenProcessPool) as ended:
            self.replaced += 1
            late = isinstance(ended, TimeoutError) or getattr(ended, "exitcode", 0) == -signal.SIGPROF
            if again and not late:  # ended from outside, perhaps
                return self._result(*self._submit(completion, golds), again=False)
            if isinstance(ended, BrokenProcessPool):  # twice: not the answer's fault, and no verdict on it
                raise RuntimeError("the grader's workers do not start; the traceback above says why") from ended
            grade = Grade(False, extract(completion), "time limit") if late else Grade(False, None, "crashed")
        self.counts[grade.reason] += 1
        return grade


def references(answer: Any) -> list[str]:
    """The accepted answers, one or several, as texts; of a GSM8K reference, what follows '####'."""
    golds = map(str, answer if isinstance(answer, (list, tuple)) else [answer])
    return [(extract(gold) or gold) if "####" in gold else gold for gold in golds]


def _initialise() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # an ignored one would have been inherited
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    from egrc.evaluation.grading import compare  # sympy: not in the caller

    # the parser builds tables at the first answer of each form, which later ones use
    for text in ("12", r"\frac{3}{4}", r"2\sqrt{3}", "x^2-1", "(1,2)", r"\begin{pmatrix}1\\2\end{pmatrix}"):
        compare(text, f"{text}+1")


def _graded(completion: str, golds: list[str], limit: float) -> Grade:
    """In the worker."""
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
