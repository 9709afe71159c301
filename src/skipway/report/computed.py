"""Whether runs that are shown together were computed in one way: numbers of other ways agree to rounding alone.

A table shows means over seeds, and what rounding does to one training is far below their spread; but whoever compares
digits must know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from skipway.rundir.layout import Json

# What run.json's ``computed`` holds that may differ between runs of one study, in words.
_NAMES = {
    "device": "device",
    "processor": "instruction set",
    "model": "processor",
    "threads": "threads",
    "processes": "processes",
    "accumulate": "parts of a batch",
    "bfloat16": "bfloat16",
    "torch": "torch",
    "skipway": "skipway",
}


def differences(ways: Iterable[Json]) -> tuple[str, ...]:
    """In what the ways differ in which runs were computed, one entry a difference; none where all are alike.

    Args:
        ways: of each run, ``computed`` of its run.json; empty where that says nothing, which is unlike any other.
    """
    known = list(ways)
    found = [_told(name, _distinct(way.get(key) for way in known)) for key, name in _NAMES.items()]
    grids = _distinct(way.get("grid") for way in known)
    if len(grids) > 1:
        found.append(f"{len(grids)} grids of learning rates and seeds, since the study grew")
    return tuple(difference for difference in found if difference)


def note(ways: Iterable[Json]) -> str:
    """A sentence for whoever shows these runs together; empty where they were computed in one way."""
    found = differences(ways)
    if not found:
        return ""
    return (
        f"These trainings were computed in different ways ({'; '.join(found)}). Trained again in one way, their "
        "numbers may differ: rounding does, and training amplifies it."
    )


def _told(name: str, values: Sequence[Any]) -> str:
    words = ["unknown" if value is None else str(value) for value in values]
    return f"{name}: {' and '.join(words)}" if len(words) > 1 else ""


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, in order; values may be dictionaries."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
