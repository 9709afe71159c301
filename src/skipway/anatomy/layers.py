"""The layers of a module, in order: where a signal can be measured on its way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from skipway.anatomy.rows import declared_parts, rows_of
from skipway.anatomy.trial import order_of_calls

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class Layer:
    """A place to measure at."""

    name: str  # the module's name in the net
    kind: str  # "stem", "block" or "head"; "layer" between rows of blocks, and where there are no rows


def layers_of_net(net: nn.Module, example: Any = None) -> list[Layer]:
    """What a signal passes on its way through a net, in order.

    Where the net has rows of blocks: what comes before the first block, the stem; the blocks; what comes behind the
    last, the head. Where it has none: every layer that holds parameters. Modules without parameters are left out.

    Args:
        net: any module.
        example: what it takes, a tree of tensors (`skipway.batch.trees.call`): layers then come in the order in
            which a trial run calls them, and those that it doesn't call are left out. Without it, they come in the
            order of definition.

    Raises:
        ValueError: if the net does not take the example.
    """
    return layers_called(net, None if example is None else order_of_calls(net, example))


def layers_called(net: nn.Module, order: Mapping[str, int] | None = None) -> list[Layer]:
    """The same, where the order of a net's calls is known.

    Args:
        net: any module.
        order: the modules that a forward pass called, by name, and the place of each one's first call. None: the layers
            come in the order of definition.
    """
    if parts := declared_parts(net):
        names = {module: name for name, module in net.named_modules()}
        stem, row, head = parts
        middle = [Layer(names[block], "block") for block in row.children()]
        return [Layer(names[stem], "stem"), *middle, Layer(names[head], "head")]
    blocks = {block: None for row in rows_of(net) for block in row.blocks}
    found = list(_names(net, blocks, order)) or [""]  # of a module without parts, itself
    if order is not None:
        found.sort(key=lambda name: order[name])
    return _with_kinds(found, blocks)


def _names(net: nn.Module, blocks: Collection[str], called: Collection[str] | None) -> Iterator[str]:
    """The layers of a net, in order of definition: as large as can be beside blocks, as small as can be without."""
    first_names = {module: name for name, module in net.named_modules()}
    holders = {name[:end] for name in blocks for end, letter in enumerate(name) if letter == "."}

    def is_layer(name: str, module: nn.Module) -> bool:
        if name in blocks:
            return called is None or name in called
        runs = type(module) not in _NEVER_CALLED if called is None else name in called
        own = module.parameters(recurse=bool(blocks))
        return runs and name not in holders and next(own, None) is not None

    def within(module: nn.Module, prefix: str) -> Iterator[str]:
        for key, child in module.named_children():
            name = prefix + key
            if is_layer(name, child):
                if first_names[child] == name:
                    yield name
            elif name not in blocks:
                yield from within(child, f"{name}.")

    return within(net, "")


def _with_kinds(names: Sequence[str], blocks: Collection[str]) -> list[Layer]:
    places = [place for place, name in enumerate(names) if name in blocks]
    if not places:
        return [Layer(name, "layer") for name in names]

    def kind(place: int, name: str) -> str:
        if name in blocks:
            return "block"
        return "stem" if place < places[0] else "head" if place > places[-1] else "layer"

    return [Layer(name, kind(place, name)) for place, name in enumerate(names)]
