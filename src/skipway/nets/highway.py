"""The highway authors' convolutional nets of 2015: MNIST, 10 layers, and CIFAR, 19 layers, layer by layer as published.

Srivastava et al. 2015 (arXiv 1507.06228, section 3), after the authors' configuration files. In both, `highway` starts
from the authors' gate bias unless its specification gives another; other gates stand in its place. How
they were trained, the recipes `highway-mnist` and `highway-cifar` tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from skipway.nets.family import Family, template
from skipway.nets.relu import ReLU
from skipway.nets.stack import SkipNet, named
from skipway.settings.registry import Spec
from skipway.skip.block import Skip
from skipway.skip.parts import layers_of
from skipway.skip.row import skip_row

_WIDTH = 32
_MNIST_STAGES = (2, 3, 3)  # highway layers; pooling stands between the stages
_CIFAR_STAGES = ((4, 1.0), (5, 2.5), (5, 4.0))  # highway layers, and channels as multiples of the width: 32, 80, 128
_CIFAR_LAST = 100  # channels of the last convolution, whatever the number of classes
_LEAST_MNIST_SIZE = 8  # pixels: on smaller images a pooling window would find nothing


def mnist_net(
    *,
    gate: str,
    depth: int,
    num_classes: int,
    in_channels: int | None = None,
    image_size: int | None = None,
    width: int | None = None,
) -> SkipNet:
    """Build the MNIST net: a plain 5x5 convolution, 2 + 3 + 3 gated 3x3 ones with pooling between, a linear layer.

    Args:
        gate: the rule's specification; `highway` starts from the bias -1.
        depth: 10.
        num_classes: scores that come out.
        in_channels: of the images; None is 1.
        image_size: the side of the images, in pixels; None is 28.
        width: channels of every layer; None is 32, and the paper's smaller net has 16.

    Raises:
        ValueError: if the depth is not 10, or if image_size is too small.
    """
    check_mnist_depth(depth)
    width, size = _WIDTH if width is None else width, 28 if image_size is None else image_size
    if size < _LEAST_MNIST_SIZE:
        raise ValueError(
            f"the highway authors' MNIST net takes images from {_LEAST_MNIST_SIZE} pixels; they have {size}."
        )
    first = _conv(1 if in_channels is None else in_channels, width, 5, padding=0)
    stem = named(dropout=nn.Dropout(0.2), conv=first, relu=ReLU())
    bodies = [_layer(width, width) for _ in range(sum(_MNIST_STAGES))]
    linear = _linear(width * _pooled(size - 4) ** 2, num_classes, std=0.1)
    head = named(**dict(_pooling(2, 0.5).named_children()), flatten=nn.Flatten(), linear=linear)
    # What stands between two stages belongs to the block behind it.
    before = {2: _pooling(3, 0.3), 5: _pooling(3, 0.4)}
    return SkipNet(stem, _gated(gate, "highway:bias=-1", bodies, before), head)


def cifar_19_net(
    *,
    gate: str,
    depth: int,
    num_classes: int,
    in_channels: int | None = None,
    width: int | None = None,
) -> SkipNet:
    """Build the CIFAR net: 4 + 5 + 5 gated 3x3 convolutions, and a plain one before each stage, since they get wider.

    Args:
        gate: the rule's specification, for all but the plain layers; `highway` starts from the bias -2.
        depth: 19.
        num_classes: scores that come out.
        in_channels: of the images; None is 3.
        width: channels of the first stage; None is 32. The others have 2.5 and 4 times as many.

    Shapes: (batch, in_channels, height, width) to (batch, num_classes), for images of any size.

    Raises:
        ValueError: if the depth is not 19.
    """
    check_cifar_19_depth(depth)
    width = _WIDTH if width is None else width
    widths = [round(width * times) for _, times in _CIFAR_STAGES]
    stem = named(
        dropout=nn.Dropout(0.2), **dict(_layer(3 if in_channels is None else in_channels, width).named_children())
    )
    bodies = [_layer(n, n) for n, (count, _) in zip(widths, _CIFAR_STAGES, strict=True) for _ in range(count)]
    wider = [_layer(*pair) for pair in pairwise(widths)]
    last = _layer(widths[-1], _CIFAR_LAST, kernel=1)
    linear = _linear(_CIFAR_LAST, num_classes, std=0.05)
    head = named(pool=nn.AdaptiveAvgPool2d(1), dropout=nn.Dropout(0.2), flatten=nn.Flatten(), linear=linear)
    gated = _gated(gate, "highway:bias=-2", bodies)
    plain = [Skip("plain", layer, pre=_pooling(2, 0.2)) for layer in wider]
    blocks = [*gated[:4], plain[0], *gated[4:9], plain[1], *gated[9:], Skip("plain", last)]
    return SkipNet(stem, blocks, head)


def _check_depth(depth: int, *, only: int, net: str) -> None:
    if depth != only:
        raise ValueError(f"the highway authors' {net} net has {only} layers; depth is {depth}. Nearest: {only}.")


check_mnist_depth = partial(_check_depth, only=10, net="MNIST")
check_cifar_19_depth = partial(_check_depth, only=19, net="CIFAR")


def as_published(gate: str, published: str) -> str:
    """The authors' form of `highway`, with such settings as were given; any other gate as it is."""
    given, form = Spec.parse(gate), Spec.parse(published)
    if given.name != "highway":
        return gate
    return str(Spec(form.name, tuple(sorted({**dict(form.settings), **dict(given.settings)}.items()))))


