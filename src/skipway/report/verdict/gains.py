"""Sentences on what a skip gains on the test data, and on whether more depth pays."""

from __future__ import annotations

from skipway.report.numbers import counted, listed
from skipway.report.summary import Group
from skipway.report.verdict.findings import Findings

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
        parts.append(_unknown(found, base, kinds["unknown"]))
    return "; ".join(parts)


def _unknown(found: Findings, base: Group, groups: list[Group]) -> str:
    """Nearly equal, or not known to be."""
    metric = found.summary.metric
    seeds = min(net.test_metric.n for net in [base, *groups] if net.test_metric)
    who = listed([group.gate for group in groups])
    changes = [own for group in groups if (own := found.change(group, base, "test"))]
    if not changes:
        return f"from {counted(seeds, 'seed')}, so how much of that is chance cannot be told"
    better, worse = max(0.0, *(-own.low for own in changes)), max(0.0, *(own.high for own in changes))
    if base.test_metric and max(better, worse) <= found.scale.small(base.test_metric.value):
        return f"{who} and {base.gate} differ by less than {metric.difference(max(better, worse))}"
    left = f"from {metric.difference(better)} better to {metric.difference(worse)} worse"
    return (
        f"with {counted(seeds, 'seed')} no difference from {base.gate} is shown for {who}; anything {left} is possible"
    )


def pays(found: Findings) -> list[str]:
    """Whether more depth improves the validation metric of the gates whose nets it does not make harder to train."""
    metric = found.summary.metric
    gates = [gate for gate in found.summary.gates if len(_validated(found, gate)) > 1]
    gates = [gate for gate in gates if found.harder(gate) == "unknown"]
    paying = [gate for gate in gates if found.pays(gate) == "yes"]
    unfair = [gate for gate in gates if found.pays(gate) == "unfair"]
    parts = []
    if paying:
        parts.append(f"More depth pays: the validation {metric.word} {metric.improves} {_moves(found, paying)}.")
        parts += _enough(found, paying)
    if unfair:
        parts.append(
            f"The validation {metric.word} {metric.improves} {_moves(found, unfair)}; but the best learning rate of "
            "the shallowest net is at an edge, so another may help it."
        )
    rest = [gate for gate in gates if gate not in [*paying, *unfair]]
    if rest:
        parts.append(_no_gain(found, rest))
    return [" ".join(parts)] if parts else []


def _enough(found: Findings, gates: list[str]) -> list[str]:
    """From which depth on no deeper net was better by as much as is spoken of; silent where that is the deepest."""
    told: dict[int, list[str]] = {}
    for gate in gates:
        nets = _validated(found, gate)
        if (depth := _last_that_pays(found, nets)) != nets[-1].depth:
            told.setdefault(depth, []).append(gate)
    parts = [f"depth {depth} with {listed(own)}" for depth, own in sorted(told.items())]
    return [f"No deeper net was seen to be better than that of {listed(parts)}."] if parts else []


def _last_that_pays(found: Findings, nets: list[Group]) -> int:
    """The shallowest depth that no deeper net was better than by as much as is spoken of."""
    value = {net.depth: net.validation_metric.value for net in nets if net.validation_metric}
    return next(
        depth
        for depth, own in value.items()
        if all(found.scale.close(own, other) for deeper, other in value.items() if deeper > depth)
    )


def _no_gain(found: Findings, gates: list[str]) -> str:
    """Gates whose validation metric is not shown to get better, with what it may have gained at the most."""
    metric, gained, small = found.summary.metric, [], []
    for gate in gates:
        first, *deeper = _validated(found, gate)
        changes = [found.change(net, first, "validation") for net in deeper]
        gained += [-own.low for own in changes if own]
        small += [
            found.scale.small(first.validation_metric.value) for own in changes if own and first.validation_metric
        ]
    which = f"The validation {metric.word} goes {_moves(found, gates)}"
    if not gained:
        seeds = max(mean.n for gate in gates for net in _validated(found, gate) if (mean := net.validation_metric))
        return f"{which}; {'one seed' if seeds == 1 else counted(seeds, 'seed')} cannot tell whether more depth pays."
    most = max(0.0, *gained)
    if most <= min(small):
        less = f", or by less than {metric.difference(most)}" if metric.shows(most) else ""
        return f"{which}: more depth does not pay{less}."
    return f"{which}: no gain from more depth is shown, and one of up to {metric.difference(most)} is possible."


def _validated(found: Findings, gate: str) -> list[Group]:
    return [group for group in found.nets(gate) if group.validation_metric]


def _moves(found: Findings, gates: list[str]) -> str:
    """From where to where each gate's validation metric goes with depth, and where it is best if that is between."""
    return listed([_moved(found, gate) for gate in gates])


def _moved(found: Findings, gate: str) -> str:
    nets = {net.depth: net.validation_metric.value for net in found.nets(gate) if net.validation_metric}
    depths, metric = list(nets), found.summary.metric
    at = {depth: f"{metric.text(value)} at depth {depth}" for depth, value in nets.items()}
    best = next(depth for depth, value in nets.items() if value == metric.best_of(nets.values()))
    between = "" if nets[best] in (nets[depths[0]], nets[depths[-1]]) else f" ({metric.best}: {at[best]})"
    return f"from {at[depths[0]]} to {at[depths[-1]]} with {gate}{between}"


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
