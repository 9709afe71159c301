"""What convolutional blocks are made of: convolutions, and the orders in which batch norm and ReLU stand about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from skipway.nets.relu import ReLU
from skipway.nets.stack import named
from skipway.settings.registry import Registry
from skipway.skip.parts import layers_of
from skipway.skip.placement import Placement
from skipway.skip.shortcuts import Shortcut, make_shortcut

EXPANSION = 4  # a bottleneck's output has so many times the channels of its stage


@dataclass(frozen=True)
class BlockOrder:
    """Where batch norm ("bn") and ReLU ("relu") stand in a block; between its convolutions, both always do."""

    before: tuple[str, ...] = ()  # the first convolution
    after: tuple[str, ...] = ()  # the last one
    post: tuple[str, ...] = ()  # after the addition

    @property
    def stem(self) -> tuple[str, ...]:
        """After the net's first convolution, whose output the first block takes as it would another block's."""
        return self.after + self.post

    @property
    def normalises_branch(self) -> bool:
        """Whether a branch is normalised before the addition; a projection on the shortcut then is, too."""
        return "bn" in self.after


# Table 2 and Figure 4 of He et al. 2016 (arXiv 1603.05027), (a) to (e).
ORDERS: Registry[BlockOrder] = Registry("order")
ORDERS.add("original", BlockOrder(after=("bn",), post=("relu",)))
ORDERS.add("bn-after", BlockOrder(post=("bn", "relu")))
ORDERS.add("relu-before", BlockOrder(after=("bn", "relu")))
ORDERS.add("relu-pre", BlockOrder(before=("relu",), after=("bn",)))
ORDERS.add("pre", BlockOrder(before=("bn", "relu")))


def conv(channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the size up to its stride; He's normal initialisation by fan-out, std sqrt(2 / k k out).

    The bias, by default left out since a batch norm follows, starts at 0.
    """
    layer = nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def basic_convs(channels: int, planes: int, stride: int) -> list[nn.Conv2d]:
    """The two 3x3 convolutions of a basic block."""
    return [conv(channels, planes, 3, stride=stride), conv(planes, planes, 3)]


def bottleneck_convs(channels: int, planes: int, stride: int) -> list[nn.Conv2d]:
    """The 1x1, 3x3 and 1x1 convolutions of a bottleneck; the stride is the 3x3's, so that no pixel goes unseen."""
    return [conv(channels, planes, 1), conv(planes, planes, 3, stride=stride), conv(planes, planes * EXPANSION, 1)]


def activations(kinds: Sequence[str], channels: int) -> list[nn.Module]:
    """The batch norms and ReLUs of one place in an order."""
    return [nn.BatchNorm2d(channels) if kind == "bn" else ReLU() for kind in kinds]


def activation(kinds: Sequence[str], channels: int) -> nn.Module | None:
    """The same as one module; None where nothing stands there."""
    parts = activations(kinds, channels)
    return numbered(parts) if len(parts) > 1 else parts[0] if parts else None


def make_body(convs: Sequence[nn.Conv2d], order: BlockOrder, *, shares_first: bool) -> nn.Sequential:
    """F of one block: its convolutions with what the order puts about them.

    Args:
        convs: the convolutions, one after another.
        order: where batch norm and ReLU stand.
        shares_first: leave out what stands before the first convolution, since both branches share it.
    """
    parts = [] if shares_first else activations(order.before, convs[0].in_channels)
    for layer, _ in pairwise(convs):
        parts += [layer, *activations(("bn", "relu"), layer.out_channels)]
    return numbered([*parts, convs[-1], *activations(order.after, convs[-1].out_channels)])


def start_as_shortcuts(bodies: Iterable[nn.Sequential], *, plain: bool) -> None:
    """Start blocks as their shortcuts: the last batch norm's weight, or the last convolution's, starts at 0.

    For the batch norm see Goyal et al. 2017 (arXiv 1706.02677, section 5.1). Where a body ends in its convolution, it
    is that one, since the batch norm before it has a ReLU after it, through which a weight of 0 would pass no gradient.

    Args:
        bodies: F of the blocks.
        plain: whether the blocks have no shortcuts.

    Raises:
        ValueError: if there are no shortcuts, or if a body ends in a ReLU.
    """
    if plain:
        raise ValueError(
            "zero_init starts each block as its shortcut, and plain nets have none: leave one of them out."
        )
    for last in (body[-1] for body in bodies):
        if isinstance(last, nn.ReLU):
            raise ValueError(
                "zero_init starts the last layer of each body at 0, and a ReLU after it passes no gradient there: "
                "use an order whose body does not end in a ReLU (any but relu-before)."
            )
        nn.init.zeros_(cast(Tensor, last.weight))


def make_way(spec: str, body: nn.Module, order: BlockOrder) -> Shortcut:
    """S of one block. A projection beside a branch that is not normalised is a convolution alone.

    Raises:
        ValueError: if there is no such shortcut, or if it cannot stand beside this body.
    """
    if order.normalises_branch:
        return make_shortcut(spec, Placement.of(body))
    shortcut = make_shortcut(spec, replace(Placement.of(body), norm=None))
    for layer in layers_of(shortcut):
        layer.register_parameter("bias", None)  # the batch norm of the next block, or after the addition, has its own
    return shortcut


def numbered(parts: Iterable[nn.Module]) -> nn.Sequential:
    """A sequence whose parts are named by kind and number: conv1, bn1, relu1, conv2, bn2."""
    counts: Counter[str] = Counter()
    modules: dict[str, nn.Module] = {}
    for part in parts:
        kind = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", ReLU: "relu"}[type(part)]
        counts[kind] += 1
        modules[f"{kind}{counts[kind]}"] = part
    return named(**modules)
