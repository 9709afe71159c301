"""What installed packages add: modules that register gates, nets, tasks and the like, by an entry point.

A package names its module in the group `skipway.plugins`. It is imported when a name is asked for that is none of ours,
or when names are listed, and not before; a package that is broken is told, and stops nothing.
"""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

GROUP = "skipway.plugins"
"""The entry points' group."""

_met: set[tuple[str, str]] = set()


def load_installed() -> None:
    """Import what installed packages register, each once in a process; those that cannot be imported are told."""
    for found in _installed(tuple(sys.path)):
        if (found.name, found.value) not in _met:
            _met.add((found.name, found.value))  # before it is imported, for it may ask for a name itself
            _load(found)


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points on a path; to read them takes a while, and many names are asked for."""
    return tuple(entry_points(group=GROUP))


def _load(found: EntryPoint) -> None:
    try:
        found.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's package makes of it
        package = found.dist.name if found.dist else found.value
        logging.getLogger("skipway").warning(
            "the package %s has a plugin, %s, that cannot be loaded, so what it adds is missing: %s: %s",
            *(package, found.value, type(error).__name__, error),
        )
