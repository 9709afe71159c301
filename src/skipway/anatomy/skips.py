"""The skips of a module: its blocks that have a way around them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipway.anatomy.branches import Branch, branches_of
from skipway.anatomy.rows import rows_of
from skipway.anatomy.trial import inputs_of_calls
from skipway.batch.trees import tensors
from skipway.skip.block import Skip
from skipway.skip.copies import is_lazy
from skipway.skip.placement import Placement
from skipway.skip.shortcuts import NoShortcut


@dataclass(frozen=True)
class SkipHandle:
    """One block of a model that has a way around it."""

    name: str  # the module's name in the model; of several, the first
    skip: nn.Module  # a `Skip`, or somebody else's block
    branches: tuple[Branch, ...] = ()  # of somebody else's block: its sums F + S, all with T = C = 1

    @property
    def body(self) -> nn.Module | None:
        """F of a `Skip`, where that is one module."""
        return self.skip.body if isinstance(self.skip, Skip) else None

    def why_not_lesionable(self) -> str | None:
        """The reason why nothing can be carried past the block; None where a lesion is possible."""
        if not isinstance(self.skip, Skip):
            return None
        shortcut, body = self.skip.shortcut, self.skip.body
        nothing = shortcut is None or isinstance(shortcut, NoShortcut)
        if nothing and body is not None and not Placement.of(body).keeps_shape:
            return f"block {self.name!r} changes its input's shape and has no shortcut"
        return None


def find_skips(model: nn.Module, example: Any = None) -> list[SkipHandle]:
    """Handles on every `Skip` of a model, and on every block of its rows that is made of sums as a `Skip` is.

    Such are torchvision's and timm's residual blocks and the blocks of transformers. A model without rows, or with rows
    of single layers, may be such a block itself. They come in order of definition; one that stands in several places
    comes once.

    Args:
        model: any module.
        example: what it takes, a tree of tensors (`skipway.batch.trees.call`): for blocks that cannot be tried on
            one small tensor, since they take more, or only inputs of one size.

    Raises:
        ValueError: if the model does not take the example.
    """
    names = {module: name for name, module in model.named_modules()}
    in_rows = (block for row in rows_of(model) for block in row.blocks)
    blocks = {block for block in in_rows if next(model.get_submodule(block).children(), None)} or {""}
    holders = _holders(name for module, name in names.items() if isinstance(module, Skip))
    foreign = {name: module for module, name in names.items() if name in blocks and name not in holders}
    found = {name: _branches(block) for name, block in foreign.items()}
    if example is not None and not all(found.values()):
        left = {name: block for name, block in foreign.items() if not found[name]}
        inputs = inputs_of_calls(model, example, left)
        found.update({name: _branches(block, inputs[name]) for name, block in left.items() if name in inputs})
    handles = [SkipHandle(name, module, found.get(name, ())) for module, name in names.items()]
    return [handle for handle in handles if handle.branches or isinstance(handle.skip, Skip)]


def _holders(names: Iterable[str]) -> set[str]:
    """Modules by name, and all that hold them."""
    return {name[:end] for name in names for end in (0, *(m.start() for m in re.finditer(r"[.]|$", name)))}


# What trials told of blocks in this process: a probe asks anew at every measurement.
_known: dict[object, tuple[Branch, ...]] = {}


def _branches(block: nn.Module, inputs: Any = None) -> tuple[Branch, ...]:
    if is_lazy(block):
        return ()
    key = _structure(block), tuple(tensor.shape for tensor in tensors(inputs))
    if key not in _known:
        _known[key] = branches_of(block, inputs)
    return _known[key]


def _structure(module: nn.Module) -> object:
    """What blocks of which one trial tells for all have in common."""
    simple = (bool, int, float, str, type(None))
    settings = tuple(
        (key, value)
        for part in module.modules()
        for key, value in vars(part).items()
        if isinstance(value, simple) and key != "training"
    )
    return type(module), repr(module), settings, tuple((p.shape, p.device.type) for p in module.parameters())
