"""Who trains the stacks of a study, and what they report; here: worker processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import loky
from loky.process_executor import TerminatedWorkerError

from skipway.rundir.study import Study
from skipway.runs.failure import told
from skipway.studies.process import ctrl_c_held_back, start_worker
from skipway.studies.worker import Job, run_stack

_POLL_SECONDS = 0.25
_ATTEMPTS = 3  # pools to try before a death of a worker counts as its stack's failure


class Reports(Protocol):
    """What an executor tells while it works."""

    def done(self, job: Job) -> None:
        """A job's runs are on disk."""

    def failed(self, job: Job, reason: str) -> None:
        """A job ended by an exception."""

    def waiting(self, jobs: Sequence[Job]) -> None:
        """These jobs are not done yet. Called several times a second."""


class Executor(Protocol):
    """Whoever can train stacks."""

    def run(self, jobs: Sequence[Job], study: Study, reports: Reports) -> None:
        """Train all jobs, in about their order, and commit their runs to the study."""


class LocalExecutor:
    """Worker processes of this machine, which write into the study's directory themselves.

    Args:
        workers: how many train at the same time.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Sequence[Job], study: Study, reports: Reports) -> None:
        for attempt in range(_ATTEMPTS):
            # A worker that dies (killed for its memory, say) takes the pool with it; the others' stacks are not to
            # blame.
            jobs = self._attempt(jobs, study.path.absolute(), reports, last=attempt == _ATTEMPTS - 1)
            if not jobs:
                return

    def _attempt(self, jobs: Sequence[Job], folder: Path, reports: Reports, *, last: bool) -> list[Job]:
        """Run jobs in a pool. Returns those to try again: a worker died, and this is not the last attempt."""
        again: list[Job] = []
        started_by = (os.getpid(), str(Path.cwd()))
        with ctrl_c_held_back():
            pool = loky.get_reusable_executor(self._workers, timeout=60, initializer=start_worker, initargs=started_by)
        try:
            with ctrl_c_held_back():  # the first job, too, starts workers
                futures: dict[Future[str | None], Job] = {pool.submit(run_stack, job, folder): job for job in jobs}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    job = futures[future]
                    if isinstance(future.exception(), BrokenProcessPool) and not last:
                        again.append(job)
                    else:
                        _report(job, future, reports)
                reports.waiting([futures[future] for future in pending])
        except BaseException:
            pool.shutdown(wait=True, kill_workers=True)
            raise
        return again


def _report(job: Job, future: Future[str | None], reports: Reports) -> None:
    error = future.exception()
    if isinstance(error, TerminatedWorkerError):
        reports.failed(job, "a worker process died, for lack of memory perhaps")
    elif error is not None:  # of the pool itself: those of a training come as text
        reports.failed(job, told(error))
    elif (reason := future.result()) is not None:
        reports.failed(job, reason)
    else:
        reports.done(job)
