"""The common shape of Skipway's nets: a stem, a row of blocks, a head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from skipway.gates import Gate, Site, make_gate
from skipway.skip import Skip


class SkipNet(nn.Module):
    """A net made of a stem, blocks and a head.

    Attributes:
        architecture: what `skipway.nets.registry.build` needs to build this net again; empty for nets built by hand.
    """

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), head
        self.architecture: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """From a batch of inputs to class scores, (batch, classes)."""
        return cast(Tensor, self.head(self.blocks(self.stem(x))))


def make_skips(
    gate: str,
    bodies: Sequence[nn.Module],
    wrap: Callable[[Gate, nn.Module, Site], Skip] = lambda gate, body, _: Skip(gate, body),
) -> list[Skip]:
    """Put gates on bodies that exist already.

    Bodies come first and gates after, so that from one seed the bodies start equal whatever the gate.

    Args:
        gate: the rule's specification.
        bodies: F of each block, in order.
        wrap: makes the block from its gate, body and site.
    """
    sites = [Site.of(body, index=index, count=len(bodies)) for index, body in enumerate(bodies)]
    gates = [make_gate(gate, site) for site in sites]
    for rule, body in zip(gates, bodies, strict=True):
        rule.init_body(body)
    return [wrap(*parts) for parts in zip(gates, bodies, sites, strict=True)]


def named(**modules: nn.Module) -> nn.Sequential:
    """A sequence whose parts have names of their own in the state dict."""
    return nn.Sequential(OrderedDict(modules))
