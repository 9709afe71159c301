"""How bodies start: layers scaled, or set to zero, through what their weights are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.weight_norm import WeightNorm

from skipway.skip.copies import is_lazy
from skipway.skip.placement import Placement

_INSTEAD = "To leave the body as it is, give residual:scale=1, or rezero, which learns a factor that starts at 0."


def layers_in_order(body: nn.Module, placement: Placement) -> tuple[list[nn.Module], nn.Module]:
    """A body's layers: those that run before the last one, and the last one, whose output F is.

    Raises:
        ValueError: if F is not the output of one layer; if that layer has a second place in the body.
    """
    if placement.last is None:
        raise ValueError(
            "this rule changes the last layer of the body, and F must be the output of that one linear layer or "
            f"convolution. This was not seen of {type(body).__name__}; of such layers, these ran: "
            f"{', '.join(map(repr, placement.layers)) or 'none'}. {_INSTEAD}"
        )
    *others, last = (body.get_submodule(name) for name in placement.layers)
    if _share(last, others):
        raise ValueError(
            f"this rule changes the last layer of the body, {placement.last!r}, whose weights stand in an earlier "
            f"layer, too. {_INSTEAD}"
        )
    return others, last


def check_all_are_layers(body: nn.Module, layers: Sequence[nn.Module]) -> None:
    """Refuse a body with weights that are in none of its layers, or in two of them.

    Raises:
        ValueError: with their names.
    """
    known = {id(parameter) for layer in layers for parameter in layer.parameters()}
    others = [name for name, p in body.named_parameters() if id(p) not in known and sum(n > 1 for n in p.shape) > 1]
    if others:
        raise ValueError(
            "this rule scales all weights of the body, and knows linear layers and convolutions alone; "
            f"these weights are in none that ran: {', '.join(others)}. {_INSTEAD}"
        )
    if any(_share(layer, layers[:place]) for place, layer in enumerate(layers)):
        raise ValueError(f"this rule scales each layer of the body once, and two of them share weights. {_INSTEAD}")


def scale_layer(layer: nn.Module, factor: float, *, bias: bool = True) -> None:
    """Multiply a layer's weight by a number, and its bias with it, so that its output is multiplied.

    Raises:
        ValueError: if it has no weight yet, or if its weight is computed in a way that fixes the size.
    """
    with torch.no_grad():
        for tensor in [_made_of(layer, name) for name in ("weight", "bias")[: 1 + bias]]:
            if tensor is not None:
                _ = tensor.mul_(factor) if factor else tensor.zero_()
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):
            hook(layer, None)  # computes the weight anew, as it does before each call


def _made_of(layer: nn.Module, name: str) -> Tensor | None:
    """The parameter with which a layer's weight or bias grows in proportion."""
    if is_lazy(layer):
        raise ValueError(
            f"this rule changes the body's initial weights, and its {type(layer).__name__} has none before its first "
            "call: call the body once before."
        )
    if name in layer._parameters:
        return layer._parameters[name]
    if f"{name}_g" in layer._parameters and f"{name}_v" in layer._parameters:
        return layer._parameters[f"{name}_g"]
    if is_parametrized(layer, name):
        made = layer.parametrizations[name]  # type: ignore[index]
        if len(made) == 1 and isinstance(made[0], _WeightNorm):
            return made.original0
    raise ValueError(
        f"this rule changes the body's initial weights, and the {name} of its {type(layer).__name__} is computed from "
        f"other parameters; only weight norm's can be scaled. {_INSTEAD}"
    )


def _share(layer: nn.Module, others: Sequence[nn.Module]) -> bool:
    own = {id(parameter) for parameter in layer.parameters()}
    return any(id(parameter) in own for other in others for parameter in other.parameters())
