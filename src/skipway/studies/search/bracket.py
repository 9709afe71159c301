"""Rates beyond those that were asked for: until the best one has a worse neighbour on either side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

MOST = 4
"""Rates beyond either end of those that were asked for."""
FARTHEST = 10.0
"""No step is larger than this factor, however far apart the named rates are."""
_DIGITS = 12


def more(tried: Iterable[float], asked: Iterable[float], leaders: Iterable[float]) -> list[float]:
    """The rates to try next: one beyond each end at which a leader stands.

    Args:
        tried: all so far.
        asked: those that the study names. One alone is a condition of the study, and nothing is tried beside it.
        leaders: the best ones; none where every rate diverged, and then a lower one may do better.
    """
    rates, named, first = sorted(tried), sorted(asked), [*leaders]
    if len(named) < 2:
        return []
    found = []
    below, above = sum(rate < named[0] for rate in rates), sum(rate > named[-1] for rate in rates)
    if below < MOST and (not first or rates[0] in first):
        found.append(max(_after(rates[::-1]), float(f"{rates[0] / FARTHEST:.{_DIGITS}g}")))
    if above < MOST and rates[-1] in first:
        found.append(min(_after(rates), float(f"{FARTHEST * rates[-1]:.{_DIGITS}g}")))
    return [rate for rate in found if 0 < rate < math.inf and rate not in rates]


def _after(rates: Sequence[float]) -> float:
    """The next of a row that goes on by its own factor.

    After 0.1, 0.3, 1 comes 3: factors may take turns, as in rows of round numbers. After two rates comes a third by
    their factor, with as many digits as they have.
    """
    if len(rates) == 2:
        digits = max(_digits(rate) for rate in rates)
        return float(f"{rates[1] * rates[1] / rates[0]:.{digits}g}")
    third, second, last = rates[-3:]
    return float(f"{second * last / third:.{_DIGITS}g}")


def _digits(rate: float) -> int:
    """How many digits a number is written with."""
    return len(f"{rate:.{_DIGITS}g}".partition("e")[0].replace(".", "").strip("0")) or 1
