"""Modules, run as they are written: neither compiled nor computed again in the backward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import torch

_AS_WRITTEN = ContextVar("as written", default=False)


@contextmanager
def eager() -> Iterator[None]:
    """A context in which modules run as they are written: hooks count there, and nothing is compiled anew."""
    # Nothing can have been compiled before this import, which takes seconds and is not made for its own sake.
    compiled = "torch._dynamo" in sys.modules
    token = _AS_WRITTEN.set(True)
    try:
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield
    finally:
        _AS_WRITTEN.reset(token)


def as_written() -> bool:
    """Whether `eager` holds here."""
    return _AS_WRITTEN.get()
