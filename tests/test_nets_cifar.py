"""The CIFAR body: counts, initial weights, orders, names, depths, and probes and lesions on all of them."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.anatomy.layers import layers_of_net
from skipway.anatomy.skips import find_skips
from skipway.nets.blocks import ORDERS
from skipway.nets.registry import build, build_family, check_depth, parse_name
from skipway.nets.stack import SkipNet
from skipway.nets.weights import load_net
from skipway.probe.handles import read_flows
from skipway.probe.lesion import lesion
from skipway.probe.signals import measure
from skipway.settings.registry import UnknownNameError
from skipway.skip.block import Skip
from skipway.skip.gate import GATES
from skipway.skip.parts import layers_of
from skipway.skip.shortcuts import SHORTCUTS
from skipway.studies.config import StudyConfig
from skipway.studies.runner import run_study
from skipway.training.recipe import Recipe
from skipway.training.replicas import why_not_stackable

RULES = list(GATES)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def small(gate: str = "residual", depth: int = 14, seed: int = 0, **settings: object) -> SkipNet:
    """Two blocks a stage, four channels in the first."""
    torch.manual_seed(seed)
    word = {"residual": "resnet"}.get(gate.partition(":")[0], gate.partition(":")[0])
    return build(f"{word}-{depth}", gate=gate, num_classes=10, **{"width": 4, **settings})


def images(batch: int = 4, size: int = 16) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def scrambled(net: nn.Module) -> nn.Module:
    """Random weights and running statistics throughout, so that nothing rests on a one or a zero at the start."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.copy_(0.5 + noise if "bn" in name or "running_var" in name else (noise - 0.5) * 0.4)
    return net


def stands(gate: str, order: str) -> bool:
    """Whether the rule can stand on this order's bodies."""
    return not (gate == "fixup" and order == "relu-before")


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet-20", 269_722),
        ("resnet-32", 464_154),
        ("resnet-44", 658_586),
        ("resnet-56", 853_018),
        ("resnet-110", 1_727_962),
        ("resnet-1202", 19_421_274),
        ("preresnet-164", 1_703_258),  # that of preresnet-1001: in test_cost, which builds it
    ],
)
def test_parameters_are_the_papers(name, count):
    with torch.device("meta"):
        assert parameters(build(name, num_classes=10)) == count


@pytest.mark.parametrize(
    ("name", "ten", "more"), [("resnet-20", 269_722, 90 * 65), ("preresnet-164", 1_703_258, 90 * 257)]
)
def test_a_hundred_classes_are_so_many_parameters_more(name, ten, more):
    assert parameters(build(name, num_classes=100)) == ten + more


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_plain_and_residual_have_the_same_count(depth):
    plain, residual = (parameters(build(f"{word}-{depth}", num_classes=10)) for word in ("plain", "resnet"))
    assert plain == residual


def test_wide_resnet_falls_out_of_the_width():
    """WRN-28-10 of arXiv 1605.07146, which counts the projections: 36.5 million."""
    with torch.device("meta"):
        net = build("preresnet-26", num_classes=10, widen=10.0, shortcut="B")
    assert parameters(net) == 36_479_194


@pytest.mark.parametrize("depth", [20, 56])
def test_depth_counts_the_layers(depth):
    for gate in ("plain", "resnet", "highway"):
        net = build(f"{gate}-{depth}", num_classes=10)
        bodies = sum(len(list(layers_of(block.body))) for block in net.blocks)
        assert 1 + bodies + 1 == depth
    assert sum(len(list(layers_of(block.body))) for block in build("preresnet-164", num_classes=10).blocks) == 162


# -- initial weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate", RULES)
def test_from_one_seed_bodies_stem_and_head_start_equal_whatever_the_gate(gate, order):
    if gate == "fixup":
        pytest.skip("the rule asks for other initial bodies, normalised or not")
    plain, net = (small(name, seed=3, order=order).state_dict() for name in ("plain", gate))
    assert set(plain) == {name for name in net if ".gate." not in name}
    for name in plain:
        assert torch.equal(plain[name], net[name]), name


