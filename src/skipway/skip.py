"""The one equation: ``z = pre(x);  y = post(T(z) * F(z) + C(z) * S(z))``.

F is the body, S the shortcut, and the gate gives T and C. Every block in Skipway is a `Skip`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import reduce
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from skipway.gates import Flow, Gate, Site, make_gate
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
        t, c = self._flow(z)
        y = self._interpolate(z, t) if c is None else self._add(z, t, c)
        return y if self.post is None else cast(Tensor, self.post(y))

    def _flow(self, z: Tensor) -> Flow:
        flow = cast(Flow, self.gate(z))
        for hook in tuple(_flow_hooks.values()):
            flow = hook(self, flow)
        return flow

    def _interpolate(self, z: Tensor, t: Tensor | float) -> Tensor:
        if isinstance(t, float):
            return self._add(z, t, 1 - t)
        carried, transformed = self.carry(z), self.transform(z)
        _check_shapes(carried, transformed)
        return torch.lerp(*_alike(carried, transformed, t))

    def _add(self, z: Tensor, t: Tensor | float, c: Tensor | float) -> Tensor:
        if _is(c, 0.0):
            return self._alone(_times(t, self.transform(z)), z)
        if _is(t, 0.0):
            return self._alone(_times(c, self.carry(z)), z)
        carried, transformed = self.carry(z), self.transform(z)
        _check_shapes(carried, transformed)
        return _times(c, carried) + _times(t, transformed)

    def _alone(self, branch: Tensor, z: Tensor) -> Tensor:
        """One branch as y; a copy where `post` would overwrite z, since a branch may hand on its input, or a view."""
        overwrites = self.post is not None and (branch is z or _works_in_place(self.post))
        return branch.clone() if overwrites else branch


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


def register_flow_hook(hook: Callable[[Skip, Flow], Flow]) -> RemovableHandle:
    """Let `hook(block, flow)` see what the gate says in each block's forward pass, and say what holds instead.

    It is called for all blocks of the process, as torch's hooks on all modules are, and knows its own by themselves.
    With that it belongs to a block, not to its gate, which several may share; and copies of a model are free of it.
    """
    handle = RemovableHandle(_flow_hooks)
    _flow_hooks[handle.id] = hook
    return handle


_flow_hooks: OrderedDict[int, Callable[[Skip, Flow], Flow]] = OrderedDict()


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


def _works_in_place(module: nn.Module) -> bool:
    return any(getattr(part, "inplace", False) for part in module.modules())


def _is(value: Tensor | float, number: float) -> bool:
    return isinstance(value, float) and value == number


def _times(factor: Tensor | float, branch: Tensor) -> Tensor:
    return branch if _is(factor, 1.0) else factor * branch
