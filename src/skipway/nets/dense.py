"""Dense nets, as in the Highway paper's MNIST study (Srivastava et al. 2015, arXiv 1505.00387, section 3)."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import cast

import torch
from torch import nn

from skipway.nets.family import Family, template
from skipway.nets.stack import SkipNet, named
from skipway.settings.registry import UnknownNameError
from skipway.skip.parts import layers_of
from skipway.skip.row import skip_row

# 71 x 72 = 5,112 parameters in a plain layer against 2 x 50 x 51 = 5,100 in a highway layer: the paper's equal budgets.
PLAIN_WIDTH = 71
_ACTIVATIONS = ("relu", "tanh")
_MATCHES = ("parameters", "multiply-adds", "width")


def dense_net(
    *,
    gate: str,
    depth: int,
    in_features: int,
    num_classes: int,
    width: int | None = None,
    activation: str = "relu",
    layers: int = 1,
    match: str = "parameters",
) -> SkipNet:
    """A plain fully connected first layer, then gated blocks of one width, then the softmax layer's scores.

    Args:
        gate: the rule's specification.
        depth: the layers before the softmax layer, the first one included; 1 + blocks * layers.
        in_features: values in one input; images are flattened.
        num_classes: scores that come out.
        width: units of every layer; None is 71 for plain nets and for others what `match` asks.
        activation: "relu" (He initialisation) or "tanh" (Xavier initialisation).
        layers: linear layers in one block. From 2 on, the last one of a block has no activation after it.
        match: what a block of any gate has in common with a plain one of 71 units, where no width is given:
            "parameters" as in the paper (a highway block then has 50 units), "multiply-adds", or "width".

    Raises:
        ValueError: if depth, layers, activation or match is out of range.
    """
    for name, value, valid in (("activation", activation, _ACTIVATIONS), ("match", match, _MATCHES)):
        if value not in valid:
            raise UnknownNameError(name, value, valid)
    check_depth(depth, layers)
    if width is None:
        width = matched_width(gate, activation, layers, match)
    stem = named(flatten=nn.Flatten(), linear=_linear(in_features, width, activation), activation=_act(activation))
    bodies = [_body(width, activation, layers) for _ in range((depth - 1) // layers)]
    head = nn.Linear(width, num_classes)
    nn.init.normal_(head.weight, std=width**-0.5)
    nn.init.zeros_(head.bias)
    return SkipNet(stem, skip_row(gate, bodies), head)


def matched_width(gate: str, activation: str, layers: int, match: str) -> int:
    """The units at which a gate's block comes nearest to a plain one of 71, in parameters or in multiply-adds."""

    def size(rule: str, width: int) -> int:
        with torch.random.fork_rng():  # what is built here is thrown away, and must not move the net's own draws
            (block,) = skip_row(rule, [_body(width, activation, layers)])
        if match == "parameters":
            return sum(parameter.numel() for parameter in block.parameters())
        return sum(cast(nn.Linear, layer).weight.numel() for layer in layers_of(block))

    budget = size("plain", PLAIN_WIDTH)
    if match == "width" or size(gate, PLAIN_WIDTH) == budget:
        return PLAIN_WIDTH
    widths = range(1, PLAIN_WIDTH + 1)
    above = min(bisect_left(widths, budget, key=lambda width: size(gate, width)), len(widths) - 1)
    near = widths[max(0, above - 1) : above + 1]
    return min(near, key=lambda width: abs(size(gate, width) - budget))


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
    name="dense",
    about="fully connected: a plain first layer, then gated blocks of one width, then softmax",
    depths="any whole number from 1: the layers before the softmax layer",
    examples=("plain-dense-50", "residual-dense-50", "highway-dense-50"),
    naming=template("{gate}-dense-{depth}"),
    make=dense_net,
    check_depth=check_depth,
    inputs=lambda shape: {"in_features": math.prod(shape)},
    dims=None,
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
    return nn.ReLU() if activation == "relu" else nn.Tanh()


def _linear(features: int, width: int, activation: str) -> nn.Linear:
    layer = nn.Linear(features, width)
    if activation == "relu":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
