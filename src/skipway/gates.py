"""Gate rules: what a block's transform T and carry C are in ``y = T * F + C * S``.

One class a rule. A subclass that names itself is registered, and with that can be named on the command line, studied,
reported and lesioned::

    class Halves(Gate, name="halves"):
        def forward(self, z: Tensor) -> Flow:
            return Flow(0.5, 0.5)

Its keyword-only arguments are its settings, written ``halves:weight=0.3`` in a specification. Where it reads its site's
`count` or `index`, it depends on depth, and a block by hand is refused unless it was told. Its children are
`torch.nn.Linear` or `torch.nn.Conv*`, its own parameters broadcast against the block's output; so replicas of it can be
trained stacked (`skipway.training.replicas`). Nothing in a gate works in place: a hook may keep what that would change.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from skipway.draws import uniform
from skipway.registry import Registry, Spec, check_settings
from skipway.site import Site as Site
from skipway.site import beside
from skipway.site import layers_of as layers_of
from skipway.trial import is_lazy


class Flow(NamedTuple):
    """What a gate lets through: transform and carry, numbers or tensors that broadcast against the block's output.

    The numbers 0.0 and 1.0 cost nothing: a branch times 0.0 is not computed, a branch times 1.0 not multiplied.
    """

    t: Tensor | float
    c: Tensor | float | None  # None: 1 - t, computed as one linear interpolation

    def carry(self) -> Tensor | float:
        """C, also where it is given only as 1 - T."""
        return 1 - self.t if self.c is None else self.c


GATES: Registry[type[Gate]] = Registry("gate")
_NORMS = {"conv1d": nn.BatchNorm1d, "conv2d": nn.BatchNorm2d, "conv3d": nn.BatchNorm3d}


class Gate(nn.Module):
    """A rule for T and C. Subclasses say `class MyGate(Gate, name="mine")` and define `forward`."""

    name: ClassVar[str] = ""
    random: ClassVar[bool] = False  # whether forward draws random numbers in training: by `draw`
    version: ClassVar[int] = 1  # of a rule of ours; part of a run's identity: one more when its numbers change

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is not None:
            cls.name = name
            GATES.add(name, cls)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def init_body(self, body: nn.Module) -> None:
        """Change a freshly initialised body's weights as the rule asks. It is called once, when a block is built."""

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
        return str(self.site)


def canonical(spec: str) -> str:
    """The one way to write a gate's specification: settings sorted, those at their defaults left out.

    Raises:
        ValueError: if there is no such gate or setting.
    """
    return str(_checked(spec))


def make_gate(spec: str, site: Site) -> Gate:
    """Build the gate that a specification such as ``highway:bias=-4`` names.

    Raises:
        ValueError: if there is no such gate or setting, or if the rule cannot stand at this place.
    """
    checked = _checked(spec)
    return GATES[checked.name](site, **dict(checked.settings))


def fit_gate(spec: str, site: Site, body: nn.Module) -> Gate:
    """Put a rule on a body: build its gate, on the body's device and in its precision, and initialise the body by it.

    Raises:
        ValueError: as `make_gate`.
    """
    gate = beside(body, make_gate(spec, site))
    gate.init_body(body)
    return gate


class PlainGate(Gate, name="plain"):
    """T = 1, C = 0: y = F(x), the baseline of every study."""

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 0.0)


class ResidualGate(Gate, name="residual"):
    """T = 1, C = 1: y = F(x) + x (He et al. 2015, arXiv 1512.03385).

    Where the body does not normalise, its last layer starts scaled by 1 / sqrt(number of blocks), without which the
    sum over a deep stack grows until training diverges. ``scale`` sets another factor; 1 leaves the body as it is.
    """

    def __init__(self, site: Site, *, scale: float | str = "auto") -> None:
        super().__init__(site)
        self.scale = _number("scale", scale, lambda: _sum_scale(site))

    def init_body(self, body: nn.Module) -> None:
        _scale_last_layer(body, self.scale)

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 1.0)


class ConstantGate(Gate, name="constant"):
    """Fixed T and C (He et al. 2016, arXiv 1603.05027, Table 1, which writes f and c for them)."""

    def __init__(self, site: Site, *, transform: float = 0.5, carry: float = 0.5) -> None:
        super().__init__(site)
        self.transform_value, self.carry_value = float(transform), float(carry)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.transform_value, self.carry_value)


