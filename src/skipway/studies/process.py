"""A worker process: how it begins, and how it ends with its parent."""

from __future__ import annotations

import os
import signal
import threading
import time

from skipway.training.machine import keep_memory

_parent: int | None = None


def start_worker() -> None:
    """Prepare a worker process: Ctrl-C is the parent's to handle, and a worker whose parent is gone ends at once."""
    global _parent
    _parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    while True:
        time.sleep(0.1)
        end_if_orphaned()


def end_if_orphaned() -> None:
    """End this process, without a word, if it is a worker whose parent is gone."""
    if _parent is not None and os.getppid() != _parent:
        os._exit(1)
