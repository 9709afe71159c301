"""The highway authors' nets of 2015 and 2025: layouts, counts, initial weights, forward passes, probes and lesions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.anatomy.layers import layers_of_net
from skipway.anatomy.skips import find_skips
from skipway.nets.registry import FAMILIES, build, build_family, check_depth, parse_name
from skipway.probe.handles import read_flows
from skipway.probe.lesion import lesion
from skipway.probe.signals import measure
from skipway.settings.registry import UnknownNameError, settings_of
from skipway.skip.gate import GATES, make_gate
from skipway.skip.parts import layers_of
from skipway.skip.placement import Placement
from skipway.training.replicas import why_not_stackable

BODIES = {"highway-mnist": (10, (1, 28, 28)), "highway-cifar": (19, (3, 32, 32)), "highway-2025": (14, (3, 32, 32))}
# One layer a body, or a body that ends in ReLU.
GATED = [gate for gate in GATES if gate != "fixup"]


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def tiny(body: str, gate: str = "highway", **settings: object) -> nn.Module:
    depth, shape = BODIES[body]
    torch.manual_seed(0)
    return build_family(body, gate=gate, depth=depth, shape=shape, classes=10, width=8)


def images(body: str, batch: int = 2) -> Tensor:
    return torch.randn(batch, *BODIES[body][1], generator=torch.Generator().manual_seed(1))


def scramble(net: nn.Module) -> nn.Module:
    """Other weights than the initial ones, and none at zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return net


# -- counts and layouts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "count"),
    [
        ("highway-mnist-10", {"width": 16}, 38_986),
        ("highway-mnist-10", {"width": 32}, 151_690),
        ("highway-mnist-10", {}, 151_690),
        ("highway-cifar-19", {}, 2_256_838),
        ("highway-110-2025", {}, 2_649_918),
    ],
)
def test_parameters_are_the_papers(name, settings, count):
    assert parameters(build(name, num_classes=10, **settings)) == count


@pytest.mark.parametrize(("body", "depth"), [("highway-mnist", 10), ("highway-cifar", 19)])
@pytest.mark.parametrize("gate", GATED)
def test_they_have_as_many_layers_as_they_say_and_a_row_for_each(body, depth, gate):
    net = tiny(body, gate)
    layers = [layer for name, layer in net.named_modules() if layer in set(layers_of(net)) and ".gate" not in name]
    assert len(layers) == depth == len(layers_of_net(net))


def sizes(net: nn.Module, x: Tensor) -> list[tuple[int, int]]:
    """Channels and side behind the stem and each block."""
    found: list[tuple[int, int]] = []
    for module in (net.stem, *net.blocks):
        module.register_forward_hook(lambda m, args, y: found.append((y.shape[1], y.shape[-1])))
    assert net(x).shape == (len(x), 10)
    return found


def test_the_mnist_nets_layout():
    net = build("highway-mnist-10", num_classes=10)
    assert sizes(net, images("highway-mnist")) == [(32, 24)] + [(32, 24)] * 2 + [(32, 12)] * 3 + [(32, 6)] * 3
    assert net.head.linear.in_features == 32 * 3 * 3
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.3, 0.4, 0.5]
    pools = [(m.kernel_size, m.stride, m.ceil_mode) for m in net.modules() if isinstance(m, nn.MaxPool2d)]
    assert pools == [(3, 2, True), (3, 2, True), (2, 2, True)]
    assert net.stem.conv.kernel_size == (5, 5)


def test_the_cifar_nets_layout():
    net = build("highway-cifar-19", num_classes=100)
    expected = [(32, 32)] * 5 + [(80, 16)] * 6 + [(128, 8)] * 6 + [(100, 8)]
    net.head.linear = nn.Linear(100, 10)
    assert sizes(net, images("highway-cifar")) == expected
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2] * 4
    names = [block.gate.name for block in net.blocks]
    assert names == ["highway"] * 4 + ["plain"] + ["highway"] * 5 + ["plain"] + ["highway"] * 5 + ["plain"]


@pytest.mark.parametrize("size", [8, 9, 11, 20, 28, 29, 33, 64])
def test_the_mnist_net_fits_square_images_from_8_pixels(size):
    net = build("highway-mnist-10", num_classes=3, width=2, image_size=size, in_channels=2)
    assert net(torch.randn(2, 2, size, size)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 28, 27), (1, 7, 7)])
def test_other_images_are_refused(shape):
    with pytest.raises(ValueError, match="MNIST net takes"):
        build_family("highway-mnist", gate="highway", depth=10, shape=shape, classes=2, width=None)


