"""The Highway-110 of 2025 (Srivastava, "Weighted skip connections are not harmful for deep nets"), at any depth."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import cast

from torch import Tensor, nn

from skipway.gates import HighwayGate, Site
from skipway.nets import cifar
from skipway.nets.family import template
from skipway.nets.highway import as_published
from skipway.nets.relu import ReLU
from skipway.nets.stack import SkipNet, named

_ORDER = "relu-before"  # the body ends in ReLU, and nothing follows the addition
_NORMS = {"conv1d": nn.BatchNorm1d, "conv2d": nn.BatchNorm2d, "conv3d": nn.BatchNorm3d}


class DeepHighwayGate(HighwayGate, name="highway-deep"):
    """T = sigmoid of two layers with a ReLU between them, C = 1 - T (Srivastava 2025).

    Convolutions are each followed by batch norm where the body normalises; ``bias`` is then the last batch norm's.
    """

    def __init__(self, site: Site, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(site, bias=bias, kernel=kernel)
        first = cast(nn.Conv2d, self.transform)
        start = float(cast(Tensor, first.bias).detach()[0])
        second = replace(site, features=site.out_features, stride=1).layer(
            kernel=None if site.kind == "linear" else first.kernel_size[0]
        )
        nn.init.xavier_normal_(second.weight)
        last: nn.Module = second
        if site.normalised and site.kind in _NORMS:
            norm, last = (_NORMS[site.kind](second.weight.shape[0]) for _ in range(2))
            for layer in (first, second):
                layer.register_parameter("bias", None)
            self.transform = named(conv1=first, bn1=norm, relu=ReLU(), conv2=second, bn2=last)
        else:
            nn.init.zeros_(cast(Tensor, first.bias))
            self.transform = named(layer1=first, relu=ReLU(), layer2=second)
        nn.init.constant_(cast(Tensor, last.bias), start)


def highway_2025_net(
    *,
    gate: str,
    depth: int,
    num_classes: int,
    in_channels: int | None = None,
    image_size: int | None = None,
    width: int | None = None,
) -> SkipNet:
    """Build the CIFAR body with F ending in ReLU, none after the addition, and stages 0.875 times as wide.

    Projections with batch norm stand at the start of all three stages, since the stem keeps its 16 channels.

    Args:
        gate: the rule's specification; `highway` is `highway-deep` with bias -6.
        depth: 6n + 2; published is 110.
        num_classes: scores that come out.
        in_channels: of the images; None is 3.
        image_size: as in `skipway.nets.cifar.cifar_net`.
        width: channels of the stem; None is 16.

    Raises:
        ValueError: as `skipway.nets.cifar.cifar_net`.
    """
    return cifar.cifar_net(
        gate=as_published(gate, "highway-deep:bias=-6"),
        depth=depth,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        width=width,
        widen=0.875,
        shortcut="B",
        order=_ORDER,
    )


FAMILY = replace(
    cifar.FAMILY,
    body="highway-2025",
    about="the CIFAR body as the highway author's net of 2025 has it: no ReLU after the addition, gates of two layers",
    depths="6n + 2; published is 110",
    examples=("plain-110-2025", "residual-110-2025", "highway-110-2025"),
    names=template("{gate}-{depth}-2025"),
    make=highway_2025_net,
    check_depth=partial(cifar.check_depth, order=_ORDER),
    study_depths=(20, 56, 110),
)
