"""How deep nets go: the answer of a study that searched depths."""

from __future__ import annotations

from typing import NamedTuple

from skipway.report.numbers import listed
from skipway.report.summary import Summary
from skipway.report.verdict.findings import Findings

_ENDS = {
    "budget": "the deepest that the budget allowed",
    "limit": "the deepest that such nets can be",
    "found": "the deepest that was tried",
}


class Reach(NamedTuple):
    """Between which depths a gate's nets stop."""

    holds: int | None
    """The deepest at which they train as well as shallower ones; None where they do at none."""
    stops: int | None
    """The shallowest beyond it at which they do not; None where none was found."""


def reach_of(found: Findings, gate: str) -> Reach:
    """How deep a gate's nets go, as far as depths were tried."""
    holds = found.holds(gate)
    deepest = max((depth for depth, held in holds.items() if held), default=None)
    beyond = [depth for depth, held in holds.items() if not held and (deepest is None or depth > deepest)]
    return Reach(deepest, min(beyond, default=None))


def searched(summary: Summary) -> bool:
    """Whether a study looked for the depth at which nets stop."""
    return bool(summary.info.get("config", {}).get("depths") == "auto")


def reach(found: Findings) -> list[str]:
    """One sentence on all gates; none where depths were named."""
    if not searched(found.summary):
        return []
    gates: dict[str, list[str]] = {}
    for gate in found.summary.gates:
        gates.setdefault(_told(found, gate), []).append(gate)
    parts = [f"{listed(alike)} nets {told}" for told, alike in gates.items() if told]
    return [f"How deep do they go? {'; '.join(_capital(part) if not i else part for i, part in enumerate(parts))}."]


def _told(found: Findings, gate: str) -> str:
    known = found.holds(gate)
    if not known:
        return "are not in yet"
    holds, stops = reach_of(found, gate)
    if holds is None:
        if len(known) == 1:
            return f"do not train at depth {max(known)}, the only one tried"
        return f"train at none of the depths tried, {min(known)} to {max(known)}"
    if stops is None and len(known) == 1:
        return f"were tried at depth {holds} alone, and train there"
    if stops is None:
        why = _ENDS[found.summary.info.get("choices", {}).get("depths", {}).get(gate, "found")]
        return f"were seen to train as well as shallower ones to depth {holds}, {why}"
    if found.harder(gate) != "unknown":
        return f"were seen to train as well as shallower ones to depth {holds}, and no longer at depth {stops}"
    return (
        f"were seen to train as well as shallower ones to depth {holds}, and worse at depth {stops}, which so "
        "few seeds do not show to be more than chance"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
