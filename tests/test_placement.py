"""A block's place, read off bodies of many kinds by trial runs: what gates and shortcuts are built for it."""

from __future__ import annotations

import random
import warnings

import numpy
import pytest
import torch
from torch import Tensor, nn

from skipway.skip.block import Highway, Residual, Skip
from skipway.skip.gate import GATES
from skipway.skip.placement import Placement


class SqueezeExcite(nn.Module):
    """Its linear layer is defined first, and acts on pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        self.excite = nn.Linear(8, 8)
        self.conv = nn.Conv2d(8, 8, 5, padding=2)

    def forward(self, z: Tensor) -> Tensor:
        y = self.conv(z)
        return y * self.excite(y.mean((2, 3))).sigmoid()[..., None, None]


class SideBySide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Conv2d(8, 16, 1, stride=2)

    def forward(self, z: Tensor) -> Tensor:
        return self.large(z) + self.small(z)


class Permute(nn.Module):
    def __init__(self, *dims: int) -> None:
        super().__init__()
        self.dims = dims

    def forward(self, z: Tensor) -> Tensor:
        return z.permute(self.dims)


class Masked(nn.Module):
    """It cannot be tried: its mask's shape is not known."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, z: Tensor, *, mask: Tensor) -> Tensor:
        return self.linear(z) * mask


class Product(nn.Module):
    """No layer, only a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, z: Tensor) -> Tensor:
        return z @ self.weight


class ChannelAttention(nn.Module):
    """Its one layer has one channel, and it takes images of any number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        return z * self.conv(z.mean((2, 3))[:, None])[:, 0, :, None, None].sigmoid()


