"""A gate's place in the net: all that a rule may know of it, read off the block's body."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import nn

Kind = Literal["linear", "conv1d", "conv2d", "conv3d"]
_CONVS: dict[str, type[nn.Module]] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}
_KINDS: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
}
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_ACTIVATIONS_AT_ZERO = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A gate's place in the net: all that a rule may know of it."""

    features: int | None  # units, or channels, that go in; None where the body does not show it
    out_features: int | None  # and that come out
    kind: Kind = "linear"  # the kind of the body's layers
    kernel: int = 1  # the body's first kernel, in pixels
    stride: int = 1  # of the whole body
    index: int = 0  # this block's place among the net's gated blocks, from 0
    count: int = 1  # the number of gated blocks in the net
    body_layers: int = 1  # linear and convolution layers in the body
    normalised: bool = False  # whether the body normalises (its initial scale then carries no signal)
    ends_in_relu: bool = False  # whether the body's last operation is a ReLU

    @classmethod
    def of(cls, body: nn.Module, *, features: int | None = None, index: int = 0, count: int = 1) -> Site:
        """Read the place off a body.

        Args:
            body: any module; its linear and convolution layers are taken in order of definition.
            features: units or channels that go in and come out, where the layers do not tell.
            index: the block's place among the net's gated blocks.
            count: the number of gated blocks in the net.

        Raises:
            ValueError: if a kernel or stride is not the same in all directions.
        """
        layers = list(layers_of(body))
        first, last = (layers[0], layers[-1]) if layers else (None, None)
        return cls(
            features=features or _width(first, "in"),
            out_features=features or _width(last, "out"),
            kind=_kind(first),
            kernel=_extent(first, "kernel_size"),
            stride=math.prod(_extent(layer, "stride") for layer in layers),
            index=index,
            count=count,
            body_layers=len(layers),
            normalised=any(isinstance(m, _NORMS) for m in body.modules()),
            ends_in_relu=isinstance(_last_leaf(body), _ACTIVATIONS_AT_ZERO),
        )

    @property
    def keeps_shape(self) -> bool:
        """Whether what comes out has the shape of what goes in."""
        return self.features == self.out_features and self.stride == 1

    def layer(self, *, kernel: int | None = None, bias: bool = True) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """A fresh layer from the block's input to its output's shape: linear, or a convolution with the body's stride.

        Raises:
            ValueError: if the kernel is even, since padding could not keep the size; if the features are not known.
        """
        features, out_features = self._known()
        if self.kind == "linear":
            return nn.Linear(features, out_features, bias=bias)
        kernel = self.kernel if kernel is None else kernel
        if kernel % 2 == 0:
            raise ValueError(f"a gate's kernel must be odd, so that padding keeps the size; it is {kernel}.")
        conv = _CONVS[self.kind](features, out_features, kernel, stride=self.stride, padding=kernel // 2, bias=bias)
        return cast(nn.Conv1d, conv)

    def parameter(self, value: float) -> nn.Parameter:
        """A parameter with one value for each feature that comes out, shaped to broadcast against the output."""
        return nn.Parameter(torch.full((self._known()[1],) + (1,) * _space(self.kind), value))

    def _known(self) -> tuple[int, int]:
        if self.features is None or self.out_features is None:
            raise ValueError(
                "a body without a linear or convolution layer does not show how many features its gate has: "
                "give features=..., the units or channels of the block's input."
            )
        return self.features, self.out_features


def layers_of(body: nn.Module) -> Iterator[nn.Module]:
    """The linear and convolution layers of a body, in order of definition."""
    return (module for module in body.modules() if isinstance(module, tuple(_KINDS)))


def _kind(layer: nn.Module | None) -> Kind:
    return next((kind for cls, kind in _KINDS.items() if isinstance(layer, cls)), "linear")


def _space(kind: Kind) -> int:
    return 0 if kind == "linear" else int(kind[4])


def _width(layer: nn.Module | None, end: str) -> int | None:
    return (
        None
        if layer is None
        else int(getattr(layer, f"{end}_features" if isinstance(layer, nn.Linear) else f"{end}_channels"))
    )


def _extent(layer: nn.Module | None, attribute: str) -> int:
    sizes = getattr(layer, attribute, (1,))
    if len(set(sizes)) != 1:
        raise ValueError(
            f"a gate follows square {attribute} only; the body has {tuple(sizes)}: build the gate yourself."
        )
    return int(sizes[0])


def _last_leaf(module: nn.Module) -> nn.Module:
    children = list(module.children())
    return _last_leaf(children[-1]) if children else module
