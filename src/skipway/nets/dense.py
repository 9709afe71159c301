"""Dense nets, as in the Highway paper's MNIST study (Srivastava et al. 2015, arXiv 1505.00387, section 3)."""

from __future__ import annotations

import math

from torch import nn

from skipway.nets.family import Family, template
from skipway.nets.stack import SkipNet, named
from skipway.registry import UnknownNameError
from skipway.row import skip_row

# 71 x 72 = 5,112 parameters in a plain layer against 2 x 50 x 51 = 5,100 in a highway layer: the paper's equal budgets.
PLAIN_WIDTH, WIDTH = 71, 50
_ACTIVATIONS = ("relu", "tanh")


def dense_net(
    *,
    gate: str,
    depth: int,
    in_features: int,
    num_classes: int,
    width: int | None = None,
    activation: str = "relu",
    layers: int = 1,
) -> SkipNet:
    """A plain fully connected first layer, then gated blocks of one width, then the softmax layer's scores.

    Args:
        gate: the rule's specification.
        depth: the layers before the softmax layer, the first one included; 1 + blocks * layers.
        in_features: values in one input; images are flattened.
        num_classes: scores that come out.
        width: units of every layer; None is 71 for plain nets and 50 for all others, which makes parameters equal.
        activation: "relu" (He initialisation) or "tanh" (Xavier initialisation).
        layers: linear layers in one block. From 2 on, the last one of a block has no activation after it.

    Raises:
        ValueError: if depth, layers or activation is out of range.
    """
    if activation not in _ACTIVATIONS:
        raise UnknownNameError("activation", activation, _ACTIVATIONS)
    check_depth(depth, layers)
    if width is None:
        width = PLAIN_WIDTH if gate.partition(":")[0] == "plain" else WIDTH
    stem = named(flatten=nn.Flatten(), linear=_linear(in_features, width, activation), activation=_act(activation))
    bodies = [_body(width, activation, layers) for _ in range((depth - 1) // layers)]
    head = nn.Linear(width, num_classes)
    nn.init.normal_(head.weight, std=width**-0.5)
    nn.init.zeros_(head.bias)
    return SkipNet(stem, skip_row(gate, bodies), head)


def check_depth(depth: int, layers: int = 1) -> None:
    """Hold a dense net's depth to its rule.

    Raises:
        ValueError: with the nearest valid depths.
    """
    if layers < 1:
        raise ValueError(f"layers is the number of linear layers in a block, 1 or more; it is {layers}.")
    if depth >= 1 and (depth - 1) % layers == 0:
        return
    below = max(1, depth - (depth - 1) % layers)
    near = str(below) if depth < 1 else f"{below} and {below + layers}"
    rule = "a whole number from 1" if layers == 1 else f"1 + {layers} x blocks"
    raise ValueError(f"a dense net's depth is {rule}; it is {depth}. Nearest: {near}.")


FAMILY = Family(
    body="dense",
    about="fully connected: a plain first layer, then gated blocks of one width, then softmax",
    depths="any whole number from 1: the layers before the softmax layer",
    examples=("plain-dense-50", "residual-dense-50", "highway-dense-50"),
    names=template("{gate}-dense-{depth}"),
    make=dense_net,
    check_depth=check_depth,
    inputs=lambda shape: {"in_features": math.prod(shape)},
    shape=(1, 28, 28),
    recipe="dense",
    study_depths=(5, 10, 20, 50, 100),
)


def _body(width: int, activation: str, layers: int) -> nn.Sequential:
    if layers == 1:
        return named(linear=_linear(width, width, activation), activation=_act(activation))
    parts: dict[str, nn.Module] = {}
    for place in range(1, layers + 1):
        parts[f"linear{place}"] = _linear(width, width, activation)
        if place < layers:
            parts[f"activation{place}"] = _act(activation)
    return named(**parts)


def _act(activation: str) -> nn.Module:
    # In place: the linear layer before it keeps no copy of its own output.
    return nn.ReLU(inplace=True) if activation == "relu" else nn.Tanh()


def _linear(features: int, width: int, activation: str) -> nn.Linear:
    layer = nn.Linear(features, width)
    if activation == "relu":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
