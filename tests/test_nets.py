"""Nets: every family and gate, depths, parameter counts, initial weights, names, and weights that rebuild their net."""

from __future__ import annotations

import json
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from helpers import dense, unscaled
from skipway.anatomy.cost import cost
from skipway.nets.registry import FAMILIES, build, build_family, check_depth, parse_name
from skipway.nets.weights import load_net, weights_bytes
from skipway.settings.registry import UnknownNameError
from skipway.skip.block import Skip
from skipway.skip.gate import GATES, Gate

RULES = list(GATES)
# The others add full bodies to a full carry: without normalisation, a thousand of them leave float32's range.
BOUNDED_AT_1000 = {
    *("plain", "residual", "constant", "highway", "highway-separate", "exclusive", "rezero", "layerscale", "fixup")
}


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def mnist(name: str, **settings: object) -> nn.Module:
    return build(name, in_features=784, num_classes=10, **settings)


# -- depth, width, parameters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gate", "layer"), [("plain", 5112), ("highway", 5100), ("residual", 5112)])
def test_parameters_of_a_layer_are_the_papers(gate, layer):
    counts = [parameters(mnist(f"{gate}-dense-{depth}")) for depth in (10, 11, 50)]
    assert counts[1] - counts[0] == layer
    assert counts[2] - counts[0] == 40 * layer
    width = 50 if gate == "highway" else 71
    assert counts[0] == 784 * width + width + 9 * layer + 10 * width + 10


def of_a_block(gate: str, match: str, layers: int) -> tuple[int, int]:
    """Parameters and products of one block, from nets that differ by it."""
    nets = [mnist(f"{gate}-dense-{1 + blocks * layers}", match=match, layers=layers) for blocks in (1, 2)]
    products = [cost(net, (1, 28, 28)).multiply_adds for net in nets]
    return parameters(nets[1]) - parameters(nets[0]), products[1] - products[0]


@pytest.mark.parametrize("gate", RULES)
def test_blocks_of_all_gates_match_the_papers_plain_one_in_what_they_are_asked_to(gate):
    """Within half of what one unit more or less would change: 2 / 71 of a block's."""
    layers = 2 if gate == "fixup" else 1
    assert of_a_block(gate, "parameters", layers)[0] == pytest.approx(layers * 5112, rel=0.02)
    assert of_a_block(gate, "multiply-adds", layers)[1] == pytest.approx(layers * 71**2, rel=0.03)
    assert mnist(f"{gate}-dense-5", match="width", layers=layers).head.in_features == 71
    assert mnist(f"{gate}-dense-5", width=7, layers=layers).head.in_features == 7


def test_an_unknown_match_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown match 'wdth'. Did you mean 'width'"):
        mnist("plain-dense-5", match="wdth")


def test_finding_a_width_moves_no_draw_of_the_net():
    torch.manual_seed(0)
    found = mnist("highway-dense-5")
    torch.manual_seed(0)
    told = mnist("highway-dense-5", width=50)
    assert all(torch.equal(one, other) for one, other in zip(found.parameters(), told.parameters(), strict=True))


@pytest.mark.parametrize("blocks", [0, 1, 1000])
@pytest.mark.parametrize("gate", RULES)
@pytest.mark.timeout(60)
def test_any_depth_builds_and_runs_forward_and_backward(gate, blocks):
    began = time.process_time()
    net = dense(gate, blocks=blocks)
    assert len(net.blocks) == blocks
    scores = net(torch.randn(4, 1, 8, 8))
    nn.functional.cross_entropy(scores, torch.arange(4)).backward()
    assert scores.shape == (4, 10)
    assert net.stem.linear.weight.grad is not None
    if blocks <= 1 or gate in BOUNDED_AT_1000:
        assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert time.process_time() - began < 20


@pytest.mark.parametrize("gate", RULES)
def test_depth_counts_the_layers_before_the_softmax(gate):
    net = dense(gate, blocks=6)
    bodies = [m for block in net.blocks for m in block.body.modules() if isinstance(m, nn.Linear)]
    depth = int(net.architecture["name"].rpartition("-")[2])
    assert depth == 1 + len(bodies)
    assert isinstance(net.stem.linear, nn.Linear)
    assert not any(isinstance(m, (Skip, Gate)) for m in net.stem.modules())


