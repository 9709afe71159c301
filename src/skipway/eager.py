"""Compiled modules, run as they are written."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch


def eager() -> AbstractContextManager[None]:
    """A context in which compiled modules run as they are written: hooks count there, and nothing is compiled anew."""
    # Nothing can have been compiled before this import, which takes seconds and is not made for its own sake.
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return cast(AbstractContextManager[None], torch.compiler.set_stance("force_eager"))
