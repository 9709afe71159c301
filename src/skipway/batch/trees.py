"""Trees of tensors: inputs, outputs and targets of any net."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Tree = Any
"""A tensor, or a tuple, list or mapping of trees. (Python's types cannot say so and stay readable.)"""


def tree_map(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """The tree with every leaf replaced by what the function makes of it; mappings become dictionaries."""
    if isinstance(tree, Mapping):
        return {name: tree_map(function, part) for name, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):  # a named tuple
        return type(tree)(*(tree_map(function, part) for part in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(tree_map(function, part) for part in tree)
    return function(tree)


def leaves(tree: Tree) -> Iterator[Any]:
    """The leaves, from left to right."""
    parts = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, tuple | list) else None
    if parts is None:
        yield tree
    else:
        for part in parts:
            yield from leaves(part)


def first(tree: Tree) -> Any:
    """The leftmost leaf: what tells a batch's size, device and kind."""
    return next(leaves(tree))


def chunks(tree: Tree, count: int, dim: int) -> list[Tree]:
    """The tree in at most so many parts along a dimension, as `torch.chunk` cuts each tensor."""
    if isinstance(tree, Tensor):
        return list(tree.chunk(count, dim))
    parts = min(len(leaf.chunk(count, dim)) for leaf in leaves(tree))
    return [tree_map(partial(_chunk, count=count, dim=dim, place=place), tree) for place in range(parts)]


def _chunk(leaf: Tensor, *, count: int, dim: int, place: int) -> Tensor:
    return leaf.chunk(count, dim)[place]


def wide(values: Tensor) -> Tensor:
    """Half-precision numbers as float32, in which losses are computed; all others as they are."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values


def call(net: nn.Module, inputs: Tree) -> Tree:
    """A net's outputs: a tuple of inputs as its arguments, a mapping as its keyword arguments, all else as its one."""
    if isinstance(inputs, Mapping):
        return net(**inputs)
    return net(*inputs) if isinstance(inputs, tuple) else net(inputs)
