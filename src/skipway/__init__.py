"""Skipway: how deep can this network go on this data, and what carries the signal there?

Names are handed on when they are used, so that importing the package loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from skipway.data.sources import load as load
    from skipway.gates import Flow as Flow
    from skipway.gates import Gate as Gate
    from skipway.gates import Site as Site
    from skipway.nets.registry import build as build
    from skipway.skip import Highway as Highway
    from skipway.skip import Residual as Residual
    from skipway.skip import Skip as Skip

_HOMES = {
    "Flow": "skipway.gates",
    "Gate": "skipway.gates",
    "Site": "skipway.gates",
    "Skip": "skipway.skip",
    "Residual": "skipway.skip",
    "Highway": "skipway.skip",
    "build": "skipway.nets.registry",
    "load": "skipway.data.sources",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'skipway' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
