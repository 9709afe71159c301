"""The CIFAR body (He et al. 2015, arXiv 1512.03385, section 4.2; pre-activation: He et al. 2016, arXiv 1603.05027).

A 3x3 convolution, three stages of blocks on full, half and quarter size, average pooling, a linear layer. Plain,
residual and highway nets of one depth differ in the gate alone: stem, bodies and head are drawn first, then shortcuts,
then gates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from skipway.nets.blocks import (
    ORDERS,
    BlockOrder,
    activation,
    activations,
    basic_convs,
    bottleneck_convs,
    conv,
    make_body,
    make_way,
    start_as_shortcuts,
)
from skipway.nets.family import Family, Naming, NetName, gate_of, word_of
from skipway.nets.stack import SkipNet, named
from skipway.settings.registry import Spec, UnknownNameError
from skipway.skip.gate import GATES
from skipway.skip.row import skip_row

WIDTH = 16  # channels of the paper's first stage
_BLOCKS = ("auto", "basic", "bottleneck")
_STEMS = ("auto", "small", "large")
_LARGE = 64  # pixels: on images larger than this, full resolution costs more than it sees
_LEAST_BOTTLENECK = 164  # the paper's first depth of bottlenecks; 6n + 2 and 9n + 2 both


def cifar_net(
    *,
    gate: str,
    depth: int,
    num_classes: int,
    in_channels: int | None = None,
    image_size: int | None = None,
    width: int | None = None,
    widen: float = 1.0,
    shortcut: str = "auto",
    order: str = "original",
    block: str = "auto",
    stem: str = "auto",
    zero_init: bool = False,
) -> SkipNet:
    """Build a CIFAR net with fresh weights: He's for convolutions, torch's own for the linear layer, whose bias is 0.

    Args:
        gate: the rule's specification.
        depth: convolutions on the longest path and the linear layer: 6n + 2 with basic blocks, 9n + 2 with bottlenecks.
        num_classes: scores that come out.
        in_channels: of the images; None is 3.
        image_size: the images' larger side in pixels, by which `auto` chooses the stem; None is a small one.
        width: channels of the stem and, times `widen`, of the first stage; None is 16.
        widen: the stages' channels against the stem's: Wide ResNet's k (arXiv 1605.07146), whose WRN-28-10 is
            `preresnet-26` with widen=10 and shortcut=B (it counts the projections).
        shortcut: a shortcut's specification; `auto` is A for basic blocks, B for bottlenecks. Plain nets have none.
        order: of convolution, batch norm and ReLU, a name of `skipway.nets.blocks.ORDERS`.
        block: `basic`, `bottleneck`, or `auto`: bottlenecks where the order is `pre` and the depth 9n + 2 from 164 on.
        stem: `small` is a 3x3 convolution; `large` a 7x7 with stride 2, then pooling with stride 2; `auto` is `large`
            above 64 pixels.
        zero_init: start each block as its shortcut (`skipway.nets.blocks.start_as_shortcuts`).

    Shapes: (batch, in_channels, height, width) to (batch, num_classes), for images of any size.

    Raises:
        ValueError: if a depth, number or name is not valid; the message says what is.
    """
    bottleneck = _is_bottleneck(depth, order, block)
    plain = Spec.parse(gate).name == "plain"
    width = WIDTH if width is None else width
    plan = _Plan(ORDERS[order], bottleneck, (depth - 2) // (9 if bottleneck else 6), width, round(width * widen))
    plan.check()
    first = _stem(stem, image_size, 3 if in_channels is None else in_channels, plan)
    bodies = list(plan.bodies())
    head = _head(plan, num_classes)
    if zero_init:
        start_as_shortcuts(bodies, plain=plain)
    way = shortcut if shortcut != "auto" else "B" if bottleneck else "A"
    ways = None if plain else [make_way(way, body, plan.order) for body in bodies]
    pre, post = zip(*((plan.before(place), plan.behind(place)) for place in range(len(bodies))), strict=True)
    return SkipNet(first, skip_row(gate, bodies, ways, pre=pre, post=post), head)


def check_depth(depth: int, order: str = "original", block: str = "auto") -> None:
    """Hold a CIFAR net's depth to its rule.

    Raises:
        ValueError: with the rule and the nearest valid depths, or if there is no such order or block.
    """
    if order not in ORDERS:
        raise UnknownNameError("order", order, ORDERS)
    if block not in _BLOCKS:
        raise UnknownNameError("block", block, _BLOCKS)
    valid = partial(_is_depth, order=order, block=block)
    if valid(depth):
        return
    least = next(d for d in range(100) if valid(d))
    below = next((d for d in range(depth, least - 1, -1) if valid(d)), None)
    above = next(d for d in range(max(depth, least), max(depth, least) + 10) if valid(d))
    near = str(above) if below is None else f"{below} and {above}"
    raise ValueError(f"a CIFAR net's depth is {_rule(order, block)}; it is {depth}. Nearest: {near}.")


def net_name(gate: str, depth: int, order: str = "original", **_: Any) -> str:
    """`resnet-56`, `plain-56`, `highway-56`; in full pre-activation `preresnet-164`."""
    return f"{'pre' if order == 'pre' else ''}{word_of(gate)}-{depth}"


def parse_name(name: str) -> NetName | None:
    """What a name says; None if it is not that of a CIFAR net with an existing gate."""
    match = re.fullmatch(r"(?P<gate>[a-z0-9-]+)-(?P<depth>\d+)", name)
    if not match:
        return None
    word, depth = match["gate"], int(match["depth"])
    if GATES.has(gate := gate_of(word)):
        return NetName(gate, depth)
    if word.startswith("pre") and GATES.has(gate := gate_of(word.removeprefix("pre"))):
        return NetName(gate, depth, {"order": "pre"})
    return None


FAMILY = Family(
    name="cifar",
    about="convolutional, three stages of blocks: He et al.'s CIFAR nets, for images of any size",
    depths="6n + 2; 9n + 2 with bottlenecks, which pre-activation nets have from 164 on",
    examples=(
        "plain-20",
        "resnet-20",
        "highway-20",
        "plain-56",
        "resnet-56",
        "highway-56",
        "resnet-110",
        "preresnet-164",
    ),
    naming=Naming(net_name, parse_name),
    make=cifar_net,
    check_depth=check_depth,
    inputs=lambda shape: {"in_channels": shape[0], "image_size": max(shape[1:])},
    shape=(3, 32, 32),
    recipe="he2015",
    study_depths=(20, 32, 44, 56),
)


@dataclass(frozen=True)
class _Plan:
    """The blocks of one net, without gates and shortcuts."""

    order: BlockOrder
    bottleneck: bool
    blocks: int  # in each of the three stages
    stem_width: int
    width: int  # of the first stage's 3x3 convolutions; it doubles from stage to stage

    @property
    def features(self) -> int:
        """Channels that leave the last block."""
        return self._out(3 * self.blocks - 1)

    def check(self) -> None:
        if self.width < 1:
            raise ValueError(f"width times widen, the channels of the first stage, is 1 or more; it is {self.width}.")

    def bodies(self) -> Iterator[nn.Sequential]:
        """F of every block, in order, with fresh weights."""
        make = bottleneck_convs if self.bottleneck else basic_convs
        for index in range(3 * self.blocks):
            convs = make(self._in(index), self._planes(index), self._stride(index))
            yield make_body(convs, self.order, shares_first=self._shares_first(index))

    def before(self, index: int) -> nn.Module | None:
        """What both branches of a block share."""
        return activation(self.order.before, self._in(index)) if self._shares_first(index) else None

    def behind(self, index: int) -> nn.Module | None:
        """What follows a block's addition."""
        return activation(self.order.post, self._out(index))

    def _shares_first(self, index: int) -> bool:
        # Where the shape changes (arXiv 1603.05027, section 4.1), and behind the stem (its appendix).
        return index == 0 or self._stride(index) != 1 or self._in(index) != self._out(index)

    def _stride(self, index: int) -> int:
        return 2 if index > 0 and index % self.blocks == 0 else 1

    def _planes(self, index: int) -> int:
        return int(self.width * 2 ** (index // self.blocks))

    def _in(self, index: int) -> int:
        return self.stem_width if index == 0 else self._out(index - 1)

    def _out(self, index: int) -> int:
        return self._planes(index) * (4 if self.bottleneck else 1)


def _stem(stem: str, image_size: int | None, channels: int, plan: _Plan) -> nn.Sequential:
    if stem not in _STEMS:
        raise UnknownNameError("stem", stem, _STEMS)
    if stem == "auto":
        stem = "large" if image_size is not None and image_size > _LARGE else "small"
    kernel, stride = (7, 2) if stem == "large" else (3, 1)
    parts = activations(plan.order.stem, plan.stem_width)
    pool = {"pool": nn.MaxPool2d(3, stride=2, padding=1)} if stem == "large" else {}
    return named(conv=conv(channels, plan.stem_width, kernel, stride=stride), **_by_kind(parts), **pool)


def _head(plan: _Plan, num_classes: int) -> nn.Sequential:
    linear = nn.Linear(plan.features, num_classes)
    nn.init.zeros_(linear.bias)
    parts = _by_kind(activations(plan.order.before, plan.features))
    return named(**parts, pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=linear)


def _by_kind(parts: list[nn.Module]) -> dict[str, nn.Module]:
    return {"bn" if isinstance(part, nn.BatchNorm2d) else "relu": part for part in parts}


def _is_bottleneck(depth: int, order: str, block: str) -> bool:
    check_depth(depth, order, block)
    return block == "bottleneck" or (block == "auto" and _has_bottlenecks_by_default(depth, order))


def _is_depth(depth: int, order: str, block: str) -> bool:
    basic, bottleneck = depth >= 8 and depth % 6 == 2, depth >= 11 and depth % 9 == 2
    if block == "auto":
        return basic or _has_bottlenecks_by_default(depth, order)
    return bottleneck if block == "bottleneck" else basic


def _has_bottlenecks_by_default(depth: int, order: str) -> bool:
    return order == "pre" and depth >= _LEAST_BOTTLENECK and depth % 9 == 2


def _rule(order: str, block: str) -> str:
    if block == "bottleneck":
        return "9n + 2 with bottlenecks, from 11"
    if block == "auto" and order == "pre":
        return f"6n + 2 from 8, or 9n + 2 from {_LEAST_BOTTLENECK}"
    return "6n + 2 with basic blocks, from 8 (block=bottleneck: 9n + 2)"
