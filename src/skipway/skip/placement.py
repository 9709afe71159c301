"""A gate's place in the net: all that a rule may know of it, read off the block's body."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from skipway.skip.in_place import note_trial
from skipway.skip.norms import NORMS, norm_like
from skipway.skip.parts import layer_name
from skipway.skip.reading import LAYOUTS, Kind, read, space

M = TypeVar("M", bound=nn.Module)
_CONVS: dict[str, type[nn.Module]] = {"conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}
_ACTIVATIONS_AT_ZERO = (nn.ReLU, nn.ReLU6)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A gate's place in the net: all that a rule may know of it.

    A rule that reads `index` or `count` depends on depth, and is refused where they were not told.
    """

    features: int | None  # units, or channels, that go in; None where the body does not show it
    out_features: int | None  # and that come out
    kind: Kind | None = "linear"  # the layout of the input: a key of `skipway.skip.reading.LAYOUTS`
    kernel: int = 1  # the body's first kernel, in pixels; 0 if it is not square
    stride: int = 1  # of the whole body; 0 where its size changes otherwise
    rounds_down: bool = False  # whether a size that the stride does not divide loses the pixels that are left over
    groups: int = 1  # of the layer that the kernel is from: its channels see only those of their group
    row: tuple[int | None, int | None] = (None, None)  # index and count, as far as they were told
    layers: tuple[str, ...] = ()  # names of the body's linear and convolution layers, in the order in which they run
    last: str | None = None  # the one whose output F is, up to what mixes no features; None if there is no such layer
    shared: bool = False  # whether other blocks of the row have parameters of the body, too
    norm: Callable[[int], nn.Module] | None = None  # makes a norm of the body's kind for so many features
    ends_in_relu: bool = False  # whether the body's last operation is a ReLU
    several_outputs: bool = False  # whether the body returns a tuple, as attention does; F is its first element
    problem: str | None = None  # what the body leaves open, and which argument settles it

    @classmethod
    def of(
        cls,
        body: nn.Module,
        *,
        features: int | None = None,
        kind: Kind | None = None,
        index: int | None = None,
        count: int | None = None,
    ) -> Placement:
        """Read the place off a body by trial runs: a copy of it, in evaluation mode, takes empty batches.

        Weights, buffers, hooks and random states stay as they are. The body's code runs, however: what it keeps for
        itself outside of the module, such as a counter in its class, advances. What stays open is refused when a rule
        asks for it, since many rules ask for nothing.

        Args:
            body: any module.
            features: units or channels that go in, where the body does not tell.
            kind: the input's layout, where the body does not tell: "linear" is (batch, ..., features), "conv2d"
                (batch, channels, height, width), "conv1d" and "conv3d" likewise.
            index: the block's place among the net's gated blocks, from 0.
            count: the number of gated blocks in the net.

        Raises:
            ValueError: if there is no such kind, or if index and count are out of range.
        """
        if kind not in (None, *LAYOUTS):
            raise ValueError(f"kind is the layout of the body's input, one of {', '.join(LAYOUTS)}; it is {kind!r}.")
        if not 0 <= (index or 0) < (math.inf if count is None else count):
            raise ValueError(f"index counts the blocks from 0 to count - 1; index is {index} and count {count}.")
        return replace(_see(body, features, kind), row=(index, count))

    @property
    def index(self) -> int:
        """The block's place among the net's gated blocks, from 0.

        Raises:
            ValueError: if it was not told.
        """
        return self._told(self.row[0])

    @property
    def count(self) -> int:
        """The number of gated blocks in the net.

        Raises:
            ValueError: if it was not told.
        """
        return self._told(self.row[1])

    @property
    def normalised(self) -> bool:
        """Whether the body normalises; its initial scale then carries no signal."""
        return self.norm is not None

    @property
    def body_layers(self) -> int:
        """How many linear and convolution layers run in the body."""
        return len(self.layers)

    @property
    def keeps_shape(self) -> bool:
        """Whether what comes out has the shape of what goes in, as far as the body shows it."""
        return self.stride == 1 and (self.features == self.out_features or None in (self.features, self.out_features))

    def layer(self, *, kernel: int | None = None, bias: bool = True) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d:
        """A fresh layer from the block's input to its output's shape: linear, or a convolution with the body's stride.

        It has the body's groups, so that a gate on a depthwise body costs no more than that; 1x1 mixes all channels.

        Args:
            kernel: in pixels; None is the body's.
            bias: whether it has one.

        Raises:
            ValueError: if the body leaves open what such a layer would be; if the kernel is even, since padding could
                not keep the size.
        """
        features, out_features = self._known()
        if self.kind is None or self.kind == "linear":
            return nn.Linear(features, out_features, bias=bias)
        kernel = self.kernel if kernel is None else kernel
        if kernel == 0:
            raise ValueError("a gate's kernel is square, and this body's is not: choose one, as highway:kernel=3 does.")
        if kernel % 2 == 0:
            raise ValueError(f"a gate's kernel must be odd, so that padding keeps the size; it is {kernel}.")
        conv = _CONVS[self.kind](
            *(features, out_features, kernel),
            stride=self.stride,
            padding=kernel // 2,
            groups=math.gcd(self.groups, features, out_features) if kernel > 1 else 1,
            bias=bias,
        )
        return cast(nn.Conv1d, conv)

    def parameter(self, value: float) -> nn.Parameter:
        """A parameter with one value for each feature that comes out, shaped to broadcast against the output.

        Raises:
            ValueError: if the body leaves open where that is.
        """
        return nn.Parameter(torch.full((self._known()[1],) + (1,) * space(self.kind), value))

    def cropped(self, z: Tensor) -> Tensor:
        """The block's input without the pixels that a body which rounds its size down leaves out: layers round up."""
        if not self.rounds_down:
            return z
        for place in range(-space(self.kind), 0):
            z = z.narrow(place, 0, z.shape[place] - z.shape[place] % self.stride)
        return z

    def check(self) -> None:
        """Refuse a place that is not known.

        Raises:
            ValueError: with what the body leaves open, and what settles it.
        """
        if self.problem:
            raise ValueError(self.problem)

    def _known(self) -> tuple[int, int]:
        self.check()
        if self.features is None or self.out_features is None:
            raise ValueError("this layer needs to know how many features go in and come out.")
        return self.features, self.out_features

    def _told(self, value: int | None) -> int:
        if value is None:
            raise ValueError(
                "this rule depends on how many gated blocks the net has, and on which of them this is: give count= and "
                "index=, or put the rule on all bodies at once with skipway.skip_row(gate, bodies), or fix the setting "
                "that follows from them, as highway:bias=-2, residual:scale=1 and layerscale:init=0.1 do."
            )
        return value

    def __str__(self) -> str:
        """What was inferred, in short, as a gate's repr shows it."""
        where = f" of {LAYOUTS[self.kind]}" if self.kind else ""
        parts = [f"{self.features or '?'} -> {self.out_features or '?'} features{where}"]
        if space(self.kind):
            parts += [f"kernel {self.kernel or '?'}", f"stride {self.stride or '?'}"]
        if self.groups != 1:
            parts.append(f"groups {self.groups}")
        if self.row != (None, None):
            parts.append("block {} of {}".format(*("?" if value is None else value for value in self.row)))
        return ", ".join(parts)


