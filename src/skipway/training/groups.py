"""Which parameters a recipe treats apart: biases may learn at their own rate, and decay may pull on weights alone."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from skipway.skip.parts import layers_of
from skipway.training.recipe import Recipe


class ParameterGroup(NamedTuple):
    """How an optimizer treats a parameter."""

    rate: float  # its learning rate, as a multiple of the recipe's
    decay: float  # its weight decay


def parameter_groups(net: nn.Module, recipe: Recipe) -> dict[str, ParameterGroup]:
    """Every parameter of a net by its name, with its treatment.

    Args:
        net: an ordinary net; for a stack, one of its kind.
        recipe: says what is treated apart.
    """
    weights, biases = ({id(getattr(layer, kind)) for layer in layers_of(net)} for kind in ("weight", "bias"))
    return {
        name: ParameterGroup(
            rate=recipe.bias_rate if id(parameter) in biases else 1.0,
            decay=recipe.weight_decay if recipe.decay_on == "all" or id(parameter) in weights else 0.0,
        )
        for name, parameter in net.named_parameters()
    }
