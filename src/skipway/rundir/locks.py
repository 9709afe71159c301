"""Who may write into a folder: a lock that ends with the process that holds it, however that ends. No torch here."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import filelock

_POLL_SECONDS = 0.05


class BusyError(OSError):
    """Another process holds the lock; the message says which one, on which machine, and since when."""


@contextmanager
def locked(path: Path, busy: str, *, seconds: float = 0.0) -> Iterator[None]:
    """Hold a lock.

    Args:
        path: the lock's file; its folder is made if need be.
        busy: what to say where another process holds it: ``"{holder} trains in runs/x: wait for it."``
        seconds: how long to wait for whoever holds it.

    Raises:
        BusyError: if it is still held by then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, about = filelock.FileLock(path), _about(path)
    try:
        lock.acquire(timeout=seconds, poll_interval=_POLL_SECONDS)
    except filelock.Timeout:
        raise BusyError(busy.format(holder=_holder(about))) from None
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        about.write_text(json.dumps({"process": os.getpid(), "machine": platform.node(), "since": now}))
        yield
    finally:
        about.unlink(missing_ok=True)
        lock.release()


def wait_until_free(folder: Path, busy: str, *, seconds: float) -> None:
    """Wait until nobody holds a lock of this folder.

    Raises:
        BusyError: if one of them is still held after so many seconds.
    """
    for path in folder.glob("*.lock"):
        with locked(path, busy, seconds=seconds):
            pass


def _about(lock: Path) -> Path:
    # A file of its own: some releases of filelock empty the lock's file when they ask for the lock.
    return lock.with_name(f"{lock.name}.holder")


def _holder(about: Path) -> str:
    try:
        content = json.loads(about.read_text())
        return f"another process ({content['process']} on {content['machine']}, since {content['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # it takes the lock just now, and has not said so yet
        return "another process"
