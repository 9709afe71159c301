"""Flows of blocks that are not ours: T and C at the sums ``F + S`` that were found in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipway.anatomy.skips import SkipHandle
from skipway.batch.trees import tensors
from skipway.skip.gate import Flow

SUM = Flow(1.0, 1.0)


@dataclass(frozen=True)
class Running:
    """A call of a block that goes on now, by a Flow."""

    block: nn.Module
    inputs: tuple[Any, ...]
    flow: Flow


class FoundSums:
    """The modules that give F and S in other people's blocks.

    Attributes:
        blocks: those blocks.
    """

    def __init__(self, handles: Iterable[SkipHandle]) -> None:
        self.blocks: set[nn.Module] = set()
        # Under a block and its part, since blocks may share a module.
        self._bodies: dict[tuple[nn.Module, nn.Module], bool] = {}  # whether S is what went into the sum before
        self._shortcuts: set[tuple[nn.Module, nn.Module]] = set()
        for block, branch in ((handle.skip, branch) for handle in handles for branch in handle.branches):
            self.blocks.add(block)
            self._bodies[block, block.get_submodule(branch.body)] = branch.shortcut is None
            if branch.shortcut is not None:
                self._shortcuts.add((block, block.get_submodule(branch.shortcut)))

    def altered(self, call: Running, module: nn.Module, output: Any) -> Any:
        """A module's output as the Flow of a block's call wants it; None where it stays."""
        key, t, c = (call.block, module), call.flow.t, call.flow.carry()
        if output is None or (_is_one(t) and _is_one(c)) or not (key in self._shortcuts or key in self._bodies):
            return None
        first, others = (output[0], output[1:]) if isinstance(output, tuple) else (output, None)
        if key in self._shortcuts:
            new = _times(c, first)
        else:
            new = _times(t, first)
            if self._bodies[key] and not _is_one(c):
                new = new + (c - 1) * _input(call).view_as(new)  # the block itself adds its input
        return new if others is None else (new, *others)


def why_not(handle: SkipHandle, flow: Flow) -> str | None:
    """The reason why somebody else's block cannot run by a Flow; None where it can."""
    if len(handle.branches) < 2 or _is_one(flow.carry()):
        return None
    sums = " and ".join(repr(branch.body) for branch in handle.branches)
    return f"block {handle.name!r} adds {sums} to its input one after another, and carries with C = 1 alone"


def _is_one(value: Tensor | float) -> bool:
    return not isinstance(value, Tensor) and value == 1


def _times(factor: Tensor | float, branch: Tensor) -> Tensor:
    if isinstance(factor, Tensor) or factor != 0:
        return branch if _is_one(factor) else factor * branch
    return torch.zeros_like(branch)  # not 0 times F, which may be infinite


def _input(call: Running) -> Tensor:
    for tensor in tensors(call.inputs):
        return tensor
    raise ValueError("where C is to be other than 1, a block takes its input by position, not by name.")