@pytest.mark.parametrize(
    ("depth", "layers", "near"), [(0, 1, "1"), (-3, 1, "1"), (4, 2, "3 and 5"), (0, 3, "1"), (6, 3, "4 and 7")]
)
def test_a_depth_that_cannot_be_is_refused_with_the_nearest(depth, layers, near):
    with pytest.raises(ValueError, match=rf"depth is .*; it is {depth}\. Nearest: {near}\.") as found:
        check_depth(f"dense:layers={layers}", depth)
    if depth > 0:
        with pytest.raises(ValueError) as same:
            mnist(f"plain-dense-{depth}", layers=layers)
        assert str(same.value) == str(found.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 0}, "width is a whole number from 1; it is 0"),
        ({"width": -1}, "it is -1"),
        ({"layers": 0}, "layers is the number of linear layers in a block, 1 or more; it is 0"),
        ({"activation": "rleu"}, "unknown activation 'rleu'. Did you mean 'relu'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError) as error:
        mnist("plain-dense-3", **settings)
    assert words in str(error.value)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_counts_below_one_are_refused_by_every_family(family):
    good = {**family.data_settings(family.shape, family.classes), "width": 4}
    for setting in good:
        for count in (0, -2):
            with pytest.raises(ValueError, match=f"^{setting} is a whole number from 1; it is {count}"):
                build(family.examples[0], **{**good, setting: count})
    for place, side in enumerate(("channels", "height", "width")):
        shape = [8, 8, 8]
        shape[place] = 0
        with pytest.raises(ValueError, match=f"^{side} is a whole number from 1; it is 0"):
            family.data_settings(tuple(shape), 10)


@pytest.mark.parametrize("settings", [{"depth": 7}, {"wdith": 3}])
def test_a_setting_that_is_none_is_refused(settings):
    with pytest.raises(TypeError, match=next(iter(settings))):
        mnist("plain-dense-3", **settings)


# -- the forward pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_plain_net_is_a_row_of_layers(activation):
    torch.manual_seed(0)
    net = mnist("plain-dense-4", activation=activation, width=9)
    x = torch.randn(3, 1, 28, 28)
    h = x.reshape(3, 784)
    for layer in (net.stem.linear, *(block.body.linear for block in net.blocks)):
        h = getattr(torch, activation)(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), h @ net.head.weight.T + net.head.bias)


def test_a_highway_net_is_the_papers_equation():
    torch.manual_seed(0)
    net = mnist("highway-dense-4", width=9)
    x = torch.randn(3, 784)
    h = net.stem(x)
    for block in net.blocks:
        transform, gate = block.body.linear, block.gate.transform
        t = torch.sigmoid(h @ gate.weight.T + gate.bias)
        h = torch.relu(h @ transform.weight.T + transform.bias) * t + h * (1 - t)
    torch.testing.assert_close(net(x), h @ net.head.weight.T + net.head.bias)


def test_bodies_of_two_layers_end_without_activation():
    net = dense("residual", blocks=2, layers=2)
    h = net.stem(torch.randn(3, 64))
    inner = net.blocks[0].body
    expected = h + inner.linear2(torch.relu(inner.linear1(h)))
    torch.testing.assert_close(net.blocks[0](h), expected)


# -- initial weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", RULES)
def test_from_one_seed_bodies_stem_and_head_start_equal_whatever_the_gate(gate):
    if GATES[gate].init_body is not Gate.init_body and unscaled(gate) == gate:
        pytest.skip("the rule asks for other initial bodies")
    plain, net = (dense(name, blocks=5, seed=3).state_dict() for name in ("plain", unscaled(gate)))
    shared = [name for name in plain if ".gate." not in name]
    assert len(shared) == 2 * (1 + 5 + 1)
    for name in shared:
        assert torch.equal(plain[name], net[name]), name
    assert set(net) - set(plain) == {name for name in net if ".gate." in name}


