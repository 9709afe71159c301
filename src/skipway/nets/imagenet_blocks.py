"""The blocks of ImageNet nets, under torchvision's and timm's parameter names: ``conv1``, ``bn1``, ``downsample.0``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor, nn

from skipway.nets.blocks import EXPANSION, ORDERS, basic_convs, conv, make_body
from skipway.nets.family import check_counts
from skipway.skip.block import Skip
from skipway.skip.gate import Gate
from skipway.skip.placement import Placement
from skipway.skip.shortcuts import OptionB, OptionC, make_shortcut

WIDTH = 64  # channels of the paper's first stage
# Blocks in each of the four stages, by depth (arXiv 1512.03385, Table 1): basic up to depth 34, bottlenecks beyond.
STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_LAST_BASIC = 34


class ImageBlock(Skip):
    """A basic block or a bottleneck, whose parts bear torchvision's names in the state dict.

    Args:
        gate: the rule.
        body: F; its children become the block's own, under their names.
        downsample: S; None is the identity.
        pre: what comes before both branches.
        post: what comes after the sum.
    """

    def __init__(
        self,
        gate: Gate,
        body: nn.Module,
        downsample: nn.Module | None,
        *,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
    ) -> None:
        # Not Skip's own: it would register body and shortcut, and their names be in the state dict.
        nn.Module.__init__(self)
        self._steps = [name for name, _ in body.named_children()]
        for name, part in body.named_children():
            self.add_module(name, part)
        self.downsample = downsample
        self.pre, self.post, self.gate = pre, post, gate

    @property
    def body(self) -> nn.Sequential:  # type: ignore[override]
        """F, in one piece."""
        return nn.Sequential(*(self.get_submodule(name) for name in self._steps))

    @property
    def shortcut(self) -> nn.Module | None:  # type: ignore[override]
        """S."""
        return self.downsample

    def transform(self, z: Tensor) -> Tensor:
        """F(z): the body's parts, one after another."""
        for name in self._steps:
            z = self.get_submodule(name)(z)
        return z


@dataclass(frozen=True)
class Bodies:
    """The bodies of one net: how many, and how wide."""

    depth: int  # a key of STAGES
    width: int  # channels of the first stage; they double from stage to stage
    groups: int  # of a bottleneck's 3x3 convolution
    group_width: int  # channels of one such group in the first stage, where width is WIDTH

    def check(self) -> None:
        """Hold the numbers to their rules.

        Raises:
            ValueError: if one of them is out of range, or belongs to bottlenecks where the depth has none.
        """
        check_counts(width=self.width, groups=self.groups, group_width=self.group_width)
        if self.basic and (self.groups, self.group_width) != (1, WIDTH):
            bottlenecks = ", ".join(str(depth) for depth in STAGES if depth > _LAST_BASIC)
            raise ValueError(
                f"groups and group_width are settings of bottlenecks, which depths {bottlenecks} have; "
                f"depth {self.depth} has basic blocks."
            )
        if not self.basic and self._inner(self.width) < self.groups:
            raise ValueError(
                f"group_width {self.group_width} at width {self.width} leaves a group less than one channel: "
                f"group_width times width is {WIDTH} or more."
            )

    @property
    def basic(self) -> bool:
        """Whether the blocks are basic blocks, otherwise bottlenecks."""
        return self.depth <= _LAST_BASIC

    @property
    def features(self) -> int:
        """Channels that leave the last stage."""
        return self.width * 8 * (1 if self.basic else EXPANSION)

    def build(self) -> Iterator[nn.Sequential]:
        """F of every block, in order, with fresh weights."""
        channels = self.width
        for stage, count in enumerate(STAGES[self.depth]):
            planes = self.width * 2**stage
            for place in range(count):
                convs = self._convs(channels, planes, 2 if place == 0 and stage > 0 else 1)
                yield make_body(convs, ORDERS["original"], shares_first=False)
                channels = convs[-1].out_channels

    def _inner(self, planes: int) -> int:
        """Channels of a bottleneck's 3x3 convolution."""
        return planes * self.group_width // WIDTH * self.groups

    def _convs(self, channels: int, planes: int, stride: int) -> list[nn.Conv2d]:
        if self.basic:
            return basic_convs(channels, planes, stride)
        # The stride is the 3x3 convolution's, as in torchvision; the paper has it in the first 1x1.
        inner = self._inner(planes)
        middle = conv(inner, inner, 3, stride=stride, groups=self.groups)
        return [conv(channels, inner, 1), middle, conv(inner, planes * EXPANSION, 1)]


def downsample(shortcut: str, placement: Placement, *, pool: bool = False) -> nn.Module | None:
    """S of a block; None where it is the identity and holds nothing.

    Args:
        shortcut: its specification.
        placement: the block's place.
        pool: leave the stride of a projection to average pooling before it, so that no pixel goes unseen (ResNet-D).

    Returns:
        A projection is (convolution, batch norm), with `pool` (pooling, convolution, batch norm): torchvision's and
        timm's names ``downsample.0``, ``downsample.1``, ``downsample.2``.

    Raises:
        ValueError: if there is no such shortcut, or if it cannot stand at this place.
    """
    way = make_shortcut(shortcut, replace(placement, stride=1) if pool else placement)
    if not isinstance(way, OptionB | OptionC):
        return make_shortcut(shortcut, placement)
    if not pool or way.projection is None:
        return way.projection
    # At the rim of an odd size, the mean of the pixels that are there; as in timm.
    pooling = (
        nn.AvgPool2d(placement.stride, ceil_mode=True, count_include_pad=False)
        if placement.stride > 1
        else nn.Identity()
    )
    return nn.Sequential(pooling, *cast(nn.Sequential, way.projection))
