"""A rule on a row of bodies: every block knows its place, and its body starts as the rule asks. Nets are built so."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from torch import nn

from skipway.skip.block import Skip
from skipway.skip.gate import Gate, fit_gate
from skipway.skip.in_place import writes
from skipway.skip.placement import Placement
from skipway.skip.reading import Kind
from skipway.skip.shortcuts import fit_shortcut

Parts = nn.Module | Sequence[nn.Module | None] | None


def skip_row(
    gate: str,
    bodies: Iterable[nn.Module],
    shortcut: str | Sequence[nn.Module | None] | None = None,
    *,
    pre: Parts = None,
    post: Parts = None,
    features: int | None = None,
    kind: Kind | None = None,
    block: Callable[..., Skip] = Skip,
) -> nn.Sequential:
    """Put a rule on a row of bodies.

    ::

        bodies = [nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64)) for _ in range(50)]
        net = skip_row("fixup", bodies)

    Each gate is told its place and the number of blocks, which a rule may depend on, and changes its body's initial
    weights as the rule asks. From one seed, bodies start equal whatever the gate: they exist before the shortcuts are
    drawn, and these before the gates.

    One module may be the body of several blocks, which then share its weights. The rule is told so; it initialises the
    body once, at its first place, with the number of blocks as for any row. fixup refuses shared weights, for which its
    factor is not derived.

    Args:
        gate: the rule's specification.
        bodies: F of each block, in the order in which the signal meets them.
        shortcut: S: a specification; or a module for each block, None for the identity.
        pre: what comes before both branches of each block: a module, copied for each, or one for each.
        post: what comes after the sum, likewise.
        features: units or channels that go into every body, where a trial run does not tell, as in `Skip`.
        kind: the layout of every body's input, likewise.
        block: makes a block of the arguments of `Skip`, such as a subclass with parameter names of its own.

    Returns:
        The blocks, in a sequence. Blocks that take more than one input, or return more than one output, are called in
        a loop over it.

    Raises:
        ValueError: if rule or shortcut does not fit a body; if modules are given for each block, but not so many; if
            the rule would initialise weights twice that two bodies, different modules, share.
    """
    bodies = list(bodies)
    count = len(bodies)
    places = _places(bodies, features, kind)
    if isinstance(shortcut, str):
        ways: Sequence[nn.Module | None] = [
            fit_shortcut(shortcut, *place) for place in zip(places, bodies, strict=True)
        ]
    else:
        ways = _each("shortcut", shortcut, count)
    gates = _fit_gates(gate, places, bodies)
    parts = zip(gates, bodies, ways, _each("pre", pre, count), _each("post", post, count), strict=True)
    return nn.Sequential(*(block(g, body, way, pre=before, post=after) for g, body, way, before, after in parts))


def _places(bodies: Sequence[nn.Module], features: int | None, kind: Kind | None) -> list[Placement]:
    count = len(bodies)
    modules = Counter(map(id, bodies))
    parameters = Counter(id(parameter) for body in bodies for parameter in body.parameters())
    return [
        replace(
            Placement.of(body, features=features, kind=kind, index=index, count=count),
            shared=modules[id(body)] > 1 or any(parameters[id(p)] > 1 for p in body.parameters()),
        )
        for index, body in enumerate(bodies)
    ]


def _fit_gates(spec: str, places: Sequence[Placement], bodies: Sequence[nn.Module]) -> list[Gate]:
    """Each block's gate; each body, and each of its weights, is initialised once."""
    gates: list[Gate] = []
    initialised: set[nn.Module] = set()
    changed: set[nn.Parameter] = set()
    for place, body in zip(places, bodies, strict=True):
        before = {parameter: writes(parameter) for parameter in body.parameters()} if place.shared else {}
        gates.append(fit_gate(spec, place, body, initialise=body not in initialised))
        initialised.add(body)
        again = {parameter for parameter, count in before.items() if writes(parameter) != count}
        if changed & again:
            raise ValueError(
                f"{spec!r} initialises each body, and the body of block {place.index + 1} shares weights with that of "
                "an earlier block, which is another module: they would be initialised twice. Give both blocks one and "
                "the same module, or bodies with weights of their own, or a rule that leaves them as they are, as "
                "residual:scale=1."
            )
        changed |= again
    return gates


def _each(name: str, parts: Parts, count: int) -> Sequence[nn.Module | None]:
    if parts is None or isinstance(parts, nn.Module):
        return [copy.deepcopy(parts) for _ in range(count)]
    if len(parts) != count:
        raise ValueError(
            f"{name} is one module for all, or one for each of the {count} blocks; {len(parts)} are given."
        )
    return parts
