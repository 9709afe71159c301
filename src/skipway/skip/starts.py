"""How bodies start: layers scaled, or set to zero, through what their weights are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.weight_norm import WeightNorm

from skipway.skip.copies import is_lazy
from skipway.skip.placement import Placement

_INSTEAD = "To leave the body as it is, give residual:scale=1, or rezero, which learns a factor that starts at 0."


def layers_in_order(body: nn.Module, placement: Placement) -> tuple[list[nn.Module], nn.Module]:
    """A body's layers, in order of their calls: those before the last one, each once; and that one, whose output F is.

    Raises:
        ValueError: if F is not the output of one layer; if that layer has a second place in the body.
    """
    if placement.last is None:
        for part in body.modules():
            _refuse_lazy(part)
        raise ValueError(
            "this rule changes the last layer of the body, and F must be the output of that one linear layer or "
            f"convolution. This was not seen of {type(body).__name__}; of such layers, these ran: "
            f"{', '.join(map(repr, placement.layers)) or 'none'}. {_INSTEAD}"
        )
    *before, last = (body.get_submodule(name) for name in placement.layers)
    others: list[nn.Module] = []
    for layer in before:
        if not _share([layer], others):
            others.append(layer)
    if _share([last], others):
        raise ValueError(
            f"this rule changes the last layer of the body, {placement.last!r}, whose weights stand in an earlier "
            f"layer, too. {_INSTEAD}"
        )
    return others, last


def check_all_are_layers(body: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Refuse a body with weights that are in none of these layers, or that cannot be scaled.

    Raises:
        ValueError: with their names.
    """
    for layer in layers:
        _made_of(layer, "weight")
    known = {id(parameter) for layer in layers for parameter in layer.parameters()}
    others = [name for name, p in body.named_parameters() if id(p) not in known and sum(n > 1 for n in p.shape) > 1]
    if others:
        raise ValueError(
            "this rule scales all weights of the body, and knows linear layers and convolutions alone; "
            f"these weights are in none that ran: {', '.join(others)}. {_INSTEAD}"
        )


def scale_weight(layer: nn.Module, factor: float) -> None:
    """Multiply a layer's weight by a number.

    Raises:
        ValueError: if it has no weight yet, or one that is computed in a way that fixes its size.
    """
    _set(layer, "weight", factor)


def set_to_zero(layer: nn.Module) -> None:
    """Set a layer's weight and bias to zero, so that its output is.

    Raises:
        ValueError: likewise.
    """
    _set(layer, "weight", 0)
    _set(layer, "bias", 0)


def _set(layer: nn.Module, name: str, factor: float) -> None:
    made_of = _made_of(layer, name)
    with torch.no_grad():
        if made_of is not None:
            _ = made_of.mul_(factor) if factor else made_of.zero_()
        for hook in layer._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                hook(layer, None)  # computes the weight anew, as it does before each call


def _made_of(layer: nn.Module, name: str) -> Tensor | None:
    """The parameter with which a layer's weight or bias grows in proportion; None where the layer has no bias."""
    _refuse_lazy(layer)
    if name in layer._parameters:
        return layer._parameters[name]
    if f"{name}_g" in layer._parameters and f"{name}_v" in layer._parameters:
        return layer._parameters[f"{name}_g"]
    if is_parametrized(layer, name):
        made: Any = layer.parametrizations[name]  # type: ignore[index]
        if len(made) == 1 and isinstance(made[0], _WeightNorm):
            return cast(Tensor, made.original0)
    raise ValueError(
        f"this rule changes the body's initial weights, and the {name} of its {type(layer).__name__} is computed from "
        f"other parameters; only weight norm's can be scaled. {_INSTEAD}"
    )


def _refuse_lazy(layer: nn.Module) -> None:
    if is_lazy(layer) and next(layer.children(), None) is None:
        raise ValueError(
            f"this rule changes the body's initial weights, and its {type(layer).__name__} has none before its first "
            "call: call the body once before."
        )


def _share(layers: Sequence[nn.Module], others: Sequence[nn.Module]) -> bool:
    own, theirs = ({id(p) for layer in group for p in layer.parameters()} for group in (layers, others))
    return not own.isdisjoint(theirs)
