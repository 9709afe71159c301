"""Sentences on what a skip gains on the test data, and on whether more depth pays."""

from __future__ import annotations

from skipway.report.numbers import counted, listed
from skipway.report.summary import Group
from skipway.report.verdict.findings import Findings
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
    tested = listed([f"{_tested(found, net)} with {net.gate}" for net in nets])
    word = found.summary.metric.word
    return [f"At depth {depth} the test {word} is {tested}: {_compared(found, base, others)}{_sizes(nets)}."]


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
    """Nearly equal, or not known to be: by the interval that all comparisons together keep to."""
    metric = found.summary.metric
    seeds = min(net.test_metric.n for net in [base, *groups] if net.test_metric)
    who = listed([group.gate for group in groups])
    intervals = [own.interval(LEVEL / comparisons) for group in groups if (own := _change(found, base, group))]
    if not intervals:
        return f"from {counted(seeds, 'seed')}, so how much of that is chance cannot be told"
    most = max(max(abs(low), abs(high)) for low, high in intervals)
    if base.test_metric and most <= found.scale.small(base.test_metric.value):
        return f"{who} and {base.gate} differ by less than {metric.difference(most)}"
    left = f"one of up to {metric.difference(most)}, either way, is not ruled out"
    return f"with {counted(seeds, 'seed')} no difference from {base.gate} is shown for {who}; {left}"


def _change(found: Findings, base: Group, group: Group) -> Estimate | None:
    return found.worse(group.test_metric, base.test_metric, "test")


def pays(found: Findings) -> list[str]:
    """Whether more depth improves the validation metric of the gates whose nets it does not make harder to train."""
    metric = found.summary.metric
    gates = [gate for gate in found.summary.gates if len(_validated(found, gate)) > 1 and not found.harder(gate)]
    paying = [gate for gate in gates if found.pays(gate)]
    parts = []
    if paying:
        gained = listed([_ends(found, gate) for gate in paying])
        parts.append(f"More depth pays: the validation {metric.word} {metric.improves} {gained}.")
    rest = [gate for gate in gates if gate not in paying]
    if rest:
        parts.append(_no_gain(found, rest))
    return [" ".join(parts)] if parts else []


def _no_gain(found: Findings, gates: list[str]) -> str:
    """Gates whose validation metric is not shown to get better, with what it may have gained at the most."""
    metric, gained, small = found.summary.metric, [], []
    for gate in gates:
        first, last = (net.validation_metric for net in _ends_of(found, gate))
        own = found.worse(last, first, "validation")
        if own and first:
            gained.append(min(-own.interval(LEVEL / len(gates))[0], found.scale.room(first.value)))
            small.append(found.scale.small(first.value))
    which = f"The validation {metric.word} goes {listed([_ends(found, gate) for gate in gates])}"
    if not gained:
        return f"{which}; one seed cannot tell whether more depth pays."
    most = max(0.0, *gained)
    if most <= min(small):
        return f"{which}: more depth does not pay{f', or by less than {metric.difference(most)}' if most else ''}."
    change = "a fall" if metric.lower else "a rise"
    return f"{which}: no gain from more depth is shown; {change} by up to {metric.difference(most)} is not ruled out."


def _validated(found: Findings, gate: str) -> list[Group]:
    return [group for group in found.nets(gate) if group.validation_metric]


def _ends_of(found: Findings, gate: str) -> tuple[Group, Group]:
    """Its shallowest net and its deepest."""
    nets = _validated(found, gate)
    return nets[0], nets[-1]


def _ends(found: Findings, gate: str) -> str:
    first, last = (
        f"{found.summary.metric.text(net.validation_metric.value)} at depth {net.depth}"
        for net in _ends_of(found, gate)
        if net.validation_metric
    )
    return f"from {first} to {last} with {gate}"


def _tested(found: Findings, group: Group) -> str:
    return found.summary.metric.text(group.test_metric.value, group.test_metric.std) if group.test_metric else ""


def _sizes(nets: list[Group]) -> str:
    """The nets' parameters, where a net with more of them could owe its gain to that."""
    sizes = [net.parameters for net in nets if net.parameters]
    if len(sizes) < len(nets) or max(sizes) <= _UNEQUAL * min(sizes):
        return ""
    return f" (parameters: {listed([f'{net.parameters:,} with {net.gate}' for net in nets])})"


def _are(groups: list[Group]) -> str:
    return f"{listed([group.gate for group in groups])} {'is' if len(groups) == 1 else 'are'}"
