"""Each shortcut against slicing, padding and projecting by hand, and what every registered one must hold."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import KINDS, body, inputs, scramble
from skipway.skip.block import Skip
from skipway.skip.gate import GATES
from skipway.skip.placement import Placement
from skipway.skip.shortcuts import SHORTCUTS, Shortcut, make_shortcut

NAMES = list(SHORTCUTS)
SIDES = {"end": (0, 3), "sides": (1, 2)}  # zeros before and after, where 2 channels become 5


def placement(kind: str, features: int = 2, out: int | None = None, stride: int = 1) -> Placement:
    return Placement.of(body(kind, features, out, stride=stride))


def normalised(features: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(features, out, 3, stride, 1), nn.BatchNorm2d(out), nn.Conv2d(out, out, 3, 1, 1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_shortcut_keeps_a_shape_that_the_body_keeps(name, kind):
    x = inputs(kind)
    assert make_shortcut(name, placement(kind))(x).shape == x.shape


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_every_shortcut_follows_the_bodys_shape_or_refuses(name, kind, stride):
    inner = body(kind, 2, 5, stride=stride)
    x = inputs(kind)
    if name in ("identity", "none"):
        with pytest.raises(ValueError, match="shape"):
            make_shortcut(name, Placement.of(inner))(x)
    else:
        assert make_shortcut(name, Placement.of(inner))(x).shape == inner(x).shape


@pytest.mark.parametrize("pad", SIDES)
def test_option_a_is_slicing_and_padding(pad):
    before, after = SIDES[pad]
    shortcut = make_shortcut(f"A:pad={pad}", placement("image", 2, 5, stride=2))
    x = torch.randn(3, 2, 7, 6)
    sliced = x[:, :, ::2, ::2]
    expected = torch.cat([torch.zeros(3, before, 4, 3), sliced, torch.zeros(3, after, 4, 3)], 1)
    assert torch.equal(shortcut(x), expected)
    assert not list(shortcut.parameters())


@pytest.mark.parametrize("pad", SIDES)
def test_option_a_pads_the_last_dimension_of_vectors_and_sequences(pad):
    before, after = SIDES[pad]
    shortcut = make_shortcut(f"A:pad={pad}", placement("vector", 2, 5))
    for x in (torch.randn(3, 2), torch.randn(3, 4, 2)):
        zeros = torch.zeros(*x.shape[:-1], 1)
        expected = torch.cat([*[zeros] * before, x, *[zeros] * after], -1)
        assert torch.equal(shortcut(x), expected)


def test_option_a_subsamples_where_only_the_size_changes():
    x = torch.randn(2, 4, 9)
    assert torch.equal(make_shortcut("A", placement("conv1d", 4, 4, stride=2))(x), x[:, :, ::2])


@pytest.mark.parametrize("name", ["identity", "A", "B", "none"])
def test_where_the_shape_stays_these_are_the_identity(name):
    x = torch.randn(2, 3, 4, 4)
    assert make_shortcut(name, placement("image", 3))(x) is x


@pytest.mark.parametrize("name", ["A", "dropout"])
def test_option_a_cannot_take_channels_away(name):
    with pytest.raises(ValueError, match="can only add channels; this block goes from 5 to 2"):
        make_shortcut(name, placement("image", 5, 2))


def test_option_a_knows_two_pads():
    with pytest.raises(ValueError, match="pad is 'end' or 'sides'; it is 'middle'"):
        make_shortcut("A:pad=middle", placement("image"))


@pytest.mark.parametrize("name", ["B", "C", "conv1x1"])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_projection_is_a_1x1_convolution_with_the_bodys_stride(name, stride):
    shortcut = scramble(make_shortcut(name, placement("image", 2, 5, stride=stride)))
    layer = shortcut.projection
    x = torch.randn(3, 2, 7, 6)
    flat = torch.einsum("oc,bchw->bohw", layer.weight[:, :, 0, 0], x[:, :, ::stride, ::stride])
    torch.testing.assert_close(shortcut(x), flat + layer.bias[:, None, None])


def test_a_projection_of_a_body_that_normalises_is_normalised_too():
    shortcut = make_shortcut("B", Placement.of(normalised(2, 5, 2)))
    x = torch.randn(4, 2, 6, 6)
    conv, norm = shortcut.projection
    assert conv.bias is None
    sliced = F.conv2d(x, conv.weight, stride=2)
    mean, variance = sliced.mean((0, 2, 3), keepdim=True), sliced.var((0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(shortcut(x), (sliced - mean) / torch.sqrt(variance + norm.eps), rtol=1e-4, atol=1e-5)


def test_a_projection_of_vectors_is_linear():
    shortcut = scramble(make_shortcut("B", placement("vector", 2, 5)))
    for x in (torch.randn(3, 2), torch.randn(3, 4, 2)):
        torch.testing.assert_close(shortcut(x), x @ shortcut.projection.weight.T + shortcut.projection.bias)


@pytest.mark.parametrize("name", ["C", "conv1x1"])
def test_option_c_projects_where_the_shape_stays(name):
    shortcut = make_shortcut(name, placement("image", 3))
    assert shortcut.projection.weight.shape == (3, 3, 1, 1)
    x = torch.randn(2, 3, 4, 4)
    assert not torch.equal(shortcut(x), x)


def test_dropout_drops_in_training_and_nothing_in_evaluation():
    shortcut = make_shortcut("dropout:p=0.25", placement("vector", 2, 4))
    x = torch.ones(20_000, 2)
    torch.manual_seed(0)
    y = shortcut.train()(x)
    kept = y[:, :2] != 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.015)
    torch.testing.assert_close(y[:, :2][kept], torch.full((int(kept.sum()),), 1 / 0.75))
    assert not y[:, 2:].any()
    assert torch.equal(shortcut.eval()(x), F.pad(x, (0, 2)))


@pytest.mark.parametrize("p", [-0.1, 1, 1.5])
def test_a_dropout_that_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="p is a probability"):
        make_shortcut(f"dropout:p={p}", placement("vector"))


def test_the_identity_is_refused_where_the_shape_changes():
    with pytest.raises(ValueError, match=r"from 2 features to 5 with stride 2\. Use shortcut A, B or C"):
        make_shortcut("identity", placement("image", 2, 5, stride=2))
    with pytest.raises(ValueError, match="stride 2"):
        make_shortcut("identity", placement("image", 2, 2, stride=2))


def test_no_shortcut_is_refused_when_something_should_be_carried():
    shortcut = make_shortcut("none", placement("image", 2, 5))
    with pytest.raises(ValueError, match="has no shortcut"):
        shortcut(torch.randn(1, 2, 4, 4))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("name", NAMES)
def test_every_gate_joins_with_every_shortcut(name, gate):
    inner = body("image", 2, 4, stride=2)
    if name in ("identity", "none"):
        inner = body("image", 2)
    block = Skip(gate, inner, make_shortcut(name, Placement.of(inner)), index=1, count=4).eval()
    x = inputs("image")
    t, c = block.gate(x).t, block.gate(x).carry()
    torch.testing.assert_close(block(x), t * inner(x) + c * block.shortcut(x))


def test_one_class_is_a_shortcut_that_can_be_named():
    class Doubled(Shortcut, name="test-doubled"):
        def forward(self, z):
            return 2 * z

    try:
        x = inputs("vector")
        assert torch.equal(make_shortcut("test-doubled", placement("vector"))(x), 2 * x)
    finally:
        SHORTCUTS.remove("test-doubled")
