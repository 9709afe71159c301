"""What a body takes and gives: its input's layout, features in and out, and its stride.

Its layers do not tell that: a linear layer may act on an image's pooled channels, and two convolutions stand side by
side. So the body is tried on inputs of every layout, in sizes that none of its layers has (`skipway.skip.trial`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from torch import nn
from torch.nn.parameter import UninitializedParameter

from skipway.skip.parts import layers_of, parts_of
from skipway.skip.trial import Trial, TrialRuns, unnoticed

Kind = Literal["linear", "conv1d", "conv2d", "conv3d"]
Shape = tuple[int, ...]
LAYOUTS: dict[Kind, str] = {
    "linear": "(batch, ..., features)",
    "conv1d": "(batch, channels, length)",
    "conv2d": "(batch, channels, height, width)",
    "conv3d": "(batch, channels, depth, height, width)",
}
_PIXELS = 960  # 2^6 x 3 x 5, which strides divide
_WIDTHS = ("in_features", "in_channels", "num_features", "num_channels", "input_size", "embed_dim", "normalized_shape")


@dataclass(frozen=True)
class Reading:
    """What trial runs show of a body."""

    kind: Kind | None
    features: int | None  # that go in; None: any number, or not to be seen
    out_features: int | None
    stride: int  # 0: the shape changes in a way that no stride tells
    parts: Sequence[str]  # names of the parts that ran, in that order; of all, as they are defined, where none could
    last: str | None = None  # the layer that F is the output of, but for what mixes no features; None: not to be seen
    rounds_down: bool = False  # whether a size that the stride does not divide loses what is left over
    several: bool = False  # whether a tuple of outputs comes out
    ends_in_relu: bool = False
    overwrites: bool | None = None  # whether the body works in place on its input; None: not to be seen
    problem: str | None = None  # what stays open, and what settles it


def read(body: nn.Module, features: int | None = None, kind: Kind | None = None) -> Reading:
    """Try a body on inputs.

    Args:
        body: any module.
        features: units or channels of the input, where they are known.
        kind: the input's layout, where it is known: a key of `LAYOUTS`.
    """
    with unnoticed(body):
        tries = _Tries(body)
        for kinds in [[kind]] if kind else [_declared(body), list(LAYOUTS)]:
            found = [reading for tried in kinds if (reading := tries.first(tried, features))]
            if found:
                return found[0] if len(found) == 1 else _of_several_kinds(found)
    return _by_definition(body, features, kind, tries.runs.error)


def space(kind: Kind | None) -> int:
    """The number of dimensions behind the features."""
    return 0 if kind is None or kind == "linear" else int(kind[4])


class _Tries:
    """Trial runs of a body on inputs of every layout."""

    def __init__(self, body: nn.Module) -> None:
        self.runs = TrialRuns(body)
        self._widths = list(dict.fromkeys(_widths(body)))
        self._batch, self._size, self._any = (
            next(n for n in count(step, step) if n not in self._widths) for step in (7, _PIXELS, 2520)
        )

    def first(self, kind: Kind, features: int | None) -> Reading | None:
        """What the first run that succeeds shows; None if the body takes no input of this kind."""
        for width in [features] if features else [*self._widths, self._any]:
            for shape, other in zip(self._shapes(kind, width), self._shapes(kind, self._any), strict=True):
                if trial := self.runs(shape):
                    # A body that takes a number of features which is none of its layers' takes any.
                    if features or trial.only or not (wider := self.runs(other)):
                        return self._reading(kind, shape, trial)
                    return self._reading(kind, other, wider)
        return None

    def _shapes(self, kind: Kind, width: int) -> list[Shape]:
        if kind == "linear":
            return [(self._batch, width), (self._batch, self._size, width)]
        return [(self._batch, width, *(self._size,) * space(kind))]

    def _reading(self, kind: Kind, given: Shape, trial: Trial) -> Reading:
        found, at = trial.shape, -1 if kind == "linear" else 1
        width: int | None = given[at]
        out = found[at] if len(found) == len(given) else None
        stride, down = self._stride(kind, given, found)
        problem = None
        if width == self._any:
            width, out = None, None if out == width else out
            problem = "the body takes any number of features: give features=, the units or channels of its input."
        if stride == 0:
            problem = (
                f"tried on the shape {given}, the body gave {found}, and no layer with one stride follows it there and "
                "at other sizes: give a gate, and where something is carried a shortcut, that are modules of your own."
            )
        return Reading(
            *(kind, width, out, stride, trial.ran),
            last=trial.last,
            rounds_down=down,
            several=trial.several,
            ends_in_relu=trial.ends_in_relu,
            overwrites=trial.overwrites,
            problem=problem,
        )

    def _stride(self, kind: Kind, given: Shape, found: Shape) -> tuple[int, bool]:
        """The stride, and whether it rounds down; 0 where there is none."""
        if len(found) != len(given) or found[0] != given[0]:
            return 0, False
        if kind == "linear":
            return int(found[:-1] == given[:-1]), False
        before, after = given[2], found[2]
        if not after or before % after or set(found[2:]) != {after}:
            return 0, False
        if before == after:
            return 1, False
        # A pooling to a fixed size has no stride, though its sizes have a ratio.
        if self._after(given, 2 * before) != 2 * after:
            return 0, False
        # Convolutions that halve 9 give 5, most poolings 4. Of one before the other either may come out: the gate is
        # built to round up, and the forward pass refuses a size for which that is wrong.
        stride = before // after
        more = {self._after(given, before + rest) for rest in (1, stride - 1)} - {None}
        return (stride, more == {after}) if more <= {after, after + 1} else (0, False)

    def _after(self, given: Shape, size: int) -> int | None:
        """The size that comes out where this one goes in; 0 if it is not the same along all dimensions.

        None if the body does not take it.
        """
        trial = self.runs((*given[:2], *(size for _ in given[2:])))
        if trial is None:
            return None
        sizes = set(trial.shape[2:])
        return sizes.pop() if len(sizes) == 1 else 0


def _of_several_kinds(readings: Sequence[Reading]) -> Reading:
    first, strides = readings[0], {reading.stride for reading in readings}
    kinds = ", or ".join(f"{r.kind!r} for {LAYOUTS[r.kind]}" for r in readings if r.kind)
    features = "; and features=, the units or channels that go in" if first.features is None else ""
    problem = f"the body takes inputs of several layouts: give kind=, {kinds}{features}."
    return replace(first, kind=None, stride=strides.pop() if len(strides) == 1 else 0, problem=problem)


def _by_definition(body: nn.Module, features: int | None, kind: Kind | None, error: Exception | None) -> Reading:
    """What the layers' own numbers say, where the body could not be tried."""
    layers = list(layers_of(body))
    widths = [_width(layers[0], "in"), _width(layers[-1], "out")] if layers else [None, None]
    strides = {stride for layer in layers for stride in getattr(layer, "stride", (1,)) if stride != 1}
    problem = None
    if features is None or kind is None:
        problem = (
            f"the body could not be tried on an input ({type(error).__name__}: {error}), so its place in the net is "
            f"not known: give features=, the units or channels of its input, and kind=, one of {', '.join(LAYOUTS)}."
        )
    goes_in, comes_out = (features or width for width in widths)
    return Reading(kind, goes_in, comes_out, 0 if strides else 1, list(parts_of(body)), problem=problem)


