"""ImageNet nets: equal to torchvision's and timm's in names, outputs and gradients; any gate; probes; refusals."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from skipway.anatomy.layers import Layer
from skipway.nets.imagenet import STAGES, VARIANTS
from skipway.nets.registry import FAMILIES, build, build_family, check_depth, parse_name
from skipway.nets.weights import load_net, weights_bytes
from skipway.probe.handles import find_skips, override_flows, read_flows
from skipway.probe.lesion import LESION, lesion
from skipway.probe.signals import measure
from skipway.settings.registry import UnknownNameError
from skipway.skip.gate import GATES, Flow
from skipway.training.replicas import why_not_stackable

RULES = list(GATES)
RESNETS = [f"resnet{depth}" for depth in STAGES]
TORCHVISION = [*RESNETS, *(name for name in VARIANTS if not name.endswith("d") or "x" in name)]
TIMM = [*RESNETS, *VARIANTS]
# One of each path through the code; of the others, which have more blocks or wider ones, names and shapes are compared.
COMPUTED_TORCHVISION = ["resnet18", "resnet50", "resnext50_32x4d"]
COMPUTED_TIMM = ["resnet18d", "resnet50d"]


def small(gate: str = "residual", depth: int = 18, seed: int = 0, **settings: object) -> nn.Module:
    """A narrow net for 32-pixel images."""
    torch.manual_seed(seed)
    settings = {"width": 4, "classes": 5, **settings}
    return build_family("imagenet", gate=gate, depth=depth, shape=(3, 32, 32), **settings)


def images(size: int = 32, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(7))


def scramble_norms(net: nn.Module) -> None:
    """Batch norms as after training: a weight of 0 or statistics of 0 and 1 would hide a wrong branch."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1, generator=generator)
                module.bias.uniform_(-0.2, 0.2, generator=generator)
                module.running_mean.uniform_(-0.2, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


# -- the peers ---------------------------------------------------------------------------------------------------------


def assert_equal_to(peer: nn.Module, name: str, size: int) -> None:
    scramble_norms(peer)
    net = build(name, num_classes=1000)
    assert str(net.load_state_dict(peer.state_dict(), strict=True)) == "<All keys matched successfully>"
    assert [n for n, _ in net.named_parameters()] == [n for n, _ in peer.named_parameters()]
    x, labels = images(size, batch=2), torch.tensor([3, 998])
    with torch.no_grad():
        assert relative(net.eval()(x), peer.eval()(x)) < 1e-5
    losses = [F.cross_entropy(model.train()(x), labels) for model in (net, peer)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for (key, ours), theirs in zip(net.named_parameters(), peer.parameters(), strict=True):
        assert theirs.grad.norm() > 0
        assert relative(ours.grad, theirs.grad) < 1e-5, key
    for (key, ours), theirs in zip(net.named_buffers(), peer.buffers(), strict=True):
        assert torch.allclose(ours.double(), theirs.double(), rtol=1e-5, atol=1e-6), key


@pytest.mark.parametrize("name", COMPUTED_TORCHVISION)
def test_is_torchvisions(name, peers):
    # 96 pixels leave 3x3 to the last stage: its batch norms see more than one pixel of each image.
    assert_equal_to(peers.torchvision.models.get_model(name), name, size=96)


@pytest.mark.parametrize("name", COMPUTED_TIMM)
def test_is_timms(name, peers):
    # 80 pixels come to 5x5 and 3x3: odd sizes, at whose rim ResNet-D's pooling has its own rule.
    assert_equal_to(peers.timm.create_model(name), name, size=80)


@pytest.mark.parametrize(("name", "peer"), [*((n, "torchvision") for n in TORCHVISION), *((n, "timm") for n in TIMM)])
def test_names_and_shapes_are_the_peers(name, peer, peers):
    make = peers.torchvision.models.get_model if peer == "torchvision" else peers.timm.create_model
    with torch.device("meta"):
        theirs, ours = make(name), build(name, num_classes=1000)
    assert [(n, t.shape) for n, t in ours.state_dict().items()] == [
        (n, t.shape) for n, t in theirs.state_dict().items()
    ]


# As torchvision's and timm's documentation state them, and He et al.'s plain nets without projections.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        ("wide_resnet50_2", 68_883_240),
        ("resnext50_32x4d", 25_028_904),
        ("resnet50d", 25_576_264),
        ("plain18", 11_689_512 - 172_032 - 2 * 896),
    ],
)
def test_parameters(name, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in build(name, num_classes=1000).parameters()) == count


# -- any gate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "depth"), [*((gate, 18) for gate in RULES), *(("highway", depth) for depth in STAGES if depth > 18)]
)
def test_every_gate_and_depth_builds_by_the_name_that_it_bears(gate, depth):
    net = small(gate, depth, width=2)
    family, said = parse_name(net.architecture["name"])
    assert (family.name, said.gate, said.depth) == ("imagenet", gate, depth)
    assert len(find_skips(net)) == sum(STAGES[depth])


