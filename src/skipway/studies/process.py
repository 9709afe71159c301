"""The process that a worker runs in: its threads, its memory, its end."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def machine(threads: int) -> Iterator[None]:
    """So many threads, and numbers below float32's normal range as zero: vanishing gradients would slow it down."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


_parent: int | None = None


def start_worker() -> None:
    """Prepare a worker process: Ctrl-C is the parent's to handle, and a worker whose parent is gone ends at once."""
    global _parent
    _parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _keep_memory()
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    while True:
        time.sleep(0.1)
        end_if_orphaned()


def end_if_orphaned() -> None:
    """End this process, without a word, if it is a worker whose parent is gone."""
    if _parent is not None and os.getppid() != _parent:
        os._exit(1)


def _keep_memory() -> None:
    """Let glibc keep what a backward pass frees: giving pages back and taking them again costs a tenth of a step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt(trim_threshold, 2**30)
    mallopt(top_pad, 2**26)
    mallopt(mmap_max, 0)