@pytest.mark.parametrize("body", ["highway-mnist", "highway-cifar"])
def test_a_width_below_one_is_refused(body):
    depth, shape = BODIES[body]
    with pytest.raises(ValueError, match="width is a whole number from 1; it is 0"):
        build_family(body, gate="plain", depth=depth, shape=shape, classes=2, width=0)


# -- initial weights and the solver's exception ------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "bias"), [("highway-mnist-10", -1.0), ("highway-cifar-19", -2.0)])
def test_initial_weights_are_the_authors(name, bias):
    torch.manual_seed(0)
    net = build(name, num_classes=10)
    for path, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            close = 5 * (2 / layer.weight.numel()) ** 0.5
            assert float(layer.weight.detach().var()) == pytest.approx(2 / fan_in, rel=close), path
            start = bias if ".gate." in path else 0.0
            torch.testing.assert_close(layer.bias, torch.full_like(layer.bias, start))
    std = {"highway-mnist-10": 0.1, "highway-cifar-19": 0.05}[name]
    assert float(net.head.linear.weight.detach().std()) == pytest.approx(std, rel=0.15)


def test_a_gates_own_settings_go_before_the_authors():
    for name, given in (("highway-mnist-10", "highway:bias=-3"), ("highway-110-2025", "highway:bias=-3,kernel=1")):
        net = build(name, gate=given, num_classes=10)
        assert net.architecture["gate"] == given
        gate = net.blocks[1].gate.transform
        last = gate if isinstance(gate, nn.Conv2d) else gate.bn2
        assert (last.bias == -3).all()
    assert net.blocks[1].gate.transform.conv1.kernel_size == (1, 1)


@pytest.mark.parametrize("gate", GATED)
@pytest.mark.parametrize("body", BODIES)
def test_from_one_seed_bodies_stem_and_head_start_equal_whatever_the_gate(body, gate):
    spec = f"{gate}:scale=1" if "scale" in settings_of(GATES[gate]) else gate
    plain, net = (tiny(body, name).state_dict() for name in ("plain", spec))
    assert set(plain) <= set(net)
    assert all(torch.equal(plain[name], net[name]) for name in plain)


# -- the forward pass, against plain tensor code -----------------------------------------------------------------------


def conv(x: Tensor, layer: nn.Module) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.weight.shape[-1] // 2)


def highway(x: Tensor, block: nn.Module) -> Tensor:
    t = torch.sigmoid(conv(x, block.gate.transform))
    return t * conv(x, block.body.conv).relu() + (1 - t) * x


def test_the_mnist_net_is_the_papers_equations():
    net = scramble(tiny("highway-mnist")).eval()
    x = images("highway-mnist")
    h = F.conv2d(x, net.stem.conv.weight, net.stem.conv.bias).relu()
    for index, block in enumerate(net.blocks):
        h = highway(F.max_pool2d(h, 3, 2, ceil_mode=True) if index in (2, 5) else h, block)
    h = F.max_pool2d(h, 2, 2, ceil_mode=True).flatten(1)
    torch.testing.assert_close(net(x), h @ net.head.linear.weight.T + net.head.linear.bias, rtol=1e-5, atol=1e-5)


def test_the_cifar_net_is_the_papers_equations():
    net = scramble(tiny("highway-cifar")).eval()
    x = images("highway-cifar")
    h = conv(x, net.stem.conv).relu()
    for index, block in enumerate(net.blocks):
        if index in (4, 10, 16):
            h = conv(F.max_pool2d(h, 2) if index < 16 else h, block.body.conv).relu()
        else:
            h = highway(h, block)
    h = F.avg_pool2d(h, 8).flatten(1)
    torch.testing.assert_close(net(x), h @ net.head.linear.weight.T + net.head.linear.bias, rtol=1e-5, atol=1e-5)


def bn(x: Tensor, layer: nn.Module) -> Tensor:
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias)


def test_a_block_of_2025_is_x_plus_t_times_h_minus_x():
    net = scramble(tiny("highway-2025")).eval()
    x = images("highway-2025")
    z = net.stem(x)
    for index, block in enumerate(net.blocks):
        gate, body = block.gate.transform, block.body
        t = torch.sigmoid(bn(conv(bn(conv(z, gate.conv1), gate.bn1).relu(), gate.conv2), gate.bn2))
        h = bn(conv(bn(conv(z, body.conv1), body.bn1).relu(), body.conv2), body.bn2).relu()
        if index % 2 == 0:  # the first of each of the three stages
            projection = block.shortcut.projection
            assert projection[0].kernel_size == (1, 1)
            z = bn(conv(z, projection[0]), projection[1])
        else:
            assert block.shortcut.projection is None
        z = z + t * (h - z)
    torch.testing.assert_close(net(x), net.head(z), rtol=1e-4, atol=1e-5)