def test_plain_56_resnet_56_and_highway_56_differ_in_the_gate_alone():
    found = {}
    for word in ("plain", "resnet", "highway"):
        torch.manual_seed(0)
        found[word] = build(f"{word}-56", num_classes=10).state_dict()
    assert list(found["plain"]) == list(found["resnet"])
    for name, tensor in found["plain"].items():
        assert torch.equal(tensor, found["resnet"][name])
        assert torch.equal(tensor, found["highway"][name])
    only = set(found["highway"]) - set(found["plain"])
    assert only == {f"blocks.{i}.gate.transform.{part}" for i in range(27) for part in ("weight", "bias")}


def test_projections_too_are_shared_by_all_gates_that_carry():
    residual, highway = (small(gate, shortcut="B").state_dict() for gate in ("residual", "highway"))
    projections = [name for name in residual if "projection.0.weight" in name]
    assert len(projections) == 2
    assert all(torch.equal(residual[name], highway[name]) for name in projections)


def test_initial_weights_are_he_normal_by_fan_out():
    torch.manual_seed(0)
    net = build("resnet-20", num_classes=10, width=64)
    assert not net.head.linear.bias.any()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            variance = 2 / (9 * module.out_channels)
            # Five standard errors of the variance of so many normal numbers.
            close = 5 * math.sqrt(2 / module.weight.numel())
            assert float(module.weight.detach().var()) == pytest.approx(variance, rel=close)
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()


# -- the forward pass, against plain tensor code -----------------------------------------------------------------------