class Noisy(nn.Module):
    """It draws and counts in evaluation mode, and training would change more."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        assert not self.training
        self.calls += 1
        return z + torch.rand(())


def convnext(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
        Permute(0, 2, 3, 1),
        nn.LayerNorm(channels),
        nn.Linear(channels, 4 * channels),
        nn.GELU(),
        nn.Linear(4 * channels, channels),
        Permute(0, 3, 1, 2),
    )


IMAGE, SEQUENCE, VECTOR = (2, 8, 8, 8), (2, 8, 8), (8, 8)  # channels, sides and batch that may be taken for one another
VECTORS, IMAGES = "features of (batch, ..., features)", "features of (batch, channels, height, width)"
# Body, its input's shape, and what is inferred.
BODIES = {
    "linear": (lambda: nn.Linear(8, 8), VECTOR, f"8 -> 8 {VECTORS}"),
    "linear on sequences": (lambda: nn.Linear(8, 8), SEQUENCE, f"8 -> 8 {VECTORS}"),
    "linear on channels last": (lambda: nn.Linear(8, 8), IMAGE, f"8 -> 8 {VECTORS}"),
    "parameter": (Product, SEQUENCE, f"8 -> 8 {VECTORS}"),
    "batch norm behind linear": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)),
        VECTOR,
        f"8 -> 4 {VECTORS}",
    ),
    "convolution": (lambda: nn.Conv2d(8, 8, 3, padding=1), IMAGE, f"8 -> 8 {IMAGES}, kernel 3, stride 1"),
    "transposed convolution": (
        lambda: nn.ConvTranspose2d(8, 8, 3, padding=1),
        IMAGE,
        f"8 -> 8 {IMAGES}, kernel 3, stride 1",
    ),
    "pooling before a transposed convolution": (
        lambda: nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), nn.ConvTranspose2d(8, 8, 3, padding=1)),
        IMAGE,
        f"8 -> 8 {IMAGES}, kernel 3, stride 1",
    ),
    "pooling before a convolution": (
        lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, padding=1)),
        IMAGE,
        f"8 -> 16 {IMAGES}, kernel 3, stride 2",
    ),
    "squeeze and excite": (SqueezeExcite, IMAGE, f"8 -> 8 {IMAGES}, kernel 5, stride 1"),
    "convolutions side by side": (SideBySide, IMAGE, f"8 -> 16 {IMAGES}, kernel 3, stride 2"),
    "ConvNeXt": (lambda: convnext(8), IMAGE, f"8 -> 8 {IMAGES}, kernel 7, stride 1, groups 8"),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, batch_first=True), SEQUENCE, f"8 -> 8 {VECTORS}"),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_gate_follows_the_body(name):
    make, shape, inferred = BODIES[name]
    body = make().eval()
    block = Highway(body, "B")
    assert str(block.gate.placement) == inferred
    assert inferred in repr(block)
    x = torch.randn(shape)
    assert block(x).shape == body(x).shape
    assert block.gate(x).t.shape == body(x).shape


def test_a_gate_on_a_depthwise_body_is_cheaper_than_the_body():
    block = Highway(convnext(96))
    body, gate = (sum(p.numel() for p in part.parameters()) for part in (block.body, block.gate))
    assert (body, gate) == (79_200, 96 * 7 * 7 + 96)
    assert sum(p.numel() for p in Skip("exclusive", convnext(96)).gate.parameters()) == 96 * 96 + 96  # 1x1 mixes all


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8)], ids=["layer", "RMS"])
def test_a_projection_beside_a_norm_of_features_mixes_no_positions(norm):
    block = Residual(nn.Sequential(nn.Linear(8, 8), norm), "C")
    x = torch.randn(2, 8, 8)
    alone = block.shortcut(x[1:, 3:4])
    torch.testing.assert_close(block.shortcut(x)[1:, 3:4], alone)
    assert type(block.shortcut.projection[1]) is type(norm)


@pytest.mark.parametrize(
    ("norm", "found"),
    [
        (nn.BatchNorm2d(8), nn.BatchNorm2d(12)),
        (nn.Sequential(nn.BatchNorm2d(8), nn.GroupNorm(2, 8)), nn.GroupNorm(2, 12)),  # the last one
        (nn.SyncBatchNorm(8), nn.SyncBatchNorm(12)),
        (nn.InstanceNorm2d(8, affine=True), nn.InstanceNorm2d(12, affine=True)),
        (nn.GroupNorm(8, 8), nn.GroupNorm(4, 12)),  # the most groups that divide both
        (nn.Sequential(Permute(0, 2, 3, 1), nn.LayerNorm(8), Permute(0, 3, 1, 2)), nn.LayerNorm(12)),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_a_projection_is_normalised_as_its_body_is(norm, found):
    block = Skip("constant", nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), norm, nn.Conv2d(8, 12, 1)), "B")
    made = block.shortcut.projection[1]
    assert repr(getattr(made, "norm", made)) == repr(found)
    x = torch.randn(IMAGE)
    if isinstance(found, nn.LayerNorm):
        flat = torch.einsum("oc,bchw->bhwo", block.shortcut.projection[0].weight[..., 0, 0], x)
        torch.testing.assert_close(block.shortcut(x), found(flat).permute(0, 3, 1, 2))
    elif not isinstance(found, nn.SyncBatchNorm):
        assert block(x).shape == (2, 12, 8, 8)


WITHOUT_LAYERS = [spec for spec in GATES if spec in ("plain", "residual", "constant", "stochastic-depth", "rezero")]


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Conv2d(8, 8, (1, 7), padding=(0, 3)),
        lambda: nn.Sequential(nn.Conv2d(8, 4, 3, stride=(1, 2)), nn.ConvTranspose2d(4, 8, 3, stride=(1, 2))),
        lambda: nn.AvgPool2d(3, stride=1, padding=1),
        lambda: nn.LazyConv2d(8, 3, padding=1),
        nn.Tanh,
        lambda: nn.Upsample(scale_factor=2),
        lambda: Masked(),
    ],
)
@pytest.mark.parametrize("spec", WITHOUT_LAYERS)
def test_a_rule_without_a_layer_of_its_own_stands_on_any_body(spec, make):
    scaled = f"{spec}:scale=1" if spec in ("residual", "stochastic-depth") else spec
    Skip(scaled, make(), index=0, count=1)


def test_a_kernel_need_not_be_square_where_no_gate_follows_it():
    assert Residual(nn.Conv2d(8, 8, (1, 7), padding=(0, 3)))(torch.randn(IMAGE)).shape == IMAGE
    body = nn.Conv2d(8, 8, (1, 7), padding=(0, 3))
    with pytest.raises(ValueError, match="highway:kernel=3"):
        Highway(body)
    assert Skip("highway:kernel=3,bias=-2", body)(torch.randn(IMAGE)).shape == IMAGE


@pytest.mark.parametrize(
    ("body", "told", "open_"),
    [
        (nn.MaxPool2d(3, 1, 1), {}, "any number of features: give features="),
        (nn.LazyConv2d(8, 3, padding=1), {}, "any number of features: give features="),
        (
            nn.Sequential(nn.LazyConv2d(8, 3, padding=1), nn.BatchNorm2d(8)),
            {},
            "any number of features: give features=",
        ),
        (ChannelAttention(), {}, "any number of features: give features="),
        (nn.LazyLinear(8), {"kind": "linear"}, "any number of features: give features="),
        (nn.Tanh(), {"kind": "conv2d"}, "any number of features: give features="),
        (nn.Tanh(), {"features": 8}, "give kind=, 'linear' for"),
        (nn.GroupNorm(2, 8), {}, "give kind=, 'linear' for"),
        (nn.BatchNorm1d(8), {}, r"give kind=, 'linear' for \(batch, ..., features\), or 'conv1d' for"),
        (Masked(), {}, "could not be tried on an input .TypeError: .*'mask'.*give features=.* and kind="),
        (nn.Embedding(8, 8), {}, "could not be tried"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_a_body_leaves_open_is_refused_with_the_argument_that_settles_it(body, told, open_):
    for spec in ("highway:bias=-2", "layerscale:init=0.1"):
        with pytest.raises(ValueError, match=open_):
            Skip(spec, body, **told)
        gate = Skip(spec, body, **{"features": 8, "kind": "conv2d", **told}).gate
        assert gate.placement.problem is None


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (nn.ConvTranspose2d(8, 8, 2, stride=2), "gave (7, 8, 1920, 1920)"),
        (nn.Conv2d(8, 8, 3), "gave (7, 8, 958, 958)"),
        (nn.Conv2d(8, 8, 3, stride=(1, 2), padding=1), "gave (7, 8, 960, 480)"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(16)), "gave (7, 8, 16, 16)"),
        (nn.Sequential(nn.Conv2d(8, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "gave (7, 8)"),
    ],
    ids=["larger", "without padding", "not square", "fixed", "flat"],
)
@pytest.mark.parametrize("part", ["gate", "shortcut"])
def test_a_change_of_size_that_no_layer_follows_is_refused(body, found, part):
    with pytest.raises(ValueError) as error:
        Highway(body) if part == "gate" else Residual(body, "B")
    assert found in str(error.value)
    assert "modules of your own" in str(error.value)


def test_a_pooling_to_a_fixed_size_is_told_from_a_stride():
    assert Placement.of(nn.AdaptiveAvgPool2d(16)).stride == 0
    assert Placement.of(nn.AvgPool2d(16)).stride == 16


def test_lazy_layers_are_tried_and_stay_lazy():
    block = Highway(nn.Sequential(nn.LazyConv2d(8, 5, padding=2), nn.LazyBatchNorm2d()), features=8)
    assert block.gate.transform.kernel_size == (5, 5)
    assert block.body[0].has_uninitialized_params()
    assert block(torch.randn(IMAGE)).shape == IMAGE
    assert str(Placement.of(nn.LazyLinear(4), features=8)) == f"8 -> 4 {VECTORS}"
    with pytest.raises(ValueError, match="LazyLinear has none before its first call"):
        Skip("residual", nn.LazyLinear(8), count=9)


def test_a_trial_leaves_the_body_the_generators_and_the_hooks_as_they_were():
    body = nn.Sequential(nn.Dropout(), Noisy(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in body.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert Residual(body, "B").gate.placement.features == 8  # it was tried
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert not any(module._forward_pre_hooks for module in body.modules())
    assert body.training


def test_a_kind_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="kind is the layout .* one of linear, conv1d, conv2d, conv3d; it is 'image'"):
        Highway(nn.Tanh(), features=8, kind="image")


# -- sizes that a stride does not divide -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MaxPool2d(2),
        lambda: nn.MaxPool2d(2, ceil_mode=True),
        lambda: nn.MaxPool2d(3, stride=2, ceil_mode=True),
        lambda: nn.AvgPool2d(3, stride=3, ceil_mode=True),
        lambda: nn.MaxPool2d(5, stride=3, padding=1),
        lambda: nn.Conv2d(4, 6, 4, stride=2, padding=1),
        lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
        lambda: nn.Sequential(nn.MaxPool2d(2), nn.MaxPool2d(2)),
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Conv2d(6, 6, 3, stride=2, padding=1)),
    ],
)
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize(
    "gate", ["residual:scale=1", "highway:bias=0", "highway-separate:bias=0", "shortcut-only:scale=1"]
)
def test_gate_and_shortcut_round_odd_sizes_as_the_body_does(gate, shortcut, make):
    body = nn.Sequential(nn.Conv2d(4, 4, 1), make())
    block = Skip(gate, body, shortcut)
    for size in range(9, 17):
        x = torch.randn(2, 4, size, size)
        flow, carried, f = block.gate(x), block.shortcut(x), body(x)
        assert carried.shape == f.shape
        torch.testing.assert_close(block(x), flow.t * f + flow.carry() * carried)


def test_what_is_carried_past_a_pooling_are_the_pixels_that_it_reads():
    block = Residual(nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2)), "A")
    x = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert block.shortcut(x).flatten().tolist() == [0, 2, 10, 12]


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d((3, 2), stride=2, padding=(1, 0)),  # rounds one side up and the other down
        nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.MaxPool2d(3, stride=2),
        nn.MaxPool2d(4, stride=4, padding=1, ceil_mode=True),
        nn.AvgPool2d(1, stride=(2, 1)),
        nn.AdaptiveAvgPool2d(480),
    ],
)
def test_a_size_that_follows_no_stride_is_refused(pool):
    body = nn.Sequential(nn.Conv2d(4, 4, 1), pool)
    assert Placement.of(body).stride == 0
    for build in (lambda: Highway(body), lambda: Residual(body, "B")):
        with pytest.raises(ValueError, match="no layer with one stride follows it there and at other sizes"):
            build()


def test_a_size_at_which_a_convolution_and_a_pooling_round_differently_is_refused():
    body = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.MaxPool2d(2))
    block = Skip("highway:bias=0", body, "B")
    assert block(torch.randn(2, 4, 12, 12)).shape == (2, 4, 3, 3)
    assert block(torch.randn(2, 4, 15, 15)).shape == (2, 4, 4, 4)
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 4\) for an output of shape \(2, 4, 3, 3\)"):
        block(torch.randn(2, 4, 14, 14))


# -- trials are not noticed --------------------------------------------------------------------------------------------


class Busy(nn.Module):
    """It changes all that it can reach: weights, buffers, its mode, and the random states."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []

    def forward(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            self.linear.weight.mul_(0.5)
            self.linear.bias.data.zero_()
        self.calls += 1
        self.seen.append(len(z))
        self.train()
        return self.linear(z) + torch.rand(()) + random.random() + numpy.random.rand()


def test_a_trial_of_a_busy_body_changes_nothing():
    body = nn.Sequential(Busy(), nn.BatchNorm1d(8), nn.Dropout()).train()
    body[1].eval()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    modes = [module.training for module in body.modules()]
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    place = Placement.of(body)
    assert (place.features, place.layers) == (8, ("0.linear",))  # it was tried
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == states[1:]
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    assert [module.training for module in body.modules()] == modes
    assert body[0].seen == []
    assert all(parameter.grad is None for parameter in body.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_trial_leaves_the_gpus_generator_as_it_was():
    torch.rand(1, device="cuda")
    for body in (nn.Sequential(Busy(), nn.Linear(8, 8)).cuda(), OnGpu()):
        state = torch.cuda.get_rng_state()
        assert Placement.of(body).features == 8
        assert torch.equal(torch.cuda.get_rng_state(), state)


class OnGpu(nn.Linear):
    """It stands on the CPU and draws on the GPU."""

    def __init__(self) -> None:
        super().__init__(8, 8)

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z) + torch.rand((), device="cuda").cpu()


def test_a_trial_calls_nobodys_hooks():
    body = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()))
    seen: list[nn.Module] = []

    class Logger:
        """Nothing that can be copied."""

        def __deepcopy__(self, memo):
            raise AssertionError("a user's logger was copied")

        def hook(self, module, *rest):
            seen.append(module)

    logger = Logger()
    handles = [
        *(module.register_forward_hook(logger.hook) for module in body.modules()),
        *(module.register_forward_pre_hook(logger.hook) for module in body.modules()),
        body.register_forward_hook(lambda module, args, kwargs, out: seen.append(module), with_kwargs=True),
        body[0].register_forward_hook(logger.hook, always_call=True),
        body[0].weight.register_hook(seen.append),
        nn.modules.module.register_module_forward_hook(logger.hook),
        nn.modules.module.register_module_forward_pre_hook(logger.hook),
    ]
    try:
        assert str(Highway(body).gate.placement) == f"8 -> 8 {IMAGES}, kernel 3, stride 1"
        assert Placement.of(nn.Sequential(body, nn.Conv2d(8, 4, 3))).stride == 0  # tried on many sizes
        assert seen == []
        body(torch.randn(IMAGE))
        assert len(seen) == 2 * 5 + 2 + 2 * 5  # and afterwards all are called
    finally:
        for handle in handles:
            handle.remove()


def test_trials_with_hooks_that_torch_needs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        normed = nn.utils.weight_norm(nn.Linear(8, 6))
    lazy = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(4))
    assert str(Placement.of(nn.Sequential(normed, nn.utils.spectral_norm(nn.Linear(6, 8))))) == f"8 -> 8 {VECTORS}"
    for features in (8, 5):  # no trial leaves its shape behind
        assert str(Placement.of(lazy, features=features)) == f"{features} -> 4 {VECTORS}"
        assert all(layer.has_uninitialized_params() for layer in (lazy[0], lazy[2]))
        assert len(lazy[0]._forward_pre_hooks) == 1
    assert lazy(torch.randn(2, 3)).shape == (2, 4)


def test_a_trial_in_inference_mode_sees_what_one_outside_does():
    expected = Placement.of(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8)))
    with torch.inference_mode():
        found = Placement.of(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8)))
    assert found == expected
    assert found.last == "2"