def test_highway_110_2025_is_published_in_these_numbers():
    net = build("highway-110-2025", num_classes=10)
    assert net.stem.conv.out_channels == 16
    assert [net.blocks[i].body.conv1.out_channels for i in (0, 18, 36)] == [14, 28, 56]
    assert [i for i, block in enumerate(net.blocks) if block.shortcut.projection is not None] == [0, 18, 36]
    for block in net.blocks:
        assert block.gate.name == "highway-deep"
        assert (block.gate.transform.bn2.bias == -6).all()
        assert block.post is None
        assert isinstance(block.body[-1], nn.ReLU)
        assert not any(conv.bias is not None for conv in layers_of(block.gate))


# -- the deep gate on its own ------------------------------------------------------------------------------------------


def test_the_deep_gate_is_two_layers_where_the_body_is_not_normalised():
    body = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    gate = make_gate("highway-deep:bias=-3", Placement.of(body))
    assert (gate.transform.layer2.bias == -3).all()
    assert not gate.transform.layer1.bias.any()
    z = torch.randn(4, 5)
    t, c = gate(z)
    inner = torch.relu(z @ gate.transform.layer1.weight.T)
    torch.testing.assert_close(t, torch.sigmoid(inner @ gate.transform.layer2.weight.T - 3))
    assert c is None
    assert why_not_stackable(build("highway-deep-dense-5", in_features=4, num_classes=2)) is None


def test_the_deep_gates_bias_follows_the_depth_unless_told():
    placement = Placement.of(nn.Linear(3, 3), count=50)
    alone, deep = (make_gate(name, placement).transform for name in ("highway", "highway-deep"))
    torch.testing.assert_close(deep.layer2.bias, alone.bias)


# -- names, depths, probes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("body", BODIES)
def test_every_gate_has_a_name_in_every_body(body, gate):
    family = FAMILIES[body]
    found, said = parse_name(family.net_name(gate, BODIES[body][0]))
    assert (found, said.gate, said.depth) == (family, gate, BODIES[body][0])


@pytest.mark.parametrize(
    ("body", "depth", "near"),
    [("highway-mnist", 11, "10"), ("highway-cifar", 32, "19"), ("highway-2025", 111, "110 and 116")],
)
def test_another_depth_is_refused_with_the_nearest(body, depth, near):
    with pytest.raises(ValueError, match=rf"{depth}\. Nearest: {near}\."):
        check_depth(body, depth)
    with pytest.raises(ValueError, match=rf"{depth}\. Nearest: {near}\."):
        build_family(body, gate="highway", depth=depth, shape=(3, 32, 32), classes=2, width=None)


def test_wrong_names_are_told_the_right_ones():
    with pytest.raises(UnknownNameError, match=r"unknown gate 'higway'\. Did you mean 'highway'"):
        build("higway-mnist-10", num_classes=2)
    with pytest.raises(ValueError, match="fixup needs bodies of two layers"):
        build("fixup-mnist-10", num_classes=2)


@pytest.mark.parametrize("gate", GATED)
@pytest.mark.parametrize("body", BODIES)
def test_probes_and_lesions_work_on_every_gate(body, gate):
    net, x = tiny(body, gate), images(body)
    rows = measure(net, x, lambda scores: F.cross_entropy(scores, torch.arange(2))[None], layers=layers_of_net(net))[0]
    assert all(row["activation_std"] > 0 for row in rows)
    with read_flows(net) as flows:
        before = net.eval()(x)
    assert list(flows) == [f"blocks.{i}" for i in range(len(net.blocks))]
    refused = 0
    for handle in find_skips(net):
        if handle.why_not_lesionable():
            refused += 1
            with pytest.raises(ValueError, match="changes its input's shape"), lesion(net, [handle.name]):
                pass
            continue
        with lesion(net, [handle.name]):
            assert net(x).shape == before.shape
    plain_layers = {"highway-mnist": 0, "highway-cifar": 3, "highway-2025": 3 if gate == "plain" else 0}
    assert refused == plain_layers[body]
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("body", BODIES)
def test_a_lesioned_pooling_block_still_pools(body):
    net, x = tiny(body).eval(), images(body)
    names = [handle.name for handle in find_skips(net) if not handle.why_not_lesionable()]
    with lesion(net, names):
        assert net(x).shape == (2, 10)


@pytest.mark.parametrize("body", BODIES)
def test_they_learn(body):
    net, x = tiny(body).train(), images(body, 16)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        loss = F.cross_entropy(net(x), torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < losses[0]


@pytest.mark.parametrize("body", BODIES)
def test_replicas_of_them_are_not_stacked(body):
    assert why_not_stackable(tiny(body)) is not None
