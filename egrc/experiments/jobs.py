"""Commands side by side, each with its own log; one line says how far they are."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from egrc import paths

PROGRESS = re.compile(rb"(training|evaluating|making) (\d+)/(\d+)")
TRAINING_SHARE = 0.8  # of a run's time, roughly; the rest is evaluation
TAIL = 12  # lines of a failed job's log that are shown
PATIENCE = 10.0  # seconds that a job gets to end after it was asked to


class JobsError(RuntimeError):
    """Some jobs failed; the message holds the tail of each one's log."""


@dataclass
class Job:
    """One command and, once it runs, its process."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    seconds: float = 0.0

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        found = os.pathsep.join(p for p in (str(paths.ROOT), os.environ.get("PYTHONPATH")) if p)  # this egrc
        settings = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "PYTHONPATH": found}
        env = {**os.environ, **settings, **self.env}
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            # a session of its own: Ctrl-C reaches only us, and ending it ends its children, too
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=env, start_new_session=True,
            )  # fmt: skip

    def finished(self) -> bool:
        if self.process is None or self.process.poll() is None:
            return False
        self.seconds = self.seconds or time.monotonic() - self.began
        return True

    def fraction(self) -> float:
        """How far it is, in [0, 1], by the last progress line of its log."""
        if self.finished():
            return 1.0
        stage, done, total = self._progress() or ("", 0, 1)
        if stage == "making":
            return done / total
        return TRAINING_SHARE * (done / total if stage == "training" else bool(stage)) + (
            (1 - TRAINING_SHARE) * done / total if stage == "evaluating" else 0.0
        )

    def state(self) -> str:
        progress = self._progress()
        return f"{self.name} {progress[0]} {progress[1]}/{progress[2]}" if progress else self.name

    def _progress(self) -> tuple[str, int, int] | None:
        found = PROGRESS.findall(_end(self.log))
        return (found[-1][0].decode(), int(found[-1][1]), int(found[-1][2])) if found else None

    def ask_to_stop(self) -> None:
        """Tell the process and its children to end."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)

    def stop(self) -> None:
        """Wait until a process that was asked to end has ended; in the end, make it."""
        if self.process is None:
            return
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _end(file: Path, size: int = 4096) -> bytes:
    if not file.exists():
        return b""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - size))
        return content.read()


def run_jobs(
    jobs: Sequence[Job],
    at_once: int = 2,
    poll: float = 0.2,
    report_every: float = 5.0,
    say: Callable[[str], None] | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> None:
    """Run all jobs, in the order given, `at_once` side by side.  A failed one does not stop the others.

    `meanwhile` is called when the first ones have been started; what it raises ends all of them.

    Whatever ends this call early (Ctrl-C) ends the jobs that run.

    Raises
    ------
    JobsError
        After the last job, if any failed.
    """
    say = say or _status
    waiting, running, done = list(jobs), list[Job](), list[Job]()
    began = reported = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.pop(0)
                running.append(job)
                job.start()
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            time.sleep(poll)
            for job in [job for job in running if job.finished()]:
                running.remove(job)
                done.append(job)
                reported = -float("inf")  # say so at once
            if time.monotonic() - reported >= report_every:
                reported = time.monotonic()
                say(_line(jobs, done, running, reported - began))
    finally:
        for job in running:
            job.ask_to_stop()
        for job in running:
            job.stop()
        if say is _status:
            print(file=sys.stderr)
    failed = [job for job in done if job.process is not None and job.process.returncode != 0]
    if failed:
        raise JobsError("\n".join(_obituary(job) for job in failed))


def _line(jobs: Sequence[Job], done: Sequence[Job], running: Sequence[Job], spent: float) -> str:
    parts = [f"{len(done)}/{len(jobs)} done", *(job.state() for job in running)]
    reached = len(done) + sum(job.fraction() for job in running)
    if running and reached:
        parts.append(f"about {duration(spent / reached * (len(jobs) - reached))} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """'45 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _obituary(job: Job) -> str:
    assert job.process is not None
    return f"{job.name} failed (exit code {job.process.returncode}); {tail(job.log)}"


def tail(log: Path) -> str:
    """A log's last lines, under its name."""
    lines = _end(log, 20_000).decode(errors="replace").replace("\r", "\n").splitlines()
    return "\n".join([f"the end of {paths.shown(log)}:", *(f"  | {line}" for line in lines[-TAIL:])])


def _status(line: str) -> None:
    """Overwrite one line on a terminal; elsewhere print a line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)
