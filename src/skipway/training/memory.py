"""Depth within memory: segments of blocks of which only the inputs are kept, and the backward pass computes the rest.

Chen et al. 2016 (arXiv 1604.06174): of n equal blocks in segments of sqrt(n), about 2 sqrt(n) blocks' worth is held at
a time instead of n, for one more forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from skipway.eager import as_written
from skipway.nets.cost import BlockCost
from skipway.training.random_state import random_state, set_random_state


class Segmented(nn.Sequential):
    """A row of blocks under their own names, run in segments that are computed again in the backward pass.

    Args:
        blocks: the row.
        bounds: where segments begin and the last one ends: 0, ..., number of blocks.
    """

    def __init__(self, blocks: nn.Sequential, bounds: Sequence[int]) -> None:
        super().__init__()
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self.bounds = tuple(bounds)

    def forward(self, x: Tensor) -> Tensor:
        if as_written() or not (self.training and torch.is_grad_enabled()):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        blocks = list(self)
        for start, end in pairwise(self.bounds):
            x = _kept_as_input(blocks[start:end], x)
        return x


def segment(net: nn.Module, costs: Sequence[BlockCost]) -> None:
    """Put a net's rows of blocks into segments, in place. Names in its state dict, and all numbers, stay as they were.

    Args:
        net: a net, or a stack of nets; its blocks lie in `torch.nn.Sequential`s and nothing else does there.
        costs: of its blocks, in order: `skipway.nets.cost.block_costs`.
    """
    for row, own in groupby(costs, key=lambda cost: cost.name.rpartition(".")[0]):
        blocks = list(own)
        plan = plan_segments([cost.input_bytes for cost in blocks], [cost.activation_bytes for cost in blocks])
        net.set_submodule(row, Segmented(cast(nn.Sequential, net.get_submodule(row)), plan.bounds))


@dataclass(frozen=True)
class Plan:
    """A division of a row of blocks, and the bytes of one input that a training step holds at most."""

    bounds: tuple[int, ...]
    bytes: int


def plan_segments(inputs: Sequence[int], kept: Sequence[int]) -> Plan:
    """The division that holds least: all segments' inputs, and what the largest keeps when it is computed again.

    Args:
        inputs: the size of each block's input, in bytes.
        kept: what each block keeps for the backward pass, in bytes.
    """
    plans = (_plan(inputs, kept, count) for count in range(1, len(kept) + 1))
    return min(plans, key=lambda plan: plan.bytes)


def _plan(inputs: Sequence[int], kept: Sequence[int], count: int) -> Plan:
    """So many segments at most, of about the same bytes each."""
    total, sums = sum(kept), list(accumulate(kept))
    ends = [next(place + 1 for place, held in enumerate(sums) if held * count >= total * n) for n in range(1, count)]
    bounds = tuple(sorted({0, *ends, len(kept)}))
    largest = max(sum(kept[start:end]) for start, end in pairwise(bounds))
    return Plan(bounds, largest + sum(inputs[start] for start in bounds[:-1]))


def _kept_as_input(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    parameters = [p for block in blocks for p in block.parameters() if p.requires_grad]
    return cast(Tensor, _Recomputed.apply(blocks, x, *parameters))  # type: ignore[no-untyped-call]


class _Recomputed(torch.autograd.Function):
    """A segment of which the graph holds the input alone.

    `torch.utils.checkpoint` would do the same by hooks on every tensor that is kept, in Python: of dense blocks, that
    takes longer than to compute them (LOG.md, "Recomputing").
    """

    @staticmethod
    def forward(ctx: Any, blocks: Sequence[nn.Module], x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.blocks, ctx.parameters = blocks, parameters
        ctx.random = random_state(x.device)
        ctx.autocast = torch.is_autocast_enabled(x.device.type), torch.get_autocast_dtype(x.device.type)
        ctx.save_for_backward(x)
        return _through(blocks, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        x = kept.detach().requires_grad_(ctx.needs_input_grad[1])
        kind, (enabled, dtype) = kept.device.type, ctx.autocast
        with (
            torch.enable_grad(),
            torch.autocast(kind, dtype, enabled=enabled),
            _drawn_again(ctx.random, kept.device),
            _statistics_left_alone(ctx.blocks),
        ):
            y = _through(ctx.blocks, x)
        wanted = [*([x] if x.requires_grad else []), *ctx.parameters]
        found = list(torch.autograd.grad(y, wanted, gradients, allow_unused=True))
        return None, found.pop(0) if x.requires_grad else None, *found


def _through(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    for block in blocks:
        x = block(x)
    return x


@contextmanager
def _drawn_again(state: dict[str, Tensor], device: torch.device) -> Iterator[None]:
    """The random numbers of another time; those to come stay as they are."""
    now = random_state(device)
    set_random_state(state, device)
    try:
        yield
    finally:
        set_random_state(now, device)


@contextmanager
def _statistics_left_alone(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Batch norms whose running statistics stay: the first pass over this batch has counted it already."""
    norms = [m for block in blocks for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Not `track_running_stats`, without which autograd would keep fewer tensors than in the first pass.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