@pytest.mark.parametrize("gate", RULES)
def test_a_seed_decides_the_weights(gate):
    first, again, other = (dense(gate, blocks=2, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.linear.weight"], other["stem.linear.weight"])


@pytest.mark.parametrize(
    ("activation", "variances"),
    [("relu", (2 / 784, 2 / 400, 1 / 400)), ("tanh", (2 / (784 + 400), 2 / (400 + 400), 1 / 400))],
)
def test_initial_variances(activation, variances):
    """He for ReLU, 2 / fan_in; Xavier for tanh, 2 / (fan_in + fan_out); the softmax layer 1 / width."""
    torch.manual_seed(0)
    net = mnist("plain-dense-2", width=400, activation=activation)
    layers = (net.stem.linear, net.blocks[0].body.linear, net.head)
    for layer, variance in zip(layers, variances, strict=True):
        # 4,000 weights or more: five standard errors of a variance are 5 sqrt(2 / 4000), 11 %.
        assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.11)
        assert not layer.bias.any()


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", [example for family in FAMILIES.values() for example in family.examples])
def test_every_example_is_a_name_of_its_family(example):
    family, said = parse_name(example)
    assert FAMILIES[family.name] is family
    assert said.gate in GATES
    family.check_depth(said.depth)
    again, read_back = parse_name(family.net_name(said.gate, said.depth, **said.settings))
    assert (again.name, read_back.gate, read_back.depth) == (family.name, said.gate, said.depth)


@pytest.mark.parametrize("gate", RULES)
def test_every_gate_makes_a_dense_nets_name(gate):
    family, said = parse_name(FAMILIES["dense"].net_name(f" {gate}:x=1", 7))
    assert (family.name, said.gate, said.depth) == ("dense", gate, 7)


def test_a_body_for_images_of_any_shape():
    net = build_family("dense", gate="highway", depth=4, shape=(3, 5, 6), classes=7, width=None)
    assert net.architecture == {"name": "highway-dense-4", "gate": "highway", "in_features": 90, "num_classes": 7}
    assert net(torch.randn(2, 3, 5, 6)).shape == (2, 7)


def test_unknown_nets_and_gates_list_what_there_is():
    with pytest.raises(UnknownNameError, match=r"unknown net 'highway-dens-50'\. Did you mean 'highway-dense-50'"):
        build("highway-dens-50")
    with pytest.raises(UnknownNameError, match=r"unknown gate 'higway'\. Did you mean 'highway'"):
        build("higway-dense-50")
    with pytest.raises(ValueError, match=r"has the gate 'plain', but gate='highway.* was given"):
        build("plain-dense-5", gate="highway:bias=-4", in_features=4, num_classes=2)


def test_a_bodys_settings_reach_the_net():
    net = build_family("dense:layers=2,activation=tanh", gate="plain", depth=5, shape=(1, 4, 4), classes=3, width=6)
    assert len(net.blocks) == 2
    assert isinstance(net.blocks[0].body.activation1, nn.Tanh)
    assert net.head.in_features == 6


# -- weights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [*RULES, "highway:bias=-4.5", "residual:scale=0.25", "stochastic-depth:p_last=0.8"])
def test_weights_rebuild_their_net(gate, tmp_path):
    net = dense(gate, blocks=3, width=5, activation="tanh", seed=4)
    for p in net.parameters():
        p.data.normal_()
    about = {"kind": "pixel", "scale": 16.0}
    (tmp_path / "net.safetensors").write_bytes(weights_bytes(net, about, ["a", "b"]))
    saved = load_net(tmp_path / "net.safetensors")
    assert saved.preprocess == about
    assert saved.classes == ("a", "b")
    assert saved.net.architecture == net.architecture
    found, expected = saved.net.state_dict(), net.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    x = torch.randn(4, 64)
    assert torch.equal(saved.net.eval()(x), net.eval()(x))


def test_an_architecture_is_json_and_builds_the_net_by_itself():
    net = dense("highway:bias=-3", blocks=2, layers=2)
    settings = json.loads(json.dumps(net.architecture))
    assert settings == {
        "name": "highway-dense-5",
        "gate": "highway:bias=-3",
        "in_features": 64,
        "num_classes": 10,
        "width": 12,
        "layers": 2,
    }
    rebuilt = build(settings.pop("name"), **settings)
    rebuilt.load_state_dict(net.state_dict())


def test_equal_nets_are_equal_files():
    one, other = (weights_bytes(dense("highway", blocks=2), {"scale": 1.0}, ["a"]) for _ in range(2))
    assert one == other


def test_weights_of_others_are_refused(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="was not written by Skipway"):
        load_net(tmp_path / "other.safetensors")