class Reference:
    """A net of two-layer blocks in the words of the papers, from a state dict; evaluation mode."""

    def __init__(self, state: dict[str, Tensor], order: str) -> None:
        self.state, self.order = state, order

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{name}.weight"]
        return F.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, weight.shape[-1] // 2)

    def bn(self, x: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (self.state[f"{name}.{key}"][:, None, None] for key in keys)
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def branch(self, x: Tensor, b: str, stride: int) -> tuple[Tensor, Tensor]:
        """What the shortcut and the gate see, and F."""
        shared = f"{b}.pre.bn1.weight" in self.state or (self.order == "relu-pre" and self.shares)
        body = f"{b}.body"
        z, h = x, x
        if self.order == "pre":
            h = self.bn(x, f"{b}.pre.bn1" if shared else f"{body}.bn1").relu()
        if self.order == "relu-pre":
            h = x.relu()
        z = h if shared else x
        h = self.conv(h, f"{body}.conv1", stride)
        h = self.bn(h, f"{body}.bn2" if self.order == "pre" and not shared else f"{body}.bn1").relu()
        h = self.conv(h, f"{body}.conv2")
        if self.order in ("original", "relu-before", "relu-pre"):
            h = self.bn(h, f"{body}.bn2")
        return z, h.relu() if self.order == "relu-before" else h

    def __call__(self, x: Tensor, gate: str) -> Tensor:
        x = self.conv(x, "stem.conv")
        if self.order != "pre":
            x = self.bn(x, "stem.bn")
        if self.order not in ("pre", "relu-pre"):
            x = x.relu()
        for index in range(6):
            b, stride = f"blocks.{index}", 2 if index in (2, 4) else 1
            self.shares = index in (0, 2, 4)
            z, h = self.branch(x, b, stride)
            s = z[:, :, ::stride, ::stride]
            s = torch.cat([s, s.new_zeros(len(s), h.shape[1] - s.shape[1], *s.shape[2:])], 1)
            if gate == "highway":
                t = torch.sigmoid(self.conv(z, f"{b}.gate.transform", stride))
                x = t * h + (1 - t) * s
            else:
                x = h if gate == "plain" else s + h
            if self.order == "bn-after":
                x = self.bn(x, f"{b}.post.bn1")
            if self.order in ("original", "bn-after"):
                x = x.relu()
        if self.order == "pre":
            x = self.bn(x, "head.bn")
        if self.order in ("pre", "relu-pre"):
            x = x.relu()
        return x.mean((2, 3)) @ self.state["head.linear.weight"].T + self.state["head.linear.bias"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate", ["plain", "residual", "highway"])
def test_a_net_is_the_papers_equations(gate, order):
    net = scrambled(small(gate, order=order)).double().eval()
    x = images().double()
    torch.testing.assert_close(net(x), Reference(net.state_dict(), order)(x, gate), rtol=1e-12, atol=1e-12)


def test_a_bottleneck_has_1x1_3x3_1x1_and_four_times_the_channels():
    net = small(depth=20, block="bottleneck")
    shapes = [tuple(layer.weight.shape) for layer in layers_of(net.blocks[0].body)]
    assert shapes == [(4, 4, 1, 1), (4, 4, 3, 3), (16, 4, 1, 1)]
    assert net.head.linear.in_features == 4 * 4 * 4
    assert [layer.stride[0] for layer in layers_of(net.blocks[2].body)] == [1, 2, 1]
    assert net(images()).shape == (4, 10)


@pytest.mark.parametrize("order", ORDERS)
def test_every_convolution_outside_the_gates_is_without_bias_and_projections_are_normalised_as_the_branch_is(order):
    net = small(shortcut="B", order=order)
    assert all(layer.bias is None for part in (net.stem, net.blocks) for layer in layers_of(part))
    projections = [block.shortcut.projection for block in net.blocks if block.shortcut.projection is not None]
    assert len(projections) == 2
    branch_ends_in_conv = isinstance(net.blocks[0].body[-1], nn.Conv2d)
    assert all(isinstance(p, nn.Conv2d) == branch_ends_in_conv for p in projections)


def test_the_first_activation_is_shared_where_the_shape_changes_and_behind_the_stem():
    for name, changes in {"preresnet-20": {0, 3, 6}, "preresnet-164": {0, 18, 36}}.items():
        net = build(name, num_classes=10)
        assert {place for place, block in enumerate(net.blocks) if block.pre is not None} == changes
    assert all(block.pre is None for block in build("resnet-20", num_classes=10).blocks)


@pytest.mark.parametrize("shortcut", [name for name in SHORTCUTS if name not in ("identity", "none")])
@pytest.mark.parametrize("order", ORDERS)
def test_every_shortcut_works_in_every_order(order, shortcut):
    net = small(order=order, shortcut=shortcut)
    F.cross_entropy(net(images()), torch.arange(4)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_plain_nets_have_no_shortcut_whatever_is_asked():
    assert parameters(small("plain", shortcut="C")) == parameters(small("plain"))
    assert all(block.shortcut is None for block in small("plain", shortcut="C").blocks)


# -- highway -----------------------------------------------------------------------------------------------------------


def test_highway_56_has_3x3_gates_with_the_blocks_stride_and_a_bias_by_depth():
    net = build("highway-56", num_classes=10)
    for index, block in enumerate(net.blocks):
        gate = block.gate.transform
        assert gate.kernel_size == (3, 3)
        assert gate.stride == ((2, 2) if index in (9, 18) else (1, 1))
        torch.testing.assert_close(gate.bias, torch.full_like(gate.bias, -math.log(27)))
    assert isinstance(net.blocks[0].post, nn.ReLU)


def test_the_gates_settings_reach_the_net():
    net = small("highway:bias=-4,kernel=1")
    assert net.blocks[0].gate.transform.kernel_size == (1, 1)
    assert (net.blocks[0].gate.transform.bias == -4).all()
    assert net.architecture["gate"] == "highway:bias=-4,kernel=1"


# -- every gate in every order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate", RULES)
def test_every_gate_trains_in_every_order(gate, order):
    if not stands(gate, order):
        with pytest.raises(ValueError, match="a ReLU after it passes no gradient"):
            small(gate, order=order)
        return
    net = small(gate, order=order)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    x, labels, losses = images(16, 8), torch.arange(16) % 10, []
    for _ in range(8):
        torch.manual_seed(0)
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(
        p.grad is not None for name, p in net.named_parameters() if gate != "stochastic-depth" or "blocks" not in name
    )
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gate", RULES)
def test_probes_and_lesions_work_on_every_gate_and_order(gate, order):
    if not stands(gate, order):
        pytest.skip("refused when it is built")
    net, x = small(gate, order=order), images()
    layers = layers_of_net(net)
    assert [layer.name for layer in layers] == ["stem", *(f"blocks.{i}" for i in range(6)), "head"]
    rows = measure(net, x, lambda scores: F.cross_entropy(scores, torch.arange(4))[None], layers=layers)[0]
    assert all(row["activation_std"] > 0 for row in rows)
    assert rows[-1]["gradient_norm"] > 0
    with read_flows(net) as flows:
        net.eval()(x)
    assert list(flows) == [f"blocks.{i}" for i in range(6)]
    before = net(x)
    for index, handle in enumerate(find_skips(net)):
        if gate == "plain" and index in (2, 4):
            with (
                pytest.raises(ValueError, match=f"block 'blocks.{index}' changes its input's shape"),
                lesion(net, [handle.name]),
            ):
                pass
            continue
        with lesion(net, [handle.name]):
            assert net(x).shape == (4, 10)
    assert torch.equal(net(x), before)


def test_a_lesioned_block_hands_on_its_shortcut_and_its_input_unharmed():
    net, x = small().train(), images()
    seen: dict[str, Tensor] = {}
    net.blocks[0].register_forward_hook(lambda module, args, y: seen.update(input=args[0], output=y))
    with lesion(net, ["blocks.0"]):
        loss = net(x).square().sum()
    torch.testing.assert_close(seen["output"], seen["input"])
    loss.backward()  # an operation in place on the block's input would make this impossible
    assert net.stem.conv.weight.grad.norm() > 0
    assert net.blocks[0].body.conv1.weight.grad is None


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [order for order in ORDERS if order != "relu-before"])
def test_zero_init_starts_each_block_as_its_shortcut_and_still_learns(order):
    net, x = small(order=order, zero_init=True), images()
    fresh = small(order=order)
    names = [f"blocks.{i}" for i in range(6)]
    with lesion(fresh, names):
        expected = fresh(x)
    torch.testing.assert_close(net(x), expected)
    net(x).square().sum().backward()
    for block in net.blocks:
        last = block.body[-1].weight
        assert not last.any()
        assert last.grad.norm() > 0


@pytest.mark.parametrize(
    ("gate", "order", "words"),
    [("plain", "pre", "plain nets have none"), ("residual", "relu-before", "passes no gradient")],
)
def test_zero_init_is_refused_where_nothing_could_be_learned(gate, order, words):
    with pytest.raises(ValueError, match=words):
        small(gate, order=order, zero_init=True)


@pytest.mark.parametrize(
    ("size", "stem", "last"),
    [(28, "auto", 7), (32, "auto", 8), (64, "auto", 16), (96, "auto", 6), (96, "small", 24), (32, "large", 2)],
)
def test_the_stem_follows_the_images_size(size, stem, last):
    net = small(image_size=size, stem=stem)
    seen: list[Tensor] = []
    net.blocks.register_forward_hook(lambda module, args, y: seen.append(y))
    assert net(images(size=size)).shape == (4, 10)
    assert seen[0].shape[1:] == (16, last, last)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20), (2, 96, 90)])
