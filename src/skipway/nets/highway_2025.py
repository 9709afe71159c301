"""The Highway-110 of 2025 (Srivastava, "Weighted skip connections are not harmful for deep nets"), at any depth."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from skipway.nets import cifar
from skipway.nets.family import template
from skipway.nets.highway import as_published
from skipway.nets.stack import SkipNet

_ORDER = "relu-before"  # the body ends in ReLU, and nothing follows the addition


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
    name="highway-2025",
    about="the CIFAR body as the highway author's net of 2025 has it: no ReLU after the addition, gates of two layers",
    depths="6n + 2; published is 110",
    examples=("plain-110-2025", "residual-110-2025", "highway-110-2025"),
    naming=template("{gate}-{depth}-2025"),
    make=highway_2025_net,
    check_depth=partial(cifar.check_depth, order=_ORDER),
    study_depths=(20, 56, 110),
)
