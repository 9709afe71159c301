"""ImageNet nets (He et al. 2015, arXiv 1512.03385, Table 1), under the parameter names of torchvision and timm.

Those names are a contract with other people's checkpoints: ``conv1``, ``bn1``, ``layer1.0.conv1``,
``layer1.0.downsample.0``, ``fc``. Wide ResNet (Zagoruyko and Komodakis 2016, arXiv 1605.07146), ResNeXt (Xie et al.
2017, arXiv 1611.05431) and ResNet-D (He et al. 2018, arXiv 1812.01187, section 4.2) are settings of the same net.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

from torch import Tensor, nn

from skipway.nets.blocks import conv, start_as_shortcuts
from skipway.nets.family import Family, Naming, NetName, gate_of, word_of
from skipway.nets.imagenet_blocks import STAGES, WIDTH, Bodies, ImageBlock, downsample
from skipway.nets.relu import ReLU
from skipway.nets.stack import SkipNet
from skipway.settings.registry import Spec, UnknownNameError, Value
from skipway.skip.gate import GATES
from skipway.skip.placement import Placement
from skipway.skip.row import skip_row

_STEMS = ("auto", "conv7", "deep", "small")
# Stem and stages divide the size by 32: of a smaller image the last stage would see less than 2x2.
_SMALL = 64  # pixels

# The names under which torchvision and timm know a depth with settings.
VARIANTS: Mapping[str, tuple[int, Mapping[str, Value]]] = {
    "wide_resnet50_2": (50, {"group_width": 128}),
    "wide_resnet101_2": (101, {"group_width": 128}),
    "resnext50_32x4d": (50, {"groups": 32, "group_width": 4}),
    "resnext101_32x8d": (101, {"groups": 32, "group_width": 8}),
    "resnext101_64x4d": (101, {"groups": 64, "group_width": 4}),
    **{f"resnet{depth}d": (depth, {"stem": "deep", "pool_shortcut": True}) for depth in STAGES},
}


class ImageSkipNet(SkipNet):
    """Stem, four stages, average pooling and a linear layer, under torchvision's names.

    Args:
        conv1: the stem's convolution, or convolutions; `width` channels come out.
        pool: what follows the stem's ReLU.
        blocks: all blocks in order.
        counts: the number of blocks in each stage.
        fc: from the last stage's channels to class scores.
        width: channels of the stem.
    """

    def __init__(
        self,
        conv1: nn.Module,
        pool: nn.Module,
        blocks: Sequence[nn.Module],
        counts: Sequence[int],
        fc: nn.Linear,
        *,
        width: int,
    ) -> None:
        # Not SkipNet's own: it would register stem, blocks and head, and their names be in the state dict too.
        nn.Module.__init__(self)
        self.architecture: dict[str, Any] = {}
        self.conv1, self.bn1, self.relu, self.maxpool = conv1, nn.BatchNorm2d(width), ReLU(), pool
        self._stages = [f"layer{number}" for number in range(1, len(counts) + 1)]
        for name, (start, end) in zip(self._stages, pairwise([0, *accumulate(counts)]), strict=True):
            self.add_module(name, nn.Sequential(*blocks[start:end]))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), fc

    @property
    def stem(self) -> nn.Module:  # type: ignore[override]
        """The first layer."""
        return self.conv1

    @property
    def blocks(self) -> nn.Sequential:  # type: ignore[override]
        """The blocks of all stages, in order."""
        return nn.Sequential(*(block for name in self._stages for block in self.get_submodule(name).children()))

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """The last layer."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        """From images, (batch, channels, height, width), to class scores, (batch, classes)."""
        z = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self._stages:
            z = self.get_submodule(name)(z)
        return cast(Tensor, self.fc(self.avgpool(z).flatten(1)))


def imagenet_net(
    *,
    gate: str,
    depth: int,
    num_classes: int,
    in_channels: int | None = None,
    image_size: int | None = None,
    width: int | None = None,
    shortcut: str = "auto",
    stem: str = "auto",
    pool_shortcut: bool = False,
    groups: int = 1,
    group_width: int = WIDTH,
    zero_init: bool = False,
) -> ImageSkipNet:
    """Build an ImageNet net with fresh weights: He's for convolutions, torch's own for the linear layer.

    Stem, bodies and head are drawn first, then shortcuts, then gates: from one seed the bodies are equal in all gates.

    Args:
        gate: the rule's specification.
        depth: convolutions on the longest path and the linear layer: 18, 34, 50, 101 or 152.
        num_classes: scores that come out.
        in_channels: of the images; None is 3.
        image_size: the images' smaller side in pixels, by which `auto` chooses the stem; None is a large one.
        width: channels of the stem and the first stage; None is 64.
        shortcut: a shortcut's specification; `auto` is B. Plain nets have none.
        stem: `conv7` is 7x7 with stride 2, then pooling; `deep` has three 3x3 for the 7x7 (ResNet-D); `small` is 3x3
            with stride 1 and no pooling; `auto` is `small` below 64 pixels, otherwise `conv7`.
        pool_shortcut: projections leave their stride to average pooling before them (ResNet-D).
        groups: of a bottleneck's 3x3 convolution (ResNeXt's cardinality).
        group_width: channels of one such group in the first stage, at width 64; 128 makes a Wide ResNet.
        zero_init: start each body's last batch norm at weight 0, so that every block starts as its shortcut; not for
            plain nets, which have none.

    Raises:
        ValueError: if a depth, number, stem or shortcut is not valid; the message says what is.
    """
    check_depth(depth)
    if stem not in _STEMS:
        raise UnknownNameError("stem", stem, _STEMS)
    plain = Spec.parse(gate).name == "plain"
    plan = Bodies(depth, WIDTH if width is None else width, groups, group_width)
    plan.check()
    if stem == "auto":
        stem = "small" if image_size is not None and image_size < _SMALL else "conv7"
    conv1 = _stem(stem, 3 if in_channels is None else in_channels, plan.width)
    bodies = list(plan.build())
    fc = nn.Linear(plan.features, num_classes)
    if zero_init:
        start_as_shortcuts(bodies, plain=plain)
    way = "B" if shortcut == "auto" else shortcut
    ways = None if plain else [downsample(way, Placement.of(body), pool=pool_shortcut) for body in bodies]
    # Not in place: where a gate lets nothing through, what comes here is the block's input itself.
    blocks = list(skip_row(gate, bodies, ways, post=ReLU(), block=ImageBlock))
    pool = nn.Identity() if stem == "small" else nn.MaxPool2d(3, stride=2, padding=1)
    return ImageSkipNet(conv1, pool, blocks, STAGES[depth], fc, width=plan.width)


def check_depth(depth: int) -> None:
    """Hold an ImageNet net's depth to the paper's table.

    Raises:
        ValueError: with the nearest valid depths.
    """
    if depth in STAGES:
        return
    near = [d for d in STAGES if d < depth][-1:] + [d for d in STAGES if d > depth][:1]
    raise ValueError(
        f"an ImageNet net's depth is one of {', '.join(map(str, STAGES))}; it is {depth}. "
        f"Nearest: {' and '.join(map(str, near))}."
    )


def net_name(gate: str, depth: int, **settings: Value) -> str:
    """`resnet34`, `plain34`, `highway34`; `mine2_34` for a gate `mine2`, whose own digits would run into the depth."""
    word = word_of(gate)
    return f"{word}{'_' if word[-1].isdigit() else ''}{depth}"


def parse_name(name: str) -> NetName | None:
    """The parts of a name, torchvision's and timm's of variants too; None if it is not an ImageNet net's."""
    if name in VARIANTS:
        depth, settings = VARIANTS[name]
        return NetName("residual", depth, settings)
    match = re.fullmatch(r"(?P<gate>[a-z][a-z0-9-]*?)_?(?P<depth>(?<!\d)\d+)", name)
    gate = gate_of(match["gate"]) if match else ""
    # Other families' names end in a number too; theirs has no gate before it.
    return NetName(gate, int(match["depth"])) if match and GATES.has(gate) else None


FAMILY = Family(
    name="imagenet",
    about="convolutional, four stages of blocks, under torchvision's parameter names: He et al.'s ImageNet nets",
    depths="18 and 34 with basic blocks; 50, 101 and 152 with bottlenecks",
    examples=("plain34", "resnet18", "resnet34", "highway34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d"),
    naming=Naming(net_name, parse_name),
    make=imagenet_net,
    check_depth=check_depth,
    inputs=lambda shape: {"in_channels": shape[0], "image_size": min(shape[1:])},
    shape=(3, 224, 224),
    classes=1000,
    recipe="he2015",
    study_depths=(18, 34, 50),
)


def _stem(stem: str, channels: int, width: int) -> nn.Module:
    if stem == "conv7":
        return conv(channels, width, 7, stride=2)
    if stem == "small":
        return conv(channels, width, 3)
    half = max(1, width // 2)
    first = (conv(channels, half, 3, stride=2), nn.BatchNorm2d(half), ReLU())
    second = (conv(half, half, 3), nn.BatchNorm2d(half), ReLU())
    return nn.Sequential(*first, *second, conv(half, width, 3))
