"""Shortcuts: what S is in ``y = T * F + C * S``, where the block's shape changes and where it does not.

One class an option, registered by name as gates are. Where a block keeps its shape, options A and B are the identity.
"""

from __future__ import annotations

from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

from skipway.settings.registry import Named, Registry, Spec, check_settings
from skipway.skip.placement import Placement, beside
from skipway.skip.reading import space

SHORTCUTS: Registry[type[Shortcut]] = Registry("shortcut")


class Shortcut(Named, nn.Module):
    """The way around the body. Subclasses say `class Mine(Shortcut, name="mine")` and define `forward`."""

    registry = SHORTCUTS

    def __init__(self, placement: Placement) -> None:
        super().__init__()

    def forward(self, z: Tensor) -> Tensor:
        """S(z): from the shape of the block's input to that of its output."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(z) -> Tensor")


def canonical(spec: str) -> str:
    """The one way to write a shortcut's specification.

    Raises:
        ValueError: if there is no such shortcut or setting.
    """
    return str(_checked(spec))


def make_shortcut(spec: str, placement: Placement) -> Shortcut:
    """Build the shortcut that a specification such as ``dropout:p=0.5`` names.

    Raises:
        ValueError: if there is no such shortcut or setting, or if it cannot stand at this place.
    """
    checked = _checked(spec)
    return SHORTCUTS[checked.name](placement, **dict(checked.settings))


def fit_shortcut(spec: str, placement: Placement, body: nn.Module) -> Shortcut:
    """Build a shortcut for a body, on its device and in its precision.

    Raises:
        ValueError: as `make_shortcut`.
    """
    return beside(body, make_shortcut(spec, placement))


class Identity(Shortcut, name="identity"):
    """S(z) = z; refused where the shape changes."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        if not placement.keeps_shape:
            raise ValueError(
                "an identity shortcut needs a body that keeps its input's shape; this one goes from "
                f"{placement.features} features to {placement.out_features} with stride {placement.stride}. "
                "Use shortcut A, B or C."
            )

    def forward(self, z: Tensor) -> Tensor:
        return z


class OptionA(Shortcut, name="A"):
    """Subsample by the stride and pad the new channels with zeros; no parameters (arXiv 1512.03385, section 3.3).

    ``pad=end`` appends the zeros after the old channels; ``pad=sides`` puts half of them before, as some
    re-implementations' checkpoints expect.
    """

    def __init__(self, placement: Placement, *, pad: str = "end") -> None:
        super().__init__(placement)
        placement.check()
        if pad not in ("end", "sides"):
            raise ValueError(f"shortcut A: pad is 'end' or 'sides'; it is {pad!r}.")
        new = (placement.out_features or 0) - (placement.features or 0)
        if new < 0:
            raise ValueError(
                f"shortcut A can only add channels; this block goes from {placement.features} to "
                f"{placement.out_features}. Use B or C, which project."
            )
        before = new // 2 if pad == "sides" else 0
        self._space = space(placement.kind)
        self._stride = placement.stride
        self._pads = (0, 0) * self._space + (before, new - before)
        self._keeps = placement.keeps_shape
        self._cropped = placement.cropped

    def forward(self, z: Tensor) -> Tensor:
        if self._keeps:
            return z
        if self._stride != 1:
            every: list[Any] = [slice(None, None, self._stride)] * self._space
            z = self._cropped(z)[(..., *every)]
        return F.pad(z, self._pads)


class OptionB(Shortcut, name="B"):
    """Project where the shape changes: a 1x1 convolution with the block's stride, normalised where the body is."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        placement.check()
        self.projection = None if placement.keeps_shape else _projection(placement)
        self._cropped = placement.cropped

    def forward(self, z: Tensor) -> Tensor:
        return z if self.projection is None else cast(Tensor, self.projection(self._cropped(z)))


class OptionC(Shortcut, name="C"):
    """Project in every block (arXiv 1512.03385, section 4.1); the 1x1-conv shortcut of arXiv 1603.05027, Table 1."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self.projection = _projection(placement)
        self._cropped = placement.cropped

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.projection(self._cropped(z)))


SHORTCUTS.add("conv1x1", OptionC)


class DropoutShortcut(OptionA, name="dropout"):
    """Dropout on the shortcut (arXiv 1603.05027, section 3.1); option A where the shape changes."""

    def __init__(self, placement: Placement, *, p: float = 0.5) -> None:
        super().__init__(placement)
        if not 0 <= p < 1:
            raise ValueError(f"dropout shortcut: p is a probability from 0 to below 1; it is {p}.")
        self.dropout = nn.Dropout(p)

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.dropout(super().forward(z)))


class NoShortcut(Shortcut, name="none"):
    """No way around: for plain blocks. Where one keeps its shape, a lesion still has the identity to fall back on."""

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        self._keeps = placement.keeps_shape

    def forward(self, z: Tensor) -> Tensor:
        if self._keeps:
            return z
        raise ValueError("this block changes its input's shape and has no shortcut, so nothing can be carried past it.")


def _checked(spec: str) -> Spec:
    parsed = Spec.parse(spec)
    return check_settings(parsed, SHORTCUTS[parsed.name], "shortcut")


def _projection(placement: Placement) -> nn.Module:
    """A 1x1 layer, then a norm of the body's kind where the body normalises."""
    layer = placement.layer(kernel=1, bias=not placement.normalised)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="linear")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer if placement.norm is None else nn.Sequential(layer, placement.norm(layer.weight.shape[0]))