class HighwayGate(Gate, name="highway"):
    """T = sigmoid(W z + b), C = 1 - T (Srivastava et al. 2015, arXiv 1505.00387).

    W follows the body: linear, or a convolution with the body's kernel and stride. ``bias`` is b at the start;
    ``auto`` is -ln(number of gated blocks), so that a stack of any depth lets about one block's worth through.
    """

    def __init__(self, site: Site, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(site)
        # The papers' range ends at -1; a lone block has no depth to read a bias from.
        start = _number("bias", bias, lambda: min(-math.log(site.count), -1.0))
        self.transform = _gate_layer(site, start, kernel)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.transform(z).sigmoid(), None)


class SeparateHighwayGate(HighwayGate, name="highway-separate"):
    """T = sigmoid(W_T z + b_T), C = sigmoid(W_C z + b_C): the general form of arXiv 1505.00387; b_C starts at -b_T."""

    def __init__(self, site: Site, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(site, bias=bias, kernel=kernel)
        start = -float(cast(Tensor, self.transform.bias).detach()[0])
        self.carry = _gate_layer(site, start, kernel)

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.transform(z).sigmoid(), self.carry(z).sigmoid())


class DeepHighwayGate(HighwayGate, name="highway-deep"):
    """T = sigmoid of two layers with a ReLU between them, C = 1 - T (Srivastava 2025, "Weighted skip connections ...").

    Convolutions are each followed by batch norm where the body normalises; ``bias`` is then the last batch norm's.
    """

    def __init__(self, site: Site, *, bias: float | str = "auto", kernel: int | str = "auto") -> None:
        super().__init__(site, bias=bias, kernel=kernel)
        first = cast(nn.Conv2d, self.transform)
        start = float(cast(Tensor, first.bias).detach()[0])
        second = replace(site, features=site.out_features, stride=1).layer(
            kernel=None if site.kind == "linear" else first.kernel_size[0]
        )
        nn.init.xavier_normal_(second.weight)
        last: nn.Module = second
        if site.normalised and site.kind in _NORMS:
            norm, last = (_NORMS[site.kind](second.weight.shape[0]) for _ in range(2))
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

    def __init__(self, site: Site, *, bias: float = -6.0) -> None:
        super().__init__(site, bias=bias, kernel=1)


class ShortcutOnlyGate(HighwayGate, name="shortcut-only"):
    """T = 1, C = 1 - g with g = sigmoid(1x1 convolution) (arXiv 1603.05027, section 3.1).

    ``scale`` is the residual rule's, whose sum over the depth this one shares.
    """

    def __init__(self, site: Site, *, bias: float = -6.0, scale: float | str = "auto") -> None:
        super().__init__(site, bias=bias, kernel=1)
        self.scale = _number("scale", scale, lambda: _sum_scale(site))

    def init_body(self, body: nn.Module) -> None:
        _scale_last_layer(body, self.scale)

    def forward(self, z: Tensor) -> Flow:
        # 1 - sigmoid(a) = sigmoid(-a), without the loss of digits.
        return Flow(1.0, self.transform(z).neg().sigmoid())


class StochasticDepthGate(ResidualGate, name="stochastic-depth"):
    """T ~ Bernoulli(p) once a mini-batch in training, T = p at test, C = 1 (Huang et al. 2016, arXiv 1603.09382).

    The linear rule: p falls from 1 at the input to ``p_last`` at the last block, 1 - p_l = l/L (1 - p_L). ``scale`` is
    the residual rule's.
    """

    random = True

    def __init__(self, site: Site, *, p_last: float = 0.5, scale: float | str = "auto") -> None:
        super().__init__(site, scale=scale)
        if not 0 < p_last <= 1:
            raise ValueError(f"stochastic-depth: p_last is a probability above 0 and up to 1; it is {p_last}.")
        self.survival = 1 - (site.index + 1) / site.count * (1 - p_last)

    def forward(self, z: Tensor) -> Flow:
        if not self.training:
            return Flow(self.survival, 1.0)
        return Flow(float(self.draw(z) < self.survival), 1.0)


