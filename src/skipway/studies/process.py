"""A worker process: how it begins, and how it ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.1

_parent: int | None = None


def start_worker(parent: int, folder: str) -> None:
    """Prepare a worker process: Ctrl-C is the parent's to handle, and a worker whose parent is gone ends at once.

    Args:
        parent: the parent's process id. It may be gone by now: only the parent itself knows what it was.
        folder: the parent's working directory, where files are that data and nets are named by. A pool that outlives
            a study is told another one after the parent went elsewhere, and so starts anew.
    """
    global _parent
    _parent = parent
    end_if_orphaned()
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, daemon=True).start()
    # It comes with torch, which takes seconds to load, and the parent may be killed meanwhile.
    from skipway.training.machine import keep_memory

    keep_memory()


@contextmanager
def ended_by_the_kernel() -> Iterator[None]:
    """Linux alone: the parent's end kills this process at once, inside a native call that lets no thread look, too.

    For the time of a task only: by "parent" Linux means the thread that started this process, and it may end before
    the parent does, when the study is done.
    """
    _at_parents_end(signal.SIGKILL)
    end_if_orphaned()
    try:
        yield
    finally:
        _at_parents_end(0)


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Processes started here are born deaf to Ctrl-C: until `start_worker` they could answer with a traceback only.

    This process hears of it at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    _start_trackers()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_trackers() -> None:
    """The processes that clear up after workers: whoever starts one makes this process hear Ctrl-C again.

    There is one for each copy of loky; scikit-learn's joblib brings its own, which may be the one that starts workers.
    """
    for name, module in list(sys.modules.items()):
        if name == "multiprocessing.resource_tracker" or name.endswith("loky.backend.resource_tracker"):
            module.ensure_running()


def end_if_orphaned() -> None:
    """End this process, without a word, if it is a worker whose parent is gone."""
    if _parent is not None and os.getppid() != _parent:
        os._exit(1)


def _watch_parent() -> None:
    while True:
        time.sleep(_POLL_SECONDS)
        end_if_orphaned()


def _at_parents_end(number: int) -> None:
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, TypeError, AttributeError):  # another system
        return
    prctl(_PR_SET_PDEATHSIG, number)
