"""Modules, run as they are written: neither compiled nor computed again in the backward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import torch


class _AsWritten:
    """The contexts that hold now, whichever thread opened them: the first turns compiling off, the last puts it back.

    torch knows one stance a process. Were each context to put back the one that it found, contexts that are not closed
    in the reverse order, as two threads' are, would leave compiling turned off.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()
        self._stance: Any = None

    def enter(self) -> None:
        with self._lock:
            self.count += 1
            # Nothing can have been compiled before this import, which takes seconds and is not made for its own sake.
            if self._stance is None and "torch._dynamo" in sys.modules:
                self._stance = torch.compiler.set_stance("force_eager")

    def leave(self) -> None:
        with self._lock:
            self.count -= 1
            if self.count == 0 and self._stance is not None:
                self._stance.__exit__(None, None, None)
                self._stance = None


_as_written = _AsWritten()


@contextmanager
def eager() -> Iterator[None]:
    """A context in which modules run as they are written: hooks count there, and nothing is compiled anew.

    It holds for the whole process, as torch's hooks and its compiler's stance do.
    """
    _as_written.enter()
    try:
        yield
    finally:
        _as_written.leave()


def as_written() -> bool:
    """Whether an `eager` context holds."""
    return _as_written.count > 0
