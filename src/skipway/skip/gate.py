"""What a gate rule is: a block's transform T and carry C in ``y = T * F + C * S``; `skipway.skip.gates` has ours.

One class a rule. A subclass that names itself is registered, and with that can be named on the command line, studied,
reported and lesioned::

    class Halves(Gate, name="halves"):
        def forward(self, z: Tensor) -> Flow:
            return Flow(0.5, 0.5)

Its keyword-only arguments are its settings, written ``halves:weight=0.3`` in a specification. Where it reads the
placement's `count` or `index`, it depends on depth, and a block by hand is refused unless it was told. Its children are
`torch.nn.Linear` or `torch.nn.Conv*`, its own parameters broadcast against the block's output; so replicas of it can be
trained stacked (`skipway.training.replicas`). Nothing in a gate works in place: a hook may keep what that would change.
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from skipway.settings.registry import Named, Registry, Spec, check_settings
from skipway.skip.draws import uniform
from skipway.skip.placement import Placement, beside


class Flow(NamedTuple):
    """What a gate lets through: transform and carry, numbers or tensors that broadcast against the block's output.

    The numbers 0.0 and 1.0 cost nothing: a branch times 0.0 is not computed, a branch times 1.0 not multiplied.
    """

    t: Tensor | float
    c: Tensor | float | None  # None: 1 - t, computed as one linear interpolation

    def carry(self) -> Tensor | float:
        """C, also where it is given only as 1 - T."""
        return 1 - self.t if self.c is None else self.c


_NUMBERS = (Tensor, Real, Proxy)


class FlowError(ValueError):
    """A gate's forward pass returned something that is no `Flow`."""


GATES: Registry[type[Gate]] = Registry("gate")


class Gate(Named, nn.Module):
    """A rule for T and C. Subclasses say `class MyGate(Gate, name="mine")` and define `forward`."""

    random: ClassVar[bool] = False  # whether forward draws random numbers in training: by `draw`

    registry = GATES

    def __init__(self, placement: Placement) -> None:
        super().__init__()
        self.placement = placement

    def init_body(self, body: nn.Module) -> None:
        """Change a freshly initialised body's weights as the rule asks.

        It is called when a block is built; once for a body that stands in several blocks of a row, which
        `placement.shared` tells: by the gate of its first block.
        """

    def forward(self, z: Tensor) -> Flow:
        """T and C for the block's input z, of shape (..., features) or (batch, features, *space)."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(z) -> Flow")

    def draw(self, z: Tensor) -> float:
        """A number from [0, 1), for rules whose `random` is true; all processes of a training draw the same.

        Raises:
            RuntimeError: while a graph is traced (fx, jit, export), which would keep one draw for ever.
        """
        if _is_traced(z):
            raise RuntimeError(
                f"gate {self.name!r} draws anew in every training step, and a traced graph would keep one draw for "
                "ever: trace the model in evaluation mode, after model.eval()."
            )
        return uniform()

    def extra_repr(self) -> str:
        return str(self.placement)


def canonical(spec: str) -> str:
    """The one way to write a gate's specification: settings sorted, those at their defaults left out.

    Raises:
        ValueError: if there is no such gate or setting.
    """
    return str(_checked(spec))


def make_gate(spec: str, placement: Placement) -> Gate:
    """Build the gate that a specification such as ``highway:bias=-4`` names.

    Raises:
        ValueError: if there is no such gate or setting, or if the rule cannot stand at this place.
    """
    checked = _checked(spec)
    return GATES[checked.name](placement, **dict(checked.settings))


def fit_gate(spec: str, placement: Placement, body: nn.Module, *, initialise: bool = True) -> Gate:
    """Put a rule on a body: build its gate, on the body's device and in its precision, and initialise the body by it.

    Args:
        spec: the rule's specification.
        placement: what it is told.
        body: F.
        initialise: whether the body's weights are fresh; not those of one that another gate has initialised.

    Raises:
        ValueError: as `make_gate`.
    """
    gate = beside(body, make_gate(spec, placement))
    if initialise:
        gate.init_body(body)
    return gate


def checked_flow(gate: nn.Module, found: object) -> Flow:
    """What a gate returned, if it is a flow.

    Raises:
        FlowError: if it is none; the message names the gate's class.
    """
    rule = (
        "its forward(z) returns skipway.Flow(t, c): t a tensor or a number, c one as well, or None for 1 - t. For a "
        "tensor t that is return skipway.Flow(t, None)"
    )
    named = f"gate {type(gate).__qualname__}"
    if isinstance(found, Proxy):  # of a gate that a tracer takes as a leaf: unpacked by a statement, as fx wants it
        first, second = cast(Any, found)
        return Flow(first, second)
    if not isinstance(found, tuple) or len(found) != 2:
        raise FlowError(f"{named} returned a {type(found).__name__}: {rule}.")
    pair: tuple[Any, Any] = found
    if not isinstance(pair[0], _NUMBERS) or not (pair[1] is None or isinstance(pair[1], _NUMBERS)):
        raise FlowError(f"{named} returned Flow({_kind(pair[0])}, {_kind(pair[1])}): {rule}.")
    return Flow(*pair)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _checked(spec: str) -> Spec:
    parsed = Spec.parse(spec)
    return check_settings(parsed, GATES[parsed.name], "gate")


def _is_traced(z: object) -> bool:
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return isinstance(z, Proxy) or tracing or torch.compiler.is_exporting()