def beside(body: nn.Module, module: M) -> M:
    """The module, moved to the body's device and precision."""
    first = next((p for p in body.parameters() if p.dtype.is_floating_point), None)
    return module if first is None else module.to(device=first.device, dtype=first.dtype)


def _see(body: nn.Module, features: int | None, kind: Kind | None) -> Placement:
    found = read(body, features, kind)
    if found.overwrites is not None:
        note_trial(body, found.overwrites)
    ran = [body.get_submodule(name) for name in found.parts]
    first = next((part for part in ran if isinstance(part, _ConvNd) and _kind(part) == found.kind), None)
    norm = next((part for part in reversed(ran) if isinstance(part, NORMS)), None)
    return Placement(
        features=found.features,
        out_features=found.out_features,
        kind=found.kind,
        kernel=1 if first is None else _square(first.kernel_size),
        stride=found.stride,
        rounds_down=found.rounds_down,
        groups=1 if first is None else first.groups,
        layers=tuple(name for name in map(layer_name, found.parts, ran) if name is not None),
        last=None if found.last is None else layer_name(found.last, body.get_submodule(found.last)),
        norm=None if norm is None else norm_like(norm, space(found.kind)),
        ends_in_relu=found.ends_in_relu or (bool(ran) and isinstance(ran[-1], _ACTIVATIONS_AT_ZERO)),
        several_outputs=found.several,
        problem=found.problem,
    )


def _kind(layer: _ConvNd) -> str:
    return f"conv{len(layer.kernel_size)}d"


def _square(sizes: Sequence[int]) -> int:
    return sizes[0] if len(set(sizes)) == 1 else 0
