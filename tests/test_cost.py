"""What nets cost: against counts by hand, published numbers, and what real training steps keep."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from skipway.anatomy.cost import Cost, cost
from skipway.nets.registry import build, parse_name
from skipway.nets.stack import SkipNet
from skipway.skip.gate import GATES, Gate

IMAGE = (3, 32, 32)
# Stage by stage: channels, pixels, convolutions as wide as their input; the first of stages 2 and 3 is half as wide.
RESNET_20 = ((16, 1024, 6), (32, 256, 5), (64, 64, 5))


def built(name: str, **settings: object) -> SkipNet:
    """The net for its papers' images."""
    family, _ = parse_name(name)
    return build(name, **{**family.data_settings(family.shape, family.classes), **settings})


def papers_shape(name: str) -> tuple[int, int, int]:
    return parse_name(name)[0].shape


def really_kept(net: nn.Module, batch: Tensor) -> int:
    """Bytes of the storages that a forward pass on real tensors leaves to autograd."""
    sizes, tensors = {}, []

    def keep(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = net(batch)
    assert scores.requires_grad
    return sum(sizes.values())


# -- multiply-adds -----------------------------------------------------------------------------------------------------


def test_resnet_20_multiplies_what_its_layers_say():
    stem, head = 9 * 3 * 16 * 1024, 64 * 10
    same = sum(9 * width * width * pixels * layers for width, pixels, layers in RESNET_20)
    wider = sum(9 * width * width // 2 * pixels for width, pixels, _ in RESNET_20[1:])
    assert cost(built("resnet-20"), IMAGE).multiply_adds == stem + same + wider + head == 40_551_040


@pytest.mark.parametrize(
    ("name", "billions"),  # torchvision publishes these with its weights
    [
        ("resnet18", 1.814),
        ("resnet34", 3.664),
        ("resnet50", 4.089),
        ("resnet101", 7.801),
        ("resnet152", 11.514),
        ("resnext50_32x4d", 4.230),
        ("wide_resnet50_2", 11.398),
    ],
)
def test_imagenet_nets_multiply_what_is_published(name, billions):
    found = cost(built(name), (3, 224, 224))
    assert round(found.multiply_adds / 1e9, 3) == billions


@pytest.mark.parametrize(("name", "extra"), [("plain-dense-50", 0), ("highway-dense-50", 49 * 50 * 50)])
def test_dense_nets_multiply_once_a_weight(name, extra):
    width = 71 if name.startswith("plain") else 50
    expected = 784 * width + 49 * width * width + 10 * width + extra
    assert cost(built(name), (1, 28, 28)).multiply_adds == expected


def test_groups_and_sequences_count():
    grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
    assert cost(grouped, (8, 5, 7)).multiply_adds == 8 * 2 * 9 * 5 * 7
    assert cost(nn.Linear(10, 20), (6, 10)) == Cost(10 * 20 + 20, 6 * 10 * 20, 6 * 10 * 4)


# -- what a training step keeps ----------------------------------------------------------------------------------------


def test_a_resnet_keeps_what_each_layers_backward_pass_needs():
    # Of the stem and of each convolution in a body its output, for the batch norm; and each ReLU's output. A batch
    # norm's output is its ReLU's, in place; what is added is not kept.
    stem, image, features = 2 * 16 * 1024, 3 * 1024, 64
    blocks = sum(3 * 4 * width * pixels for width, pixels, _ in RESNET_20)
    assert cost(built("resnet-20"), IMAGE).activation_bytes == 4 * (image + stem + blocks + features)


def test_dense_nets_keep_what_each_layers_backward_pass_needs():
    plain = cost(built("plain-dense-50"), (1, 28, 28)).activation_bytes
    assert plain == 4 * (784 + 50 * 71)  # the input, and each layer's output
    highway = cost(built("highway-dense-50"), (1, 28, 28)).activation_bytes
    assert highway == 4 * (784 + 50 + 49 * 3 * 50)  # of each block F, T and y


REAL = [
    *(
        (f"{gate}-dense-7", {"layers": layers}, (1, 8, 8))
        for gate in GATES
        for layers in (1, 2)
        if layers > 1 or gate != "fixup"
    ),
    *((f"{gate}-8", {}, (3, 12, 16)) for gate in ("resnet", *GATES) if gate != "residual"),
    ("preresnet-20", {"block": "bottleneck"}, (3, 9, 9)),
    ("resnet-8", {"shortcut": "C", "stem": "large"}, (3, 32, 32)),
    ("resnet-8", {"shortcut": "dropout:p=0.25"}, (3, 16, 16)),
    ("highway-mnist-10", {}, (1, 28, 28)),
    ("highway-cifar-19", {}, (3, 32, 32)),
    ("highway-20-2025", {}, (3, 16, 16)),
    ("resnet18", {}, (3, 64, 64)),
    ("resnext50_32x4d", {"width": 16, "stem": "deep", "pool_shortcut": True}, (3, 64, 64)),
]


@pytest.mark.parametrize(("name", "settings", "shape"), REAL)
def test_real_training_steps_keep_as_much(name, settings, shape):
    family, _ = parse_name(name)
    net = build(name, **{"width": 8, **family.data_settings(shape, 10), **settings}).train()
    for gate in net.modules():
        if isinstance(gate, Gate) and gate.random:
            gate.eval()
    two, three = (really_kept(net, torch.randn(batch, *shape)) for batch in (2, 3))
    assert cost(net, shape).activation_bytes == three - two > 0


def test_stochastic_depth_costs_up_to_what_residual_does():
    assert cost(built("stochastic-depth-20"), IMAGE) == cost(built("resnet-20"), IMAGE)


def test_frozen_layers_keep_nothing():
    net = built("plain-dense-10")
    net.stem.requires_grad_(False)
    assert cost(net, (1, 28, 28)).activation_bytes == 4 * 71 * 10


# -- as a function -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parameters"), [("preresnet-1001", 10_327_706), ("highway-dense-1000", None)])
def test_a_thousand_layers_take_seconds(name, parameters):
    net = built(name)
    began = time.process_time()
    found = cost(net, papers_shape(name))
    assert time.process_time() - began < 30
    assert found.multiply_adds > 1e6
    assert found.parameters == (parameters or sum(p.numel() for p in net.parameters()))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["stochastic-depth-8", "highway-mnist-10", "highway-separate-8"])
def test_the_net_and_the_random_numbers_stay_as_they_are(name, training):
    net = built(name).train(training)
    before, random = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    cost(net, papers_shape(name))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(module.training is training for module in net.modules())
    assert all(p.grad is None and p.device.type == "cpu" for p in net.parameters())


@pytest.mark.parametrize("name", ["resnet-8", "highway-mnist-10"])
def test_it_counts_a_training_step_whatever_the_mode(name):
    net, shape = built(name), papers_shape(name)
    training = cost(net, shape)
    with torch.no_grad():
        assert cost(net.eval(), shape) == training


def test_tied_parameters_count_once():
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    assert cost(nn.Sequential(first, second), (5,)) == Cost(25 + 5 + 5, 50, 2 * 5 * 4)


@pytest.mark.parametrize(("name", "shape"), [("resnet-20", (1, 32, 32)), ("highway-dense-5", (1, 28, 27))])
def test_inputs_that_a_net_does_not_take(name, shape):
    with pytest.raises(ValueError, match=f"does not take inputs of shape {' x '.join(map(str, shape))}: "):
        cost(built(name), shape)
