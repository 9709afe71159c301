"""The one equation: ``z = pre(x);  y = post(T(z) * F(z) + C(z) * S(z))``.

F is the body, S the shortcut, and the gate gives T and C. Every block in Skipway is a `Skip`.
"""

from __future__ import annotations

from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn

from skipway.gates import Gate, Site, make_gate
from skipway.shortcuts import make_shortcut


class Skip(nn.Module):
    """A block with a way around it.

    Args:
        gate: a `Gate`, or a specification such as ``"highway:bias=-4"`` that is built to fit the body.
        body: F, any module. Subclasses may leave it out and override `transform`.
        shortcut: S: a module, or the specification of one, ``"A"``, ``"B"`` or ``"C"``, that is built to fit the
            body; None is the identity. It gives the shape that the body gives. Subclasses may override `carry` instead.
        pre: what comes before both branches and the gate, such as the shared BN-ReLU of pre-activation.
        post: what comes after the sum, such as the ReLU of the original residual block.
        features: units or channels of the input, where the body's layers do not tell the gate.

    Shapes: whatever the body takes: (batch, features), (batch, length, features) for linear bodies,
    (batch, channels, *space) for convolutional ones.

    Raises:
        ValueError: if a gate's or a shortcut's specification is unknown or does not fit the body; in a forward pass, if
            body and shortcut give different shapes.
    """

    def __init__(
        self,
        gate: Gate | str,
        body: nn.Module | None = None,
        shortcut: nn.Module | str | None = None,
        *,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__()
        # Shortcut before gate, as the nets draw their weights.
        if isinstance(shortcut, str):
            shortcut = make_shortcut(shortcut, _site(f"shortcut {shortcut!r}", body, features))
        if isinstance(gate, str):
            gate = make_gate(gate, _site(f"gate {gate!r}", body, features))
        # Body before gate in the state dict too, as in the equation.
        self.body, self.shortcut, self.pre, self.post = body, shortcut, pre, post
        self.gate = gate

    def transform(self, z: Tensor) -> Tensor:
        """F(z): the body. Blocks whose parameter names belong to other people's checkpoints override this."""
        return cast(Tensor, cast(nn.Module, self.body)(z))

    def carry(self, z: Tensor) -> Tensor:
        """S(z): the shortcut; overridden likewise.

        Raises:
            ValueError: if the block changes the shape and has no shortcut.
        """
        return z if self.shortcut is None else cast(Tensor, self.shortcut(z))

    def forward(self, x: Tensor) -> Tensor:
        z = x if self.pre is None else self.pre(x)
        t, c = self.gate(z)
        y = self._interpolate(z, t) if c is None else self._add(z, t, c)
        return y if self.post is None else cast(Tensor, self.post(y))

    def _interpolate(self, z: Tensor, t: Tensor | float) -> Tensor:
        if isinstance(t, float):
            return self._add(z, t, 1 - t)
        carried, transformed = self.carry(z), self.transform(z)
        _check_shapes(carried, transformed)
        return torch.lerp(*_alike(carried, transformed, t))

    def _add(self, z: Tensor, t: Tensor | float, c: Tensor | float) -> Tensor:
        if _is(c, 0.0):
            return _times(t, self.transform(z))
        if _is(t, 0.0):
            return _times(c, self.carry(z))
        carried, transformed = self.carry(z), self.transform(z)
        _check_shapes(carried, transformed)
        return _times(c, carried) + _times(t, transformed)


class Residual(Skip):
    """y = x + F(x) around any body (He et al. 2015): `Skip("residual", body)`. The body's weights stay as they are."""

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | str | None = None,
        *,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__("residual", body, shortcut, pre=pre, post=post, features=features)


class Highway(Skip):
    """y = x + T(x) (F(x) - x), T = sigmoid(W x + b), around any body (Srivastava et al. 2015).

    Args:
        body: F, any module.
        shortcut: S, as in `Skip`.
        gate_bias: b at the start. The papers' range is -1 to -10; deeper nets want lower: about -ln(number of blocks).
        pre: as in `Skip`.
        post: as in `Skip`.
        features: as in `Skip`.
    """

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | str | None = None,
        *,
        gate_bias: float = -2.0,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__(f"highway:bias={gate_bias}", body, shortcut, pre=pre, post=post, features=features)


def _site(what: str, body: nn.Module | None, features: int | None) -> Site:
    if body is None:
        raise ValueError(f"{what} is built to fit a body; give the body, or a module that is built already.")
    return Site.of(body, features=features)


def _check_shapes(carried: Tensor, transformed: Tensor) -> None:
    """Refuse branches that torch could not add, or would add by broadcasting one over the other.

    Where a graph is traced with fx, shapes are not known and the comparison is no bool: nothing is refused then.
    """
    if (carried.shape != transformed.shape) is True:
        raise ValueError(
            f"a block's shortcut must give its body's output shape, {tuple(transformed.shape)}; this one gives "
            f"{tuple(carried.shape)}. Where the body changes the shape, give shortcut='A' (subsample, pad with zeros), "
            "'B' or 'C' (project), or a module of your own; or use gate 'plain', which needs none."
        )


def _alike(*tensors: Tensor) -> list[Tensor]:
    """In their common precision: autocast leaves the branches in different ones, and lerp takes one only."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [tensor.to(dtype) for tensor in tensors]


def _is(value: Tensor | float, number: float) -> bool:
    return isinstance(value, float) and value == number


def _times(factor: Tensor | float, branch: Tensor) -> Tensor:
    return branch if _is(factor, 1.0) else factor * branch
