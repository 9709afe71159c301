"""The one equation: ``z = pre(x);  y = post(T(z) * F(z) + C(z) * S(z))``.

F is the body, S the shortcut, and the gate gives T and C. Every block in Skipway is a `Skip`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from skipway.skip.gate import Flow, Gate, checked_flow, fit_gate
from skipway.skip.in_place import Overwriting, overwriting, own, refuse_writes, writes
from skipway.skip.placement import Placement
from skipway.skip.reading import Kind
from skipway.skip.shortcuts import fit_shortcut

Others = tuple[Any, ...] | None  # what a body returns beside F, where it returns a tuple


class Skip(nn.Module):
    """A block with a way around it.

    Args:
        gate: a specification such as ``"highway:bias=-4"``, which is built to fit the body and may change the body's
            initial weights (fixup does); or a `Gate`, which is taken as it is. A body that several blocks share belongs
            in `skipway.skip_row`, which initialises it once.
        body: F, any module. Subclasses may leave it out and override `transform`. Where it works in place on its input,
            as a first ReLU with inplace=True does, it is given a copy: the shortcut and the caller read that, too.
        shortcut: S: a module, or the specification of one, ``"A"``, ``"B"`` or ``"C"``, that is built to fit the
            body; None is the identity. It gives the shape that the body gives. Subclasses may override `carry` instead.
        pre: what comes before both branches and the gate, such as the shared BN-ReLU of pre-activation.
        post: what comes after the sum, such as the ReLU of the original residual block.
        features: units or channels of the input, where a trial run of the body does not tell.
        kind: the input's layout, where that does not tell it: "linear" is (batch, ..., features), "conv2d" is
            (batch, channels, height, width), "conv1d" and "conv3d" likewise.
        index: the block's place among the net's gated blocks, from 0, for rules that depend on depth.
        count: the number of gated blocks in the net, likewise; `skipway.skip_row` tells both to every block of a row.

    What is built here stands on the body's device, in its precision; the gate's repr shows what was inferred.

    Shapes: whatever the body takes: (batch, features), (batch, length, features) for linear bodies,
    (batch, channels, *space) for convolutional ones.

    Raises:
        ValueError: if a gate's or a shortcut's specification is unknown or does not fit the body, or depends on depth
            where none was told; in a forward pass, if body and shortcut give different shapes, or if T or C does not
            broadcast to theirs.
        RuntimeError: in a forward pass, if a part works in place on its input, and neither its modules nor a trial run
            in evaluation mode told so before.
    """

    _several_outputs = False  # whether the body returns more than F, as far as is known before its first call
    _in_place: Mapping[str, Overwriting] = {}  # parts that work in place on their input, or may

    def __init__(
        self,
        gate: Gate | str,
        body: nn.Module | None = None,
        shortcut: nn.Module | str | None = None,
        *,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        features: int | None = None,
        kind: Kind | None = None,
        index: int | None = None,
        count: int | None = None,
    ) -> None:
        super().__init__()
        if isinstance(gate, str) or isinstance(shortcut, str):
            if body is None:
                named = next(part for part in (gate, shortcut) if isinstance(part, str))
                raise ValueError(f"{named!r} is built to fit a body; give the body, or a module that is built already.")
            placement = Placement.of(body, features=features, kind=kind, index=index, count=count)
            # Shortcut before gate, as the nets draw their weights.
            shortcut = fit_shortcut(shortcut, placement, body) if isinstance(shortcut, str) else shortcut
            gate = fit_gate(gate, placement, body) if isinstance(gate, str) else gate
        # Body before gate in the state dict too, as in the equation.
        self.body, self.shortcut, self.pre, self.post = body, shortcut, pre, post
        self.gate = gate
        self._several_outputs = gate.placement.several_outputs
        parts = {"pre": pre, "gate": gate, "shortcut": shortcut, "body": body, "post": post}
        found = {name: overwriting(part) for name, part in parts.items()}
        for name, method in (("body", type(self).transform), ("shortcut", type(self).carry)):
            if not method.__module__.startswith("skipway."):  # a subclass with code of its own there
                found[name] = found[name] or "may"
        self._in_place = {name: known for name, known in found.items() if known}

    def transform(self, z: Tensor, *args: Any, **kwargs: Any) -> Any:
        """F(z): the body. Blocks whose parameter names belong to other people's checkpoints override this."""
        return cast(nn.Module, self.body)(z, *args, **kwargs)

    def carry(self, z: Tensor) -> Tensor:
        """S(z): the shortcut; overridden likewise."""
        return z if self.shortcut is None else cast(Tensor, self.shortcut(z))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Y, by the equation.

        Args:
            x: the input, of which pre, gate and shortcut know alone.
            args: what else the body takes, behind z: an attention's keys and values, a recurrent state.
            kwargs: likewise: masks.

        Returns:
            y. Where the body returns a tuple, its first element is F, and (y, *the others) comes out. Such a body runs
            even where T is the number 0.0; other bodies do not.
        """
        x_writes = writes(x)
        z = x if self.pre is None else self.pre(self._own("pre", x))
        z_writes = x_writes if z is x else writes(z)
        # At the root of a graph that fx traces, args is no tuple, but a proxy of all that may come.
        more = (args, kwargs) if type(args) is tuple else ((), {})
        y, others = self._sum(z, self._flow(z), *more)
        y = y if self.post is None else self.post(y)
        refuse_writes(x, x_writes)
        refuse_writes(z, z_writes)
        return y if others is None else (y, *others)

    def _own(self, part: str, tensor: Tensor) -> Tensor:
        """What a part is given: a copy where it would overwrite what others read."""
        return own(tensor, self._in_place[part], training=self.training) if part in self._in_place else tensor

    def _flow(self, z: Tensor) -> Flow:
        flow = checked_flow(self.gate, self.gate(self._own("gate", z)))
        for hook in tuple(_flow_hooks.values()):
            flow = hook(self, flow)
        return flow

    def _sum(self, z: Tensor, flow: Flow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Others]:
        """T F + C S, and what the body returns beside F."""
        t, c = flow
        if c is None and isinstance(t, (float, int)):
            c = 1 - t
        carried = None if _is(c, 0.0) else self.carry(self._own("shortcut", z))
        if _is(t, 0.0) and carried is not None and not self._several_outputs:
            _check_factor("C", c, carried)
            return self._alone(_times(c, carried), z), None
        transformed, others = self._split(self.transform(self._own("body", z), *args, **kwargs))
        y = _join(t, transformed, c, carried)
        return (self._alone(y, z) if carried is None or _is(t, 0.0) else y), others

    def _split(self, output: Any) -> tuple[Tensor, Others]:
        if isinstance(output, tuple):
            self._several_outputs = True
            return output[0], output[1:]
        if isinstance(output, (list, dict)):
            raise ValueError(
                "a body returns F, or a tuple whose first element is F; "
                f"{type(self.body).__name__} returns a {type(output).__name__}: wrap it in a module that returns F."
            )
        return output, None

    def _alone(self, branch: Tensor, z: Tensor) -> Tensor:
        """One branch as y; a copy where `post` would overwrite z, since a branch may hand on its input, or a view."""
        if branch is z and "post" in self._in_place:
            return branch.clone()
        return self._own("post", branch)


class Residual(Skip):
    """y = x + F(x) around any body (He et al. 2015), whose weights stay as they are: the rule is residual:scale=1."""

    def __init__(
        self,
        body: nn.Module,
        shortcut: nn.Module | str | None = None,
        *,
        pre: nn.Module | None = None,
        post: nn.Module | None = None,
        features: int | None = None,
        kind: Kind | None = None,
    ) -> None:
        super().__init__("residual:scale=1", body, shortcut, pre=pre, post=post, features=features, kind=kind)


class Highway(Skip):
    """y = x + T(x) (F(x) - x), T = sigmoid(W x + b), around any body (Srivastava et al. 2015).

    Args:
        body: F, any module.
        shortcut: S, as in `Skip`.
        gate_bias: b at the start. The papers' range is -1 to -10; deeper nets want lower: about -ln(number of blocks).
        pre: as in `Skip`.
        post: as in `Skip`.
        features: as in `Skip`.
        kind: as in `Skip`.
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
        kind: Kind | None = None,
    ) -> None:
        gate = f"highway:bias={gate_bias}"
        super().__init__(gate, body, shortcut, pre=pre, post=post, features=features, kind=kind)


