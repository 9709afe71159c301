"""Depth within memory: segments of blocks of which only the inputs are kept, and the backward pass computes the rest.

Chen et al. 2016 (arXiv 1604.06174): of n equal blocks in segments of sqrt(n), about 2 sqrt(n) blocks' worth is held at
a time instead of n, for one more forward pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from skipway.anatomy.cost import BlockCost
from skipway.skip.eager import as_written
from skipway.training.random_state import random_state, set_random_state


class Segmented(nn.Sequential):
    """A row of blocks under their own names, run in segments that are computed again in the backward pass.

    Args:
        blocks: the row.
        bounds: where segments begin and the last one ends, from 0 on; blocks behind it run, and keep, as usual.
    """

    def __init__(self, blocks: nn.Sequential, bounds: Sequence[int]) -> None:
        super().__init__()
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self.bounds = tuple(bounds)
        row = list(self)
        self._segments = [_Segment(row[start:end]) for start, end in pairwise(self.bounds)]
        self._rest = row[self.bounds[-1] :]

    def forward(self, x: Tensor) -> Tensor:
        if as_written() or not (self.training and torch.is_grad_enabled()):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        for own in self._segments:
            x = cast(Tensor, _Recomputed.apply(own, x, *own.parameters()))  # type: ignore[no-untyped-call]
        return _through(self._rest, x)


def segment(net: nn.Module, costs: Sequence[BlockCost]) -> None:
    """Put a net's rows of blocks into segments, in place. Names in its state dict, and all numbers, stay as they were.

    Args:
        net: a net, or a stack of nets; its blocks lie in `torch.nn.Sequential`s and nothing else does there.
        costs: of its blocks, in order: `skipway.anatomy.cost.block_costs`.
    """
    for row, bounds in plan_segments(costs).bounds.items():
        net.set_submodule(row, Segmented(cast(nn.Sequential, net.get_submodule(row)), bounds))


@dataclass(frozen=True)
class Plan:
    """A division of a net's blocks, and the bytes of one input that a training step holds at most.

    The backward pass begins with the net's last segment, when nothing is held of the others but their inputs: that one
    is never computed again, and adds nothing to the most that is held.
    """

    bounds: dict[str, tuple[int, ...]]  # as `Segmented` takes them, by the row's name in the net
    bytes: int


def plan_segments(costs: Sequence[BlockCost]) -> Plan:
    """The division that holds least: all segments' inputs, and what the largest keeps when it is computed again.

    All rows share one limit: where a net's later blocks are smaller, as images shrink, its later segments are longer.

    Args:
        costs: of a net's blocks, in order.
    """
    rows = {name: list(own) for name, own in groupby(costs, key=lambda cost: cost.name.rpartition(".")[0])}
    largest = max(cost.activation_bytes for cost in costs)
    best = _plan(rows, largest)
    for count in range(2, len(costs) + 1):
        # Filled segments fall short of the limit by less than a block: from here on they alone hold more than the best.
        if largest * (count - 1) >= best.bytes:
            break
        best = min(best, _plan(rows, largest * count), key=lambda plan: plan.bytes)
    return best


def _plan(rows: Mapping[str, Sequence[BlockCost]], limit: int) -> Plan:
    """Segments that keep so many bytes at most."""
    *others, last = rows
    cuts = {name: _cuts([cost.activation_bytes for cost in row], limit) for name, row in rows.items()}
    kept = max(
        sum(cost.activation_bytes for cost in row[start:end])
        for name, row in rows.items()
        for start, end in pairwise(cuts[name])
    )
    bounds = {**{name: cuts[name] for name in others}, last: cuts[last][:-1]}
    inputs = sum(rows[name][start].input_bytes for name, own in bounds.items() for start in own[:-1])
    return Plan(bounds, kept + inputs)


def _cuts(kept: Sequence[int], limit: int) -> tuple[int, ...]:
    """0, ..., number of blocks: segments filled from the end, so that the one that is not computed again is long."""
    sums = [0, *accumulate(kept)]
    cuts = [len(kept)]
    while cuts[-1]:
        cuts.append(bisect_left(sums, sums[cuts[-1]] - limit))
    return tuple(reversed(cuts))


class _Segment:
    """Blocks, and what of them holds parameters and running statistics.

    That is found once: going through the modules of a thousand blocks anew in every step, forward and backward, is
    time that a step of small layers has not to spare (LOG.md, "Recomputing").
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.blocks = blocks
        modules = list(dict.fromkeys(module for block in blocks for module in block.modules()))
        self._layers = [module for module in modules if module._parameters]
        self.norms = [module for module in modules if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def parameters(self) -> list[Tensor]:
        """Those that are trained; one that several layers share comes once."""
        own = dict.fromkeys(p for layer in self._layers for p in layer._parameters.values() if p is not None)
        return [p for p in own if p.requires_grad]


class _Recomputed(torch.autograd.Function):
    """A segment of which the graph holds the input alone.

    `torch.utils.checkpoint` would do the same by hooks on every tensor that is kept, in Python: of dense blocks, that
    takes longer than to compute them (LOG.md, "Recomputing").
    """

    @staticmethod
    def forward(ctx: Any, segment: _Segment, x: Tensor, *parameters: Tensor) -> Tensor:
        ctx.segment, ctx.parameters = segment, parameters
        ctx.random = random_state(x.device)
        ctx.autocast = torch.is_autocast_enabled(x.device.type), torch.get_autocast_dtype(x.device.type)
        ctx.save_for_backward(x)
        return _through(segment.blocks, x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        x = kept.detach().requires_grad_(ctx.needs_input_grad[1])
        kind, (enabled, dtype) = kept.device.type, ctx.autocast
        with (
            torch.enable_grad(),
            torch.autocast(kind, dtype, enabled=enabled),
            _drawn_again(ctx.random, kept.device),
            _statistics_left_alone(ctx.segment.norms),
        ):
            y = _through(ctx.segment.blocks, x)
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
def _statistics_left_alone(norms: Sequence[nn.modules.batchnorm._BatchNorm]) -> Iterator[None]:
    """Batch norms whose running statistics stay: the first pass over this batch has counted it already."""
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        # Not `track_running_stats`, without which autograd would keep fewer tensors than in the first pass.
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum, norm.num_batches_tracked = momentum, counted
