"""Grading in worker processes, each answer under a hard limit of time: no completion can hang or crash its grader.

What hangs math-verify (a power of huge numbers, a regular expression) is one call that Python cannot interrupt.  So
before each answer a worker sets timers of the kernel's, which end it however stuck it is:

    `limit` seconds of its own processor time, so that a busy machine does not change a verdict
    `SLACK` times as many by the clock, should it wait instead of work

A *worker* is a fresh interpreter that reads in math-verify, then forks: the fork grades, and its parent forks the next
one, within milliseconds, when it dies.  It is no `multiprocessing` process, because those import the caller's main
module, and with it torch, or run it again where it has no guard.  Workers do not see Ctrl-C, and end when the caller's
end of their pipe closes, however the caller ended.  For Linux and macOS.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

from egrc import paths
from egrc.checks import ConfigError

if TYPE_CHECKING:  # takes half a second, which is better spent while the workers start
    from egrc.evaluation.grading import Grade

Gold = str | Sequence[str]
"""The accepted answer, or several of which any will do."""

SLACK = 10
"""By the clock, an answer may take this many times the processor time it may take."""
TIMERS = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
"""Timers of a worker, and the signal that ends it."""
RENEW = 3
"""Exit code of a fork that asks for a successor, because it grew."""


class PoolError(OSError):
    """The workers cannot be used; the message says why."""


class Pool:
    """Grades answers in order, in `workers` processes, each answer within `limit` seconds of processor time.

    >>> with Pool(workers=2, limit=1.0) as pool:
    ...     grades = pool.grade([(r"so \\boxed{4}", "4"), ("9^9^9^9", ("5", "five"))])

    As a trainer's grader: `EGRCTrainer(..., correct=pool.correct)`.  `memory` bounds a worker's address space in
    bytes (Linux).  Methods may be called from any thread, but not in a forked child of this process.

    Raises ConfigError for settings that make no sense, PoolError where workers cannot start or the pool is closed.
    """

    def __init__(self, workers: int = 2, limit: float = 1.0, memory: int = 1 << 30) -> None:
        if workers < 1 or memory < 1 or not 0 < limit < float("inf"):
            raise ConfigError(f"workers={workers}, limit={limit}, memory={memory}: each must be positive and finite")
        self.counts: Counter[str] = Counter()
        """Verdicts by reason: those of `egrc.evaluation.grading`, 'out of memory', and 'crashed'."""
        self.ahead = 64 * workers
        """Pairs that are read before the first of them is graded, at most."""
        self._home = os.getpid()
        self._closed = False
        self._counting = threading.Lock()
        self._workers = [_Worker(limit, memory) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="egrc-pool")

    def submit(self, completion: str, gold: Gold) -> Future[Grade]:
        """Grade one completion in the background."""
        golds = [gold] if isinstance(gold, str) else list(gold)
        for text in (completion, *golds):
            if not isinstance(text, str):
                raise TypeError(f"expected texts, found {type(text).__name__} {text!r:.40}")
        if os.getpid() != self._home:
            raise PoolError("a pool cannot be used in a forked process: make one there")
        if self._closed:
            raise PoolError("the pool is closed")
        return self._threads.submit(self._grade, completion, golds)

    def stream(self, pairs: Iterable[tuple[str, Gold] | None]) -> Iterator[Grade]:
        """Grades of (completion, gold) pairs, in their order, while they are being read; memory is bounded.

        None among them is no pair: everything before it is handed over before the next is asked for.
        """
        waiting: deque[Future[Grade]] = deque()
        try:
            for pair in pairs:
                if pair is not None:
                    waiting.append(self.submit(*pair))
                while waiting and (pair is None or len(waiting) >= self.ahead):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def grade(self, pairs: Iterable[tuple[str, Gold]]) -> list[Grade]:
        """Grades of (completion, gold) pairs, in their order."""
        return list(self.stream(pairs))

    def correct(self, completion: str, answer: Any) -> bool:
        """Is this completion right?  Takes what the trainer's default grader takes."""
        return self.all_correct([completion], [answer])[0]

    def all_correct(self, completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
        """`correct` of each completion and its answer.  Raises ValueError where there are more of either."""
        golds = [_references(answer) for answer in answers]
        return [grade.correct for grade in self.grade(zip(completions, golds, strict=True))]

    @property
    def replaced(self) -> int:
        """How many times a worker ended in the middle of an answer, and another took its place."""
        return sum(worker.replaced for worker in self._workers)

    def close(self) -> None:
        """End the workers.  Answers that are still being graded get none."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown()  # none of them waits for a worker any more
        for worker in self._workers:
            worker.connection.close()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _grade(self, completion: str, golds: list[str]) -> Grade:
        worker = self._idle.get()
        try:
            grade = worker.grade(completion, golds)
        finally:
            self._idle.put(worker)
        with self._counting:
            self.counts[grade.reason] += 1
        return grade


class Grader:
    """A trainer's or an evaluation's grader: one answer, or a batch of them side by side.

    The workers start at the first answer and end with the process, or at `close`.  `answer`: the accepted one, or a
    list of which any will do.  `prefix` is put before each completion.
    """

    def __init__(self, prefix: str = "", workers: int | None = None) -> None:
        self.prefix, self.workers = prefix, workers or os.cpu_count() or 1
        self.pool: Pool | None = None

    def __call__(self, completion: str, answer: Any) -> bool:
        return self.batch([completion], [answer])[0]

    def batch(self, completions: Sequence[str], answers: Sequence[Any]) -> list[bool]:
        """Is each completion right?"""
        if self.pool is None or self.pool._home != os.getpid():
            self.pool = Pool(self.workers)
            atexit.register(self.pool.close)
        return self.pool.all_correct([self.prefix + c for c in completions], answers)

    def close(self) -> None:
        """End the workers; the next answer starts new ones."""
        if self.pool is not None:
            atexit.unregister(self.pool.close)
            self.pool.close()
            self.pool = None


def _references(answer: Any) -> list[str]:
    several = answer if isinstance(answer, (list, tuple)) else [answer]
    return [reference(str(gold)) for gold in several]


def reference(gold: str) -> str:
    """The gold answer that is meant: of a GSM8K reference, what follows '####'."""
    from egrc.evaluation.grading import extract

    return (extract(gold) or gold) if "####" in gold else gold


class _Worker:
    """The caller's side of one worker."""

    def __init__(self, limit: float, memory: int) -> None:
        self.replaced = 0
        self._limits = (limit, memory)
        self._changing = threading.Lock()
        self._stopped = False
        self._start()

    def grade(self, completion: str, golds: list[str]) -> Grade:
        """One verdict.  A worker that dies, but not of its timers, gets a second try: it may have been killed."""
        from egrc.evaluation.grading import Grade

        request = json.dumps([completion, golds]).encode()  # escapes lone surrogates, too
        found: str | None = None
        for _ in range(2):
            self._await_ready()
            with suppress(EOFError, OSError):  # it was ended from outside
                self.connection.send_bytes(request)
                while True:
                    match json.loads(self.connection.recv_bytes()):
                        case ["found", answer]:
                            found = answer
                        case ["graded", right, reason]:
                            return Grade(right, found, reason)
                        case ["ended", code]:
                            self.replaced += 1
                            if -code in TIMERS.values():
                                return Grade(False, found, "time limit")
                            break
            with self._changing:
                self._kill()
                self._start()
        return Grade(False, found, "crashed")

    def stop(self) -> None:
        """End it for good, whatever it is doing."""
        with self._changing:
            self._stopped = True
            self._kill()

    def _start(self) -> None:
        if self._stopped:
            raise PoolError("the pool is closed")
        self._ready = False
        self.connection, theirs = Pipe()
        limits = [repr(limit) for limit in self._limits]
        found = os.pathsep.join(p for p in (str(paths.ROOT), os.environ.get("PYTHONPATH")) if p)  # this egrc
        with theirs:
            # -P: no module is taken from the folder we happen to be in.  In a session of its own, Ctrl-C reaches
            # only us, and a fork can be ended together with its parent.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "egrc.evaluation.pool", str(theirs.fileno()), *limits],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": found, "OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip

    def _await_ready(self) -> None:
        if not self._ready:
            try:
                self.connection.recv_bytes()
            except (EOFError, OSError) as error:
                code = self._process.wait()
                why = "the pool is closed" if self._stopped else f"a grading worker did not start (exit code {code})"
                raise PoolError(f"{why}: see what it said above") from error
            self._ready = True

    def _kill(self) -> None:
        if self._process.returncode is None:  # not waited for, so the group's number is still its own
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


# --- in the worker ------------------------------------------------------------------------------------------------


def _work(connection: Connection, limit: float, memory: int) -> None:
    """Fork a grader, and another whenever it dies; return when the caller has gone."""
    _bound(memory)
    from egrc.evaluation.graders import warm_up

    warm_up()
    gc.freeze()  # what is shared with the forks stays shared
    connection.send_bytes(b"ready")
    while child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 0:
            return
        if code != RENEW:
            connection.send_bytes(json.dumps(["ended", code]).encode())
    _serve(connection, limit, memory)


def _serve(connection: Connection, limit: float, memory: int) -> None:
    """Grade what comes, until the caller goes."""
    import resource

    from egrc.evaluation.graders import judge

    def tell(*message: Any) -> None:
        connection.send_bytes(json.dumps(message).encode())

    for number in TIMERS.values():
        signal.signal(number, signal.SIG_DFL)  # an ignored one would have been inherited
    while True:
        completion, golds = json.loads(connection.recv_bytes())
        _set_timers(limit)
        try:
            grade = judge(completion, golds, lambda answer: tell("found", answer))
            verdict = (grade.correct, grade.reason)
        except MemoryError:
            verdict = (False, "out of memory")
        _set_timers(0)
        tell("graded", *verdict)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE > memory / 2:
            sys.exit(RENEW)


KILOBYTE = 1 if sys.platform == "darwin" else 1024
"""Bytes in getrusage's unit of memory."""


def _set_timers(limit: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, SLACK * limit)


def _bound(memory: int) -> None:
    """Bound this process's address space, and its forks', where the system can."""
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory if hard == resource.RLIM_INFINITY else min(memory, hard), hard))


if __name__ == "__main__":
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the caller has gone
        _work(Connection(int(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]))
