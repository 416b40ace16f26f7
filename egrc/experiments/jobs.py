"""Commands side by side, each with its own log; and the progress lines that go into the logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from egrc import paths

TAIL = 12  # lines of a failed job's log that are shown


class JobsError(RuntimeError):
    """Some jobs failed; the message holds the tail of each one's log."""


@dataclass(frozen=True, eq=False)
class Job:
    """One command; its output goes into its log, `env` is added to the environment."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen[bytes]:
        """With one thread, this very egrc, and a session of its own: Ctrl-C reaches us only, and we end it whole."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": python_path(), **self.env}
        with self.log.open("wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            return subprocess.Popen(self.command, env=env, start_new_session=True, **streams)


def python_path() -> str:
    """PYTHONPATH of a process that is to import this very egrc."""
    return os.pathsep.join(p for p in (str(paths.ROOT), os.environ.get("PYTHONPATH")) if p)


def run_jobs(jobs: Sequence[Job], at_once: int | None = None) -> None:
    """Run all jobs in the order given, `at_once` side by side (default: as many as there are cores).  Whatever ends the
    caller early (Ctrl-C, SIGTERM) ends them, too.  Raises JobsError after the last one, if any failed."""
    running: list[subprocess.Popen[bytes]] = []
    failed: list[str] = []

    def run(job: Job) -> int:
        running.append(process := job.start())
        return process.wait()

    with ThreadPoolExecutor(at_once or os.cpu_count()) as pool:
        futures = {pool.submit(run, job): job for job in jobs}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                job, code = futures[future], future.result()
                where = paths.shown(job.log.parent)
                print(f"{done}/{len(jobs)} done: {job.name}; logs are in {where}", file=sys.stderr, flush=True)
                if code:
                    failed.append(f"{job.name} failed (exit code {code}); {tail(job.log)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in [process for process in running if process.poll() is None]:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.killpg(process.pid, signal.SIGTERM)
            raise
    if failed:
        raise JobsError("\n".join(failed))


def tail(log: Path) -> str:
    """A log's last lines, under its name."""
    lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()[-TAIL:] if log.exists() else []
    return "\n".join([f"the end of {paths.shown(log)}:", *(f"  | {line}" for line in lines)])


class Progress:
    """Prints 'name training 12/200, 0:03:10 left', at most every two seconds and at the end of each stage."""

    def __init__(self, name: str, every: float = 2.0) -> None:
        self.name, self.every, self.stage = name, every, ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self.stage:  # a resumed run does not start at 0
            self.stage, self.began, self.first, self.printed = stage, now, done, -float("inf")
        if now - self.printed >= self.every or done >= total:
            self.printed, steps = now, done - self.first
            left = timedelta(seconds=round((now - self.began) / steps * (total - done))) if steps > 0 else None
            print(f"{self.name} {stage} {done}/{total}{f', {left} left' if left else ''}", flush=True)