def test_a_gate_whose_name_ends_in_a_digit_keeps_it():
    class Half2(GATES["constant"], name="half2"):
        pass

    try:
        assert small("half2").architecture == {**small("half2").architecture, "name": "half2_18", "gate": "half2"}
    finally:
        GATES.remove("half2")


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("gate", RULES)
def test_every_gate_trains_and_is_read_and_lesioned(gate, depth):
    net, x = small(gate, depth), images()
    with read_flows(net) as flows:
        F.cross_entropy(net(x), torch.tensor([0, 1, 2])).backward()
    assert list(flows) == [handle.name for handle in find_skips(net)]
    assert all(p.grad is not None or gate == "stochastic-depth" for p in net.parameters())
    with torch.no_grad():
        whole = net.eval()(x)
        with lesion(net, ["layer2.1"]):
            cut = net(x)
        assert torch.isfinite(whole).all()
        assert torch.equal(net(x), whole)
        assert torch.isfinite(cut).all()


@pytest.mark.parametrize("depth", [18, 50])
def test_a_block_is_the_equation(depth):
    torch.manual_seed(0)
    block = small("highway", depth).layer2[0].eval()
    scramble_norms(block)
    z = torch.rand(2, block.conv1.in_channels, 8, 8)
    inner = block.bn1(block.conv1(z)).relu()
    inner = block.bn2(block.conv2(inner))
    if depth == 50:
        inner = block.bn3(block.conv3(inner.relu()))
    t = torch.sigmoid(block.gate.transform(z))
    carried = block.downsample[1](block.downsample[0](z))
    assert torch.allclose(block(z), (t * inner + (1 - t) * carried).relu(), atol=1e-6)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("gate", [rule for rule in RULES if rule != "fixup"])  # fixup scales its bodies
def test_from_one_seed_all_gates_start_with_the_same_bodies(gate, depth):
    residual, other = small("residual", depth).state_dict(), small(gate, depth).state_dict()
    shared = [name for name in residual if "downsample" not in name or gate != "plain"]
    assert all(torch.equal(residual[name], other[name]) for name in shared)
    assert len(shared) > 40


@pytest.mark.parametrize("p_last", [1e-9, 0.5])
def test_stochastic_depth_trains_through_blocks_that_are_left_out(p_last):
    net = small(f"stochastic-depth:p_last={p_last}")
    torch.manual_seed(1)
    net(images()).square().sum().backward()
    assert net.conv1.weight.grad.norm() > 0


# -- plain, shortcuts, zero_init ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 50])
def test_plain_and_residual_with_option_a_have_the_same_parameters(depth):
    plain, residual = (
        small("plain", depth),
        build_family("imagenet:shortcut=A", gate="residual", depth=depth, shape=(3, 32, 32), classes=5, width=4),
    )
    assert list(plain.state_dict()) == list(residual.state_dict())
    assert not residual(images()).isnan().any()


def test_a_plain_block_that_changes_shape_cannot_be_lesioned():
    net = small("plain")
    refused = [handle.name for handle in find_skips(net) if handle.why_not_lesionable()]
    assert refused == ["layer2.0", "layer3.0", "layer4.0"]
    said = r"'layer2\.0' changes its input's shape and has no shortcut"
    with pytest.raises(ValueError, match=said), lesion(net, ["layer2.0"]):
        pass
    with lesion(net, ["layer2.1"]):
        net(images())


def test_shortcut_c_projects_in_every_block():
    net = build_family("imagenet:shortcut=C", gate="residual", depth=18, shape=(3, 32, 32), classes=5, width=4)
    assert all(
        f"layer{stage}.{place}.downsample.0.weight" in net.state_dict() for stage in (1, 2, 3, 4) for place in (0, 1)
    )


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("spec", ["A", "A:pad=sides", "B", "C", "dropout"])
def test_every_shortcut_can_be_lesioned_onto(spec, depth):
    net = build_family(f"imagenet:shortcut={spec}", gate="residual", depth=depth, shape=(3, 32, 32), classes=5, width=4)
    names = [handle.name for handle in find_skips(net) if not handle.why_not_lesionable()]
    assert len(names) == sum(STAGES[depth])
    with lesion(net.eval(), names):
        assert net(images()).shape == (3, 5)


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_starts_every_block_as_its_shortcut(depth):
    body, shape = "imagenet:zero_init=true", (3, 32, 32)
    net = build_family(body, gate="residual", depth=depth, shape=shape, classes=5, width=4).eval()
    with torch.no_grad(), lesion(net, [handle.name for handle in find_skips(net)]):
        carried = net(images())
    assert torch.equal(net(images()), carried)


