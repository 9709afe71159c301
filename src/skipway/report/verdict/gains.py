"""Sentences on what a skip gains in test error, and on whether more depth pays."""

from __future__ import annotations

from skipway.report.numbers import counted, listed, percent, points
from skipway.report.summary import Group
from skipway.report.verdict.findings import POINT, Findings, change
from skipway.report.verdict.inference import LEVEL, Estimate

_UNEQUAL = 1.1  # parameters that differ by more than this factor are told


def gains(found: Findings) -> list[str]:
    """What the gates gain over the baseline, at the deepest depth and at the shallowest that has blocks."""
    return [sentence for depth in reversed(found.depths_compared()) for sentence in _at(found, depth)]


def _at(found: Findings, depth: int) -> list[str]:
    base, others = found.compared(depth) or (None, [])
    if base is None:
        return []
    nets = [base, *others]
    errors = listed([f"{_tested(net)} with {net.gate}" for net in nets])
    return [f"At depth {depth} the test error is {errors}: {_compared(found, base, others)}{_sizes(nets)}."]


def _compared(found: Findings, base: Group, others: list[Group]) -> str:
    """Who does better or worse than the baseline, and how far apart the rest may be."""
    kinds: dict[str, list[Group]] = {}
    for group in others:
        kinds.setdefault(found.apart(base, group), []).append(group)
    parts = [f"{_are(kinds[kind])} {kind} than {base.gate}" for kind in ("better", "worse") if kind in kinds]
    if "unfair" in kinds:
        parts.append(
            f"{_are(kinds['unfair'])} not compared, since the best learning rate of the worse one is at an edge"
        )
    if "unknown" in kinds:
        parts.append(_unknown(found, base, kinds["unknown"], len(found.depths_compared()) * len(others)))
    return "; ".join(parts)


def _unknown(found: Findings, base: Group, groups: list[Group], comparisons: int) -> str:
    """Equal within a point, or not known to be: by the interval that all comparisons together keep to."""
    seeds = min(net.test_error.n for net in [base, *groups] if net.test_error)
    who = listed([group.gate for group in groups])
    intervals = [own.interval(LEVEL / comparisons) for group in groups if (own := _change(found, base, group))]
    if not intervals:
        return f"from {counted(seeds, 'seed')}, so how much of that is chance cannot be told"
    most = max(max(abs(low), abs(high)) for low, high in intervals)
    if most <= POINT:
        return f"{who} and {base.gate} differ by less than {points(most)}"
    left = f"one of up to {points(most)}, either way, is not ruled out"
    return f"with {counted(seeds, 'seed')} no difference from {base.gate} is shown for {who}; {left}"


def _change(found: Findings, base: Group, group: Group) -> Estimate | None:
    return change(group.test_error, base.test_error, (found.summary.data.get("sizes") or {}).get("test"))


def pays(found: Findings) -> list[str]:
    """Whether more depth lowers the validation error of the gates whose nets it does not make harder to train."""
    gates = [gate for gate in found.summary.gates if len(_validated(found, gate)) > 1 and not found.harder(gate)]
    paying = [gate for gate in gates if found.pays(gate)]
    parts = []
    if paying:
        fallen = listed([_ends(found, gate) for gate in paying])
        parts.append(f"More depth pays: the validation error falls {fallen}.")
    rest = [gate for gate in gates if gate not in paying]
    if rest:
        parts.append(_no_gain(found, rest))
    return [" ".join(parts)] if parts else []


def _no_gain(found: Findings, gates: list[str]) -> str:
    """Gates whose validation error is not shown to fall, with what it may have gained at the most."""
    images = (found.summary.data.get("sizes") or {}).get("validation")
    gained = []
    for gate in gates:
        nets = _validated(found, gate)
        own = change(nets[-1].validation_error, nets[0].validation_error, images)
        if own:
            # An error can fall to 0 and no further.
            gained.append(min(-own.interval(LEVEL / len(gates))[0], _mean(nets[0])))
    which = f"The validation error goes {listed([_ends(found, gate) for gate in gates])}"
    if not gained:
        return f"{which}; one seed cannot tell whether more depth pays."
    most = max(0.0, *gained)
    if most <= POINT:
        return f"{which}: more depth does not pay{f', or by less than {points(most)}' if most else ''}."
    return f"{which}: no gain from more depth is shown; a fall by up to {points(most)} is not ruled out."


def _mean(net: Group) -> float:
    return net.validation_error.value if net.validation_error else 0.0


def _validated(found: Findings, gate: str) -> list[Group]:
    return [group for group in found.nets(gate) if group.validation_error]


def _ends(found: Findings, gate: str) -> str:
    first, last = _validated(found, gate)[0], _validated(found, gate)[-1]
    values = [percent(net.validation_error.value) for net in (first, last) if net.validation_error]
    return f"from {values[0]} at depth {first.depth} to {values[1]} at depth {last.depth} with {gate}"


def _tested(group: Group) -> str:
    return percent(group.test_error.value, group.test_error.std) if group.test_error else ""


def _sizes(nets: list[Group]) -> str:
    """The nets' parameters, where a net with more of them could owe its gain to that."""
    sizes = [net.parameters for net in nets if net.parameters]
    if len(sizes) < len(nets) or max(sizes) <= _UNEQUAL * min(sizes):
        return ""
    return f" (parameters: {listed([f'{net.parameters:,} with {net.gate}' for net in nets])})"


def _are(groups: list[Group]) -> str:
    return f"{listed([group.gate for group in groups])} {'is' if len(groups) == 1 else 'are'}"
