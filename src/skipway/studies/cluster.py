"""A Ray cluster as the executor of a study: a job a stack, on whichever machine has room; its content comes back.

No folder is shared: the process that asked commits what comes back. Data is named by the config, and each machine loads
it for itself.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from skipway.rundir.run import RunContent
from skipway.rundir.study import Study
from skipway.runs.failure import told
from skipway.studies.executor import Work
from skipway.studies.worker import Job, commit, compute
from skipway.training.machine import keep_memory

_POLL_SECONDS = 0.25
_REACH_SECONDS = 10
_RETRIES = 3  # of a job whose machine or worker is lost


class Cluster:
    """A Ray cluster that this process has joined: `cluster` gives one."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def device(self, asked: str) -> str:
        """The device of its machines: "auto" is the GPU where one of them has it.

        Raises:
            ValueError: if a GPU is asked for and none of them has one.
        """
        gpus = self._ray.cluster_resources().get("GPU", 0)
        if asked == "auto":
            return "cuda" if gpus else "cpu"
        if asked.startswith("cuda") and not gpus:
            raise ValueError(
                f"device {asked!r} was asked for, but no machine of the Ray cluster has a GPU. Valid: cpu."
            )
        return asked

    def places(self, device: str) -> int:
        """How many jobs of one core, or of one GPU, it has room for at a time."""
        resources = self._ray.cluster_resources()
        return max(1, int(resources.get("CPU" if device == "cpu" else "GPU", 1)))

    def run(self, work: Work, study: Study) -> None:
        """Train all jobs; those of a machine that is lost are tried again on another. See `Executor`.

        Ray has all jobs that there are: machines that join find some to do.
        """
        remote = self._ray.remote(_compute)
        pending: dict[Any, Job] = {}
        try:
            while True:
                for job in work.take(sys.maxsize):
                    options = {"num_cpus": job.threads, "num_gpus": int(job.device != "cpu")}
                    called = remote.options(**options, max_retries=_RETRIES, name=job.stack.name)
                    pending[called.remote(job)] = job
                if not pending:
                    return
                done, _ = self._ray.wait(list(pending), num_returns=1, timeout=_POLL_SECONDS)
                for reference in done:
                    self._settle(reference, pending.pop(reference), study, work)
                work.waiting(list(pending.values()))
        except BaseException:
            for reference in pending:
                self._ray.cancel(reference, force=True)
            raise

    def _settle(self, reference: Any, job: Job, study: Study, work: Work) -> None:
        try:
            contents: list[RunContent] | str = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            work.failed(job, f"lost, and not to be had in {_RETRIES} more attempts: {error}")
        else:
            if isinstance(contents, str):
                work.failed(job, contents)
                return
            commit(study, job.stack.name, contents)
            work.done(job)


@contextmanager
def cluster(address: str) -> Iterator[Cluster]:
    """Join a Ray cluster.

    Args:
        address: as `ray.init` takes it: "auto" for the one that is running, "local" for one of this machine alone.

    Raises:
        ValueError: if Ray is not installed, or if there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise ValueError("--ray needs the package ray: pip install 'skipway[ray]'.")
    import ray

    handler = signal.getsignal(signal.SIGTERM)
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_reachable(address)
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray has many kinds, some of them its own
        raise ValueError(
            f"there is no Ray cluster at {address!r}: {str(error).splitlines()[0]} Valid: the address that `ray start "
            "--head` printed, auto for a cluster that runs on this machine, local to start one."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own in its place, with another exit status
    try:
        yield Cluster(ray)
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_REACH_SECONDS).close()


def _compute(job: Job) -> list[RunContent] | str:
    """A job's runs, or why it failed: exceptions stay where they are raised, as in `skipway.studies.worker`."""
    keep_memory()
    try:
        return compute(job)
    except (Exception, SystemExit) as error:
        return told(error)
