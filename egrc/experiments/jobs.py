"""Commands side by side, one for each core, each with its own log; and the progress lines that go into the logs.

A failed command does not stop the others.  Whatever ends the caller early (Ctrl-C, SIGTERM) ends them, too.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from egrc import paths

TAIL = 12  # lines of a failed job's log that are shown
EVERY = 30.0  # seconds between two lines that say how far the jobs are
PATIENCE = 10.0  # seconds that a job gets to end after it was asked to


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
            return subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True
            )

    def __str__(self) -> str:
        """Its name, and how far it is by the last progress line of its log."""
        progress = re.findall(r"\w+ \d+/\d+.*", _end(self.log))
        return f"{self.name} {progress[-1]}" if progress else self.name


def python_path() -> str:
    """PYTHONPATH of a process that is to import this very egrc."""
    return os.pathsep.join(p for p in (str(paths.ROOT), os.environ.get("PYTHONPATH")) if p)


def run_jobs(jobs: Sequence[Job], at_once: int | None = None) -> None:
    """Run all jobs in the order given, `at_once` side by side (default: as many as there are cores).

    Raises JobsError after the last one, if any failed.
    """
    at_once = at_once or os.cpu_count() or 1
    waiting, running, failed = list(jobs), dict[Job, subprocess.Popen[bytes]](), list[str]()
    reported = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running[job] = job.start()
            time.sleep(0.1)
            ended = [job for job, process in running.items() if process.poll() is not None]
            for job in ended:
                if code := running.pop(job).returncode:
                    failed.append(f"{job.name} failed (exit code {code}); {tail(job.log)}")
            if ended or time.monotonic() - reported > EVERY:
                reported, done = time.monotonic(), len(jobs) - len(waiting) - len(running)
                print("; ".join([f"{done}/{len(jobs)} done", *map(str, running)]), file=sys.stderr, flush=True)
    finally:
        _stop(running.values())
    if failed:
        raise JobsError("\n".join(failed))


def _stop(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """Ask processes and their children to end; in the end, make them."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _end(log: Path, size: int = 20_000) -> str:
    return log.read_bytes()[-size:].decode(errors="replace").replace("\r", "\n") if log.exists() else ""


def tail(log: Path) -> str:
    """A log's last lines, under its name."""
    return "\n".join([f"the end of {paths.shown(log)}:", *(f"  | {line}" for line in _end(log).splitlines()[-TAIL:])])


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
