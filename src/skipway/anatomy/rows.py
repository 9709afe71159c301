"""Rows of repeated blocks: where a module's depth lies.

A row is a run of siblings that are alike: members of a `Sequential` or `ModuleList`, or attributes with numbered names
such as ``block1``, ``block2``. Where a row's members are themselves containers of a row, as a ResNet's ``layer1`` to
``layer4`` are, those are its stages, and the blocks lie within.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from torch import nn

_LISTS = (nn.Sequential, nn.ModuleList)


@dataclass(frozen=True)
class Row:
    """Blocks that stand in a row."""

    name: str  # of the module that holds them, in the net
    blocks: tuple[str, ...]  # their names in the net, in order of definition


def rows_of(net: nn.Module) -> list[Row]:
    """The rows of a module's blocks, in order of definition; a block that stands in several places comes once.

    A net may say itself what it consists of, as `skipway.nets.stack.SkipNet` does: by a class attribute ``anatomy``
    that holds the names of three attributes, the stem, a sequence of all blocks, and the head.

    Kinds of blocks that alternate one by one, in a `Sequential` or as attributes, are not seen as a row.
    """
    if parts := declared_parts(net):
        names = {module: name for name, module in net.named_modules()}
        return _by_holder(names[block] for block in parts[1].children())
    return _by_holder(_blocks(net, "", set()))


def declared_parts(net: nn.Module) -> tuple[nn.Module, nn.Module, nn.Module] | None:
    """Stem, sequence of blocks and head of a net that says what they are."""
    said = getattr(type(net), "anatomy", None)
    if not (isinstance(said, tuple) and len(said) == 3 and all(isinstance(name, str) for name in said)):
        return None
    stem, blocks, head = (getattr(net, name) for name in said)
    return stem, blocks, head


def _by_holder(blocks: Iterable[str]) -> list[Row]:
    return [Row(holder, tuple(own)) for holder, own in groupby(blocks, lambda name: name.rpartition(".")[0])]


def _blocks(module: nn.Module, prefix: str, seen: set[nn.Module], *, stage: bool = False) -> Iterator[str]:
    """The names of the blocks within a module.

    Args:
        module: where to look.
        prefix: its name and a dot, or nothing.
        seen: modules that were found before, in another place.
        stage: whether the module is one of several stages, or one's list of blocks: there a single block counts.
    """
    one_counts = type(module) is nn.ModuleList or (stage and _holds_blocks_alone(module))
    for run in _runs(module):
        first = run[0][1]
        is_row = _has_parameters(first) and (len(run) > 1 or (one_counts and _has_children(first)))
        stages = is_row and not stage and _are_stages([child for _, child in run])
        for name, child in run:
            if child in seen:
                continue
            seen.add(child)
            if is_row and not stages:
                yield prefix + name
            else:
                of_stage = stages or (stage and type(child) in _LISTS)
                yield from _blocks(child, f"{prefix}{name}.", seen, stage=of_stage)


def _runs(module: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """A module's children, in runs of those that are alike and stand side by side."""
    listed = isinstance(module, _LISTS)

    def key(item: tuple[str, nn.Module]) -> object:
        name, child = item
        if listed:
            return _likeness(child)
        numbered = re.fullmatch(r"(.*?)\d+", name)
        # Single layers with numbers, as a block's own conv1 and conv2 are, make no row.
        return (numbered[1], _likeness(child)) if numbered and _has_children(child) else name

    children = ((name, child) for name, child in module._modules.items() if child is not None)
    return (list(run) for _, run in groupby(children, key))


def _likeness(module: nn.Module) -> object:
    """What modules that are alike have in common: their class; of lists, the kinds of members in order."""
    if type(module) not in _LISTS:
        return type(module)
    return type(module), tuple(kind for kind, _ in groupby(map(_likeness, module.children())))


def _are_stages(members: Sequence[nn.Module]) -> bool:
    """Whether alike modules are not blocks but hold them: lists of blocks; or modules with such a list that differ."""
    if all(type(member) in _LISTS for member in members):
        return all(map(_holds_blocks_alone, members))
    # A transformer's blocks may hold lists of experts, all alike; stages differ in width or in length.
    differ = len({tuple(p.shape for p in member.parameters()) for member in members}) > 1
    held = [max(map(_number_of_blocks, (member, *member.children()))) for member in members]
    return differ and min(held) > 0 and max(held) > 1


def _number_of_blocks(module: nn.Module) -> int:
    return len(list(module.children())) if _holds_blocks_alone(module) else 0


def _holds_blocks_alone(module: nn.Module) -> bool:
    numbered = all(name[-1].isdecimal() for name, _ in module.named_children())
    children = list(module.children())
    return numbered and all(map(_has_children, children)) and len(set(map(_likeness, children))) == 1


def _has_children(module: nn.Module) -> bool:
    return next(module.children(), None) is not None


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
