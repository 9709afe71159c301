"""Which depth comes next, where a study is asked how deep nets can go: ``--depths auto``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

SMALLEST = 2
"""A net that is shallower has no block, as a rule."""
STEPS = 8
"""The depth at which nets stop is looked for until two neighbours differ by one of so many parts of it."""
PATIENCE = 3
"""So many depths in a row may fail before one has held."""


def next_depth(holds: Mapping[int, bool], valid: Callable[[int], int | None]) -> int | None:
    """The depth to try next; None where the search is at its end.

    Depths double until nets no longer hold, and then the gap is halved.

    Args:
        holds: of each depth that was tried, whether nets still fit their training data there.
        valid: the smallest valid depth from a number on; None where there is none.
    """
    if not holds:
        return valid(SMALLEST)
    deepest = max((depth for depth, held in holds.items() if held), default=None)
    beyond = [depth for depth in holds if deepest is None or depth > deepest]
    if deepest is None and len(beyond) >= PATIENCE:
        return None
    if deepest is None or not beyond:
        return valid(2 * max(holds))
    stopped = min(beyond)
    if stopped - deepest <= max(1, deepest // STEPS):
        return None
    middle = valid((deepest + stopped) // 2)
    return middle if middle is not None and middle < stopped else _between(deepest, stopped, valid)


def _between(deepest: int, stopped: int, valid: Callable[[int], int | None]) -> int | None:
    """A valid depth between two, where the one after the middle is none: the first after the lower one."""
    first = valid(deepest + 1)
    return first if first is not None and first < stopped else None
