"""Who trains the stacks of a study, and what they report; here: worker processes of this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Protocol

import loky

from skipway.rundir.study import Study
from skipway.runs.failure import told
from skipway.studies.process import ctrl_c_held_back, start_worker
from skipway.studies.worker import Job, run_stack

_POLL_SECONDS = 0.25
_ATTEMPTS = 3  # at a job before the death of a worker counts as the job's failure


class Work(Protocol):
    """What an executor takes jobs from, and tells what became of them: what is done may bring new ones."""

    def take(self, most: int) -> Sequence[Job]:
        """So many jobs, at most, that may start now, the most urgent first; each is given out once."""

    def done(self, job: Job) -> None:
        """A job's runs are on disk."""

    def failed(self, job: Job, reason: str) -> None:
        """A job ended by an exception."""

    def waiting(self, jobs: Sequence[Job]) -> None:
        """These jobs are not done yet. Called several times a second."""


class Executor(Protocol):
    """Whoever can train stacks."""

    def run(self, work: Work, study: Study) -> None:
        """Train until there is no job left, and commit their runs to the study."""


class LocalExecutor:
    """Worker processes of this machine, which write into the study's directory themselves.

    Args:
        workers: how many train at the same time.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, work: Work, study: Study) -> None:
        tries: Counter[str] = Counter()
        queue: list[Job] = []
        folder = study.path.absolute()
        # A worker that dies (killed for its memory, say) takes the pool with it; the others' jobs are not to blame.
        while again := self._until_broken(work, queue, folder):
            tries.update(job.stack.name for job in again)
            for job in again:
                if tries[job.stack.name] < _ATTEMPTS - 1:
                    queue.append(job)
                # The last attempt is alone: of several that trained when a worker died, one may be to blame each time.
                elif self._until_broken(work, [job], folder, alone=True):
                    work.failed(job, "a worker process died, for lack of memory perhaps")

    def _until_broken(self, work: Work, queue: list[Job], folder: Path, *, alone: bool = False) -> list[Job]:
        """Run jobs in a pool: those of the queue, then what there is. Returns those in training when a worker died.

        Args:
            work: gives jobs, and is told what became of them.
            queue: jobs to try again; those that are begun are taken out.
            folder: of the study.
            alone: only those of the queue.
        """
        again: list[Job] = []
        started_by = (os.getpid(), str(Path.cwd()))
        with ctrl_c_held_back():
            pool = loky.get_reusable_executor(self._workers, timeout=60, initializer=start_worker, initargs=started_by)
        running: dict[Future[str | None], Job] = {}
        try:
            while True:
                room = 0 if again else self._workers - len(running)
                fresh = [queue.pop(0) for _ in range(min(room, len(queue)))]
                fresh += [] if alone else work.take(room - len(fresh))
                with ctrl_c_held_back():  # the first job, too, starts workers
                    running |= {_submitted(pool, job, folder): job for job in fresh}
                if not running:
                    return again
                done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    job = running.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        again.append(job)
                    else:
                        _report(job, future, work)
                work.waiting([*running.values()])
        except BaseException:
            pool.shutdown(wait=True, kill_workers=True)
            raise


def _submitted(pool: loky.ProcessPoolExecutor, job: Job, folder: Path) -> Future[str | None]:
    """A job in training; of a pool of which a worker has just died, one that ended so."""
    try:
        future: Future[str | None] = pool.submit(run_stack, job, folder)
    except BrokenProcessPool as error:
        future = Future()
        future.set_exception(error)
    return future


def _report(job: Job, future: Future[str | None], work: Work) -> None:
    error = future.exception()
    if error is not None:  # of the pool itself: those of a training come as text
        work.failed(job, told(error))
    elif (reason := future.result()) is not None:
        work.failed(job, reason)
    else:
        work.done(job)
