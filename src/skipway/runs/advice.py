"""What to do when a training does not fit into memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from skipway.anatomy.cost import block_costs, cost
from skipway.runs.fit import Resources
from skipway.training.machine import memory_bytes
from skipway.training.memory import plan_segments

_GIB = 2**30
_CERTAINLY_FITS = 10**8  # depth x width x width
_NARROW = 64
_BYTES_A_PARAMETER = 3 * 4  # weight, gradient and momentum in float32
_USABLE = 0.8  # of free memory: allocators round up, and the backward pass holds a little beside


def check_width(make: Callable[[int], nn.Module], *, width: int | None, depth: int) -> None:
    """Refuse a net whose weights alone are more than the machine holds, before any of its memory is taken.

    Parameters grow at most with the square of the width: those of a narrow net tell how many there would be.

    Args:
        make: the net of some width, as deep as it is asked for.
        width: what is asked for; None is the family's own choice, which fits anywhere.
        depth: in layers.

    Raises:
        ValueError: if it cannot fit; the message says which width would.
    """
    if width is None or depth * width**2 < _CERTAINLY_FITS:
        return
    parameters = sum(p.numel() for p in make(_NARROW).parameters()) * (width / _NARROW) ** 2
    needs, has = parameters * _BYTES_A_PARAMETER, memory_bytes()
    if needs > has:
        raise ValueError(
            f"width {width:,} at depth {depth:,} makes about {parameters:.2g} parameters: {needs / _GIB:,.0f} GiB with "
            f"their gradients and momentum, where there are {has / _GIB:,.0f} GiB. Give a width up to "
            f"{max(1, math.floor(width * math.sqrt(has / needs))):,}."
        )


def what_would_fit(net: nn.Module, example: Any, batch: int, resources: Resources) -> str:
    """A message: what the batch needs, what is free, and the first setting that would fit.

    Args:
        net: the net.
        example: the shape of one input, or an example batch, as `skipway.anatomy.cost.cost` takes it.
        batch: samples of a step in this process.
        resources: what it ran with.
    """
    try:
        stored, recomputed = activation_bytes(net, example)
    except ValueError:  # of somebody's own net, shapes alone may not tell it
        return (
            f"out of memory: a batch of {batch} samples does not fit, and what this net keeps for its backward pass "
            f"cannot be counted. Try smaller parts of a batch, such as `--accumulate {2 * resources.accumulate}`; or a "
            " narrower net or a larger machine."
        )
    free = _free(torch.device(resources.device)) - 4 * 4 * sum(p.numel() for p in net.parameters())
    now = (resources.accumulate, resources.asked.recompute)
    needs = _per_step(stored, recomputed, batch, *now)
    told = f"out of memory: a batch of {batch} samples keeps about {needs / _GIB:.2f} GiB for its backward pass"
    counts = [2**power for power in range(batch.bit_length())]
    settings = [(count, recompute) for count in counts for recompute in (False, True)]
    for count, recompute in settings:
        wants = _per_step(stored, recomputed, batch, count, recompute)
        if wants < min(needs, max(free, 0) * _USABLE + 1):
            return f"{told}. {_flags(count, recompute)} would keep about {wants / _GIB:.2f} GiB, and would fit."
    least = _per_step(stored, recomputed, batch, counts[-1], True)
    way_out = "take a narrower net or a larger machine"
    return f"{told}. Even one sample at a time, recomputed, keeps {least / _GIB:.2f} GiB: {way_out}."


def activation_bytes(net: nn.Module, example: Any) -> tuple[int, int]:
    """What a training step keeps of one sample, in bytes: stored, and with blocks computed again."""
    blocks, whole = block_costs(net, example), cost(net, example).activation_bytes
    return whole, whole - sum(block.activation_bytes for block in blocks) + plan_segments(blocks).bytes


def _per_step(stored: int, recomputed: int, batch: int, accumulate: int, recompute: bool) -> int:
    return (recomputed if recompute else stored) * -(-batch // accumulate)


def _flags(accumulate: int, recompute: bool) -> str:
    flags = [
        *(["--memory recompute"] if recompute else []),
        *([f"--accumulate {accumulate}"] if accumulate > 1 else []),
    ]
    return f"`{' '.join(flags)}`" if flags else "`--memory store` with nothing else in memory"


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
