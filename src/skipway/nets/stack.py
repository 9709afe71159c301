"""The common shape of Skipway's nets: a stem, a row of blocks, a head."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, ClassVar, cast

from torch import Tensor, nn


class SkipNet(nn.Module):
    """A net made of a stem, blocks and a head.

    Attributes:
        architecture: what `skipway.nets.registry.build` needs to build this net again; empty for nets built by hand.
        anatomy: the attributes by which `skipway.anatomy` finds a net's stem, blocks and head.
    """

    anatomy: ClassVar[tuple[str, str, str]] = ("stem", "blocks", "head")

    def __init__(self, stem: nn.Module, blocks: Iterable[nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, nn.Sequential(*blocks), head
        self.architecture: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        """From a batch of inputs to class scores, (batch, classes)."""
        return cast(Tensor, self.head(self.blocks(self.stem(x))))


def named(**modules: nn.Module) -> nn.Sequential:
    """A sequence whose parts have names of their own in the state dict."""
    return nn.Sequential(OrderedDict(modules))
