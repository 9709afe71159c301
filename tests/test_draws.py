"""Rules that draw: alike in all processes, again where a pass is computed again, and never frozen in a graph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from helpers import CLASSES, body, dense, inputs, placement, scramble
from skipway.anatomy.cost import block_costs
from skipway.anatomy.layers import layers_of_net
from skipway.nets.registry import build
from skipway.nets.stack import SkipNet
from skipway.probe.handles import read_flows
from skipway.probe.signals import measure
from skipway.skip.block import Skip
from skipway.skip.draws import drawn_alike, draws_state, uniform
from skipway.skip.gate import GATES, make_gate
from skipway.training.loop import Training
from skipway.training.memory import segment
from skipway.training.recipe import Recipe
from skipway.training.replicas import Single
from skipway.training.world import World, is_of_another

RANDOM = [name for name in GATES if GATES[name].random]


def drawing() -> SkipNet:
    """A net whose blocks are left out by chance, with dropout in each."""
    net = dense("stochastic-depth", blocks=12)
    for block in net.blocks:
        block.body.append(nn.Dropout(0.5))
    return net.train()


def block_with(gate: str) -> Skip:
    """The second of four blocks."""
    inner = body("vector")
    return scramble(Skip(make_gate(gate, placement(inner)), inner))


def let_through(net: nn.Module, x: Tensor) -> list[float]:
    with read_flows(net) as flows:
        net(x)
    return [flow.t for flow in flows.values()]


# -- alike -------------------------------------------------------------------------------------------------------------


def test_the_same_blocks_are_let_through_whatever_else_is_drawn():
    """As in two processes: dropout draws for 16 samples in one, for 17 in the other, from seeds of their own."""
    net, found, outputs = drawing(), [], []
    for process, samples in enumerate((16, 17)):
        torch.manual_seed(process)
        with drawn_alike(3):
            found.append([let_through(net, torch.ones(samples, 64)) for _ in range(3)])
            outputs.append(net(torch.ones(2, 64)))
    assert found[0] == found[1]
    assert len({tuple(blocks) for blocks in found[0]}) == 3
    assert not torch.equal(*outputs)


def test_outside_the_global_generator_decides_and_is_put_back():
    torch.manual_seed(5)
    expected = float(torch.rand(()))
    with drawn_alike(5):
        assert uniform() == expected
        with drawn_alike(0):
            uniform()
        second = uniform()
    assert draws_state() is None
    torch.manual_seed(5)
    assert (uniform(), uniform()) == (expected, second)


def test_a_measurement_draws_for_itself():
    net = drawing()
    with drawn_alike(0):
        uniform()
        before = draws_state()
        measure(net, torch.ones(4, 64), lambda scores: scores.square().mean()[None], layers=layers_of_net(net))
        assert torch.equal(draws_state(), before)


def test_what_is_computed_again_draws_again():
    nets = [build("stochastic-depth-dense-20", in_features=64, num_classes=10, width=8) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    segment(nets[1], block_costs(nets[0], (64,)))
    gradients = []
    for net in nets:
        with drawn_alike(1):
            net.train()(torch.ones(4, 64)).square().sum().backward()
            gradients.append([p.grad for p in net.parameters()])
            after = draws_state()
    assert any(grad is None for grad in gradients[0])
    for mine, theirs in zip(*gradients, strict=True):
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)
    with drawn_alike(1):
        for _ in nets[0].blocks:
            uniform()
        assert torch.equal(draws_state(), after)  # nothing to come was drawn


class Second(World):
    rank = 1


def training(world: World) -> Training:
    batch = torch.ones(1, 4, 64), torch.zeros(1, 4, dtype=torch.int64)
    stream = Stream([batch] * 4)
    return Training(Single(drawing()), stream, Recipe(batch_size=4), CLASSES, rates=[0.1], steps=4, world=world)


class Stream(list):
    """Batches that need no position."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self

    def __next__(self) -> tuple[Tensor, Tensor]:
        return self[0]

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass


def test_a_new_member_of_a_larger_team_lets_through_what_the_others_do():
    with drawn_alike(0):
        alone = training(World())
        alone.advance()
        state = alone.state_dict()
        expected = [uniform() for _ in range(3)]
    new = training(Second())
    dropout = torch.get_rng_state()
    with drawn_alike(1):
        new.load_state_dict(state)
        assert [uniform() for _ in range(3)] == expected
    assert torch.equal(torch.get_rng_state(), dropout)


@pytest.mark.parametrize(
    ("error", "other"),
    [
        (RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer"), True),
        (dist.DistNetworkError("The client socket has failed to connect"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x63 and 64x12)"), False),
        (RuntimeError("Expected to have finished reduction in the prior iteration"), False),
    ],
)
def test_another_process_is_blamed_for_what_it_did_alone(error, other):
    assert is_of_another(error) == other


# -- graphs ------------------------------------------------------------------------------------------------------------

TRACERS = {
    "fx": lambda block, x: torch.fx.symbolic_trace(block),
    "jit": torch.jit.trace,
    "export": lambda block, x: torch.export.export(block, (x,)).module(),
    "strict export": lambda block, x: torch.export.export(block, (x,), strict=True).module(),
}


@pytest.mark.filterwarnings("ignore")  # torch.jit says that it is old
@pytest.mark.parametrize("tracer", TRACERS)
@pytest.mark.parametrize("gate", RANDOM)
def test_a_rule_that_draws_is_traced_in_evaluation_mode_alone(gate, tracer):
    block, x = block_with(gate), inputs("vector")
    with pytest.raises(Exception, match=r"a traced graph would keep one draw for ever: .* after model\.eval\(\)"):
        TRACERS[tracer](block.train(), x)
    found = TRACERS[tracer](block.eval(), x)
    torch.testing.assert_close(found(x), block(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gate", RANDOM)
def test_a_rule_that_draws_may_be_compiled_in_training(gate):
    """Which breaks the graph where it decides, and draws anew at every call."""
    block, x = block_with(gate), inputs("vector")
    compiled = torch.compile(block.train(), backend="eager")
    found = {tuple(compiled(x).flatten().tolist()) for _ in range(20)}
    assert len(found) == 2


# -- shards ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """This process as a group of one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("gate", GATES)
def test_every_rules_parameters_can_be_sharded(gate, mesh):
    block, x = block_with(gate), inputs("vector")
    torch.manual_seed(0)
    expected = block(x)
    fully_shard(block, mesh=mesh)
    torch.manual_seed(0)
    found = block(x)
    assert torch.equal(found, expected)
    found.sum().backward()
    assert all(parameter.dim() > 0 for parameter in block.parameters())