def _gated(
    gate: str, published: str, bodies: Sequence[nn.Module], before: Mapping[int, nn.Module] | None = None
) -> list[nn.Module]:
    """The gated blocks; `before` is what stands before some of them. The authors draw gates' layers like bodies'."""
    pre = [(before or {}).get(place) for place in range(len(bodies))]
    blocks = list(skip_row(as_published(gate, published), bodies, pre=pre))
    for layer in (layer for block in blocks for layer in layers_of(cast(Skip, block).gate)):
        _draw(layer)
    return blocks


def _layer(channels: int, out: int, kernel: int = 3) -> nn.Sequential:
    return named(conv=_conv(channels, out, kernel, padding=kernel // 2), relu=ReLU())


def _conv(channels: int, out: int, kernel: int, *, padding: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, out, kernel, padding=padding)
    _draw(layer)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def _draw(layer: nn.Module) -> None:
    # Variance 2 / fan-in: what the authors' configuration files name "xavier" is this in their copy of Caffe. (For the
    # first layer of their CIFAR net the file gives a setting that its filler does not know; here it is as the others.)
    nn.init.kaiming_normal_(cast(Tensor, layer.weight))


def _linear(features: int, classes: int, *, std: float) -> nn.Linear:
    layer = nn.Linear(features, classes)
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)
    return layer


def _pooling(kernel: int, dropout: float) -> nn.Sequential:
    return named(pool=nn.MaxPool2d(kernel, stride=2, ceil_mode=True), dropout=nn.Dropout(dropout))


def _pooled(size: int) -> int:
    """The side of the MNIST net's images behind its three poolings."""
    for kernel in (3, 3, 2):
        size = math.ceil((size - kernel) / 2) + 1
    return size


def _mnist_inputs(shape: tuple[int, ...]) -> dict[str, int]:
    channels, height, width = shape
    if height != width:
        raise ValueError(f"the highway authors' MNIST net takes square images; these are {height} x {width} pixels.")
    return {"in_channels": channels, "image_size": height}


MNIST = Family(
    name="highway-mnist",
    about="convolutional, one width, no normalisation: the highway authors' MNIST net",
    depths="10",
    examples=("plain-mnist-10", "residual-mnist-10", "highway-mnist-10"),
    naming=template("{gate}-mnist-{depth}"),
    make=mnist_net,
    check_depth=check_mnist_depth,
    inputs=_mnist_inputs,
    shape=(1, 28, 28),
    recipe="highway-mnist",
    study_depths=(10,),
)
CIFAR = Family(
    name="highway-cifar",
    about="convolutional, three stages, no normalisation: the highway authors' CIFAR net",
    depths="19",
    examples=("plain-cifar-19", "residual-cifar-19", "highway-cifar-19"),
    naming=template("{gate}-cifar-{depth}"),
    make=cifar_19_net,
    check_depth=check_cifar_19_depth,
    inputs=lambda shape: {"in_channels": shape[0]},
    shape=(3, 32, 32),
    recipe="highway-cifar",
    study_depths=(19,),
)