def test_a_body_fits_images_of_any_shape(shape):
    net = build_family("cifar:order=pre", gate="highway", depth=8, shape=shape, classes=3, width=4)
    assert net(torch.randn(2, *shape)).shape == (2, 3)
    assert net.architecture["name"] == "prehighway-8"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": "pre-act"}, "unknown order 'pre-act'. Did you mean 'pre'"),
        ({"block": "bottlenek"}, "unknown block 'bottlenek'. Did you mean 'bottleneck'"),
        ({"stem": "tiny"}, "unknown stem 'tiny'"),
        ({"shortcut": "D"}, "unknown shortcut 'D'"),
        ({"shortcut": "identity"}, "an identity shortcut needs a body that keeps its input's shape"),
        ({"width": 0}, "width is a whole number from 1; it is 0"),
        ({"widen": 0.01}, "width times widen, the channels of the first stage, is 1 or more; it is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(ValueError) as error:
        small(**settings)
    assert words in str(error.value)


# -- depths and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "depth", "near"),
    [
        ("cifar", 55, "50 and 56"),
        ("cifar", 0, "8"),
        ("cifar", -7, "8"),
        ("cifar", 9, "8 and 14"),
        ("cifar:block=bottleneck", 21, "20 and 29"),
        ("cifar:block=bottleneck", 5, "11"),
        ("cifar:order=pre", 100, "98 and 104"),
        ("cifar:order=pre", 165, "164 and 170"),
        ("cifar:order=pre", 172, "170 and 173"),
        ("cifar:order=pre,block=basic", 1001, "998 and 1004"),
        ("cifar:order=relu-pre", 1001, "998 and 1004"),
    ],
)
def test_a_depth_that_cannot_be_is_refused_with_rule_and_nearest(body, depth, near):
    with pytest.raises(ValueError, match=rf"depth is .*n \+ 2.*; it is {depth}\. Nearest: {near}\.") as found:
        check_depth(body, depth)
    with pytest.raises(ValueError) as same:
        build_family(
            body, gate="residual", depth=depth, shape=(3, 8, 8), classes=2, width=2
        ) if depth > 0 else check_depth(body, depth)
    assert str(same.value) == str(found.value)
    for nearest in map(int, near.split(" and ")):
        check_depth(body, nearest)
        if nearest < 200:
            build_family(body, gate="residual", depth=nearest, shape=(3, 8, 8), classes=2, width=1)


