"""How nets run: chosen from the net and the run's length alone, and the same numbers whatever is chosen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from skipway.anatomy.cost import cost
from skipway.nets.registry import build
from skipway.probe.handles import override_flows, read_flows
from skipway.skip.eager import eager
from skipway.skip.gate import Flow
from skipway.training import execution
from skipway.training.execution import Execution, can_compile, choose_execution, compiling, prepare

SHAPE = (3, 16, 16)
COMPILED = Execution(channels_last=True, compiled=True)
# Compiling, torch warns of itself; as an error, each of those warnings would end it.
pytestmark = pytest.mark.filterwarnings("ignore")
needs_compiler = pytest.mark.skipif(not can_compile(), reason="torch.compile needs a C++ compiler, which is not here")


def conv(name: str) -> nn.Module:
    torch.manual_seed(0)
    settings = {"width": 8} if name == "resnet18" else {"width": 4}
    return build(name, num_classes=10, **settings)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, *SHAPE, generator=generator, dtype=dtype), torch.arange(8) % 10


def gradients(net: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    x, y = batch()
    loss = nn.functional.cross_entropy(net(x), y)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in net.named_parameters()}


def test_dense_nets_run_as_they_are():
    net = build("highway-dense-10", in_features=64, num_classes=10)
    assert choose_execution(net, (1, 8, 8), images=10**12) == Execution(channels_last=False, compiled=False)


def test_a_short_training_is_not_worth_compiling():
    assert choose_execution(conv("resnet-8"), SHAPE, images=1000) == Execution(channels_last=True, compiled=False)


@needs_compiler
def test_a_long_training_is():
    net = conv("resnet-8")
    enough = execution._LEAST_PRODUCTS / cost(net, SHAPE).multiply_adds
    assert not choose_execution(net, SHAPE, images=int(enough) - 1).compiled
    assert choose_execution(net, SHAPE, images=int(enough) + 1) == COMPILED


def test_a_net_whose_cost_nobody_knows_is_not_compiled():
    class Checking(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) if bool(x.sum() > 0) else super().forward(-x)

    net = nn.Sequential(Checking(3, 4, 3), *[nn.Sequential(Checking(4, 4, 3, padding=1), nn.ReLU()) for _ in range(3)])
    assert not choose_execution(net, (3, 8, 8), images=10**15).compiled


def test_blocks_that_come_and_go_by_chance_are_not_compiled():
    net = build("stochastic-depth-8", num_classes=10)
    assert choose_execution(net, SHAPE, images=10**12) == Execution(channels_last=True, compiled=False)


@needs_compiler
@pytest.mark.parametrize("name", ["resnet-8", "prehighway-8", "highway-8-2025", "resnet18"])
def test_compiled_blocks_compute_the_same(name):
    plain = conv(name).double()
    compiled = copy.deepcopy(plain)
    prepare(compiled, COMPILED)
    loss, expected = gradients(plain)
    with compiling(COMPILED):
        found_loss, found = gradients(compiled)
    torch.testing.assert_close(found_loss, loss, rtol=1e-10, atol=0)
    assert list(found) == list(expected)
    for parameter, gradient in expected.items():
        torch.testing.assert_close(found[parameter], gradient, rtol=1e-7, atol=1e-12, msg=parameter)
    assert list(compiled.state_dict()) == list(plain.state_dict())


@needs_compiler
def test_depth_does_not_grow_what_is_compiled():
    graphs = []
    for name in ("resnet-14", "resnet-26"):
        torch._dynamo.utils.counters.clear()
        net = conv(name).double()
        prepare(net, COMPILED)
        with compiling(COMPILED):
            gradients(net)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    # The first stage's block; of each further stage the one that changes the shape, and the others.
    assert graphs == [5, 5]


@needs_compiler
def test_hooks_count_in_compiled_nets():
    """Reading gates and overriding them, also after the net has run compiled."""
    net = conv("highway-8").double().eval()
    compiled = copy.deepcopy(net)
    prepare(compiled, COMPILED)
    x, _ = batch()
    with torch.no_grad(), compiling(COMPILED):
        compiled(x)
        for model in (net, compiled):
            with read_flows(model) as flows:
                model(x)
            assert list(flows) == ["blocks.0", "blocks.1", "blocks.2"]
        with override_flows(net, {"blocks.0": Flow(0.0, 1.0)}):
            expected = net(x)
        with override_flows(compiled, {"blocks.0": Flow(0.0, 1.0)}):
            found = compiled(x)
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(expected, net(x))


@needs_compiler
def test_eager_compiles_nothing():
    net = conv("resnet-8").double()
    prepare(net, COMPILED)
    torch._dynamo.utils.counters.clear()
    with eager():
        gradients(net)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 0
