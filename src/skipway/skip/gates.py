"""The gate rules that come with Skipway, one class each, with the paper that it is from."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from skipway.skip.gate import Flow, Gate
from skipway.skip.placement import Placement
from skipway.skip.starts import check_all_are_layers, layers_in_order, scale_weight, set_to_zero

_NORMS = {"conv1d": nn.BatchNorm1d, "conv2d": nn.BatchNorm2d, "conv3d": nn.BatchNorm3d}


class PlainGate(Gate, name="plain"):
    """T = 1, C = 0: y = F(x), the baseline of every study."""

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 0.0)


class ResidualGate(Gate, name="residual"):
    """T = 1, C = 1: y = F(x) + x (He et al. 2015, arXiv 1512.03385).

    Where the body does not normalise, its last layer's weight starts scaled by 1 / sqrt(number of blocks), without
    which the sum over a deep stack grows until training diverges. ``scale`` sets another factor; 1 leaves the body as
    it is. A body that stands in several blocks of a row is scaled once.
    """

    def __init__(self, placement: Placement, *, scale: float | str = "auto") -> None:
        super().__init__(placement)
        self.scale = _number("scale", scale, lambda: _sum_scale(placement))

    def init_body(self, body: nn.Module) -> None:
        _scale_last_layer(body, self.placement, self.scale)

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 1.0)


class ConstantGate(Gate, name="constant"):
    """Fixed T and C (He et al. 2016, arXiv 1603.05027, Table 1, which writes f and c for them)."""

    def __init__(self, placement: Placement, *, transform: float = 0.5, carry: float = 0.5) -> None:
        super().__init__(placement)
        self.transform_value, self.carry_value = float(transform), float(carry)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.transform_value, self.carry_value)


class HighwayGate(Gate, name="highway"):
    """T = sigmoid(W z + b), C = 1 - T (Srivastava et al. 2015, arXiv 1505.00387).

    W follows the body: linear, or a convolution with the body's kernel and stride. ``bias`` is b at the start;
    ``auto`` is -ln(number of gated blocks), so that a stack of any depth lets about one block's worth through.
    """

    def __init__(self, placement: Placement, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(placement)
        # The papers' range ends at -1; a lone block has no depth to read a bias from.
        start = _number("bias", bias, lambda: min(-math.log(placement.count), -1.0))
        self.transform = _gate_layer(placement, start, kernel)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.transform(self.placement.cropped(z)).sigmoid(), None)


class SeparateHighwayGate(HighwayGate, name="highway-separate"):
    """T = sigmoid(W_T z + b_T), C = sigmoid(W_C z + b_C): the general form of arXiv 1505.00387; b_C starts at -b_T."""

    def __init__(self, placement: Placement, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(placement, bias=bias, kernel=kernel)
        start = -float(cast(Tensor, self.transform.bias).detach()[0])
        self.carry = _gate_layer(placement, start, kernel)

    def forward(self, z: Tensor) -> Flow:
        return Flow(
            self.transform(self.placement.cropped(z)).sigmoid(), self.carry(self.placement.cropped(z)).sigmoid()
        )


class DeepHighwayGate(HighwayGate, name="highway-deep"):
    """T = sigmoid of two layers with a ReLU between them, C = 1 - T (Srivastava 2025, "Weighted skip connections ...").

    Convolutions are each followed by batch norm where the body normalises; ``bias`` is then the last batch norm's.
    """

    def __init__(self, placement: Placement, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(placement, bias=bias, kernel=kernel)
        first = cast(nn.Conv2d, self.transform)
        start = float(cast(Tensor, first.bias).detach()[0])
        second = replace(placement, features=placement.out_features, stride=1).layer(
            kernel=None if placement.kind == "linear" else first.kernel_size[0]
        )
        nn.init.xavier_normal_(second.weight)
        last: nn.Module = second
        if placement.normalised and placement.kind in _NORMS:
            norm, last = (_NORMS[placement.kind](second.weight.shape[0]) for _ in range(2))
            for layer in (first, second):
                layer.register_parameter("bias", None)
            layers = {"conv1": first, "bn1": norm, "relu": nn.ReLU(), "conv2": second, "bn2": last}
        else:
            nn.init.zeros_(cast(Tensor, first.bias))
            layers = {"layer1": first, "relu": nn.ReLU(), "layer2": second}
        self.transform = nn.Sequential(OrderedDict(layers))
        nn.init.constant_(cast(Tensor, last.bias), start)


class ExclusiveGate(HighwayGate, name="exclusive"):
    """T = g, C = 1 - g with g = sigmoid(1x1 convolution) (arXiv 1603.05027, section 3.1); -6 is its best bias."""

    def __init__(self, placement: Placement, *, bias: float = -6.0) -> None:
        super().__init__(placement, bias=bias, kernel=1)


class ShortcutOnlyGate(HighwayGate, name="shortcut-only"):
    """T = 1, C = 1 - g with g = sigmoid(1x1 convolution) (arXiv 1603.05027, section 3.1).

    ``scale`` is the residual rule's, whose sum over the depth this one shares.
    """

    def __init__(self, placement: Placement, *, bias: float = -6.0, scale: float | str = "auto") -> None:
        super().__init__(placement, bias=bias, kernel=1)
        self.scale = _number("scale", scale, lambda: _sum_scale(placement))

    def init_body(self, body: nn.Module) -> None:
        _scale_last_layer(body, self.placement, self.scale)

    def forward(self, z: Tensor) -> Flow:
        # 1 - sigmoid(a) = sigmoid(-a), without the loss of digits.
        return Flow(1.0, self.transform(self.placement.cropped(z)).neg().sigmoid())


class StochasticDepthGate(ResidualGate, name="stochastic-depth"):
    """T ~ Bernoulli(p) once a mini-batch in training, T = p at test, C = 1 (Huang et al. 2016, arXiv 1603.09382).

    The linear rule: p falls from 1 at the input to ``p_last`` at the last block, 1 - p_l = l/L (1 - p_L). ``scale`` is
    the residual rule's.
    """

    random = True

    def __init__(self, placement: Placement, *, p_last: float = 0.5, scale: float | str = "auto") -> None:
        super().__init__(placement, scale=scale)
        if not 0 < p_last <= 1:
            raise ValueError(f"stochastic-depth: p_last is a probability above 0 and up to 1; it is {p_last}.")
        self.survival = 1 - (placement.index + 1) / placement.count * (1 - p_last)

    def forward(self, z: Tensor) -> Flow:
        if not self.training:
            return Flow(self.survival, 1.0)
        return Flow(float(self.draw(z) < self.survival), 1.0)


class ReZeroGate(Gate, name="rezero"):
    """T = one learned number a block, from 0; C = 1 (Bachlechner 2020, arXiv 2003.04887; SkipInit, 2002.10444)."""

    def __init__(self, placement: Placement, *, init: float = 0.0) -> None:
        super().__init__(placement)
        self.scale = nn.Parameter(torch.full((1,), float(init)))  # FSDP shards no scalars

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.scale, 1.0)


class LayerScaleGate(Gate, name="layerscale"):
    """T = one learned number a feature; C = 1 (Touvron et al. 2021, arXiv 2103.17239, section 2.1).

    It starts at 0.1 up to 18 blocks, at 1e-5 up to 24, at 1e-6 beyond; ``init`` sets another start.
    """

    def __init__(self, placement: Placement, *, init: float | str = "auto") -> None:
        super().__init__(placement)
        self.scale = placement.parameter(_number("init", init, lambda: _layerscale_init(placement.count)))

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.scale, 1.0)


class FixupGate(Gate, name="fixup"):
    """T = 1, C = 1; the body's last layer starts at 0, the others scaled by L^(-1/(2m-2)) (Zhang 2019, 1901.09321).

    L is the number of blocks, m the number of layers in each, as they are called: one that is called twice counts
    twice, and is scaled once. The last layer's bias starts at 0, too, so that F is 0 (section 3, rules 1 and 2; the
    scalar biases and multipliers of rule 3 are the body's own affair). The factor is derived for blocks that learn
    weights of their own: a body that stands in several blocks is refused.
    """

    version = 2  # 1 left the last layer's bias as it was, and went by the order in which layers are defined

    def __init__(self, placement: Placement) -> None:
        super().__init__(placement)
        if placement.shared:
            raise ValueError(
                "fixup's factor is derived for blocks with weights of their own, and this body shares some with another"
                " block of the row: give each block its own body, or another rule, as residual."
            )
        if placement.body_layers < 2:
            raise ValueError(
                f"fixup needs bodies of two layers or more, since it starts the last one at 0 and scales the others; "
                f"this body has {placement.body_layers}. Dense nets take layers=2: --net dense:layers=2."
            )
        if placement.ends_in_relu:
            raise ValueError(
                "fixup starts the body's last layer at 0, and a ReLU after it passes no gradient there: "
                "end the body in its linear layer."
            )
        self.scale = placement.count ** (-1 / (2 * placement.body_layers - 2))

    def init_body(self, body: nn.Module) -> None:
        others, last = layers_in_order(body, self.placement)
        check_all_are_layers(body, [*others, last])
        for layer in others:
            scale_weight(layer, self.scale)
        set_to_zero(last)

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 1.0)


def _gate_layer(placement: Placement, bias: float, kernel: int | str) -> nn.Module:
    layer = placement.layer(kernel=_pixels(kernel))
    nn.init.xavier_normal_(layer.weight)
    nn.init.constant_(cast(Tensor, layer.bias), bias)
    return layer


def _pixels(kernel: int | str) -> int | None:
    size = None if kernel == "auto" else _number("kernel", kernel)
    if size is not None and size != int(size):
        raise ValueError(f"a gate's kernel is a whole number of pixels; it is {size:g}.")
    return None if size is None else int(size)


def _sum_scale(placement: Placement) -> float:
    """What keeps a sum over the blocks in bounds where no body normalises."""
    return 1.0 if placement.normalised else placement.count**-0.5


def _scale_last_layer(body: nn.Module, placement: Placement, scale: float) -> None:
    if scale != 1:
        _, last = layers_in_order(body, placement)
        scale_weight(last, scale)


def _layerscale_init(count: int) -> float:
    return 0.1 if count <= 18 else 1e-5 if count <= 24 else 1e-6


def _number(setting: str, value: float | str, auto: Callable[[], float] | None = None) -> float:
    """A setting's number. The automatic one may depend on depth, so it is worked out only where it is wanted."""
    if value == "auto" and auto:
        return auto()
    if isinstance(value, str):
        raise ValueError(f"{setting} is a number or 'auto'; it is {value!r}.")
    return float(value)