def test_a_wrong_word_is_refused_before_the_depth():
    with pytest.raises(UnknownNameError, match=r"unknown order 'pree'\. Did you mean 'pre'"):
        check_depth("cifar:order=pree", 20)
    with pytest.raises(UnknownNameError, match=r"unknown block 'basics'\. Did you mean 'basic'"):
        check_depth("cifar:block=basics", 20)


def test_bottlenecks_are_the_papers_where_both_rules_fit():
    assert len(build("preresnet-164", num_classes=10).blocks) == 54
    assert len(build("resnet-164", num_classes=10).blocks) == 81
    assert len(build("resnet-164", num_classes=10, block="bottleneck").blocks) == 54
    assert len(build("preresnet-164", num_classes=10, block="basic").blocks) == 81
    assert len(build("preresnet-110", num_classes=10).blocks) == 54


@pytest.mark.parametrize("order", ["original", "pre"])
@pytest.mark.parametrize("gate", RULES)
def test_every_gate_has_a_name_both_ways(gate, order):
    body = f"cifar:order={order}"
    net = build_family(body, gate=gate, depth=8, shape=(3, 8, 8), classes=2, width=2)
    family, said = parse_name(net.architecture["name"])
    assert family.name == "cifar"
    assert (said.gate, said.depth) == (gate, 8)
    assert said.settings == ({"order": "pre"} if order == "pre" else {})


def test_a_name_that_tells_the_order_cannot_be_given_another():
    assert (
        build("preresnet-20", num_classes=2, order="pre").architecture
        == build("preresnet-20", num_classes=2).architecture
    )
    with pytest.raises(ValueError, match="'preresnet-20' has the order 'pre', but order='original' was given"):
        build("preresnet-20", num_classes=2, order="original")
    with pytest.raises(UnknownNameError, match=r"unknown net 'resnt-56'\. Did you mean 'resnet-56'"):
        build("resnt-56", num_classes=2)


# -- very deep, and in a study -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["highway-1202", "preresnet-1001"])
def test_a_thousand_layers_build_at_once_and_run_forward_and_backward(name):
    began = time.process_time()
    net = build(name, num_classes=10, width=2)
    assert time.process_time() - began < 10
    F.cross_entropy(net(images(2, 8)), torch.arange(2)).backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert len(find_skips(net)) == (333 if name.startswith("pre") else 600)


def test_replicas_of_it_are_not_stacked():
    assert "stem.conv" in why_not_stackable(small())


def test_a_study_takes_it_and_its_weights_rebuild_it(tmp_path):
    config = StudyConfig(
        net="cifar:order=pre",
        gates=("plain", "residual", "highway"),
        depths=(8,),
        seeds=(0,),
        width=4,
        recipe=Recipe(steps=60, learning_rates=(0.1,), batch_size=64),
    )
    study = run_study(config, tmp_path, workers=1)
    for cell in study.info()["cells"]:
        run = study.run(cell["id"])
        info = run.info()
        assert info["status"] == "done"
        assert info["metrics"]["validation_error"] < 0.5
        assert {row["name"] for row in run.probes()} == {"stem", "blocks.0", "blocks.1", "blocks.2", "head"}
        net = load_net(run.weights).net
        assert net.architecture["name"].startswith("pre")
        assert isinstance(net.blocks[1], Skip)
    with pytest.raises(ValueError, match="Nearest: 8 and 14"):
        run_study(replace(config, depths=(9,)), tmp_path / "other", workers=1)
