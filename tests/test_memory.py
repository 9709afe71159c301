"""Recomputing: the same bits as storing, in less memory."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from helpers import cross_entropy
from skipway.anatomy.cost import BlockCost, block_costs, cost
from skipway.nets.registry import build
from skipway.training.memory import Segmented, plan_segments, segment
from skipway.training.replicas import Stack

NETS = {
    "residual-dense-40": (64,),
    "highway-20": (3, 16, 16),
    "preresnet-20": (3, 16, 16),
    "highway-8-2025": (3, 16, 16),
    "highway-cifar-19": (3, 16, 16),  # dropout
    "stochastic-depth-20": (3, 16, 16),  # whole blocks left out by chance
    "resnet18": (3, 64, 64),  # four rows of blocks
}


def made(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    features = {"in_features": 64} if "dense" in name else {}
    return build(name, num_classes=10, width=8, **features)


def stepped(net: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, list[Tensor | None]]:
    """Loss and gradients of one batch, and of a second one, after which buffers have moved."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    for _ in range(2):
        x = torch.randn(6, *shape, generator=generator)
        loss = nn.functional.cross_entropy(net(x), torch.arange(6))
        loss.backward()
    return loss.detach(), [p.grad for p in net.parameters()]


@pytest.mark.parametrize("name", NETS)
def test_recomputing_gives_the_same_bits(name):
    net = made(name)
    again = copy.deepcopy(net)
    segment(again, block_costs(net, NETS[name]))
    rows = [module for module in again.modules() if isinstance(module, Segmented)]
    assert any(len(row.bounds) > 1 for row in rows)
    assert rows[-1].bounds[-1] < len(rows[-1])
    loss, gradients = stepped(net, NETS[name])
    found_loss, found = stepped(again, NETS[name])
    assert torch.equal(found_loss, loss)
    for mine, theirs in zip(found, gradients, strict=True):
        assert (mine is None and theirs is None) or torch.equal(mine, theirs)
    # Running statistics have counted each batch once.
    assert list(again.state_dict()) == list(net.state_dict())
    for mine, theirs in zip(again.buffers(), net.buffers(), strict=True):
        assert torch.equal(mine, theirs)
    x = torch.randn(2, *NETS[name])
    assert torch.equal(again.eval()(x), net.eval()(x))


def test_a_stack_recomputes_too():
    nets = [made("highway-dense-12", seed) for seed in range(3)]
    stack, again = Stack(nets), Stack(nets)
    segment(again.net, block_costs(nets[0], (64,)))
    x, y = torch.randn(3, 6, 64), torch.arange(18).view(3, 6) % 10
    for net in (stack, again):
        cross_entropy(net(x), y).sum().backward()
    for mine, theirs in zip(again.parameters(), stack.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def held(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Bytes that autograd keeps of eight inputs after a forward pass, without parameters, on real tensors."""
    storages: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        net(torch.randn(8, *shape))
    return sum(size for place, size in storages.items() if place not in own)


@pytest.mark.parametrize("name", NETS)
def test_block_costs_add_up_to_the_nets(name):
    net, shape = made(name), NETS[name]
    blocks = block_costs(net, shape)
    assert [block.name for block in blocks] == [n for n, m in net.named_modules() if m in set(net.blocks)]
    total = sum(block.activation_bytes for block in blocks)
    whole = cost(net, shape).activation_bytes
    assert 0.3 * whole < total <= whole
    assert all(block.input_bytes > 0 for block in blocks)


@pytest.mark.parametrize(
    ("name", "shape", "most"), [("residual-dense-300", (64,), 0.25), ("resnet-50", (3, 16, 16), 0.4)]
)
def test_less_is_held(name, shape, most):
    net = made(name)
    blocks = block_costs(net, shape)
    stored = held(net, shape)
    plan = plan_segments(blocks)
    segment(net, blocks)
    # Between the passes the segments' inputs are held; in the backward pass one segment's blocks beside them.
    assert held(net, shape) < plan.bytes * 8 + 0.2 * stored
    assert plan.bytes * 8 < most * stored


def blocks(*kept: int, row: str = "row") -> list[BlockCost]:
    return [BlockCost(f"{row}.{place}", input_bytes=1, activation_bytes=own) for place, own in enumerate(kept)]


def test_equal_blocks_come_in_segments_of_about_the_square_root():
    plan = plan_segments(blocks(*[1] * 100))
    assert plan.bounds == {"row": tuple(range(0, 100, 10))}
    assert plan.bytes == 10 + 9


def test_segments_are_balanced_by_bytes_not_by_number():
    plan = plan_segments(blocks(*[12] * 2, *[1] * 12))
    assert plan.bounds == {"row": (0, 1, 2)}
    assert plan.bytes == 12 + 2


def test_all_rows_share_one_limit():
    plan = plan_segments([*blocks(*[4] * 18, row="wide"), *blocks(*[1] * 18, row="narrow")])
    wide, narrow = plan.bounds.values()
    assert wide[-1] == 18
    largest = 4 * max(end - start for start, end in pairwise(wide))
    assert 18 - narrow[-1] == min(largest, 18)


@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_a_plan_holds_a_block_more_at_most_than_any_even_division(number):
    costs = blocks(*[3 + place % 5 for place in range(number)])
    kept, least = [own.activation_bytes for own in costs], plan_segments(costs).bytes
    for length in range(1, number + 1):
        starts = range(0, number, length)
        even = max(sum(kept[start : start + length]) for start in starts) + len(starts) - 1
        assert least <= even + max(kept)  # limits are tried in steps of the largest block


def test_one_block_is_never_computed_again():
    assert plan_segments(blocks(4)).bounds == {"row": (0,)}


def test_tied_layers_get_their_gradient_once():
    net = made("residual-dense-40")
    name = block_costs(net, (64,))[0].name.rpartition(".")[0]
    row = net.get_submodule(name)
    for first, second in zip(row[1].modules(), row[2].modules(), strict=True):
        second._parameters.update(first._parameters)
    again = copy.deepcopy(net)
    again.set_submodule(name, Segmented(again.get_submodule(name), (0, 5)))
    loss, gradients = stepped(net, (64,))
    found_loss, found = stepped(again, (64,))
    assert torch.equal(found_loss, loss)
    for mine, theirs in zip(found, gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