class ReZeroGate(Gate, name="rezero"):
    """T = one learned number a block, from 0; C = 1 (Bachlechner 2020, arXiv 2003.04887; SkipInit, 2002.10444)."""

    def __init__(self, site: Site, *, init: float = 0.0) -> None:
        super().__init__(site)
        self.scale = nn.Parameter(torch.full((1,), float(init)))  # FSDP shards no scalars

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.scale, 1.0)


class LayerScaleGate(Gate, name="layerscale"):
    """T = one learned number a feature; C = 1 (Touvron et al. 2021, arXiv 2103.17239, section 2.1).

    It starts at 0.1 up to 18 blocks, at 1e-5 up to 24, at 1e-6 beyond; ``init`` sets another start.
    """

    def __init__(self, site: Site, *, init: float | str = "auto") -> None:
        super().__init__(site)
        self.scale = site.parameter(_number("init", init, lambda: _layerscale_init(site.count)))

    def forward(self, z: Tensor) -> Flow:
        return Flow(self.scale, 1.0)


class FixupGate(Gate, name="fixup"):
    """T = 1, C = 1; the body's last layer starts at 0, the others scaled by L^(-1/(2m-2)) (Zhang 2019, 1901.09321).

    L is the number of blocks, m the number of layers in each.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        if site.body_layers < 2:
            raise ValueError(
                f"fixup needs bodies of two layers or more, since it starts the last one at 0 and scales the others; "
                f"this body has {site.body_layers}. Dense nets take layers=2: --body dense:layers=2."
            )
        if site.ends_in_relu:
            raise ValueError(
                "fixup starts the body's last layer at 0, and a ReLU after it passes no gradient there: "
                "end the body in its linear layer."
            )
        self.scale = site.count ** (-1 / (2 * site.body_layers - 2))

    def init_body(self, body: nn.Module) -> None:
        *others, last = layers_of(body)
        with torch.no_grad():
            for layer in others:
                _weight(layer).mul_(self.scale)
            _weight(last).zero_()

    def forward(self, z: Tensor) -> Flow:
        return Flow(1.0, 1.0)


def _checked(spec: str) -> Spec:
    parsed = Spec.parse(spec)
    return check_settings(parsed, GATES[parsed.name], "gate")


def _is_traced(z: object) -> bool:
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return isinstance(z, Proxy) or tracing or torch.compiler.is_exporting()


def _gate_layer(site: Site, bias: float, kernel: int | str) -> nn.Module:
    layer = site.layer(kernel=_pixels(kernel))
    nn.init.xavier_normal_(layer.weight)
    nn.init.constant_(cast(Tensor, layer.bias), bias)
    return layer


def _pixels(kernel: int | str) -> int | None:
    size = None if kernel == "auto" else _number("kernel", kernel)
    if size is not None and size != int(size):
        raise ValueError(f"a gate's kernel is a whole number of pixels; it is {size:g}.")
    return None if size is None else int(size)


def _sum_scale(site: Site) -> float:
    """What keeps a sum over the blocks in bounds where no body normalises."""
    return 1.0 if site.normalised else site.count**-0.5


def _scale_last_layer(body: nn.Module, scale: float) -> None:
    layers = list(layers_of(body))
    if layers and scale != 1:
        with torch.no_grad():
            _weight(layers[-1]).mul_(scale)


def _layerscale_init(count: int) -> float:
    return 0.1 if count <= 18 else 1e-5 if count <= 24 else 1e-6


def _number(setting: str, value: float | str, auto: Callable[[], float] | None = None) -> float:
    """A setting's number. The automatic one may depend on depth, so it is worked out only where it is wanted."""
    if value == "auto" and auto:
        return auto()
    if isinstance(value, str):
        raise ValueError(f"{setting} is a number or 'auto'; it is {value!r}.")
    return float(value)


def _weight(layer: nn.Module) -> Tensor:
    if is_lazy(layer):
        raise ValueError(
            f"this rule changes the body's initial weights, and its {type(layer).__name__} has none before its first "
            "call: call the body once before."
        )
    return cast(Tensor, layer.weight)
