"""Whether the learning rate that trains best moves with depth.

Nobody but the grid says how exact a best rate is: it lies between the next lower rate and the next higher one that were
tried. So it is said to move where two such brackets have no more than an end in common.
"""

from __future__ import annotations

from skipway.report.numbers import listed
from skipway.report.summary import Choice, Summary


def moving_rates(summary: Summary) -> list[str]:
    """One sentence on all gates whose best rates are bracketed at several depths; none where there are none."""
    told: dict[str, list[str]] = {}
    for gate in summary.gates:
        known = [(group.depth, rate) for group in summary.of(gate) if (rate := group.training) and _has_bracket(rate)]
        if len(known) < 2:
            continue
        (shallow, first), (deep, last) = known[0], known[-1]
        ends = f"{gate} ({first.learning_rate:g} at depth {shallow}, {last.learning_rate:g} at depth {deep})"
        told.setdefault(_moves(first, last), []).append(ends)
    if not told:
        return []
    parts = [f"{what} with {listed(gates)}" for what, gates in told.items()]
    return [f"From the shallowest net to the deepest, the learning rate that trains best {listed(parts)}."]


def _moves(first: Choice, last: Choice) -> str:
    assert None not in (first.low, first.high, last.low, last.high)
    if last.high <= first.low:  # type: ignore[operator]
        return "falls"
    if last.low >= first.high:  # type: ignore[operator]
        return "rises"
    return "is not known to move"


def _has_bracket(rate: Choice) -> bool:
    return rate.low is not None and rate.high is not None