def register_flow_hook(hook: Callable[[Skip, Flow], Flow]) -> RemovableHandle:
    """Let `hook(block, flow)` see what the gate says in each block's forward pass, and say what holds instead.

    It is called for all blocks of the process, as torch's hooks on all modules are, and knows its own by themselves.
    With that it belongs to a block, not to its gate, which several may share; and copies of a model are free of it.
    """
    handle = RemovableHandle(_flow_hooks)
    _flow_hooks[handle.id] = hook
    return handle


_flow_hooks: OrderedDict[int, Callable[[Skip, Flow], Flow]] = OrderedDict()


def _join(t: Tensor | float, transformed: Tensor, c: Tensor | float | None, carried: Tensor | None) -> Tensor:
    """T F + C S; where C is None, 1 - T, one linear interpolation."""
    _check_factor("T", t, transformed)
    if carried is None:
        return _times(t, transformed)
    _check_shapes(carried, transformed)
    if c is None:
        return torch.lerp(*_alike(carried, transformed, cast(Tensor, t)))
    _check_factor("C", c, transformed)
    # Not 0 times F, which may be infinite.
    return _times(c, carried) if _is(t, 0.0) else _times(c, carried) + _times(t, transformed)


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


def _check_factor(letter: str, factor: Tensor | float | None, branch: Tensor) -> None:
    """Refuse a T or C that does not broadcast to its branch, likewise."""
    if not isinstance(factor, Tensor) or (factor.shape != branch.shape) is not True:
        return
    own, shape = factor.shape, branch.shape
    if len(own) > len(shape) or any(a not in (1, b) for a, b in zip(own, shape[len(shape) - len(own) :], strict=True)):
        raise ValueError(
            f"{letter} is a number, or a tensor that broadcasts to the block's output; the gate gives the shape "
            f"{tuple(own)} for an output of shape {tuple(shape)}. Was it built for another body?"
        )


def _alike(*tensors: Tensor) -> list[Tensor]:
    """In their common precision: autocast leaves the branches in different ones, and lerp takes one only."""
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return [tensor.to(dtype) for tensor in tensors]


def _is(value: Tensor | float | None, number: float) -> bool:
    return isinstance(value, (float, int)) and value == number


def _times(factor: Tensor | float | None, branch: Tensor) -> Tensor:
    return branch if _is(factor, 1.0) else cast(Tensor, factor) * branch