def _declared(body: nn.Module) -> list[Kind]:
    """The kind that is tried first: what names such as Conv2d and AvgPool2d say, or else that of linear layers."""
    names = {c.__name__ for part in body.modules() for c in type(part).__mro__ if c.__module__.startswith("torch.nn")}
    # BatchNorm1d takes vectors, too.
    ends = {name[-2] for name in names if re.search("[123]d$", name) and not name.endswith("BatchNorm1d")}
    if not ends and "Linear" in names:
        return ["linear"]
    return [kind for kind in LAYOUTS if {kind[4:5]} == ends]


def _widths(body: nn.Module) -> Iterator[int]:
    """Numbers of features that may go in: what the layers name, otherwise the sizes of parameters."""
    named = [value for part in body.modules() for key in _WIDTHS if (value := getattr(part, key, None))]
    shapes: Iterable[Shape] = (value if isinstance(value, tuple) else (value,) for value in named)
    if not named:
        shapes = (
            parameter.shape for parameter in body.parameters() if not isinstance(parameter, UninitializedParameter)
        )
    return (int(number) for shape in shapes for number in shape)


def _width(layer: nn.Module, end: str) -> int | None:
    return getattr(layer, f"{end}_features" if isinstance(layer, nn.Linear) else f"{end}_channels") or None
