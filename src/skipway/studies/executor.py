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
from skipway.studies.worker import Task, run_stack

_POLL_SECONDS = 0.25
_ATTEMPTS = 3  # pools to try before a death of a worker counts as its stack's failure


class Reports(Protocol):
    """What an executor tells while it works."""

    def done(self, task: Task) -> None:
        """A task's runs are on disk."""

    def failed(self, task: Task, reason: str) -> None:
        """A task ended by an exception."""

    def waiting(self, tasks: Sequence[Task]) -> None:
        """These tasks are not done yet. Called several times a second."""


class Executor(Protocol):
    """Whoever can train stacks."""

    def run(self, tasks: Sequence[Task], study: Study, reports: Reports) -> None:
        """Train all tasks, in about their order, and commit their runs to the study."""


class LocalExecutor:
    """Worker processes of this machine, which write into the study's directory themselves.

    Args:
        workers: how many train at the same time.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, tasks: Sequence[Task], study: Study, reports: Reports) -> None:
        for attempt in range(_ATTEMPTS):
            # A worker that dies (killed for its memory, say) takes the pool with it; the others' stacks are not to
            # blame.
            tasks = self._attempt(tasks, study.path.absolute(), reports, last=attempt == _ATTEMPTS - 1)
            if not tasks:
                return

    def _attempt(self, tasks: Sequence[Task], folder: Path, reports: Reports, *, last: bool) -> list[Task]:
        """Run tasks in a pool. Returns those to try again: a worker died, and this is not the last attempt."""
        again: list[Task] = []
        started_by = (os.getpid(),)
        with ctrl_c_held_back():
            pool = loky.get_reusable_executor(self._workers, timeout=60, initializer=start_worker, initargs=started_by)
        try:
            with ctrl_c_held_back():  # the first task, too, starts workers
                futures: dict[Future[str | None], Task] = {pool.submit(run_stack, task, folder): task for task in tasks}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    task = futures[future]
                    if isinstance(future.exception(), BrokenProcessPool) and not last:
                        again.append(task)
                    else:
                        _report(task, future, reports)
                reports.waiting([futures[future] for future in pending])
        except BaseException:
            pool.shutdown(wait=True, kill_workers=True)
            raise
        return again


def _report(task: Task, future: Future[str | None], reports: Reports) -> None:
    error = future.exception()
    if isinstance(error, TerminatedWorkerError):
        reports.failed(task, "a worker process died, for lack of memory perhaps")
    elif error is not None:  # of the pool itself: those of a training come as text
        reports.failed(task, told(error))
    elif (reason := future.result()) is not None:
        reports.failed(task, reason)
    else:
        reports.done(task)
