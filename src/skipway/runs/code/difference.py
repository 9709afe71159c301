"""Where two readings of one definition part: one was taken in another process, which sent its marks."""

from __future__ import annotations

import sys
import zlib
from array import array
from types import FunctionType, ModuleType
from typing import NamedTuple

from skipway.runs.code.origin import homes, release
from skipway.runs.code.reading import ReachedError, Reading


class Place(NamedTuple):
    """Where in a user's code something is."""

    name: str  # of the way there: functions, globals, attributes
    file: str  # "" where none is known


def marks(reading: Reading) -> bytes:
    """Four bytes a fact: enough to find the first one that differs elsewhere."""
    return array("I", (zlib.crc32(fact.encode("utf-8", "surrogatepass")) for fact in reading.facts)).tobytes()


def first_difference(definition: object, reading: Reading, other: bytes) -> Place:
    """The place of the first fact that another process read otherwise.

    Args:
        definition: what `reading` was taken of.
        reading: taken here.
        other: the `marks` of the reading there.
    """
    here, there = (array("I", content) for content in (marks(reading), other))
    pairs = zip(here, there, strict=False)
    number = next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(here), len(there)))
    try:
        Reading(definition, until=min(number, len(here) - 1))
    except ReachedError as reached:
        return _place(*reached.args)
    return Place("it", "")


def _place(way: list[tuple[str, object]]) -> Place:
    name = ".".join(name for name, _ in way if name) or "it"
    for part, value in reversed(way):
        if file := _file(part, value):
            return Place(name, file)
    return Place(name, "")


def _file(name: str, value: object) -> str:
    """The file of a user's function, class or module, or of the module that holds what has such a dotted name."""
    if isinstance(value, FunctionType):
        return value.__code__.co_filename if release(homes(value)[-1]) is None else ""
    names = [value.__name__] if isinstance(value, ModuleType) else homes(value) if isinstance(value, type) else []
    for each in [*names, name.rpartition(".")[0]]:
        module = sys.modules.get(each)
        if module is not None and release(each) is None and getattr(module, "__file__", None):
            return str(module.__file__)
    return ""
