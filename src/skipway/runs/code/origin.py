"""Whose a definition is: Skipway's, a library's, or the user's own."""

from __future__ import annotations

import functools
import hashlib
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

_HEAP_TYPE = 1 << 9  # of a class's flags: it was made while Python ran, and is not built in
_LIBRARY = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))


def is_ours(definition: object) -> bool:
    """Whether it came with Skipway, which raises its version where its numbers change."""
    return str(getattr(definition, "__module__", None) or "").partition(".")[0] == "skipway"


def called(value: Any) -> str | None:
    """Name and release of what an installed module holds under this very name; None for all else: its pieces count."""
    if isinstance(value, ModuleType):
        return None if release(value.__name__) is None else f"{value.__name__} {release(value.__name__)}"
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str):
        return None
    for module in homes(value):
        known = release(module)
        if known is not None and (_lies_at(value, module, name) or _is_built_in(value)):
            own = getattr(value, "version", "") if is_ours(value) else ""
            return f"{module}.{name} {known} {own}"
    return None


def homes(value: Any) -> list[str]:
    """The modules that it may come from: as it says, and, since decorators let that be another's, as its code says."""
    told = getattr(value, "__module__", None)
    real = value.__globals__.get("__name__") if isinstance(value, FunctionType) else None
    return [name for name in dict.fromkeys((told, real)) if isinstance(name, str)]


def _is_built_in(value: Any) -> bool:
    return isinstance(value, type) and not value.__flags__ & _HEAP_TYPE


def _lies_at(value: Any, module: str, name: str) -> bool:
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)
        found = found.__func__ if isinstance(found, classmethod | staticmethod) else found
    return found is value


@functools.cache
def release(module: str) -> str | None:
    """What tells a module's content: its distribution's version, or an extension's digest; None for a user's own code.

    Of torch and of Python's library nothing but the name counts: run.json tells their versions.
    """
    root = module.partition(".")[0]
    if root in ("skipway", "torch"):
        return ""
    file = _file(module) or _file(root)
    if file is None:
        return "" if root in sys.stdlib_module_names else None
    if {"site-packages", "dist-packages"} & set(file.parts):
        found = sorted(set(_distributions().get(root, ())))
        return " ".join(f"{name} {version(name)}" for name in found) or None
    if any(file.is_relative_to(folder) for folder in _LIBRARY):
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.name.endswith(tuple(EXTENSION_SUFFIXES)) else None


def _file(module: str) -> Path | None:
    if module == "__main__":
        return None
    found = getattr(sys.modules.get(module), "__file__", None)
    if found is None and module not in sys.modules and "." not in module:
        spec = find_spec(module) if module else None
        found = spec.origin if spec and spec.has_location else None
    return Path(found) if found else None


_distributions = functools.cache(packages_distributions)