# -- stems -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "size", "in_stage_one"),
    [
        ("imagenet", 28, 28),
        ("imagenet", 32, 32),
        ("imagenet", 64, 16),
        ("imagenet", 224, 56),
        ("imagenet:stem=conv7", 32, 8),
        ("imagenet:stem=small", 64, 64),
        ("imagenet:stem=deep", 64, 16),
    ],
)
def test_the_stem_follows_the_size_of_the_images(body, size, in_stage_one):
    net = build_family(body, gate="residual", depth=18, shape=(1, size, size), classes=5, width=4)
    seen = []
    net.layer1[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    assert net(torch.randn(2, 1, size, size)).shape == (2, 5)
    assert seen == [(2, 4, in_stage_one, in_stage_one)]


# -- probes, copies, files ---------------------------------------------------------------------------------------------


def test_stem_blocks_and_head_can_be_measured():
    net = small("highway")
    names = {module: name for name, module in net.named_modules()}
    layers = [
        Layer(names[net.stem], "stem"),
        *(Layer(names[block], "block") for block in net.blocks),
        Layer(names[net.head], "head"),
    ]
    labels = torch.tensor([0, 1, 2])
    rows = measure(net, images(), lambda scores: F.cross_entropy(scores, labels)[None], layers=layers)[0]
    assert [row["name"] for row in rows][:3] == ["conv1", "layer1.0", "layer1.1"]
    assert all(row["activation_std"] > 0 and row["weight_gradient_norm"] > 0 for row in rows)
    # -ln(8 blocks) is the gate's bias at the start: T is about 1/9.
    assert all(0.03 < row["transform_mean"] < 0.3 for row in rows if row["kind"] == "block")


def test_an_override_reaches_the_block():
    net, x = small().eval(), images()
    block = net.layer3[1]
    z = torch.rand(2, 16, 4, 4)
    with override_flows(block, {"": LESION}):
        assert torch.equal(block(z), z)
    with override_flows(block, {"": Flow(1.0, 0.0)}):
        assert torch.equal(block(z), block.transform(z).relu())
    assert net(x).shape == (3, 5)


def test_replicas_run_one_at_a_time():
    assert "conv" in why_not_stackable(small())


@pytest.mark.parametrize("name", ["highway18", "resnet18d", "plain34"])
def test_a_file_rebuilds_the_net(name, tmp_path):
    net = build(name, num_classes=5, width=8).eval()
    scramble_norms(net)
    (tmp_path / "net.safetensors").write_bytes(weights_bytes(net, {}, ["a"] * 5))
    again = load_net(tmp_path / "net.safetensors").net.eval()
    assert torch.equal(again(images(64)), net(images(64)))
    assert torch.equal(copy.deepcopy(net)(images(64)), net(images(64)))


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "nearest"), [(1, "Nearest: 18."), (20, "Nearest: 18 and 34."), (56, "50 and 101"), (999, "Nearest: 152.")]
)
def test_a_depth_that_is_not_in_the_table_names_the_nearest(depth, nearest):
    for attempt in (lambda: check_depth("imagenet", depth), lambda: build(f"resnet{depth}", num_classes=10)):
        with pytest.raises(ValueError, match=nearest):
            attempt()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depth": 18, "groups": 32}, "depths 50, 101, 152"),
        ({"depth": 34, "group_width": 128}, "depth 34 has basic blocks"),
        ({"depth": 50, "group_width": 4, "width": 8}, "less than one channel"),
        ({"depth": 50, "groups": 0}, "groups is a whole number from 1; it is 0"),
        ({"depth": 18, "width": 0}, "width is a whole number from 1; it is 0"),
        ({"depth": 18, "stem": "depe"}, "Did you mean 'deep'"),
        ({"depth": 18, "shortcut": "D"}, "unknown shortcut 'D'"),
        ({"depth": 18, "gate": "plain", "zero_init": True}, "plain nets have none"),
        ({"depth": 18, "shortcut": "identity"}, "Use shortcut A, B or C"),
    ],
)
def test_settings_that_cannot_be(settings, said):
    with pytest.raises(ValueError, match=said):
        FAMILIES["imagenet"].make(**{"gate": "residual", "num_classes": 10, **settings})


@pytest.mark.parametrize("name", ["resnext50", "resnet", "50", "highwy34", "resnet-18", "wide_resnet50_3"])
def test_other_names_are_no_imagenet_nets(name):
    assert FAMILIES["imagenet"].naming.parse(name) is None


def test_an_unknown_name_meets_the_nearest():
    with pytest.raises(UnknownNameError, match="'resnext50_32x4d'"):
        build("resnext50_32x4", num_classes=10)
